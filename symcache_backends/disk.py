"""Keeps entries in a diskcache folder (SQLite), shared by processes; bytes only, never pickle."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, MODE_BINARY, MODE_RAW, UNKNOWN
from pydantic import BaseModel, ConfigDict, Field

from symcache_core.concurrency.forks import ForkGuard
from symcache_core.errors import BackendUnavailableError, ClosedError, CorruptEntryError, CorruptStoreError
from symcache_core.plugin import Backend, StorePath, hookimpl

from .file_lease import FileLease, drop_unused, try_lease
from .shared_word import SharedWord

log = logging.getLogger("symcache")


class DiskSettings(BaseModel):
    """The options of the diskcache backend."""

    model_config = ConfigDict(extra="forbid")

    path: StorePath = Field(Path("{data_dir}/symbols.diskcache"), description="the folder")
    timeout: float = Field(10.0, gt=0, description="seconds to wait for another process's transaction")
    eviction: Literal["none", "least-recently-stored", "least-recently-used", "least-frequently-used"] = Field(
        "none", description="what goes first when the folder outgrows size_limit"
    )
    size_limit: int = Field(1 << 30, gt=0, description="bytes to keep the folder below, if anything may be evicted")


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Stores bytes under text, and refuses a row of any other kind, whoever wrote it.

    diskcache unpickles rows that are marked as pickled, whatever its settings (CVE-2025-69872), so whoever could write
    to the folder could run code here.
    """

    def put(self, key: Any) -> tuple[Any, bool]:
        """Take a key as it is."""
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        """Give a key back, if it is text."""
        if not raw or not isinstance(key, str):
            raise CorruptEntryError("a row of the diskcache folder has a key that is not plain text; refused")
        return key

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        """Store bytes, in the database or, when long, in a file."""
        if not isinstance(value, bytes):
            raise TypeError(f"a {type(value).__name__} is not bytes")
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        """Fetch bytes, never anything else, and never from outside the folder."""
        if mode not in (MODE_RAW, MODE_BINARY):
            raise CorruptEntryError("a row of the diskcache folder is not plain bytes; refused")
        if filename is not None:
            folder = Path(self._directory).resolve()
            if not (folder / filename).resolve().is_relative_to(folder):
                raise CorruptEntryError("a row of the diskcache folder points outside it; refused")
            mode = MODE_BINARY
        elif not isinstance(value, bytes):
            raise CorruptEntryError("a row of the diskcache folder is not plain bytes; refused")
        return bytes(super().fetch(mode, filename, value, read))


