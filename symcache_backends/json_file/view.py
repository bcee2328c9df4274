"""What one process sees of a snapshot and its journal: where each record is; what it says is read when asked for."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from io import FileIO
from pathlib import Path
from time import monotonic

from symcache_core.errors import CorruptEntryError
from symcache_core.files import sync_folder

from . import records
from .damage import Damage
from .files import ReplacedError, beside, in_use_elsewhere, look_at, mark_in_use, open_file, place, sync
from .foreign import is_journal, refuse_journal
from .indexing import Places, in_journal, index_appended, index_snapshot, where
from .late_log import LateLog

_COMPACT_FROM = 1 << 22
"""Bytes of journal below which compaction waits for ``close``: it waits for the disk, and these index in no time."""

_LAST = 4096
"""Bytes of the last line by which a journal is known again."""

_SNAPSHOT_EVERY = 0.1
"""Seconds between two looks at the snapshot."""

_ATTEMPTS = 100


class News(Enum):
    """What others have done to the files since a view last looked."""

    APPENDED = "appended"
    REPLACED = "replaced"


class View:
    """The state of the store as of one snapshot and one journal; when either is replaced, a new view takes over.

    Records stay on disk: the index has one number for each, which the garbage collector need not look at.

    Nobody need hold the store's lock to make one. Whoever compacts replaces the snapshot first and the journal next, so
    a journal that was opened while the snapshot was still in its place has all that the snapshot lacks.

    ``must_be_replaced`` tells that a line of the journal could not be synced: what is appended to it is not safe.

    Args:
        path: The snapshot.
        log: Where to say what is damaged.
        writes: Whether to open the journal for writing, and make it if it is not there.
        durably: Whether what is written shall survive a power loss.

    Raises:
        OSError: The files cannot be opened.
        ConfigurationError: The journal is another program's.
        CorruptStoreError: The snapshot is something else.
        NewerSchemaError: A newer symcache wrote it.
    """

    def __init__(self, path: Path, *, log: LateLog, writes: bool, durably: bool) -> None:
        self.must_be_replaced = False
        self.has_torn_tail = False
        self._path = path
        self._log = log
        self._durably = durably
        self._damage = Damage(path, log)
        self.rejected = self._damage.lines
        self._name, self._journal_name = os.fsencode(path), os.fsencode(beside(path, ".journal"))
        self._places: Places = {}
        self._seen = 0
        self._last_line = b""
        self._written: int | None = None
        self._look_at_snapshot = monotonic() + _SNAPSHOT_EVERY
        self._device = self._inode = -1
        self._snapshot, self._journal = _opened(path, writes=writes)
        try:
            self._snapshot_stamp = None if self._snapshot is None else _stamp(os.fstat(self._snapshot.fileno()))
            if self._journal is not None:
                journal = os.fstat(self._journal.fileno())
                self._device, self._inode = journal.st_dev, journal.st_ino
                refuse_journal(self._journal.fileno(), beside(path, ".journal"))
            if self._journal is not None and writes:
                mark_in_use(self._journal)
                if durably:
                    sync_folder(path.parent)
            self._compact_at = max(_COMPACT_FROM, self._load_snapshot())
            if self._journal is not None:
                self._read_on(os.fstat(self._journal.fileno()))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """How many keys have an entry."""
        return len(self._places)

    def close(self) -> None:
        """Let go of the files."""
        for file in (self._journal, self._snapshot):
            if file is not None:
                file.close()

    def has_outgrown(self) -> bool:
        """Whether the journal is so long that it is time to compact."""
        return self._seen >= self._compact_at

    def put_off_compaction(self) -> None:
        """Wait until the journal is twice as long, because compaction has failed."""
        self._compact_at = 2 * self._seen

    def has_waste(self) -> bool:
        """Whether there is anything to compact."""
        return bool(self._seen or self.rejected)

    def in_use_elsewhere(self) -> bool:
        """Whether another process, or another object of this one, has the journal open."""
        return self._journal is not None and in_use_elsewhere(self._journal)

    def news(self) -> News | None:
        """Look, without any lock, what others have done; what they have appended is read.

        What counts is what is at the path: the files may have been replaced by a compaction, by who restores a backup,
        or with the whole folder. A snapshot is never written twice, so another time or size is another snapshot; that
        is looked at every now and then only, as whoever compacts replaces the journal, too. A journal that has become
        shorter, or does not have its last line any more where that was, is another journal.
        """
        if (now := monotonic()) >= self._look_at_snapshot:
            self._look_at_snapshot = now + _SNAPSHOT_EVERY
            if self._is_another_snapshot():
                return News.REPLACED
        try:
            journal = os.stat(self._journal_name)
        except (FileNotFoundError, NotADirectoryError):
            return None if self._journal is None else News.REPLACED
        size, seen = journal.st_size, self._seen
        if journal.st_ino != self._inode or journal.st_dev != self._device or size < seen:
            return News.REPLACED
        if size == seen:
            written = journal.st_mtime_ns
            if self._written is None:  # by this view
                self._written = written
            if self._written == written:
                return None
        return self._read_on(journal)

    def cut_torn_tail(self) -> None:
        """Drop what a writer left that did not come to the end of its line; the caller holds the store's lock."""
        os.ftruncate(self._file(), self._seen)
        self.has_torn_tail = False

    def sync(self) -> None:
        """Make the journal survive a power loss as it is."""
        sync(self._file())

    def keys(self) -> list[str]:
        """Every key that has an entry."""
        keys = []
        for name in list(self._places):
            try:
                keys.append(records.key_of(name))
            except CorruptEntryError as error:
                self._set_aside(name, self._member(name), error)
        return keys

    def names_in_snapshot(self) -> list[bytes]:
        """Every name that the snapshot has, whatever the journal says of it, as it stands in the file."""
        places: Places = {}
        if self._snapshot is not None:
            index_snapshot(self._snapshot, self._path, places, lambda _member, _error: None)
        return list(places)

    def entry(self, name: bytes) -> bytes | None:
        """The entry under a name; a damaged one is set aside."""
        if name not in self._places:
            return None
        member = self._member(name)
        try:
            return records.parse(name, member).entry
        except CorruptEntryError as error:
            self._set_aside(name, member, error)
            return None

    def written(self) -> float:
        """When the journal was written to, in seconds since the epoch, by its file system."""
        return os.fstat(self._file()).st_mtime

    def kept(self, over_before: float) -> Iterator[bytes]:
        """The members of what was not over before some time, sorted; a damaged one is set aside.

        Args:
            over_before: In seconds since the epoch.
        """
        for name in sorted(self._places):
            member = self._member(name)
            try:
                if records.parse(name, member).keep_until > over_before:
                    yield member
            except CorruptEntryError as error:
                self._set_aside(name, member, error)

    def put(self, name: bytes, member: bytes) -> None:
        """Append the record of an entry; the caller holds the store's lock and has caught up."""
        number, line = in_journal(self._seen + 1, len(member)), b"{%b}\n" % member
        seen, last_line = self._seen + len(line), line[-_LAST:]
        # An interrupt before the next two statements leaves a line that the next look finds; none comes between them.
        self._append(line)
        self._places[name] = number
        self._seen, self._last_line, self._written = seen, last_line, None

    def drop(self, name: bytes) -> None:
        """Append that a name has no entry any more; the caller holds the store's lock and has caught up."""
        line = b"{%b}\n" % records.dump_gone(name)
        seen, last_line = self._seen + len(line), line[-_LAST:]
        self._append(line)
        self._places.pop(name, None)
        self._seen, self._last_line, self._written = seen, last_line, None

    def _is_another_snapshot(self) -> bool:
        found = look_at(self._name)
        if _stamp(found) == self._snapshot_stamp:
            return False
        # A folder or the like where a snapshot may come does not make the journal another's.
        return self._snapshot_stamp is not None or found is None or stat.S_ISREG(found.st_mode)

    def is_current(self) -> bool:
        """Whether both files are those at the path, and have been read to the end."""
        return not self._is_another_snapshot() and self.news() is None

    def _append(self, line: bytes) -> None:
        descriptor = self._file()
        try:
            # One write, so that a reader without the lock sees the whole line or an unfinished one, never two halves.
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self.cut_torn_tail()
            raise
        if self._durably:
            try:
                sync(descriptor)
            except OSError:
                # Others may have read the line by now, so it is not cut off. The disk may lack it, and so what comes
                # after it would be in a journal with a hole.
                self.must_be_replaced = True
                raise

    def _read_on(self, journal: os.stat_result) -> News | None:
        """Read what has been appended since, up to the last whole line."""
        start = self._seen - len(self._last_line)
        text = os.pread(self._file(), journal.st_size - start, start)
        if not text.startswith(self._last_line) or not (start or is_journal(text)):
            return News.REPLACED
        first = len(self._last_line)
        end = index_appended(text, first, start, self._places, self._damage.add)
        self._damage.tell()
        last_line = text[max(text.rfind(b"\n", 0, end - 1) + 1, end - _LAST) : end] if end > first else self._last_line
        self.has_torn_tail = len(text) > end
        self._seen, self._last_line, self._written = start + end, last_line, journal.st_mtime_ns
        return News.APPENDED if end > first else None

    def _member(self, name: bytes) -> bytes:
        start, length, is_in_journal = where(self._places[name])
        file = self._journal if is_in_journal else self._snapshot
        return b"" if file is None else os.pread(file.fileno(), length, start)

    def _file(self) -> int:
        journal = self._journal
        if journal is None or journal.closed:
            raise ReplacedError(self._path)
        return journal.fileno()

    def _load_snapshot(self) -> int:
        if self._snapshot is None:
            return 0
        ends_well = index_snapshot(self._snapshot, self._path, self._places, self._damage.add)
        self._damage.tell()
        if not ends_well:
            self._log.add(logging.WARNING, "%s is cut short; what is whole in it is used", self._path)
        return os.fstat(self._snapshot.fileno()).st_size

    def _set_aside(self, name: bytes, member: bytes, error: CorruptEntryError) -> None:
        # Or has someone written over the files, and this is a part of something else?
        if not self.is_current():
            raise ReplacedError(self._path)
        del self._places[name]
        self._damage.add(member, error)
        self._damage.tell()


def _opened(path: Path, *, writes: bool) -> tuple[FileIO | None, FileIO | None]:
    """The snapshot and the journal that belong together; a file that is not there is none."""
    for _attempt in range(_ATTEMPTS):
        snapshot = journal = None
        with suppress(FileNotFoundError):
            snapshot = open_file(path, os.O_RDONLY)
        try:
            if writes:
                journal = open_file(beside(path, ".journal"), os.O_RDWR | os.O_APPEND | os.O_CREAT)
            else:
                with suppress(FileNotFoundError):
                    journal = open_file(beside(path, ".journal"), os.O_RDONLY)
            if place(look_at(path)) == (None if snapshot is None else place(os.fstat(snapshot.fileno()))):
                return snapshot, journal
        except BaseException:
            if snapshot is not None:
                snapshot.close()
            raise
        for file in (snapshot, journal):
            if file is not None:
                file.close()
    raise ReplacedError(path)


def _stamp(file: os.stat_result | None) -> tuple[int, int, int, int] | None:
    return None if file is None else (file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns)
