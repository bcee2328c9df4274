"""A store that takes no writes says so, and why, before anyone has tried to write."""

import fcntl

import pytest

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.factory import open_backend

backend = None
FAR = 4e9


@pytest.fixture(params=["json", "diskcache"])
def settings(request, tmp_path):
    options = {"path": str(tmp_path / "store"), "lock_timeout": 0.1}
    return SymcacheSettings(backend=request.param, backends={request.param: options}, provider="ib")


@pytest.fixture
def locked(settings, tmp_path):
    """The store, with an entry, while somebody else has its lock."""
    store = open_backend(settings)
    store.write("key", b"{}", FAR)
    store.close()
    place = tmp_path / ("store.lock" if settings.backend == "json" else "store/symcache.lock")
    with open(place, "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def test_a_cache_over_it_is_degraded_and_says_why_until_it_is_written_to(settings, locked):
    store = open_backend(settings)
    with open_symbol_cache(settings) as cache:
        figures = cache.get_stats()
        assert figures.degraded
        assert "'lock_timeout'" in figures.trouble
        assert figures.trouble == store.read_only()
        fcntl.flock(locked, fcntl.LOCK_UN)
        store.write("key", b"{}", FAR)
        assert store.read_only() is None
    store.close()
    with open_symbol_cache(settings) as cache:
        assert (cache.get_stats().degraded, cache.get_stats().trouble) == (False, None)
