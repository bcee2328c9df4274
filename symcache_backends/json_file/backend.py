"""JsonFileBackend: a snapshot and a journal, shared by threads and processes.

Who writes holds the lock, reads what others have appended, then appends one line, and changes a word of shared memory.
Who reads compares the journal's size with what it last saw; who only wants to know whether anyone wrote looks at the
word. Compaction puts a new snapshot and then an empty journal in place of the old ones; a crash in between is
harmless, because a journal replayed over the snapshot that already holds it changes nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from symcache_core.concurrency.forks import ForkGuard
from symcache_core.errors import BackendUnavailableError, ClosedError

from ..file_lease import FileLease, drop_unused, try_lease
from ..shared_word import SharedWord
from . import records
from .adoption import adopt
from .files import beside, lock, locked, open_private, replace, unlock
from .view import News, View

T = TypeVar("T")

log = logging.getLogger("symcache")


class JsonFileBackend:
    """One JSON file and its journal.

    Args:
        path: The file; ``.journal``, ``.lock`` and, when needed, ``.leases``, ``.quarantine`` and ``.bak`` are beside
            it.
        fsync: Whether a write returns only once it survives a power loss.
        shares_memory: Whether all who have the store open share memory through the file ``.lock``.

    Raises:
        BackendUnavailableError: The files cannot be read or written.
        CorruptStoreError: The file is there and is something else; it is left alone.
        NewerSchemaError: A newer symcache wrote it; it is left alone.
    """

    def __init__(self, path: Path, *, fsync: bool = False, shares_memory: bool = True) -> None:
        self._path = path
        self._fsync = fsync
        self._shares_memory = shares_memory
        self._closed = False
        self._generation = 0
        self._cells: Sequence[int] | memoryview[int] = [-1]
        self._known: int | None = None
        self._forks = ForkGuard(self._open)

    def read(self, key: str) -> bytes | None:
        """The entry under a key."""
        with self._using() as view:
            return view.entry(records.name_of(key))

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The entries under those of the keys that have one."""
        with self._using() as view:
            found = {key: view.entry(records.name_of(key)) for key in keys}
        return {key: entry for key, entry in found.items() if entry is not None}

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key: one append, whatever the size of the store."""
        name = records.name_of(key)
        member = records.dump(name, entry, keep_until)
        self._alone(lambda view: view.put(name, member, durably=self._fsync))

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write each ``key: (entry, keep_until)``, under one lock."""
        named = {records.name_of(key): entry for key, entry in entries.items()}
        members = {name: records.dump(name, *entry) for name, entry in named.items()}

        def put_all(view: View) -> None:
            for name, member in members.items():
                view.put(name, member, durably=self._fsync)

        self._alone(put_all)

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it, while nobody else can write."""
        name = records.name_of(key)

        def put_changed(view: View) -> None:
            changed = change(view.entry(name))
            if changed is not None:
                view.put(name, records.dump(name, *changed), durably=self._fsync)

        self._alone(put_changed)

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        name = records.name_of(key)

        def drop(view: View) -> bool:
            there = view.entry(name) is not None
            if there:
                view.drop(name, durably=self._fsync)
            return there

        return self._alone(drop)

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        with self._using() as view:
            return iter(view.keys())

    def clear(self) -> int:
        """Drop every entry."""

        def drop_all(view: View) -> int:
            count = len(view)
            view.drop_all()
            self._compact()
            return count

        return self._alone(drop_all)

    def generation(self) -> int:
        """A number that changes when another process, or another object of this one, has written."""
        if self._cells[0] == self._known:
            return self._generation
        with self._using():
            return self._generation

    def word(self) -> Sequence[int] | memoryview[int] | None:
        """The word of shared memory that every write changes."""
        return self._cells if self._shares_memory else None

    def try_lock(self, key: str) -> FileLease | None:
        """The lease of a key, or ``None`` if anyone on this machine has it."""
        with self._using():
            return try_lease(beside(self._path, ".leases"), key)

    def compact(self) -> None:
        """Fold the journal into the snapshot, and drop what is over."""
        self._alone(lambda _view: self._compact())

    def size(self) -> int:
        """Bytes of the snapshot and the journal."""
        with self._using():
            files = (self._path, beside(self._path, ".journal"))
            return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Compact if nobody else has the store open, and let go of it."""
        if self._closed:
            return
        try:
            with suppress(ClosedError):  # another thread was faster
                self._alone(self._compact_at_the_end)
            drop_unused(beside(self._path, ".leases"))
        finally:
            with self._mutex:
                if not self._closed:
                    self._closed = True
                    self._release()

    def _open(self) -> None:
        self._mutex = threading.Lock()
        with self._mapped():
            self._open_files()

    def _open_files(self) -> None:
        """Open the files, and only then part with what was open before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            descriptor = open_private(beside(self._path, ".lock"), os.O_RDWR)
            undo.callback(os.close, descriptor)
            with locked(descriptor):
                if self._path.is_file():
                    adopt(self._path)
                view = self._look()
            undo.callback(view.close)
            word = SharedWord(descriptor)
            undo.pop_all()
        self._lock, self._view, self._word = descriptor, view, word
        self._generation += 1
        # Without shared memory the word is never the one that is known, and every look is one at the files.
        if self._shares_memory:
            self._cells = word.cells
            self._known = self._cells[0]

    def _open_files_anew(self) -> None:
        old = self._lock, self._view
        self._open_files()
        os.close(old[0])
        old[1].close()

    def _release(self) -> None:
        self._cells, self._known = [-1], None
        del self._word
        self._view.close()
        os.close(self._lock)

    def _look(self) -> View:
        return View(self._path, looks_at_path=not self._shares_memory)

    @contextmanager
    def _using(self) -> Iterator[View]:
        """The view, up to date, for a look."""
        with self._entered(), self._mapped():
            self._check_open()
            self._catch_up()
            yield self._view

    def _alone(self, act: Callable[[View], T]) -> T:
        """Act on the view, up to date, with nobody else writing; then let the others know.

        A function, where a context manager would read better, because stores are to be fast.
        """
        with self._entered():
            self._check_open()
            try:
                self._lock_store()
                try:
                    self._catch_up(holding_lock=True)
                    outcome = act(self._view)
                    self._compact_if_outgrown()
                    return outcome
                finally:
                    self._tell_others()
                    unlock(self._lock)
            except OSError as error:
                raise self._unavailable(error) from error

    def _entered(self) -> threading.Lock:
        """The mutex of an open store, to hold while using it."""
        self._forks.check()
        return self._mutex

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the json backend at {self._path} is closed")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> BackendUnavailableError:
        return BackendUnavailableError(f"{self._path} (setting 'backends.json.path'): {error.strerror or error}")

    def _catch_up(self, *, holding_lock: bool = False) -> None:
        word, news = self._cells[0], self._view.news()
        changed = word != self._known and self._shares_memory
        if news is News.APPENDED:
            changed |= self._view.replay()
            if holding_lock:
                self._view.cut_torn_tail()
        elif news is News.REPLACED:
            changed = True
            if holding_lock:
                self._renew()
            else:
                self._lock_store()
                try:
                    self._renew()
                finally:
                    unlock(self._lock)
        self._generation += changed
        if self._shares_memory:
            self._known = word

    def _lock_store(self) -> None:
        lock(self._lock)
        while not os.fstat(self._lock).st_nlink:
            # Someone deleted the store's files, and others may have made new ones: they go by another lock.
            self._open_files_anew()
            lock(self._lock)

    def _tell_others(self) -> None:
        if self._shares_memory:
            self._known = self._word.renew()

    def _renew(self) -> None:
        view = self._look()
        self._view.close()
        self._view = view

    def _quarantine(self) -> None:
        if self._view.rejected:
            aside = open_private(beside(self._path, ".quarantine"), os.O_WRONLY | os.O_APPEND)
            with open(aside, "ab") as quarantine:
                quarantine.writelines(member + b"\n" for member in self._view.rejected)

    def _compact_if_outgrown(self) -> None:
        if self._view.has_outgrown():
            self._try_to_compact()

    def _compact_at_the_end(self, view: View) -> None:
        if view.has_waste() and not view.in_use_elsewhere():
            self._try_to_compact()

    def _try_to_compact(self) -> None:
        try:
            self._compact()
        except OSError as error:
            # What was written is safe in the journal.
            log.warning("%s cannot be compacted: %s", self._path, error)
            self._view.put_off_compaction()

    def _compact(self) -> None:
        view = self._view
        replace(self._path, records.dump_snapshot(view.kept(time.time())), before=self._quarantine)
        replace(beside(self._path, ".journal"), [])
        self._renew()