class _Cache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache that closes the connections of all its threads, where diskcache closes the calling thread's alone."""

    def __init__(self, directory: str, **settings: Any) -> None:
        self._pid = os.getpid()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._inherited: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._opening = threading.Lock()
        try:
            super().__init__(directory, **settings)
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # The parent's connections must not be used in a forked child, nor closed there.
            self._inherited, self._connections = self._connections, []
            self._pid, self._local, self._opening = os.getpid(), threading.local(), threading.Lock()
        con: sqlite3.Connection | None = getattr(self._local, "con", None)
        if con is None:
            con = self._local.con = self._connect()
        return con

    def _connect(self) -> sqlite3.Connection:
        con = sqlite3.connect(
            Path(self.directory) / DBNAME, timeout=self.timeout, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("cache_size", "mmap_size", "synchronous"):  # what SQLite keeps for each connection
                con.execute(f"PRAGMA {pragma} = {DEFAULT_SETTINGS[f'sqlite_{pragma}']}")
        except BaseException:
            con.close()
            raise
        with self._opening:
            for thread, left in self._connections:
                if not thread.is_alive():
                    left.close()
            self._connections = [(thread, kept) for thread, kept in self._connections if thread.is_alive()]
            self._connections.append((threading.current_thread(), con))
        return con

    def keys_at(self, now: float) -> list[str]:
        """The keys whose entries are not over; one that is not plain text is refused."""
        rows = self._con.execute("SELECT key, raw FROM Cache WHERE expire_time IS NULL OR expire_time > ?", (now,))
        return [key for key, raw in rows.fetchall() if raw and isinstance(key, str)]

    def close(self) -> None:
        self._local = threading.local()
        while self._connections:
            self._connections.pop()[1].close()


class DiskBackend:
    """A ``diskcache.Cache`` of lines of JSON, and a word by which processes hear of each other's writes.

    Raises:
        BackendUnavailableError: The folder cannot be made or written.
        CorruptStoreError: There is a database, and it is damaged.
    """

    def __init__(self, settings: DiskSettings) -> None:
        self._path = settings.path
        self._settings = settings
        self._closed = False
        self._generation = 0
        self._cells: Sequence[int] | memoryview[int] = [-1]
        self._known: int | None = None
        self._forks = ForkGuard(self._open)

    def read(self, key: str) -> bytes | None:
        """The entry under a key; a refused row counts as none."""
        with self._mapped():
            return self._get(key)

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The entries under those of the keys that have one."""
        with self._mapped():
            return {key: entry for key in keys if (entry := self._get(key)) is not None}

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key."""
        with self._writing():
            self._set(key, entry, keep_until)

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write each ``key: (entry, keep_until)``, in one transaction."""
        with self._writing(), self._cache.transact():
            for key, (entry, keep_until) in entries.items():
                self._set(key, entry, keep_until)

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it, while nobody else can write."""
        with self._writing(), self._cache.transact():
            changed = change(self._get(key))
            if changed is not None:
                self._set(key, *changed)

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        with self._writing():
            return bool(self._cache.delete(key))

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        with self._mapped():
            return iter(self._cache.keys_at(time.time()))

    def clear(self) -> int:
        """Drop every entry."""
        with self._writing():
            return int(self._cache.clear())

    def generation(self) -> int:
        """A number that changes when another process, or another object of this one, has written."""
        if self._cells[0] != self._known:
            with self._mapped(), self._mutex:
                self._note_others()
        return self._generation

    def word(self) -> Sequence[int] | memoryview[int]:
        """The word of shared memory that every write changes."""
        return self._cells

    def try_lock(self, key: str) -> FileLease | None:
        """The lease of a key, or ``None`` if anyone on this machine has it."""
        with self._mapped():
            return try_lease(self._path / "leases", key)

    def compact(self) -> None:
        """Drop what is over."""
        with self._writing():
            self._cache.expire()

    def size(self) -> int:
        """Bytes of the database and its files."""
        with self._mapped():
            return int(self._cache.volume())

    def close(self) -> None:
        """Close the connections of every thread."""
        self._forks.check()
        with self._idle:
            if self._closed:
                return
            self._closed = True
            # SQLite crashes if a connection is closed while another thread is using it.
            self._idle.wait_for(lambda: not self._users)
        self._cells, self._known = [-1], None
        os.close(self._lock)
        self._cache.close()
        drop_unused(self._path / "leases")

    def _open(self) -> None:
        self._mutex = threading.RLock()
        self._idle = threading.Condition()
        self._users = 0
        self._generation += 1
        with self._translated():
            self._open_files()

    def _open_files(self) -> None:
        settings = self._settings
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._path / "symcache.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # One at a time: SQLite does not wait for others while it turns a new database to write-ahead logging.
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._cache = _Cache(
                str(self._path),
                timeout=settings.timeout,
                disk=BytesDisk,
                eviction_policy=settings.eviction,
                size_limit=settings.size_limit,
            )
            os.chmod(self._path / DBNAME, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        except BaseException:
            os.close(self._lock)
            raise
        self._word = SharedWord(self._lock)
        self._cells = self._word.cells
        self._known = self._cells[0]

    def _get(self, key: str) -> bytes | None:
        try:
            entry: bytes | None = self._cache.get(key)
        except CorruptEntryError as error:
            log.warning("%s: %s", self._path, error)
            return None
        return entry

    def _set(self, key: str, entry: bytes, keep_until: float) -> None:
        self._cache.set(key, entry, expire=keep_until - time.time())

    def _note_others(self) -> None:
        word = self._cells[0]
        if word != self._known:
            self._generation += 1
            self._known = word

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone with the database, so that the word changes with what it announces."""
        with self._mapped(), self._mutex:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                self._note_others()
                try:
                    yield
                finally:
                    self._known = self._word.renew()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        self._forks.check()
        with self._idle:
            if self._closed:
                raise ClosedError(f"the diskcache backend at {self._path} is closed")
            self._users += 1
        try:
            with self._translated():
                yield
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (diskcache.Timeout, sqlite3.OperationalError, OSError) as error:
            raise BackendUnavailableError(
                f"diskcache folder {self._path} (setting 'backends.diskcache.path'): {error or type(error).__name__}"
            ) from error
        except sqlite3.ProgrammingError as error:
            raise BackendUnavailableError(f"diskcache folder {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise CorruptStoreError(
                f"diskcache folder {self._path} (setting 'backends.diskcache.path') is damaged: {error}; "
                "move it away to start anew"
            ) from error


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    """Register the backend ``diskcache``."""
    yield Backend(name="diskcache", settings=DiskSettings, open=DiskBackend)
