"""JsonFileBackend: a snapshot and a journal, shared by threads and processes.

Who writes holds the lock, reads what others have appended, then appends one line. Who reads compares the journal's
inode and size with what it last saw. Compaction puts a new snapshot and then an empty journal in place of the old ones;
a crash in between is harmless, because a journal replayed over the snapshot that already holds it changes nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from symcache_core.errors import BackendUnavailableError, ClosedError

from . import records
from .adoption import adopt
from .files import beside, locked, open_private, replace
from .view import News, View

_COMPACT_FROM = 1 << 20
"""Bytes of journal below which compaction waits for ``close``."""


class JsonFileBackend:
    """One JSON file and its journal.

    Args:
        path: The file; ``.journal``, ``.lock`` and, when needed, ``.quarantine`` and ``.bak`` are beside it.
        fsync: Whether a write returns only once it survives a power loss.

    Raises:
        BackendUnavailableError: The files cannot be read or written.
        CorruptStoreError: The file is there and is something else; it is left alone.
        NewerSchemaError: A newer symcache wrote it; it is left alone.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self._path = path
        self._fsync = fsync
        self._closed = False
        self._generation = 0
        self._open()

    def read(self, key: str) -> bytes | None:
        """The entry under a key."""
        with self._reading() as view:
            return view.entry(key)

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key: one append, whatever the size of the store."""
        with self._writing() as view:
            view.append(records.dump(key, entry, keep_until), sync=self._fsync)

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it, while nobody else can write."""
        with self._writing() as view:
            changed = change(view.entry(key))
            if changed is not None:
                view.append(records.dump(key, *changed), sync=self._fsync)

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        with self._writing() as view:
            there = view.entry(key) is not None
            if there:
                view.append(records.dump_gone(key), sync=self._fsync)
            return there

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        with self._reading() as view:
            return iter(list(view.members))

    def clear(self) -> int:
        """Drop every entry."""
        with self._writing() as view:
            count = len(view.members)
            view.members.clear()
            self._compact()
            return count

    def generation(self) -> int:
        """A number that changes when another process, or another object of this one, has written."""
        with self._reading():
            return self._generation

    def close(self) -> None:
        """Compact if nobody else has the store open, and let go of it."""
        if self._closed:
            return
        with self._guarded():
            try:
                with locked(self._lock):
                    self._catch_up()
                    if (self._view.journal_size or self._view.rejected) and not self._view.in_use_elsewhere():
                        self._compact()
            finally:
                self._closed = True
                self._view.close()
                os.close(self._lock)

    def _open(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.RLock()
        with self._mapped():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = open_private(beside(self._path, ".lock"), os.O_RDWR)
            try:
                with locked(self._lock):
                    if self._path.is_file():
                        adopt(self._path)
                    self._view = View(self._path)
            except BaseException:
                os.close(self._lock)
                raise

    @contextmanager
    def _reading(self) -> Iterator[View]:
        with self._guarded():
            match self._view.news():
                case News.APPENDED:
                    self._generation += self._view.replay()
                case News.REPLACED:
                    with locked(self._lock):
                        self._catch_up()
            yield self._view

    @contextmanager
    def _writing(self) -> Iterator[View]:
        with self._guarded(), locked(self._lock):
            self._catch_up()
            yield self._view
            if self._view.journal_size >= max(_COMPACT_FROM, self._snapshot_size()):
                self._compact()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._pid != os.getpid():
            # The descriptors' locks are shared with the parent, and the mutex may be held by a thread that is not here.
            self._open()
        with self._mutex, self._mapped():
            if self._closed:
                raise ClosedError(f"the json backend at {self._path} is closed")
            yield

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackendUnavailableError(
                f"{self._path} (setting 'backends.json.path'): {error.strerror or error}"
            ) from error

    def _catch_up(self) -> None:
        match self._view.news():
            case News.APPENDED:
                self._generation += self._view.replay()
            case News.REPLACED:
                self._renew()
                self._generation += 1

    def _renew(self) -> None:
        view = View(self._path)
        self._view.close()
        self._view = view

    def _snapshot_size(self) -> int:
        with suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    def _compact(self) -> None:
        view, now = self._view, time.time()
        checked = {key: view.record(key) for key in sorted(view.members)}
        kept = [view.members[key] for key, record in checked.items() if record is not None and record.keep_until > now]
        if view.rejected:
            aside = open_private(beside(self._path, ".quarantine"), os.O_WRONLY | os.O_APPEND)
            with open(aside, "ab") as quarantine:
                quarantine.writelines(member + b"\n" for member in view.rejected)
        replace(self._path, records.dump_snapshot(kept))
        replace(beside(self._path, ".journal"), [])
        self._renew()
