"""Keeps the index of SQLite's log in memory that is there, though its file is cut short, or has no room on a full disk.

All who have a database open share the index, ``cache.db-shm``, as memory; SQLite has no way to look at a log without it
among several processes. Touching memory that its file does not have raises SIGBUS, which ends a process. There are two
ways to that.

Whoever restores a backup over the files, or empties them, cuts it short. Then the file is made as long as it was, and
empty. SQLite takes that for an index that has to be made anew from the log: in this process and in all others, as it is
one file. What was being read or written at that moment may be nonsense, so it is done again.

SQLite makes the file longer by one byte in each page, and a file system with smaller blocks leaves holes between those,
which take room when they are first written to. So they are filled as soon as the file is open, and whenever it has
grown. Where SQLite is faster than that and the disk is full, this process gets a copy of the index for itself; what it
was at has failed, as for any full disk, and its connection is closed.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

from ..shared_word import map_private
from .descriptors import descriptor_of
from .paths import Identity, identity

_PAGE_AND_FRAMES = struct.Struct("=HI")
_REGION = 1 << 15
"""Bytes by which SQLite maps the index."""

_HEADER = 48
"""Bytes of its header, which is there twice, so that a change in the midst of a look is known."""

_ABOUT_LOG = struct.Struct(f"={_HEADER}s{_HEADER}sI")
"""What stands at the beginning of the index: the header, the same again, and how many frames were written back."""
_AT_ONCE = _ABOUT_LOG.size

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-([sp]) ([0-9a-f]+) \S+ (\d+) ")


class LogState(NamedTuple):
    """What the index says of its log.

    Args:
        size: How many bytes it must have at least, for what is in it.
        is_needed: Whether any of that is not in the database yet.
        salt: What stands in its header, if that is the log the index is about.
    """

    size: int
    is_needed: bool
    salt: bytes


class SharedIndex:
    """The index of one database, as this process has it open, or is about to.

    Args:
        path: Of its file.
    """

    def __init__(self, path: Path) -> None:
        self.faults = 0
        """How often it was emptied or copied here, as its file did not have what was touched."""
        self.is_apart = False
        """Whether this process has a copy of its own, which is not to be used."""
        self._path = path
        self._identity: Identity | None = None
        self._number = -1
        self._filled = 0
        self._understood: tuple[bytes, LogState | None] = b"", None

    def expect(self) -> None:
        """Look after what is at the path: it is about to be opened."""
        self._identity, self._number, self._filled, self.is_apart = None, -1, 0, False

    def note(self) -> Identity | None:
        """Note which file is open, now that one is; gives it."""
        self._identity, self._filled = identity(self._path), 0
        self._number = _open_as(self._identity)
        return self._identity

    def forget(self) -> None:
        """Note that it is closed."""
        self._number = -1

    def fill(self) -> None:
        """See to it that the disk has room for all of it, also where nothing has been written yet.

        Raises:
            OSError: It does not.
        """
        if self._number < 0:
            self.note()
        found = self._found(self._number)
        if found is not None and found.st_size != self._filled:
            _fill_holes(self._number, found.st_size)
            self._filled = found.st_size

    def log_state(self) -> LogState | None:
        """What it says of its log; ``None`` if it says nothing, or is being changed."""
        number = self._number
        if self._found(number) is None:
            return None
        there = os.pread(number, _AT_ONCE, 0)
        known, state = self._understood
        if there != known:  # between two writes it says the same again and again
            state = _log_state(there)
            self._understood = there, state
        return state

    def replace_if_gone(self) -> bool:
        """Give the file what it has not; tells whether anything was missing."""
        # Not by its name, which may be another's by now, nor by a descriptor of our own: with the first one that is
        # closed, the system drops every lock of SQLite's on that file.
        number = self._number
        found = self._found(number)
        if found is None:
            number = _open_as(self._identity or identity(self._path))
            if number < 0:
                return False
            found = os.fstat(number)
        size = max(found.st_size, _mapped_size(found.st_ino))
        try:
            if found.st_size < size:
                _write_zeros(number, size)
                self.faults += 1
                return True
            if self._filled != size:
                self._filled = size
                _fill_holes(number, size)
                return True
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        if self.is_apart:
            return False
        _copy_for_itself(number, found.st_ino, is_cut_short=found.st_size < size)
        self.faults += 1
        self.is_apart = True
        return True

    def empty(self) -> bool:
        """Let SQLite make it anew; the caller keeps writers away. Tells whether this process has it open."""
        number = _open_as(self._identity or identity(self._path))
        if number < 0:
            return False
        found = os.fstat(number)
        _write_zeros(number, max(found.st_size, _mapped_size(found.st_ino)))
        return True

    def _found(self, number: int) -> os.stat_result | None:
        try:
            found = os.fstat(number)
        except OSError:
            return None
        return found if (found.st_dev, found.st_ino) == self._identity else None


def _log_state(there: bytes) -> LogState | None:
    """What the beginning of an index says of its log."""
    if len(there) < _AT_ONCE:
        return None
    header, again, written_back = _ABOUT_LOG.unpack(there)
    if header != again or not header[12]:
        return None
    page, frames = _PAGE_AND_FRAMES.unpack_from(header, 14)
    page = (page & 0xFE00) + ((page & 1) << 16)  # 65536 does not fit, and is written as 1
    return LogState(32 + frames * (24 + page) if frames else 0, frames > written_back, header[32:40])


def _open_as(file: Identity | None) -> int:
    return -1 if file is None else descriptor_of(file)


def _write_zeros(number: int, size: int) -> None:
    # All of it: what is left of its beginning would vouch for the rest. And written: the first write to a hole raises
    # the signal where the disk is full.
    written = 0
    while written < size:
        written += os.pwrite(number, bytes(size - written), written)


def _fill_holes(number: int, size: int) -> None:
    # Others may be writing to it as memory, so that what is read and written back might be older than what is there.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(number, 0, size)


def _mappings(inode: int) -> list[re.Match[str]]:
    """Where this process has a file mapped; proc(5)."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [match for line in lines if (match := _MAPPING.match(line)) and int(match[5]) == inode]


def _mapped_size(inode: int) -> int:
    found = _mappings(inode)
    return max((int(match[2], 16) - int(match[1], 16) + int(match[4], 16) for match in found), default=_REGION)


def _copy_for_itself(number: int, inode: int, *, is_cut_short: bool) -> None:
    for match in _mappings(inode):
        if match[3] == "s":  # else another who watches it was faster
            start, end, offset = (int(match[group], 16) for group in (1, 2, 4))
            map_private(start, end - start, *(() if is_cut_short else (number, offset)))
