"""JsonFileBackend: a snapshot and a journal, shared by threads and processes.

Who writes holds the lock, reads what others have appended, then appends one line, and changes a word of shared memory.
Who reads compares the files at the path with what it last saw; who only wants to know whether anyone wrote looks at the
word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar
from weakref import ref

from symcache_core.concurrency.forks import ForkGuard
from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError
from symcache_core.protocols import LeaseHolder

from ..file_lease import FileLease, HeldLeases, drop_unused, holder_of
from ..own_errors import Change, updated_by
from . import records
from .files import beside
from .late_log import LateLog
from .opening import Terms
from .shared_files import SharedFiles
from .view import View

T = TypeVar("T")


class JsonFileBackend:
    """One JSON file and its journal.

    A store that takes no writes, because its disk is full or read-only, is opened all the same: it can be read, and
    writes fail until it takes them again. So is one whose lock another process holds for too long.

    Args:
        path: The file; ``.journal``, ``.lock`` and, when needed, ``.leases``, ``.quarantine`` and ``.bak`` are beside
            it.
        fsync: Whether a write returns only once it survives a power loss.
        shares_memory: Whether all who have the store open share memory through the file ``.lock``.
        lock_timeout: Seconds to wait for another process that has locked the files.

    Raises:
        BackendUnavailableError: The files cannot be read or written.
        ConfigurationError: The path is something else than a file.
        CorruptStoreError: The file is there and is something else; it is left alone.
        NewerSchemaError: A newer symcache wrote it; it is left alone.
    """

    def __init__(
        self, path: Path, *, fsync: bool = False, shares_memory: bool = True, lock_timeout: float = 10.0
    ) -> None:
        self._path = path
        self._terms = Terms(path, shares_memory=shares_memory, durably=fsync, lock_timeout=lock_timeout)
        self._closed = False
        self._log = LateLog()
        self._leases = HeldLeases()
        this = ref(self)  # so that a store that is dropped without being closed lets go at once
        self._forks = ForkGuard(lambda: _begin(this))

    def read(self, key: str) -> bytes | None:
        """The entry under a key."""
        name = records.name_of(key)
        return self._look(lambda view: view.entry(name))

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The entries under those of the keys that have one."""
        found = self._look(lambda view: {key: view.entry(records.name_of(key)) for key in keys})
        return {key: entry for key, entry in found.items() if entry is not None}

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key: one append, whatever the size of the store."""
        name = records.name_of(key)
        member = records.dump(name, entry, keep_until)
        self._alone(lambda view: view.put(name, member))

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write each ``key: (entry, keep_until)``, under one lock."""
        named = {records.name_of(key): entry for key, entry in entries.items()}
        members = {name: records.dump(name, *entry) for name, entry in named.items()}

        def put_all(view: View) -> None:
            for name, member in members.items():
                view.put(name, member)

        self._alone(put_all)

    def update(self, key: str, change: Change) -> None:
        """Replace an entry by what ``change`` makes of it, while nobody else can write."""
        updated_by(change, partial(self._update, records.name_of(key)))

    def _update(self, name: bytes, change: Change) -> None:
        changed: tuple[bytes, float] | None = None

        def look(view: View) -> Callable[[], None]:
            def change_it() -> None:
                nonlocal changed
                changed = change(there)

            there = view.entry(name)
            return change_it

        def put(view: View) -> None:
            if changed is not None:
                view.put(name, records.dump(name, *changed))

        self._alone(put, first=look)

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        name = records.name_of(key)

        def drop(view: View) -> bool:
            there = view.entry(name) is not None
            if there:
                view.drop(name)
            return there

        return self._alone(drop)

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        return iter(self._look(View.keys))

    def clear(self) -> int:
        """Drop every entry."""

        def drop_all(view: View) -> int:
            count = len(view)
            self._files.clear()
            return count

        return self._alone(drop_all)

    def generation(self) -> int:
        """A number that changes when another process, or another object of this one, has written."""
        files = self._files
        if files.cells[0] == files.known:
            return files.generation
        return self._look(lambda _view: files.generation)

    def word(self) -> Sequence[int] | memoryview[int] | None:
        """The word of shared memory that every write changes."""
        files = self._files
        return files.cells if files.has_word else None

    def try_lock(self, key: str) -> FileLease | None:
        """The lease of a key, or ``None`` if anyone on this machine has it."""
        return self._look(lambda _view: self._leases.take(beside(self._files.path(), ".leases"), key))

    def lease_holder(self, key: str) -> LeaseHolder | None:
        """Who has the lease of a key, as far as that can be told."""
        return holder_of(beside(self._files.path(), ".leases"), key)

    def read_only(self) -> str | None:
        """Why the store takes no writes, as far as it is known."""
        trouble = self._files.trouble
        if trouble is None:
            return None
        return str(self._unavailable(trouble) if isinstance(trouble, OSError) else trouble)

    def compact(self) -> None:
        """Fold the journal into the snapshot, and drop what is over."""
        self._alone(lambda _view: self._files.compact())

    def size(self) -> int:
        """Bytes of the snapshot and the journal."""
        return self._look(lambda _view: self._files.size())

    def close(self) -> None:
        """Compact if nobody else has the store open, as far as that can be done, and let go of it."""
        if self._closed:
            return
        began = monotonic()
        self._files.check_thread()
        try:
            self._forks.check()
            self._leases.release_all()
            self._files.finish(began)
            drop_unused(beside(self._files.path(), ".leases"))
        except ClosedError:  # another thread was faster
            pass
        except (OSError, BackendError) as error:
            why = self._unavailable(error) if isinstance(error, OSError) else error
            self._log.add(logging.INFO, "closed without compacting: %s", why)
        finally:
            self._files.close(began)
            self._closed = True
            self._log.tell()

    def begin(self) -> None:
        """Open the store; in a forked child anew, as what it has inherited is its parent's."""
        inherited: SharedFiles | None = getattr(self, "_files", None)
        files = SharedFiles(self._terms, self._log)
        if not self._closed:
            try:
                files.open()
            except OSError as error:
                raise self._unavailable(error) from error
            finally:
                self._log.tell()
        if inherited is not None:
            files.generation += inherited.generation
            inherited.let_go()
        self._files = files

    def _look(self, act: Callable[[View], T]) -> T:
        """Act on the view, up to date, without changing anything."""
        self._forks.check()
        try:
            return self._files.look(act)
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            if self._log.waits:
                self._log.tell()

    def _alone(self, act: Callable[[View], T], first: Callable[[View], Callable[[], None]] | None = None) -> T:
        """Act on the view, up to date, with nobody else writing; then let the others know."""
        self._forks.check()
        try:
            return self._files.alone(act, first=first)
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            if self._log.waits:
                self._log.tell()

    def _unavailable(self, error: OSError) -> BackendUnavailableError:
        return BackendUnavailableError(f"{self._path} (setting 'backends.json.path'): {error.strerror or error}")


def _begin(store: ref[JsonFileBackend]) -> None:
    if (there := store()) is not None:
        there.begin()
