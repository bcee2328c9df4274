"""JsonFileBackend: a snapshot and a journal, shared by threads and processes.

Who writes holds the lock, reads what others have appended, then appends one line, and changes a word of shared memory.
Who reads compares the journal's size with what it last saw; who only wants to know whether anyone wrote looks at the
word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from symcache_core.concurrency.forks import ForkGuard
from symcache_core.errors import BackendUnavailableError, ClosedError

from ..file_lease import FileLease, drop_unused, try_lease
from . import records
from .files import beside
from .shared_files import SharedFiles
from .view import View

T = TypeVar("T")


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
        self._files = SharedFiles(path, shares_memory=shares_memory)
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
            self._files.compact()
            return count

        return self._alone(drop_all)

    def generation(self) -> int:
        """A number that changes when another process, or another object of this one, has written."""
        files = self._files
        if files.cells[0] == files.known:
            return files.generation
        with self._using():
            return files.generation

    def word(self) -> Sequence[int] | memoryview[int] | None:
        """The word of shared memory that every write changes."""
        return self._files.cells if self._shares_memory else None

    def try_lock(self, key: str) -> FileLease | None:
        """The lease of a key, or ``None`` if anyone on this machine has it."""
        with self._using():
            return try_lease(beside(self._path, ".leases"), key)

    def compact(self) -> None:
        """Fold the journal into the snapshot, and drop what is over."""
        self._alone(lambda _view: self._files.compact())

    def size(self) -> int:
        """Bytes of the snapshot and the journal."""
        with self._using():
            return self._files.size()

    def close(self) -> None:
        """Compact if nobody else has the store open, and let go of it."""
        if self._closed:
            return
        try:
            with suppress(ClosedError):  # another thread was faster
                self._alone(lambda _view: self._files.compact_at_the_end())
            drop_unused(beside(self._path, ".leases"))
        finally:
            with self._mutex:
                if not self._closed:
                    self._closed = True
                    self._files.close()

    def _open(self) -> None:
        self._mutex = threading.Lock()
        with self._mapped():
            self._files.open()

    @contextmanager
    def _using(self) -> Iterator[View]:
        """The view, up to date, for a look."""
        with self._entered(), self._mapped():
            self._check_open()
            self._files.catch_up()
            yield self._files.view

    def _alone(self, act: Callable[[View], T]) -> T:
        """Act on the view, up to date, with nobody else writing; then let the others know.

        A function, where a context manager would read better, because stores are to be fast.
        """
        with self._entered():
            self._check_open()
            try:
                files = self._files
                files.lock()
                try:
                    files.catch_up(holding_lock=True)
                    outcome = act(files.view)
                    files.compact_if_outgrown()
                    return outcome
                finally:
                    files.unlock()
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
