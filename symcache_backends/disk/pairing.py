"""Which log belongs to which database: SQLite itself takes any log beside a database for that database's own.

A log stays behind where a program was killed or is still at work. If a backup of the database is then put beside it, or
over the one that was there, SQLite would mix the two. So it is remembered, in memory and in the lock file behind the
word, which files belong together, when the database was last written to, and how it began then.

What was put in place by its name is another file. What was written over in place is known by its times, if the backup
was copied with them (``cp -a``): it is older than what was there, and was changed after it was written. What was copied
with the present time is known by its beginning, which SQLite changes whenever it needs more or less room: it is neither
what was remembered nor in the log, though nobody has written since (the word is the same). A copy that begins as the
database did when it was last written to cannot be told from it. Nor can one that was put there after 0.1.0 has written,
which changes the word and remembers nothing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import zlib
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from symcache_core.files import open_regular, replacing

from .database import READING, connect
from .descriptors import asked, close_if_alone, descriptor_of
from .index import SharedIndex
from .paths import Identity, identity_of, look

_BEHIND_THE_WORD = 8
_RECORD = struct.Struct("=6Q")
_WORD = struct.Struct("=Q")
_FEW = 1 << 20
_BEGINNING = 100
"""Bytes of a database that say how large it is, and how often that was changed."""

_APART = 2_000_000_000
"""Nanoseconds by which a file was changed after it was written, if its times were set."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the files of a folder are."""

    lock: Path
    database: Path
    log: Path
    index: Path


class Pairing(NamedTuple):
    """Files that belong together, by inode.

    Args:
        lock: The lock file, which is another where a whole folder was copied.
        database: Its database.
        log: The log of that.
        written: When the database was last written to, in nanoseconds since the epoch.
        beginning: A sum of how the database began then.
        word: What stood in the word.
    """

    lock: int
    database: int
    log: int
    written: int
    beginning: int
    word: int


def remember(descriptor: int, pairing: Pairing) -> None:
    """Write it to the lock file; on a full disk nothing is remembered."""
    try:
        os.pwrite(descriptor, _RECORD.pack(*pairing), _BEHIND_THE_WORD)
    except OSError:
        pass


def remembered(descriptor: int) -> Pairing | None:
    """What the lock file says, if it is that of these files."""
    record = os.pread(descriptor, _RECORD.size, _BEHIND_THE_WORD)
    if len(record) != _RECORD.size:
        return None
    pairing = Pairing(*_RECORD.unpack(record))
    return pairing if pairing.lock == os.fstat(descriptor).st_ino else None


def beginning_of(database: Path) -> int:
    """A sum of how a database begins; 0 if it does not. For who keeps this process from forking meanwhile."""
    there = _beginning(database)
    return zlib.crc32(there) if len(there) == _BEGINNING else 0


def is_written_over(descriptor: int, database: Path, log: Path, known: Pairing | None) -> bool:
    """Whether a database is no longer the one that a log was written for, by how it begins.

    For who keeps this process from forking meanwhile.

    Args:
        descriptor: Of the lock file.
        database: Which; by its inode it is the same.
        log: Beside it.
        known: What belonged together, and when.
    """
    if known is None or not known.beginning or descriptor < 0:
        return False
    noted = remembered(descriptor)
    if noted is not None and noted.word != known.word and not _is_restored(noted, known):
        known = noted  # another has written since
    word = os.pread(descriptor, _WORD.size, 0)
    if len(word) < _WORD.size or not known.word - _FEW < _WORD.unpack(word)[0] <= known.word:
        return False
    there = _beginning(database)
    return len(there) == _BEGINNING and zlib.crc32(there) != known.beginning and not _is_in_log(log, there)


def _is_restored(noted: Pairing, known: Pairing) -> bool:
    """Whether what is noted is older than what is known: the word only grows, but for once in a billion times."""
    return known.word - _FEW < noted.word < known.word


def _beginning(database: Path) -> bytes:
    found = look(database)
    if found is None:
        return b""
    there = asked(identity_of(found), _start)
    if there is None:
        # By a connection: whoever in this process connects meanwhile would lose their locks with a descriptor of ours.
        with closing(connect(database, READING)):
            there = asked(identity_of(found), _start)
    return there or b""


def _start(number: int) -> bytes:
    return os.pread(number, _BEGINNING, 0)


def _is_in_log(log: Path, beginning: bytes) -> bool:
    """Whether a first page that begins so is in a log; SQLite has no locks on that file."""
    with suppress(FileNotFoundError), open_regular(log, "r") as file:
        page = int.from_bytes(os.pread(file.fileno(), 4, 8), "big")
        for place in range(32, os.fstat(file.fileno()).st_size if page else 0, 24 + page):
            frame = os.pread(file.fileno(), 24 + _BEGINNING, place)
            if frame[:4] == b"\0\0\0\1" and frame[24:] == beginning:
                return True
    return False


def looks_restored(found: os.stat_result) -> bool:
    """Whether a file got its times from another."""
    return found.st_ctime_ns - found.st_mtime_ns > _APART


