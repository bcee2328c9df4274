"""What one process sees of a snapshot and its journal: where each record is; what it says is read when asked for."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from symcache_core.errors import CorruptEntryError, CorruptStoreError, NewerSchemaError

from . import records
from .files import beside, in_use_elsewhere, mark_in_use, open_private, sync

log = logging.getLogger("symcache")

_COMPACT_FROM = 1 << 22
"""Bytes of journal below which compaction waits for ``close``: it waits for the disk, and these index in no time."""

_CHUNK = 1 << 20
"""Bytes to read of the snapshot at a time; more at once would cost new memory for each."""

# A place is one integer: the start above, the length below, and whether it is in the journal in the lowest bit. A tuple
# for each of a million keys would cost several times the memory, and the garbage collector would go through them.
_LENGTH_BITS = 40


class News(Enum):
    """What others have done to the files since this view last looked."""

    NONE = "none"
    APPENDED = "appended"
    REPLACED = "replaced"


class View:
    """The state of the store as of one journal; when that is replaced, a new view takes over.

    Whoever makes one holds the store's lock, so that the two files belong together. Records stay on disk: the index has
    one number for each, which the garbage collector need not look at.

    Args:
        path: The snapshot.
        looks_at_path: Whether to look at the journal's path for its replacement, on a file system whose open files are
            not told of it.

    Raises:
        CorruptStoreError: The snapshot is something else.
        NewerSchemaError: A newer symcache wrote it.
    """

    def __init__(self, path: Path, *, looks_at_path: bool) -> None:
        self.rejected: list[bytes] = []
        self._path = path
        self._journal_path = beside(path, ".journal")
        self._looks_at_path = looks_at_path
        self._places: dict[bytes, int] = {}
        self._seen = 0
        self._snapshot = open_private(path, os.O_RDONLY) if path.exists() else None
        try:
            self._compact_at = max(_COMPACT_FROM, self._load_snapshot())
            self._journal = open_private(self._journal_path, os.O_RDWR | os.O_APPEND)
        except BaseException:
            self._close_snapshot()
            raise
        mark_in_use(self._journal)
        self.replay()

    def __len__(self) -> int:
        """How many keys have an entry."""
        return len(self._places)

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._journal)
        self._close_snapshot()

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
        return in_use_elsewhere(self._journal)

    def news(self) -> News:
        """Look, without any lock, whether others have written."""
        # Whoever compacts puts a new journal in the place of this one, which then has no name any more.
        journal = os.fstat(self._journal)
        if journal.st_nlink == 0 or (self._looks_at_path and not self._is_at_path(journal)):
            return News.REPLACED
        return News.NONE if journal.st_size == self._seen else News.APPENDED

    def replay(self) -> bool:
        """Read what has been appended since, up to the last whole line; tells whether there was any."""
        text = os.pread(self._journal, os.fstat(self._journal).st_size - self._seen, self._seen)
        start = 0
        # What comes after the last line's end is being written, or its writer was killed: it does not count yet.
        while (end := text.find(b"\n", start)) >= 0:
            self._index_appended(text[start + 1 : end - 1], self._seen + start + 1)
            start = end + 1
        self._seen += start
        return start > 0

    def cut_torn_tail(self) -> None:
        """Drop what a writer left that did not come to the end of its line; the caller holds the store's lock."""
        os.ftruncate(self._journal, self._seen)

    def keys(self) -> list[str]:
        """Every key that has an entry."""
        keys = []
        for name in list(self._places):
            try:
                keys.append(records.key_of(name))
            except CorruptEntryError as error:
                self._reject(self._member(name), error)
                del self._places[name]
        return keys

    def entry(self, name: bytes) -> bytes | None:
        """The entry under a name; a damaged one is set aside."""
        record = self._record(name)
        return None if record is None else record.entry

    def kept(self, now: float) -> Iterator[bytes]:
        """The members of what is not over, sorted; a damaged one is set aside.

        Args:
            now: Seconds since the epoch.
        """
        for name in sorted(self._places):
            record = self._record(name)
            if record is not None and record.keep_until > now:
                yield self._member(name)

    def put(self, name: bytes, member: bytes, *, durably: bool) -> None:
        """Append the record of an entry; the caller holds the store's lock and has caught up."""
        start = self._append(member, durably=durably)
        self._places[name] = _in_journal(start, len(member))

    def drop(self, name: bytes, *, durably: bool) -> None:
        """Append that a name has no entry any more; the caller holds the store's lock and has caught up."""
        self._append(records.dump_gone(name), durably=durably)
        self._places.pop(name, None)

    def drop_all(self) -> None:
        """Forget every entry; the caller compacts next."""
        self._places.clear()

    def _append(self, member: bytes, *, durably: bool) -> int:
        line = b"{%b}\n" % member
        try:
            # One write, so that a reader without the lock sees the whole line or an unfinished one, never two halves.
            if os.write(self._journal, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durably:
                sync(self._journal)
        except OSError:
            # What was not written whole, or not synced, was not acknowledged, and must not come to light later.
            self.cut_torn_tail()
            raise
        start = self._seen + 1
        self._seen += len(line)
        return start

    def _record(self, name: bytes) -> records.Record | None:
        if name not in self._places:
            return None
        member = self._member(name)
        try:
            return records.parse(name, member)
        except CorruptEntryError as error:
            del self._places[name]
            self._reject(member, error)
            return None

    def _member(self, name: bytes) -> bytes:
        start, length, in_journal = _where(self._places[name])
        descriptor = self._journal if in_journal or self._snapshot is None else self._snapshot
        return os.pread(descriptor, length, start)

    def _is_at_path(self, journal: os.stat_result) -> bool:
        try:
            return os.path.samestat(journal, os.stat(self._journal_path))
        except FileNotFoundError:
            return False

    def _close_snapshot(self) -> None:
        if self._snapshot is not None:
            os.close(self._snapshot)

    def _load_snapshot(self) -> int:
        if self._snapshot is None:
            return 0
        size = os.fstat(self._snapshot).st_size
        header = records.HEADER.match(os.pread(self._snapshot, _CHUNK, 0))
        if header is None:
            if not os.pread(self._snapshot, size, 0).strip():  # as "touch" leaves it
                return 0
            raise CorruptStoreError(
                f"{self._path} is not a store of the json backend and is left alone: move it away, "
                "or set 'backends.json.path' to another file"
            )
        if int(header[1]) > records.SCHEMA_VERSION:
            raise NewerSchemaError(
                f"{self._path} has schema {int(header[1])} and this symcache reads up to {records.SCHEMA_VERSION}: "
                "upgrade symcache, or set 'backends.json.path' to another file"
            )
        position, ends_well = header.end() + 1, False
        while position < size:
            text = os.pread(self._snapshot, _CHUNK, position)
            stop = text.rfind(b"\n") + 1
            if not stop:  # a line that is longer than what is read at once
                text = os.pread(self._snapshot, size - position, position)
                stop = text.find(b"\n") + 1 or len(text)
            ends_well = self._index_snapshot(text, stop, position)
            position += stop
        if not ends_well:
            log.warning("%s is cut short; what is whole in it is used", self._path)
        return size

    def _index_snapshot(self, text: bytes, stop: int, position: int) -> bool:
        """Index whole lines, which stand at a position of the file; tells whether the last one ends the snapshot."""
        # The one loop over everything there is, written for speed: single bytes are found fastest.
        places, find, comma, backslash, start = self._places, text.find, ord(","), ord("\\"), 0
        while start < stop:
            end = find(b"\n", start, stop)
            if end < 0:
                end = stop
            quote = find(b'"', start + 1, end)
            # A name with an escaped quote in it is rare, and found by what follows the name.
            if quote > 0 and text[quote - 1] == backslash:
                quote = find(records.AFTER_NAME, start, end) - 1
            if quote > start:
                length = end - start - (text[end - 1] == comma)
                places[text[start : quote + 1]] = (position + start << _LENGTH_BITS | length) << 1
            elif text[start:end] == records.FOOTER:
                return True
            elif end > start:
                self._reject(text[start:end], CorruptEntryError("a record has no key"))
            start = end + 1
        return False

    def _index_appended(self, member: bytes, start: int) -> None:
        name_ends = member.find(records.AFTER_NAME)
        name = member[:name_ends]
        try:
            if name_ends < 1:
                raise CorruptEntryError("a record has no key")
            if records.says_gone(name, member):
                self._places.pop(name, None)
            else:
                self._places[name] = _in_journal(start, len(member))
        except CorruptEntryError as error:
            self._reject(member, error)

    def _reject(self, member: bytes, error: CorruptEntryError) -> None:
        log.warning("%s: %s; it is set aside", self._path, error)
        self.rejected.append(member)


def _in_journal(start: int, length: int) -> int:
    """Where a member of the journal is, as one number: of the snapshot it would be even."""
    return (start << _LENGTH_BITS | length) << 1 | 1


def _where(place: int) -> tuple[int, int, bool]:
    """The start and the length of a member, and whether it is in the journal."""
    return place >> _LENGTH_BITS + 1, place >> 1 & (1 << _LENGTH_BITS) - 1, bool(place & 1)
