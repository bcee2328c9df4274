"""What is attempted while a system call fails: one operation of a store, and then some more once it has failed."""

import time
from contextlib import suppress
from pathlib import Path

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import BackendError
from symcache_core.registry import Registry

FAR = 4e9
ENTRY = b'{"of":"%b"}'


def _options(backend, folder):
    path = Path(folder) / "store"
    if backend == "json":
        return {"path": str(path / "symbols.json"), "fsync": "always"}
    return {"path": str(path), "timeout": 1}


def open_backend(backend, folder):
    """The store of a folder."""
    return Registry().open(backend, _options(backend, folder), base_dir=Path(folder), data_dir=Path(folder))


def open_cache(backend, folder):
    """The cache over the same store."""
    backends = {backend: _options(backend, folder)}
    return open_symbol_cache(SymcacheSettings(backend=backend, backends=backends, provider="ib"))


def fill(backend, folder):
    """Make a store with a few entries, that was closed."""
    store = open_backend(backend, folder)
    for number in range(3):
        store.write(f"k{number}", ENTRY % b"old", FAR)
    store.compact()
    store.write("k1", ENTRY % b"changed", FAR)
    store.write("over", ENTRY % b"over", time.time() - 10)
    store.close()
    with open_cache(backend, folder) as cache:
        cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL"))


def entries(store):
    """Each key and its entry, but for counters."""
    found = {key: store.read(key) for key in list(store.keys()) if not key.startswith("@")}
    return {key: entry for key, entry in found.items() if entry is not None}


def _written_or_not(store):
    with suppress(BackendError):
        store.write("k0", NEW, FAR)


def _take_and_release(store):
    lease = store.try_lock("k1")
    if lease is not None:
        lease.release()


NEW = ENTRY % b"new"
LONG = b'{"of":"%b"}' % (b"x" * 40000)

BACKEND_OPERATIONS = {
    "write": (lambda store: store.write("k0", NEW, FAR), {"k0": NEW}),
    "write a long entry": (lambda store: store.write("k0", LONG, FAR), {"k0": LONG}),
    "write_many": (
        lambda store: store.write_many(dict.fromkeys(("k0", "k9"), (NEW, FAR))),
        {"k0": NEW, "k9": NEW},
    ),
    "update": (lambda store: store.update("k1", lambda old: (NEW, FAR)), {"k1": NEW}),
    "delete": (lambda store: store.delete("k2"), {"k2": None}),
    "read": (lambda store: store.read("k1"), {}),
    "keys": (lambda store: list(store.keys()), {}),
    "compact": (lambda store: store.compact(), {}),
    "clear": (lambda store: store.clear(), dict.fromkeys(["k0", "k1", "k2", "over", "ib||AAPL||", "before"])),
    "lease": (_take_and_release, {}),
    "close": (lambda store: store.close(), {}),
}
"""Each operation, and what it changes."""

PLANTED_OPERATIONS = {"careless write": (_written_or_not, {"k0": NEW})}
"""What must be found out: it says that it has written where it has not."""

CACHE_OPERATIONS = {
    "get": lambda cache: cache.get("AAPL"),
    "store": lambda cache: cache.store("MSFT", ValidationResult(is_valid=True, symbol="MSFT")),
    "forget": lambda cache: cache.forget("AAPL"),
    "statistics": lambda cache: cache.get_stats(),
    "close": lambda cache: cache.close(),
}


def operation(name):
    """What is done under a name, and what it changes; opening changes nothing."""
    return (BACKEND_OPERATIONS | PLANTED_OPERATIONS | {"open": (None, {})})[name]


def attempt(notes, backend, folder, name):
    """Attempt an operation of the backend, or to open it, and go on."""
    if name == "open":
        store = _noted(notes, lambda: open_backend(backend, folder))
    else:
        store = open_backend(backend, folder)
        store.write("before", NEW, FAR)
        _noted(notes, lambda: operation(name)[0](store))
    if store is None:
        store = _noted(notes, lambda: open_backend(backend, folder))
    if store is not None and name != "close":
        _noted(notes, lambda: store.write("after", NEW, FAR))
    if store is not None:
        _noted(notes, store.close)


def attempt_cached(notes, backend, folder, name):
    """Attempt an operation of the cache, or to open it, and go on."""
    if name == "open":
        cache = _noted(notes, lambda: open_cache(backend, folder))
    else:
        cache = open_cache(backend, folder)
        _noted(notes, lambda: CACHE_OPERATIONS[name](cache))
    if cache is None:
        cache = _noted(notes, lambda: open_cache(backend, folder))
    if cache is not None and name != "close":
        _noted(notes, lambda: cache.store("NVDA", ValidationResult(is_valid=True, symbol="NVDA")))
    if cache is not None:
        _noted(notes, cache.close)


def _noted(notes, call):
    notes.add(begins=True)
    try:
        gave = call()
    except BaseException as error:
        notes.add(ended=type(error).__name__, is_ours=isinstance(error, BackendError), text=str(error))
        return None
    notes.add(ended="done", is_ours=True)
    return gave