def drop_foreign_log(descriptor: int, files: Files, known: Pairing | None) -> str | None:
    """Drop a log that another database has left; tells what was done with it, if there was one.

    Args:
        descriptor: Of the folder's lock file.
        files: The folder's.
        known: What belonged together.
    """
    base, left, locked = look(files.database), look(files.log), look(files.lock)
    if base is None or left is None or not left.st_size:
        return None
    if known is not None and left.st_ino == known.log and base.st_ino != known.database:
        # Others may still be at the database that was here before: to them belongs what was beside it.
        for path in (files.log, files.index):
            path.unlink(missing_ok=True)
        return "it is dropped"
    if left.st_mtime_ns > base.st_ctime_ns:
        return None
    is_same = known is not None and base.st_ino == known.database
    is_older = known is not None and is_same and base.st_mtime_ns < known.written
    is_older |= locked is not None and looks_restored(locked) and locked.st_mtime_ns < left.st_mtime_ns
    if is_older and looks_restored(base) and not looks_restored(left):
        said = "it is dropped"
    elif is_same and is_written_over(descriptor, files.database, files.log, known):
        aside = _free_name(files.log)
        with replacing(aside) as copy, open(files.log, "rb") as log:
            shutil.copyfileobj(log, copy)
        said = f"it is set aside as {aside.name}"
    else:
        return None
    os.truncate(files.log, 0)
    _empty(files.index)
    return said


def _free_name(log: Path) -> Path:
    """Where a log can be set aside without writing over anything."""
    aside = log.with_name(f"{log.name}.aside")
    numbers = itertools.count(2)
    while os.path.lexists(aside):
        aside = log.with_name(f"{log.name}.{next(numbers)}.aside")
    return aside


def _empty(index: Path) -> None:
    found = look(index)
    if found is None or SharedIndex(index).empty():
        return
    number = os.open(index, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(number, bytes(found.st_size), 0)
    finally:
        close_if_alone(number)


class Paired:
    """The files of one folder as this process has them open, and whether they still belong together.

    Args:
        files: Where they are.
        gate: Is held by whoever has a file open that a forked child must not inherit.
    """

    def __init__(self, files: Files, gate: AbstractContextManager[bool]) -> None:
        self.lock: Identity | None = None
        self.database: Identity | None = None
        self._files = files
        self._gate = gate
        self._database_name = os.fsencode(files.database)
        self._log: Identity | None = None
        self._number = -1
        self._written = self._beginning = self._word = 0

    def note(self, log: Identity | None) -> None:
        """Note which log is open, and what its database is like."""
        self._log = log
        self._number = -1 if self.database is None else descriptor_of(self.database)
        if (found := look(self._files.database)) is not None:
            with self._gate:
                self._see(found)

    def note_closed(self) -> None:
        """Note what closing it has written: the last one to close writes the log back, and removes it."""
        found = look(self._files.database)
        if found is not None and identity_of(found) == self.database and look(self._files.log) is None:
            self._see(found)

    def is_open(self, found: os.stat_result, descriptor: int) -> bool:
        """Whether a file is the database that is open, and has not been written over by another.

        Args:
            found: What is at the path.
            descriptor: Of the lock file.
        """
        if (found.st_dev, found.st_ino) != self.database:
            return False
        if found.st_mtime_ns == self._written:
            return True
        if found.st_mtime_ns < self._written and looks_restored(found):
            return False
        with self._gate:
            if is_written_over(descriptor, self._files.database, self._files.log, self._pairing()):
                return False
            self._see(found)
        return True

    def remember(self, descriptor: int, word: int) -> None:
        """Write to the lock file what belongs together, for who holds the lock and has just changed the word."""
        if not self._is_as_seen():
            found = look(self._database_name)
            if found is not None and identity_of(found) == self.database and found.st_mtime_ns != self._written:
                with self._gate:
                    self._see(found)
        self._word = word
        if (pairing := self._pairing()) is not None:
            remember(descriptor, pairing)

    def drop_foreign_log(self, descriptor: int, known: Pairing | None = None) -> list[str]:
        """Drop the log if another database has left it; gives what is to be said.

        Args:
            descriptor: Of the lock file.
            known: What belonged together, for who has not opened anything yet.
        """
        with self._gate:
            said = drop_foreign_log(descriptor, self._files, known or self._pairing())
        return [f"{self._files.log} was that of another database, which this one has replaced; {said}"] if said else []

    def _is_as_seen(self) -> bool:
        """Whether the database that is open has not been written to since; a look by its number takes half the time."""
        try:
            found = os.fstat(self._number)
        except OSError:
            return False
        # It may be closed, and the number another file's.
        return found.st_mtime_ns == self._written and identity_of(found) == self.database

    def _see(self, found: os.stat_result) -> None:
        self._written, self._beginning = found.st_mtime_ns, beginning_of(self._files.database)

    def _pairing(self) -> Pairing | None:
        if self.lock is None or self.database is None or self._log is None:
            return None
        return Pairing(self.lock[1], self.database[1], self._log[1], self._written, self._beginning, self._word)
