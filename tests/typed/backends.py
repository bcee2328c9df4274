"""A storage backend as its author writes it; mypy has to take what is right in it, and to refuse what is marked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, assert_type

from pydantic import BaseModel, SecretStr

from symcache_core import Backend, StorageBackend, StorePath, hookimpl
from symcache_core.protocols import (
    CanBatch,
    CanBeWatched,
    CanCompact,
    CanLock,
    CanSeeOthers,
    CanSize,
    CanUpdate,
    Lease,
)


class ShelfSettings(BaseModel):
    path: StorePath = Path("{data_dir}/shelf")
    password: SecretStr | None = None


class Shelf:
    """All that a backend needs."""

    def __init__(self, settings: ShelfSettings) -> None:
        assert_type(settings.path, Path)
        self._entries: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self._entries.get(key)

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self._entries[key] = entry

    def delete(self, key: str) -> bool:
        return self._entries.pop(key, None) is not None

    def keys(self) -> Iterator[str]:
        return iter(list(self._entries))

    def clear(self) -> int:
        count = len(self._entries)
        self._entries.clear()
        return count

    def close(self) -> None:
        self._entries.clear()


class ShelfLease:
    def release(self) -> None: ...


class RoomyShelf(Shelf):
    """All that a backend can do besides."""

    def try_lock(self, key: str) -> ShelfLease | None:
        return ShelfLease() if key in self._entries else None

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        if (changed := change(self.read(key))) is not None:
            self.write(key, *changed)

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: entry for key in keys if (entry := self.read(key)) is not None}

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        for key, (entry, keep_until) in entries.items():
            self.write(key, entry, keep_until)

    def generation(self) -> int:
        return 0

    def word(self) -> list[int]:
        return [0]

    def compact(self) -> None: ...

    def size(self) -> int:
        return 0


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    yield Backend(name="shelf", settings=ShelfSettings, open=Shelf)
    yield Backend(name="roomy-shelf", settings=ShelfSettings, open=RoomyShelf, persistent=False, api=1)


def what_the_core_sees(shelf: Shelf, roomy: RoomyShelf) -> None:
    backends: Sequence[StorageBackend] = [shelf, roomy]
    locking: CanLock = roomy
    updating: CanUpdate = roomy
    batching: CanBatch = roomy
    seeing: CanSeeOthers = roomy
    watched: CanBeWatched = roomy
    compacting: CanCompact = roomy
    sized: CanSize = roomy
    assert_type(backends[0].read("key"), bytes | None)
    assert_type(locking.try_lock("key"), Lease | None)
    assert_type(batching.read_many(["key"]), Mapping[str, bytes])
    assert_type((seeing.generation(), sized.size()), tuple[int, int])
    assert_type(watched.word(), Sequence[int] | None)
    updating.update("key", lambda entry: None if entry is None else (entry, 0.0))
    compacting.compact()


class Forgetful(Shelf):
    clear = None  # type: ignore[assignment]  # a backend can be cleared


class Wordy(Shelf):
    def read(self, key: str) -> str | None:  # type: ignore[override]  # an entry is bytes
        return key


class Unclosed(Protocol):
    def read(self, key: str) -> bytes | None: ...
    def write(self, key: str, entry: bytes, keep_until: float) -> None: ...
    def delete(self, key: str) -> bool: ...
    def keys(self) -> Iterator[str]: ...
    def clear(self) -> int: ...


class Asynchronous(Unclosed, Protocol):
    async def close(self) -> None: ...


class Blocking(Protocol):
    def try_lock(self, key: str, timeout: float) -> ShelfLease: ...


def what_is_refused(
    shelf: Shelf,
    unclosed: Unclosed,
    asynchronous: Asynchronous,
    blocking: Blocking,
    open_unclosed: Callable[[ShelfSettings], Unclosed],
) -> None:
    a_backend: StorageBackend = unclosed  # type: ignore[assignment]  # it cannot be closed
    a_backend = asynchronous  # type: ignore[assignment]  # a backend's methods are plain
    a_lock: CanLock = shelf  # type: ignore[assignment]  # it lends no leases
    a_lock = blocking  # type: ignore[assignment]  # nor may anyone wait for one
    Backend("shelf", ShelfSettings, Shelf)  # type: ignore[call-arg]  # a record is filled in by name
    Backend(name="shelf", settings=ShelfSettings, open=open_unclosed)  # type: ignore[arg-type]  # no backend comes of it
    Backend(name="shelf", settings=ShelfSettings(), open=Shelf)  # type: ignore[arg-type]  # the model, not one of it
    Backend(name="shelf", settings=dict, open=Shelf)  # type: ignore[arg-type]  # options are a pydantic model
    Backend(name="shelf", open=Shelf)  # type: ignore[call-arg]  # the settings are missing
    a_record = Backend(name="shelf", settings=ShelfSettings, open=Shelf)
    a_record.name = "another"  # type: ignore[misc]  # it cannot be changed
    print(a_backend, a_lock)
