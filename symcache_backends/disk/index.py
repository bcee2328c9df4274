"""Keeps the index of SQLite's log in memory that is there, though its file is cut short under a running program.

All who have a database open share the index, ``cache.db-shm``, as memory; SQLite has no way to look at a log without it
among several processes. Whoever restores a backup over the files, or empties them, takes that memory away, and touching
it raises SIGBUS. Then the file is made as long as it was, and empty. SQLite takes that for an index that has to be made
anew from the log: in this process and in all others, as it is one file. What was being read or written at that moment
may be nonsense, so it is done again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .paths import Identity

_REGION = 1 << 15
"""Bytes by which SQLite maps the index."""

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ (\d+) ")


class SharedIndex:
    """The index of one database, as this process has it open.

    Args:
        identity: Device and inode of its file.
    """

    def __init__(self, identity: Identity) -> None:
        self.faults = 0
        """How often it was emptied here because it had been cut short."""
        self._identity = identity

    def replace_if_gone(self) -> bool:
        """Give the file its size back; tells whether it was cut short."""
        return self._empty(only_if_cut_short=True)

    def empty(self) -> bool:
        """Let SQLite make it anew; the caller keeps writers away. Tells whether this process has it open."""
        return self._empty(only_if_cut_short=False)

    def _empty(self, *, only_if_cut_short: bool) -> bool:
        # Not by its name, which may be another's by now, nor by a descriptor of our own: with the first one that is
        # closed, the system drops every lock of SQLite's on that file.
        for number in map(int, os.listdir("/dev/fd")):
            try:
                found = os.fstat(number)
            except OSError:  # that of the listing itself
                continue
            if (found.st_dev, found.st_ino) == self._identity:
                size = max(found.st_size, _mapped_size(found.st_ino))
                if only_if_cut_short and found.st_size >= size:
                    return False
                # All of it: what is left of its beginning would vouch for the rest. And written: the first write to a
                # hole raises the signal where the disk is full.
                os.pwrite(number, bytes(size), 0)
                self.faults += only_if_cut_short
                return True
        return False


def _mapped_size(inode: int) -> int:
    """Up to where this process has a file mapped; proc(5)."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return _REGION
    found = [match for line in lines if (match := _MAPPING.match(line)) and int(match[4]) == inode]
    return max((int(match[2], 16) - int(match[1], 16) + int(match[3], 16) for match in found), default=_REGION)
