"""DiskBackend: lines of JSON in the rows of a diskcache folder."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from symcache_core.errors import BackendUnavailableError, LockTimeoutError
from symcache_core.protocols import LeaseHolder

from ..file_lease import FileLease, HeldLeases, drop_unused, holder_of
from ..own_errors import Change, updated_by
from . import rows
from .access import Access
from .folder import Folder, ReplacedError
from .rows import BytesDisk, Found, Upkeep
from .settings import DiskSettings

log = logging.getLogger("symcache")

_DROPPED_AT_ONCE = 1000
"""How many rows a compaction drops before it lets others write."""

_TIDY_EVERY = 16
"""How many writes there are to one that also drops what is over."""

_LONG = 1 << 15
"""From how many bytes on an entry is a file of its own, as in diskcache."""


class DiskBackend:
    """Entries in the rows of a diskcache folder.

    Raises:
        ConfigurationError: The path is that of something else than a folder.
        BackendUnavailableError: The folder can be neither made nor read.
        CorruptStoreError: There is a database, and it is damaged.
    """

    def __init__(self, settings: DiskSettings) -> None:
        self._path = settings.path
        self._disk = BytesDisk(str(settings.path), min_file_size=_LONG)
        self._note = rows.use_note(settings.eviction)
        self._upkeep = Upkeep(None, settings.eviction, settings.size_limit)
        self._writes = 0
        self._leases = HeldLeases()
        self._access = Access(settings)

    def read(self, key: str) -> bytes | None:
        """The entry under a key; a refused row counts as none."""
        return self.read_many((key,)).get(key)

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The entries under those of the keys that have one."""
        found = self._access.look(lambda folder: folder.run(partial(self._find, keys, self._note)))
        if found.refused:
            self._report(found)
        return found.entries

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key."""
        self.write_many({key: (entry, keep_until)})

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write each ``key: (entry, keep_until)``, in one transaction."""
        self._access.alone(lambda folder: self._put(folder, entries))

    def update(self, key: str, change: Change) -> None:
        """Replace an entry by what ``change`` makes of it, while nobody else can write.

        No transaction is open meanwhile: the folder's lock keeps the other writers out, and ``change`` may take long.
        """
        updated_by(change, partial(self._update, key))

    def _update(self, key: str, change: Change) -> None:
        def put_changed(folder: Folder) -> Found:
            found = folder.run(partial(self._find, (key,), None))
            changed = change(found.entries.get(key))
            folder.write_before = None  # that was no wait
            if folder.lock.number < 0:
                raise BackendUnavailableError(f"diskcache folder {self._path}: this process was forked in an update")
            if changed is not None:
                self._put(folder, {key: changed})
            return found

        self._report(self._access.alone(put_changed))

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""

        def drop(folder: Folder) -> bool:
            needless = folder.transact(lambda con: rows.drop(con, key))
            self._remove(needless or ())
            return needless is not None

        return self._access.alone(drop)

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        return iter(self._access.look(lambda folder: folder.run(rows.keys)))

    def clear(self) -> int:
        """Drop every entry."""

        def drop_all(folder: Folder) -> int:
            count, needless = folder.transact(rows.drop_all)
            self._remove(needless)
            return count

        return self._access.alone(drop_all)

    def generation(self) -> int:
        """A number that changes when another process, or another object of this one, has written."""
        access = self._access
        if access.cells[0] != access.known:
            access.look(access.note_others)
        return access.generation

    def word(self) -> Sequence[int] | memoryview[int] | None:
        """The word of shared memory that every write changes; ``None`` while the folder takes no writes."""
        return self._access.cells if self._access.takes_writes else None

    def read_only(self) -> str | None:
        """Why the folder takes no writes, as far as it is known."""
        return self._access.read_only()

    def try_lock(self, key: str) -> FileLease | None:
        """The lease of a key, or ``None`` if anyone on this machine has it."""
        self._access.check()
        try:
            return self._leases.take(self._path / "leases", key)
        except OSError as error:
            raise self._access.unavailable(error) from error

    def lease_holder(self, key: str) -> LeaseHolder | None:
        """Who has the lease of a key, as far as that can be told."""
        return holder_of(self._path / "leases", key)

    def compact(self) -> None:
        """Drop what has been over for long."""
        count = 1
        while count:
            count = self._access.alone(self._drop_over)

    def size(self) -> int:
        """Bytes of the database and its files."""
        return self._access.look(lambda folder: folder.run(rows.size))

    def close(self) -> None:
        """Close the folder, once nobody uses it any more."""
        self._leases.release_all()
        self._access.close()
        with suppress(OSError):  # something else is at the path by now
            drop_unused(self._path / "leases")

    def _find(self, keys: Iterable[str], note: str | None, con: sqlite3.Connection) -> Found:
        found = Found()
        for key in keys:
            rows.find(con, self._disk, key, found, note)
        return found

    def _put(self, folder: Folder, entries: Mapping[str, tuple[bytes, float]]) -> None:
        over_before = folder.over_before() if self._writes % _TIDY_EVERY == 0 else None
        self._writes += 1
        upkeep = self._upkeep if over_before is None else replace(self._upkeep, over_before=over_before)
        stored: dict[str, tuple[Any, ...]] = {}

        def put_all(con: sqlite3.Connection) -> list[str]:
            needless = []
            for key, columns in stored.items():
                needless += rows.put(con, key, columns, entries[key][1], upkeep)
            return needless

        try:
            for key, (entry, _) in entries.items():
                stored[key] = self._disk.store(entry, read=False, key=key)
            needless = folder.transact(put_all)
        except BaseException:
            self._remove_unused(folder, {key: columns[2] for key, columns in stored.items() if columns[2] is not None})
            raise
        self._remove(needless)

    def _remove_unused(self, folder: Folder, files: Mapping[str, str]) -> None:
        """Remove the files of entries that were not written, as far as that can be known."""
        if files:
            with suppress(sqlite3.Error, ReplacedError, LockTimeoutError):
                self._remove(folder.run(lambda con: rows.unused(con, files), folder.write_before))

    def _remove(self, files: Iterable[str]) -> None:
        for file in files:
            self._disk.remove(file)

    def _drop_over(self, folder: Folder) -> int:
        dropping = partial(rows.drop_over, before=folder.over_before(), limit=_DROPPED_AT_ONCE)
        count, needless = folder.transact(dropping)
        self._remove(needless)
        return count

    def _report(self, found: Found) -> None:
        for reason in found.refused:
            log.warning("%s: %s", self._path, reason)
