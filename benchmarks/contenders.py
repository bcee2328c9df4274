"""Every store that is measured, symcache's and its peers', behind one tiny interface.

Each is configured as its own documentation suggests, and is called directly: ``get`` and ``put`` are the very callables
that its user would call, never a wrapper of ours where the library's own does. Peers get and give bytes; the symbol
cache gives decoded entries.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import monotonic
from typing import Any

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.lookup.cache import PolicyCache
from symcache_core.registry import Registry

from .entries import KEEP_UNTIL, PROVIDER, TIMEFRAMES, TTL, Entry, answer

PLENTY = 1_000_000
"""More entries than any run stores, for those that want a bound."""

Arguments = Callable[[Entry], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender keeps its entries: a folder of its own, or the server that ``redis_url`` names."""

    folder: Path
    redis_url: str | None = None

    @property
    def store(self) -> Path:
        """The file or folder that holds them."""
        return self.folder / "store"


def _key(entry: Entry) -> tuple[Any, ...]:
    return (entry.key,)


def _key_and_line(entry: Entry) -> tuple[Any, ...]:
    return entry.key, entry.line


def _nothing() -> None:
    """Close a store that ends with its process."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store.

    Args:
        get: Looks an entry up.
        put: Stores one.
        close: Lets go of it.
        getting: The arguments of ``get`` for an entry.
        putting: The arguments of ``put`` for an entry.
        run: Runs a coroutine, where ``get`` and ``put`` are coroutine functions.
    """

    get: Callable[..., Any]
    put: Callable[..., Any]
    close: Callable[[], Any] = _nothing
    getting: Arguments = _key
    putting: Arguments = _key_and_line
    run: Callable[[Coroutine[Any, Any, Any]], Any] | None = None

    def look_up(self, entry: Entry) -> Any:
        """Look an entry up, whatever kind of callable that takes."""
        found = self.get(*self.getting(entry))
        return found if self.run is None else self.run(found)

    def find(self, entry: Entry) -> Any:
        """Look an entry up that has to be there.

        Raises:
            LookupError: It is not.
        """
        found = self.look_up(entry)
        if found is None:
            raise LookupError(f"{entry.key} was stored and is not there")
        return found

    def store(self, entry: Entry) -> Any:
        """Store an entry, whatever kind of callable that takes."""
        stored = self.put(*self.putting(entry))
        return stored if self.run is None else self.run(stored)


@dataclass(frozen=True, slots=True)
class Contender:
    """A store to measure.

    Args:
        open: Opens it.
        filled_by: The contender that writes the files it opens, or ``None`` if it has none.
        needs_server: Whether it needs a Redis or Valkey server.
    """

    open: Callable[[Place], Opened]
    filled_by: str | None = None
    needs_server: bool = False


@cache
def _plug_in(backend: str) -> Any:
    return Registry().backend(backend)


def _options(backend: str, place: Place) -> dict[str, Any]:
    match backend:
        case "memory":
            return {}
        case "redis":
            return {"url": place.redis_url}
        case _:
            return {"path": str(place.store)}


def open_cache(backend: str, place: Place) -> PolicyCache:
    """The symbol cache over a backend, opened as a program opens it."""
    settings = SymcacheSettings(
        backend=backend,
        backends={backend: _options(backend, place)},
        provider=PROVIDER,
        data_dir=place.folder,
    )
    return open_symbol_cache(settings)


def _symbol_cache(backend: str, place: Place) -> Opened:
    opened = open_cache(backend, place)
    return Opened(
        opened.get,
        opened.store,
        opened.close,
        getting=lambda entry: (entry.symbol, TIMEFRAMES),
        putting=lambda entry: (entry.symbol, answer(entry.symbol)),
    )


def _json_backend(place: Place, **options: Any) -> Opened:
    plug_in = _plug_in("json")
    backend = plug_in.open(plug_in.settings.model_validate({**_options("json", place), **options}))
    return Opened(backend.read, backend.write, backend.close, putting=lambda entry: (entry.key, entry.line, KEEP_UNTIL))


def _dict(place: Place) -> Opened:
    slots: dict[str, tuple[float, bytes]] = {}

    def get(key: str) -> bytes | None:
        slot = slots.get(key)
        return slot[1] if slot is not None and monotonic() < slot[0] else None

    def put(key: str, line: bytes) -> None:
        slots[key] = monotonic() + TTL, line

    return Opened(get, put)


def _cachebox(place: Place) -> Opened:
    import cachebox

    held: Any = cachebox.TTLCache(PLENTY, TTL)
    return Opened(held.get, held.insert)


