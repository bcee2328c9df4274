"""A word in a file that processes share as memory: whoever writes to a store changes it, and the others see that."""

from __future__ import annotations

import mmap
import os

_SIZE = 8
_LARGEST = (1 << 30) - 1  # CPython compares integers of up to 30 bits fastest


class SharedWord:
    """Eight bytes that read as one number, ``cells[0]``; looking at it costs no system call.

    Args:
        descriptor: Of an open file, which stays the caller's; it grows to eight bytes if need be.
    """

    def __init__(self, descriptor: int) -> None:
        if os.fstat(descriptor).st_size < _SIZE:
            os.ftruncate(descriptor, _SIZE)
        self._memory = mmap.mmap(descriptor, _SIZE)
        self.cells = memoryview(self._memory).cast("Q")

    def renew(self) -> int:
        """Set another number, and give it; the caller holds a lock that excludes other writers."""
        self.cells[0] = renewed = (self.cells[0] + 1) & _LARGEST
        return renewed
