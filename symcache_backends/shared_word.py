"""A word in a file that processes share as memory: whoever writes to a store changes it, and the others see that.

Memory that is mapped from a file is gone when the file is cut short, as by whoever restores a backup over a running
program; touching it then raises SIGBUS, which ends a process. So the signal has a handler here that puts private memory
in the place of what is gone; whatever else raises it goes to the handler that was there before.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import random
import signal
import struct
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

_WORD = struct.Struct("=Q")
_SIZE = _WORD.size
_LARGEST = (1 << 30) - 1  # CPython compares integers of up to 30 bits fastest
_LOST = 1 << 62
_AT_THE_SAME_TIME = 1.0
_MAP_FIXED = 0x10  # on Linux and on macOS alike; the module mmap does not have it


class SharedWord:
    """Eight bytes that read as one number, ``cells[0]``; looking at it costs no system call, and never fails.

    Who makes one holds a lock that excludes other writers. ``is_lost`` tells that the file was cut short, and that this
    is another memory than the others'.

    Args:
        descriptor: Of an open file, which stays the caller's; it grows to eight bytes if need be.

    Raises:
        OSError: The file cannot be written, or not be mapped.
    """

    def __init__(self, descriptor: int) -> None:
        there = os.pread(descriptor, _SIZE, 0)
        # Written even if it is there: the first byte that is written to a hole through the mapping of a file on a full
        # disk raises SIGBUS. A new one starts anywhere, so that it is not taken for the one that was there before.
        os.pwrite(descriptor, there if len(there) == _SIZE and any(there) else _WORD.pack(_anywhere()), 0)
        self.is_lost = False
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.cells = memoryview(self._memory).cast("Q")
        _guard.watch(self)

    def renew(self) -> int:
        """Set another number, and give it; the caller holds a lock that excludes other writers.

        Raises:
            OSError: The file cannot be written.
        """
        now = self.cells[0]
        renewed = _anywhere() if now > _LARGEST else now + 1 & _LARGEST
        # By a system call: where each write takes new space, one through the mapping raises SIGBUS on a full disk.
        os.pwrite(self._descriptor, _WORD.pack(renewed), 0)
        return renewed

    def leave(self) -> None:
        """Look at private memory from now on, where another number stands: the file is not the one to look at any more.

        Whoever still goes by ``cells`` sees that something has changed, and nothing happens to them if the file does.
        """
        self.is_lost = True
        if _guard.map_private(self._address):
            self.cells[0] = _LOST

    def replace_if_gone(self) -> bool:
        """Put private memory in the place of what is gone from the file; tells whether anything was."""
        if self.is_lost or self._memory.size() >= _SIZE:
            return False
        self.is_lost = True
        if _guard.map_private(self._address):
            self.cells[0] = _LOST
        return True


class Mapped(Protocol):
    """Memory that is mapped from a file."""

    def replace_if_gone(self) -> bool:
        """Put other memory in the place of what is gone from the file; tells whether anything was.

        It runs in the midst of whatever touched the memory, in whichever thread, and must not wait for anything.
        """
        ...


def watch(mapped: Mapped) -> None:
    """From now on, take care of memory that is mapped from a file, as long as anyone has it."""
    _guard.watch(mapped)


def map_private(address: int, length: int, descriptor: int = -1, offset: int = 0) -> None:
    """Map private memory in the place of other, in one step.

    Args:
        address: Where that begins.
        length: Of it, in bytes.
        descriptor: Of a file whose content it has; it is empty without one.
        offset: From where in that file.
    """
    _guard.map_private(address, length, descriptor, offset)


class _Guard:
    """Keeps SIGBUS from ending the process when it comes from memory that is watched.

    The handler is C's and not Python's, which would run only after the access that raises the signal, and so never. It
    may run Python: whoever touches such memory holds the interpreter's lock, or has given it back and can take it.
    """

    def __init__(self) -> None:
        self._words: weakref.WeakSet[Mapped] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._handler: Callable[[int], None] | None = None
        self._previous: int | None = None
        self._mended = -math.inf

    def begin_anew(self) -> None:
        """In a forked child: the thread that may have the lock is not there."""
        self._lock = threading.Lock()

    def watch(self, mapped: Mapped) -> None:
        """From now on, take care of some memory."""
        with self._lock:
            self._words.add(mapped)
            if self._handler is None:
                self._libc = ctypes.CDLL(None, use_errno=True)
                self._libc.mmap.restype = ctypes.c_void_p
                self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
                self._libc.signal.restype = ctypes.c_void_p
                self._libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
                self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._on_fault)
                self._previous = self._libc.signal(signal.SIGBUS, ctypes.cast(self._handler, ctypes.c_void_p))

    def map_private(self, address: int, length: int = mmap.PAGESIZE, descriptor: int = -1, offset: int = 0) -> bool:
        """Map private memory at an address, of a file or of none; tells whether there was any to be had."""
        flags = mmap.MAP_PRIVATE | _MAP_FIXED | (mmap.MAP_ANONYMOUS if descriptor < 0 else 0)
        given = self._libc.mmap(address, length, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, offset)
        return bool(given == address)

    def _on_fault(self, number: int) -> None:
        try:
            if sum(mapped.replace_if_gone() for mapped in list(self._words)):
                self._mended = time.monotonic()
        except (OSError, ValueError):
            pass
        # What one thread has mended another may have touched at the same time: it tries again.
        if time.monotonic() - self._mended > _AT_THE_SAME_TIME:
            self._libc.signal(number, self._previous)
            signal.raise_signal(number)


def _anywhere() -> int:
    return random.randint(1, _LARGEST)  # noqa: S311  # nothing is kept secret by it


_guard = _Guard()
"""One for the process, as a signal's handler is."""

os.register_at_fork(after_in_child=_guard.begin_anew)
