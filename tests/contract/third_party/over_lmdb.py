"""A backend over LMDB, as a third party would write it from the authors' page alone."""

import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import lmdb
from pydantic import BaseModel

from symcache_core import Backend, StorePath, hookimpl
from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptStoreError,
)

_UNTIL = struct.Struct("<d")
_DAMAGE = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.VersionMismatchError)
_EMPTY = b"\xff"  # LMDB takes no empty key; no text has this byte in UTF-8


class LmdbSettings(BaseModel):
    path: StorePath = Path("{data_dir}/symbols.lmdb")
    map_size: int = 2**30
    lock_timeout: float = 5.0


class LmdbBackend:
    def __init__(self, settings: LmdbSettings) -> None:
        self._settings, self._path = settings, settings.path
        self._is_closed = False
        if self._path.exists() and not self._path.is_dir():
            raise ConfigurationError(f"{self._path} is a file: give a folder")
        with _LOCK, self._mapped():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._shared = _SHARED.setdefault(os.path.realpath(self._path), Shared(settings))
            self._shared.users += 1
            try:
                self._shared.environment()
            except BaseException:
                self._let_go()
                raise

    def read(self, key: str) -> bytes | None:
        with self._begin() as txn:
            return _entry(txn.get(_name(key)))

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self.write_many({key: (entry, keep_until)})

    def delete(self, key: str) -> bool:
        with self._begin(write=True) as txn:
            return _entry(txn.pop(_name(key))) is not None

    def keys(self) -> Iterator[str]:
        with self._begin() as txn:
            return iter([_key(name) for name, value in txn.cursor() if _entry(value) is not None])

    def clear(self) -> int:
        with self._begin(write=True) as txn:
            count = sum(_entry(value) is not None for _name, value in txn.cursor())
            txn.drop(self._shared.environment().open_db(txn=txn), delete=False)
            return count

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        with self._begin() as txn:
            found = {key: _entry(txn.get(_name(key))) for key in keys}
        return {key: entry for key, entry in found.items() if entry is not None}

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        with self._begin(write=True) as txn:
            for key, (entry, keep_until) in entries.items():
                txn.put(_name(key), _UNTIL.pack(keep_until) + entry)

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        raised: list[Exception] = []
        try:
            with self._begin(write=True) as txn:
                try:
                    changed = change(_entry(txn.get(_name(key))))
                except Exception as error:
                    raised.append(error)
                    raise
                if changed is not None:
                    txn.put(_name(key), _UNTIL.pack(changed[1]) + changed[0])
        except Exception:
            if raised:
                raise raised[0] from None
            raise

    def generation(self) -> int:
        shared = self._shared
        if not shared.is_open():
            with self._begin():  # of a child, anew
                pass
        with self._mapped():  # and no lock, which an update may have for long
            if self._is_closed:
                raise ClosedError(f"{self._path} is closed")
            return int(shared.environment().info()["last_txnid"])

    def compact(self) -> None:
        with self._begin(write=True) as txn:
            for name in [name for name, value in txn.cursor() if _entry(value) is None]:
                txn.delete(name)

    def close(self) -> None:
        with _LOCK:
            if not self._is_closed:
                self._is_closed = True
                self._let_go()

    def _let_go(self) -> None:
        self._shared.users -= 1
        if not self._shared.users:
            _SHARED.pop(os.path.realpath(self._path), None)
            self._shared.close()

    @contextmanager
    def _begin(self, write: bool = False) -> Iterator[lmdb.Transaction]:
        # One lock for all: LMDB must not be forked, or closed, in the midst of a transaction.
        with _LOCK, self._mapped():
            if self._is_closed:
                raise ClosedError(f"{self._path} is closed")
            environment = self._shared.environment()
            with self._alone() if write else nullcontext(), environment.begin(write=write) as txn:
                yield txn

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """LMDB waits for its own lock without an end, so one that can be tried goes before it."""
        deadline = time.monotonic() + self._settings.lock_timeout
        with open(self._path / "writer", "ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise BackendUnavailableError(f"{self._path} is being written by another process") from None
                time.sleep(0.002)
            yield

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except lmdb.BadValsizeError as error:
            raise BackendError(f"{self._path}: a key of more than 511 bytes: {error}") from error
        except _DAMAGE as error:
            raise CorruptStoreError(f"{self._path}: {error}") from error
        except (lmdb.Error, OSError) as error:
            raise BackendUnavailableError(f"{self._path}: {error}") from error


class Shared:
    """What all objects of one process on one store have in common: LMDB is to be opened once."""

    def __init__(self, settings: LmdbSettings) -> None:
        self._settings, self.users = settings, 0
        self._opened: dict[int, lmdb.Environment] = {}

    def environment(self) -> lmdb.Environment:
        """This process's own."""
        if os.getpid() not in self._opened:
            while self._opened:
                self._opened.popitem()[1].close()  # in a child this only lets go: LMDB compares the process, too
            path = str(self._settings.path)
            opened = lmdb.open(path, map_size=self._settings.map_size, sync=False, max_readers=1024)
            data, info = Path(path, "data.mdb"), opened.info()
            if data.stat().st_size < (info["last_pgno"] + 1) * opened.stat()["psize"] and info["last_pgno"] > 1:
                opened.close()
                raise CorruptStoreError(f"{data} is shorter than it was")
            opened.reader_check()
            self._opened[os.getpid()] = opened
        return self._opened[os.getpid()]

    def is_open(self) -> bool:
        """Whether this process has its own."""
        return os.getpid() in self._opened

    def close(self) -> None:
        if os.getpid() in self._opened:
            self._opened.pop(os.getpid()).close()


_LOCK = threading.RLock()
_SHARED: dict[str, Shared] = {}
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def _name(key: str) -> bytes:
    return key.encode() or _EMPTY


def _key(name: bytes) -> str:
    return "" if name == _EMPTY else name.decode()


def _entry(value: bytes | None) -> bytes | None:
    if value is None or _UNTIL.unpack(value[: _UNTIL.size])[0] <= time.time():
        return None
    return value[_UNTIL.size :]


@hookimpl
def symcache_backends() -> Iterator[Backend]:
    yield Backend(name="lmdb", settings=LmdbSettings, open=LmdbBackend, persistent=True)