def _cachetools(place: Place) -> Opened:
    import cachetools

    held: Any = cachetools.TTLCache(PLENTY, TTL)
    lock = threading.Lock()

    def get(key: str) -> bytes | None:
        with lock:
            return held.get(key)

    def put(key: str, line: bytes) -> None:
        with lock:
            held[key] = line

    return Opened(get, put)


def _dogpile(place: Place) -> Opened:
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.memory", expiration_time=TTL)
    return Opened(region.get, region.set)


def _cashews(place: Place) -> Opened:
    from cashews import Cache

    runner = asyncio.Runner()
    held = Cache()
    held.setup("mem://", size=PLENTY)

    def close() -> None:
        runner.run(held.close())
        runner.close()

    return Opened(held.get, partial(held.set, expire=TTL), close, run=runner.run)


def _py_key_value(place: Place) -> Opened:
    from key_value.aio.stores.memory import MemoryStore

    runner = asyncio.Runner()
    held = MemoryStore()
    return Opened(
        held.get,
        partial(held.put, ttl=TTL),
        runner.close,
        putting=lambda entry: (entry.key, {"line": entry.line.decode()}),
        run=runner.run,
    )


def _diskcache(place: Place) -> Opened:
    import diskcache

    held = diskcache.Cache(str(place.store))
    return Opened(held.get, held.set, held.close)


def _fanout_cache(place: Place) -> Opened:
    import diskcache

    held = diskcache.FanoutCache(str(place.store))
    return Opened(held.get, held.set, held.close)


def _sqlite(place: Place) -> Opened:
    connection = sqlite3.connect(place.store, isolation_level=None, timeout=60)
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, line BLOB NOT NULL)")
    execute = connection.execute

    def get(key: str) -> bytes | None:
        row = execute("SELECT line FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(key: str, line: bytes) -> None:
        execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, line))

    return Opened(get, put, connection.close)


def _lmdb(place: Place) -> Opened:
    import lmdb

    # Without sync a store survives a kill, as the others' do, and no more.
    environment = lmdb.open(str(place.store), map_size=4 << 30, sync=False)
    begin = environment.begin

    def get(key: str) -> bytes | None:
        with begin() as transaction:
            return transaction.get(key.encode())

    def put(key: str, line: bytes) -> None:
        with begin(write=True) as transaction:
            transaction.put(key.encode(), line)

    return Opened(get, put, environment.close)


def _redis_py(place: Place) -> Opened:
    import redis

    client = redis.Redis.from_url(str(place.redis_url))
    return Opened(client.get, client.set, client.close)


def _parsed(place: Place) -> Opened:
    import orjson

    tree = orjson.loads(place.store.read_bytes())["entries"]
    return Opened(tree.get, tree.__setitem__)


def _raw_file(place: Place) -> Opened:
    descriptor = os.open(place.store, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # macOS has no fdatasync.
    sync = getattr(os, "fdatasync", os.fsync)

    def put(line: bytes) -> None:
        os.write(descriptor, line)
        sync(descriptor)

    return Opened(
        lambda _key: place.store.read_bytes(),
        put,
        lambda: os.close(descriptor),
        putting=lambda entry: (entry.line + b"\n",),
    )


CONTENDERS = {
    "symcache memory": Contender(partial(_symbol_cache, "memory")),
    "symcache json": Contender(partial(_symbol_cache, "json"), filled_by="json backend"),
    "symcache diskcache": Contender(partial(_symbol_cache, "diskcache"), filled_by="symcache diskcache"),
    "symcache redis": Contender(partial(_symbol_cache, "redis"), needs_server=True),
    "json backend": Contender(_json_backend, filled_by="json backend"),
    "json backend, fsync": Contender(partial(_json_backend, fsync="always"), filled_by="json backend"),
    "orjson.loads": Contender(_parsed, filled_by="json backend"),
    "write and fdatasync": Contender(_raw_file),
    "dict with a deadline": Contender(_dict),
    "cachebox": Contender(_cachebox),
    "cachetools": Contender(_cachetools),
    "dogpile.cache": Contender(_dogpile),
    "cashews": Contender(_cashews),
    "py-key-value": Contender(_py_key_value),
    "diskcache": Contender(_diskcache, filled_by="diskcache"),
    "diskcache FanoutCache": Contender(_fanout_cache, filled_by="diskcache FanoutCache"),
    "sqlite": Contender(_sqlite, filled_by="sqlite"),
    "lmdb": Contender(_lmdb, filled_by="lmdb"),
    "redis-py": Contender(_redis_py, needs_server=True),
}
