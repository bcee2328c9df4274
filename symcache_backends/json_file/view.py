"""What one process sees of a snapshot and its journal: an index of records that are not decoded until asked for."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from enum import Enum
from pathlib import Path

from symcache_core.errors import CorruptEntryError, CorruptStoreError, NewerSchemaError

from . import records
from .files import beside, in_use_elsewhere, mark_in_use, open_private

log = logging.getLogger("symcache")


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

    Raises:
        CorruptStoreError: The snapshot is something else.
        NewerSchemaError: A newer symcache wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.members: dict[str, bytes] = {}
        self.rejected: list[bytes] = []
        self._path = path
        self._journal_path = beside(path, ".journal")
        self._seen = 0
        self._load_snapshot()
        self._journal = open_private(self._journal_path, os.O_RDWR | os.O_APPEND)
        mark_in_use(self._journal)
        self.replay()

    @property
    def journal_size(self) -> int:
        """Bytes of the journal that this view has read or written."""
        return self._seen

    def close(self) -> None:
        """Let go of the journal."""
        os.close(self._journal)

    def in_use_elsewhere(self) -> bool:
        """Whether another process, or another object of this one, has the journal open."""
        return in_use_elsewhere(self._journal)

    def news(self) -> News:
        """Look, without any lock, whether others have written."""
        with suppress(FileNotFoundError):
            there = os.stat(self._journal_path)
            if os.path.samestat(there, os.fstat(self._journal)):
                return News.NONE if there.st_size == self._seen else News.APPENDED
        return News.REPLACED

    def replay(self) -> bool:
        """Read what has been appended since, up to the last whole line; tells whether there was any."""
        text = os.pread(self._journal, os.fstat(self._journal).st_size - self._seen, self._seen)
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._index(line[1:-1])
        self._seen += len(whole)
        return bool(whole)

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

    def append(self, member: bytes, *, sync: bool) -> None:
        """Write one record, all of it or nothing; the caller holds the store's lock and has caught up."""
        if os.fstat(self._journal).st_size > self._seen:
            os.ftruncate(self._journal, self._seen)  # the torn tail that a killed writer left
        line = b"{" + member + b"}\n"
        try:
            if os.write(self._journal, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(self._journal)
        except OSError:
            os.ftruncate(self._journal, self._seen)
            raise
        self._seen += len(line)
        self._index(member)

    def _load_snapshot(self) -> None:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return
        header = records.HEADER.match(text)
        if header is None:
            if not text.strip():
                return
            raise CorruptStoreError(
                f"{self._path} is not a store of the json backend and is left alone: move it away, "
                "or set 'backends.json.path' to another file"
            )
        if int(header[1]) > records.SCHEMA_VERSION:
            raise NewerSchemaError(
                f"{self._path} has schema {int(header[1])} and this symcache reads up to {records.SCHEMA_VERSION}: "
                "upgrade symcache, or set 'backends.json.path' to another file"
            )
        for line in text[header.end() :].split(b"\n"):
            if line == records.FOOTER:
                return
            if line:
                self._index(line.removesuffix(b","))
        log.warning("%s is cut short; what is whole in it is used", self._path)

    def _index(self, member: bytes) -> None:
        try:
            key = records.key_of(member)
            if records.says_gone(member):
                self.members.pop(key, None)
            else:
                self.members[key] = member
        except CorruptEntryError as error:
            self._reject(member, error)

    def _reject(self, member: bytes, error: CorruptEntryError) -> None:
        log.warning("%s: %s; it is set aside", self._path, error)
        self.rejected.append(member)
