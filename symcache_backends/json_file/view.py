"""What one process sees of a snapshot and its journal: an index of records that are not decoded until asked for."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from symcache_core.errors import CorruptEntryError, CorruptStoreError, NewerSchemaError

from . import records
from .files import beside, in_use_elsewhere, mark_in_use, open_private, sync

log = logging.getLogger("symcache")

_COMPACT_FROM = 1 << 20
"""Bytes of journal below which compaction waits for ``close``."""


class News(Enum):
    """What others have done to the files since this view last looked."""

    NONE = "none"
    APPENDED = "appended"
    REPLACED = "replaced"


class View:
    """The state of the store as of one journal; when that is replaced, a new view takes over.

    Whoever makes one holds the store's lock, so that the two files belong together.

    Args:
        path: The snapshot.
        looks_at_path: Whether to look at the journal's path for its replacement, on a file system whose open files are
            not told of it.

    Raises:
        CorruptStoreError: The snapshot is something else.
        NewerSchemaError: A newer symcache wrote it.
    """

    def __init__(self, path: Path, *, looks_at_path: bool) -> None:
        self.members: dict[str, bytes] = {}
        self.rejected: list[bytes] = []
        self._path = path
        self._journal_path = beside(path, ".journal")
        self._looks_at_path = looks_at_path
        self._seen = 0
        self._compact_at = max(_COMPACT_FROM, self._load_snapshot())
        self._journal = open_private(self._journal_path, os.O_RDWR | os.O_APPEND)
        mark_in_use(self._journal)
        self.replay()

    def close(self) -> None:
        """Let go of the journal."""
        os.close(self._journal)

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
        journal = os.fstat(self._journal)
        if journal.st_nlink == 0 or (self._looks_at_path and not self._is_at_path(journal)):
            return News.REPLACED
        return News.NONE if journal.st_size == self._seen else News.APPENDED

    def replay(self) -> bool:
        """Read what has been appended since, up to the last whole line; tells whether there was any."""
        text = os.pread(self._journal, os.fstat(self._journal).st_size - self._seen, self._seen)
        whole = text[: text.rfind(b"\n") + 1]
        self._index(line[1:-1] for line in whole.split(b"\n")[:-1])
        self._seen += len(whole)
        return bool(whole)

    def cut_torn_tail(self) -> None:
        """Drop what a writer left that did not come to the end of its line; the caller holds the store's lock."""
        os.ftruncate(self._journal, self._seen)

    def entry(self, key: str) -> bytes | None:
        """The entry under a key; a damaged one is set aside."""
        record = self.record(key)
        return None if record is None else record.entry

    def record(self, key: str) -> records.Record | None:
        """The record of a key, checked; a damaged one is set aside."""
        member = self.members.get(key)
        if member is None:
            return None
        try:
            return records.parse(member)
        except CorruptEntryError as error:
            del self.members[key]
            self._reject(member, error)
            return None

    def put(self, key: str, member: bytes, *, durably: bool) -> None:
        """Append the record of an entry; the caller holds the store's lock and has caught up."""
        self._append(member, durably=durably)
        self.members[key] = member

    def drop(self, key: str, *, durably: bool) -> None:
        """Append that a key has no entry any more; the caller holds the store's lock and has caught up."""
        self._append(records.dump_gone(key), durably=durably)
        self.members.pop(key, None)

    def _append(self, member: bytes, *, durably: bool) -> None:
        line = b"{%b}\n" % member
        try:
            if os.write(self._journal, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durably:
                sync(self._journal)
        except OSError:
            self.cut_torn_tail()
            raise
        self._seen += len(line)

    def _is_at_path(self, journal: os.stat_result) -> bool:
        try:
            return os.path.samestat(journal, os.stat(self._journal_path))
        except FileNotFoundError:
            return False

    def _load_snapshot(self) -> int:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        header = records.HEADER.match(text)
        if header is None:
            if not text.strip():
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
        lines = text[header.end() :].split(b"\n")
        if lines[-2:] == [records.FOOTER, b""]:
            del lines[-2:]
        else:
            log.warning("%s is cut short; what is whole in it is used", self._path)
        self._index(line.removesuffix(b",") for line in lines[1:])
        return len(text)

    def _index(self, members: Iterable[bytes]) -> None:
        found = self.members
        for member in members:
            try:
                key = records.key_of(member)
                if records.says_gone(member):
                    found.pop(key, None)
                else:
                    found[key] = member
            except CorruptEntryError as error:
                if member:
                    self._reject(member, error)

    def _reject(self, member: bytes, error: CorruptEntryError) -> None:
        log.warning("%s: %s; it is set aside", self._path, error)
        self.rejected.append(member)
