"""A symcache backend over LMDB: one file, many processes."""

import fcntl
import hashlib
import itertools
import logging
import math
import os
import secrets
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb
from pydantic import BaseModel, ConfigDict, Field

from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptEntryError,
    CorruptStoreError,
    NewerSchemaError,
)
from symcache_core.plugin import Backend, StorePath, hookimpl
from symcache_core.protocols import Lease, LeaseHolder

T = TypeVar("T")
log = logging.getLogger("symcache")

SCHEMA = 1
LONGEST_KEY = 511
LARGEST_ENTRY = 64 << 20
PAGE = 500
SLOTS = 1 << 18
SLOT_BYTES = 128


class LmdbSettings(BaseModel):
    """Options of the backend."""

    model_config = ConfigDict(extra="forbid")

    path: StorePath
    max_size: int = Field(default=16 << 30, ge=1 << 24)
    lock_timeout: float = Field(default=10.0, gt=0)
    fsync: bool = True


class _Nothing(Exception):
    """Ends a write transaction without a change."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer


class _Environment:
    """LMDB opens a file once in a process, so its objects share this. It closes with its last user."""

    def __init__(self, path: str, settings: LmdbSettings) -> None:
        self.pid = os.getpid()
        existing = os.path.exists(path) and os.path.getsize(path) > 0
        self.read_only = existing and not os.access(path, os.W_OK)
        self.env = lmdb.open(
            path,
            subdir=False,
            max_dbs=4,
            map_size=settings.max_size,
            max_readers=1024,
            max_spare_txns=0,  # a kept one shares its slot with a child
            sync=settings.fsync,
            readonly=self.read_only,
            mode=0o600,
        )
        try:
            needed = (self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"]
            if existing and os.path.getsize(path) < needed:  # to touch what is not there would end the process
                raise CorruptStoreError("The file is cut short: it is damaged, remove it.")
            self.env.reader_check()
            self._check(existing)
        except BaseException:
            self.env.close()
            raise

    def _check(self, existing: bool) -> None:
        with self.env.begin() as txn:
            names = [bytes(name) for name, _ in txn.cursor()]
        if names and b"symcache" not in names:
            raise CorruptStoreError("The file is an LMDB database of something else: name another path.")
        if not names and self.read_only:
            raise CorruptStoreError("The file is empty and cannot be written: name another path.")
        if not names:
            with self.env.begin(write=True) as txn:
                about = self.env.open_db(b"symcache", txn=txn)
                if txn.get(b"schema", db=about) is None:
                    txn.put(b"schema", str(SCHEMA).encode(), db=about)
                self.env.open_db(b"entries", txn=txn)
                self.env.open_db(b"times", txn=txn)
        about = self.env.open_db(b"symcache", create=False)
        with self.env.begin() as txn:
            found = txn.get(b"schema", db=about)
        if found is None or not found.isdigit():
            raise CorruptStoreError("The store has no version: it is damaged, remove it.")
        if int(found) > SCHEMA:
            raise NewerSchemaError(f"The store has version {int(found)}, this is for {SCHEMA}: upgrade the backend.")
        self.entries = self.env.open_db(b"entries", create=False)
        self.times = self.env.open_db(b"times", create=False)

    def __del__(self) -> None:
        if hasattr(self, "env") and self.pid == os.getpid():
            self.env.close()


_OPEN: "dict[str, weakref.ref[_Environment]]" = {}
_INHERITED: list[Any] = []
_OPENING = threading.Lock()


def _environment_of(settings: LmdbSettings) -> _Environment:
    path = os.path.realpath(settings.path)
    deadline = time.monotonic() + settings.lock_timeout
    while True:
        with _OPENING:
            known = _OPEN.get(path)
            shared = known() if known is not None else None
            if shared is not None and shared.pid != os.getpid():
                _INHERITED.append(shared)
                shared.env.close()  # in a child this only lets go of memory
                shared = None
            try:
                if shared is None:
                    shared = _Environment(path, settings)
                    _OPEN[path] = weakref.ref(shared)
                return shared
            except lmdb.Error as error:
                if "already open" not in str(error) or time.monotonic() > deadline:
                    raise
        time.sleep(0.005)


class _Leases:
    """Locks of ranges in one file: they belong to the descriptor, so a dead process holds none."""

    def __init__(self, path: str) -> None:
        self.pid = os.getpid()
        self.mutex = threading.Lock()
        self.held: dict[int, _Lease] = {}
        self.file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _ALL_LEASES.add(self)

    @staticmethod
    def place(key: bytes) -> int:
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 2

    def lock(self, file: int, kind: int, place: int) -> None:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, place, 1, 0))

    def taken(self, file: int, place: int) -> bool:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK

    def close(self) -> None:
        with self.mutex:
            if self.file is not None and self.pid == os.getpid():
                file, self.file = self.file, None
                self.held.clear()
                os.close(file)

    def __del__(self) -> None:
        if getattr(self, "file", None) is not None:
            self.close()


_ALL_LEASES: "weakref.WeakSet[_Leases]" = weakref.WeakSet()


def _let_go_in_child() -> None:
    global _OPENING, _FORKING
    _OPENING, _FORKING = threading.Lock(), False
    for leases in list(_ALL_LEASES):
        if leases.file is not None:
            os.close(leases.file)  # the locks stay with the parent's copy
            leases.file = None
    _ALL_LEASES.clear()
    for file in list(_WRITER_FILES):
        os.close(file)
    _WRITER_FILES.clear()
    _RUNNING.clear()


def _wait_for_transactions() -> None:
    """A child closes what it inherits, and that ends transactions: so a fork waits for those of other threads."""
    global _FORKING
    _FORKING = True
    deadline = time.monotonic() + 2.0
    while _RUNNING and time.monotonic() < deadline:
        time.sleep(0.0005)


def _fork_is_over() -> None:
    global _FORKING
    _FORKING = False


def _begin(mark: object) -> None:
    """No transaction begins while another thread forks, which takes a moment."""
    while True:
        _RUNNING.add(mark)
        if not _FORKING:
            return
        _RUNNING.discard(mark)
        time.sleep(0.001)


_FORKING = False
_WRITER_FILES: set[int] = set()
_RUNNING: set[object] = set()
os.register_at_fork(before=_wait_for_transactions, after_in_parent=_fork_is_over, after_in_child=_let_go_in_child)


class _Lease(Lease):
    def __init__(self, leases: _Leases, place: int, token: str) -> None:
        self._leases, self._place, self.token = leases, place, token

    def release(self) -> None:
        leases = self._leases
        if leases.pid != os.getpid():
            return
        with leases.mutex:
            if leases.file is not None and leases.held.get(self._place) is self:
                leases.lock(leases.file, fcntl.F_UNLCK, self._place)
                del leases.held[self._place]


class LmdbBackend:
    """Entries in one LMDB file. A value is eight bytes of time and the entry."""

    _leases_kind = _Leases
    _lease_kind = _Lease

    def __init__(self, settings: LmdbSettings) -> None:
        self._settings = settings
        self._path = os.path.realpath(settings.path)
        self._closed = False
        self._writes = itertools.count(1)
        if os.path.isdir(self._path):
            raise ConfigurationError(f"{settings.path} is a folder: name a file in it.")
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BackendUnavailableError(f"The folder of the store cannot be made ({error.strerror}).") from None
        self._shared: _Environment | None = None
        self._leases: _Leases | None = None
        self._reopening = threading.Lock()
        self._pid = os.getpid()
        self._shared = self._translated(lambda: _environment_of(self._settings))

    # what every method uses

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError):
            raise CorruptStoreError("The file is no LMDB database, or a damaged one: move it away.") from None
        except lmdb.BadValsizeError:
            raise BackendError("LMDB refuses a key or an entry of this length.") from None
        except lmdb.MapFullError:
            raise BackendUnavailableError("The store is full: raise max_size, or compact it.") from None
        except lmdb.MapResizedError:
            raise BackendUnavailableError("Another program gave the store more room: use its max_size.") from None
        except (lmdb.Error, OSError) as error:
            if self._closed:
                raise ClosedError("The backend is closed: open another one.") from None
            raise BackendUnavailableError(f"LMDB cannot use the file: {error}") from None

    def _begin_anew_in_child(self) -> None:
        if self._pid != os.getpid():
            self._reopening = threading.Lock()
            _INHERITED.append((self._shared, self._leases))
            self._shared = self._leases = None
            self._pid = os.getpid()

    def _environment(self) -> _Environment:
        self._begin_anew_in_child()
        shared = self._shared
        if self._closed:
            raise ClosedError("The backend is closed: open another one.")
        if shared is None:
            shared = self._shared = self._translated(lambda: _environment_of(self._settings))
        return shared

    def _lease_file(self) -> _Leases:
        self._environment()
        with self._reopening:
            if self._closed:
                raise ClosedError("The backend is closed: open another one.")
            if self._leases is None:
                self._leases = self._translated(lambda: self._leases_kind(self._path + "-leases"))
            return self._leases

    @staticmethod
    def _stored_key(key: str) -> bytes:
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raise BackendError("A key with a lone surrogate cannot be stored.") from None
        if len(raw) > LONGEST_KEY:
            raise BackendError(f"A key may have {LONGEST_KEY} bytes, this one has {len(raw)}.")
        return raw or b"\xff"  # LMDB takes no empty key, and UTF-8 has no such byte

    @staticmethod
    def _key_of(stored: bytes) -> str:
        return "" if stored == b"\xff" else stored.decode()

    @staticmethod
    def _time_key(until: float, stored: bytes) -> bytes:
        return struct.pack(">d", max(until, 0.0)) + hashlib.blake2b(stored, digest_size=16).digest()

    def _reading(self, work: Callable[[lmdb.Transaction, _Environment], T]) -> T:
        shared = self._environment()

        def run() -> T:
            mark = object()
            try:
                _begin(mark)
                with shared.env.begin() as txn:
                    return work(txn, shared)
            finally:
                _RUNNING.discard(mark)

        return self._translated(run)

    def _wait_for_writer(self, file: int) -> None:
        deadline = time.monotonic() + self._settings.lock_timeout
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._closed:
                    raise ClosedError("The backend was closed meanwhile.") from None
                if time.monotonic() > deadline:
                    raise BackendUnavailableError("Another writer holds the store: raise lock_timeout.") from None
            time.sleep(0.002)

    def _writing(self, work: Callable[[lmdb.Transaction, _Environment], T]) -> T:
        """LMDB waits for its own lock without an end, so a lock that can be tried goes before it."""
        shared = self._environment()
        if shared.read_only:
            raise BackendUnavailableError("The file may not be written: change its permissions.")

        def run() -> T:
            with open(self._path + "-writer", "ab", buffering=0) as file:
                _WRITER_FILES.add(file.fileno())
                pid = os.getpid()
                try:
                    self._wait_for_writer(file.fileno())
                    _begin(file)
                    with shared.env.begin(write=True) as txn:
                        return work(txn, shared)
                except _Nothing as nothing:
                    return nothing.answer
                finally:
                    _RUNNING.discard(file)
                    if pid == os.getpid():
                        fcntl.flock(file, fcntl.LOCK_UN)
                        _WRITER_FILES.discard(file.fileno())

        return self._translated(run)

    def _put(self, txn: lmdb.Transaction, shared: _Environment, stored: bytes, entry: bytes, until: float) -> None:
        self._forget_time(txn, shared, stored)
        txn.put(stored, struct.pack(">d", until) + entry, db=shared.entries)
        if until != math.inf:
            txn.put(self._time_key(until, stored), stored, db=shared.times)

    def _forget_time(self, txn: lmdb.Transaction, shared: _Environment, stored: bytes) -> bool:
        old = txn.get(stored, db=shared.entries)
        if old is not None and len(old) >= 8:
            txn.delete(self._time_key(struct.unpack(">d", old[:8])[0], stored), db=shared.times)
        return old is not None

    def _drop_over(self, txn: lmdb.Transaction, shared: _Environment, most: int) -> int:
        now = time.time()
        over: list[tuple[bytes, bytes]] = []
        with txn.cursor(db=shared.times) as cursor:
            for when, stored in cursor:
                if struct.unpack(">d", when[:8])[0] >= now or len(over) >= most:
                    break
                over.append((bytes(when), bytes(stored)))
        for when, stored in over:
            txn.delete(when, db=shared.times)
            txn.delete(stored, db=shared.entries)
        return len(over)

    @staticmethod
    def _check_entry(entry: bytes) -> None:
        if len(entry) > LARGEST_ENTRY:
            raise BackendError(f"An entry may have {LARGEST_ENTRY} bytes, this one has {len(entry)}.")

    # the six methods

    def read(self, key: str) -> bytes | None:
        stored = self._stored_key(key)
        value = self._reading(lambda txn, shared: txn.get(stored, db=shared.entries))
        if value is not None and len(value) < 8:
            raise CorruptEntryError("The entry is cut off: delete it.")
        return None if value is None else bytes(value[8:])

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self.write_many({key: (entry, keep_until)})

    def delete(self, key: str) -> bool:
        stored = self._stored_key(key)

        def work(txn: lmdb.Transaction, shared: _Environment) -> bool:
            if not self._forget_time(txn, shared, stored):
                raise _Nothing(False)
            return txn.delete(stored, db=shared.entries)

        return self._writing(work)

    def keys(self) -> Iterator[str]:
        self._environment()
        return self._pages()

    def _pages(self) -> Iterator[str]:
        """Each page is a short transaction: a long one would keep old pages of the file."""
        last: bytes | None = None
        while True:

            def page(txn: lmdb.Transaction, shared: _Environment, after: bytes | None = last) -> list[bytes]:
                with txn.cursor(db=shared.entries) as cursor:
                    found = cursor.first() if after is None else cursor.set_range(after + b"\0")
                    return [bytes(k) for k in itertools.islice(cursor.iternext(values=False), PAGE)] if found else []

            stored = self._reading(page)
            yield from map(self._key_of, stored)
            if len(stored) < PAGE:
                return
            last = stored[-1]

    def clear(self) -> int:
        def work(txn: lmdb.Transaction, shared: _Environment) -> int:
            count = txn.stat(shared.entries)["entries"]
            if not count:
                raise _Nothing(0)
            txn.drop(shared.entries, delete=False)
            txn.drop(shared.times, delete=False)
            return count

        return self._writing(work)

    def close(self) -> None:
        self._begin_anew_in_child()
        self._closed = True
        leases, self._leases, self._shared = self._leases, None, None  # a call that goes on keeps its own reference
        if leases is not None:
            leases.close()

    # what LMDB can do besides

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        stored = self._stored_key(key)
        raised: list[BaseException] = []

        def work(txn: lmdb.Transaction, shared: _Environment) -> None:
            value = txn.get(stored, db=shared.entries)
            try:
                new = change(None if value is None else bytes(value[8:]))
            except BaseException as error:
                raised.append(error)
                raise
            if new is None:
                raise _Nothing(None)
            self._check_entry(new[0])
            self._put(txn, shared, stored, *new)

        try:
            self._writing(work)
        except BaseException:
            if raised:
                raise raised.pop() from None
            raise

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        wanted = {key: self._stored_key(key) for key in keys}

        def work(txn: lmdb.Transaction, shared: _Environment) -> dict[str, bytes]:
            found = {key: txn.get(stored, db=shared.entries) for key, stored in wanted.items()}
            return {key: bytes(value[8:]) for key, value in found.items() if value is not None and len(value) >= 8}

        return self._reading(work)

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        for entry, _ in entries.values():
            self._check_entry(entry)
        stored = [(self._stored_key(key), entry, until) for key, (entry, until) in entries.items()]

        def work(txn: lmdb.Transaction, shared: _Environment) -> None:
            if not stored:
                raise _Nothing(None)
            if next(self._writes) % 64 == 0:
                self._drop_over(txn, shared, 200)
            for key, entry, until in stored:
                self._put(txn, shared, key, entry, until)

        self._writing(work)

    def generation(self) -> int:
        return self._environment().env.info()["last_txnid"]

    def try_lock(self, key: str) -> Lease | None:
        leases = self._lease_file()
        place = leases.place(key.encode())
        lease = self._lease_kind(leases, place, secrets.token_hex(8))
        with leases.mutex:
            if leases.file is None:
                raise ClosedError("The backend is closed: open another one.")
            if place in leases.held:
                return None
            try:
                leases.held[place] = lease
                leases.lock(leases.file, fcntl.F_WRLCK, place)
                about = f"{place:x} {lease.token} {os.getpid()}@{socket.gethostname()}".encode()[:SLOT_BYTES]
                os.pwrite(leases.file, about.ljust(SLOT_BYTES), place % SLOTS * SLOT_BYTES)
            except BlockingIOError:
                del leases.held[place]
                return None
            except BaseException as error:
                leases.held.pop(place, None)
                leases.lock(leases.file, fcntl.F_UNLCK, place)
                if isinstance(error, OSError):
                    raise BackendUnavailableError(f"The lease cannot be written ({error.strerror}).") from None
                raise
        return lease

    def lease_holder(self, key: str) -> LeaseHolder | None:
        leases = self._lease_file()
        place = leases.place(key.encode())
        with leases.mutex:
            if leases.file is None:
                raise ClosedError("The backend is closed: open another one.")
            if place not in leases.held and not leases.taken(leases.file, place):
                return None
            words = os.pread(leases.file, SLOT_BYTES, place % SLOTS * SLOT_BYTES).decode(errors="replace").split()
        if len(words) != 3 or words[0] != f"{place:x}":
            return None
        return LeaseHolder(mark=words[1], who=f"process {words[2]}")

    def compact(self) -> None:
        def work(txn: lmdb.Transaction, shared: _Environment) -> int:
            dropped = self._drop_over(txn, shared, 1000)
            if not dropped:
                raise _Nothing(0)
            return dropped

        while self._writing(work):
            pass

    def size(self) -> int:
        self._environment()
        return self._translated(lambda: os.stat(self._path).st_blocks * 512)

    def read_only(self) -> str | None:
        return "the file may not be written" if self._environment().read_only else None


@hookimpl
def symcache_backends() -> Iterator[Backend]:
    yield Backend(name="lmdbstore", settings=LmdbSettings, open=LmdbBackend, persistent=True)
