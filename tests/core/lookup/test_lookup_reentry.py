"""What a cache calls, it calls with no lock in its hands: a logging handler may use the cache that has just logged."""

import asyncio
import logging
import threading

import pytest
from unlocked_handler import UnlockedHandler

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import BackendUnavailableError
from symcache_core.lookup.cache import PolicyCache
from symcache_core.lookup.counters import FLUSH_EVERY
from symcache_core.policy import Policy
from symcache_core.registry import Registry
from symcache_core.testing.cache_harness import Clock, verdict

SOON = 10.0
"""Seconds after which a test takes it that somebody waits for ever."""


class Handler(UnlockedHandler):
    """Uses the cache for each record, in the same thread or in another that it waits for."""

    def __init__(self, use, *, in_another_thread):
        super().__init__()
        self._use = use
        self._in_another_thread = in_another_thread
        self._is_at_it = False
        self.stuck = []
        self.uses = 0

    def emit(self, record):
        if self._is_at_it:
            return
        self._is_at_it = True
        try:
            if self._in_another_thread:
                thread = threading.Thread(target=self._use, daemon=True)
                thread.start()
                thread.join(SOON)
                if thread.is_alive():
                    self.stuck.append(record.getMessage())
            else:
                self._use()
            self.uses += 1
        finally:
            self._is_at_it = False


class Grumbling:
    """Storage that logs whatever it does, and fails when it is told to."""

    def __init__(self, folder):
        self._backend = Registry().open("memory", {}, base_dir=folder, data_dir=folder)
        self.error = None

    def __getattr__(self, name):
        method = getattr(self._backend, name)

        def grumble(*arguments):
            logging.getLogger("symcache").warning("%s %s", name, arguments[:1])
            if self.error is not None and name != "close":
                raise self.error
            return method(*arguments)

        return grumble

    def read(self, key):
        return self.__getattr__("read")(key)

    def write(self, key, entry, keep_until):
        return self.__getattr__("write")(key, entry, keep_until)

    def delete(self, key):
        return self.__getattr__("delete")(key)

    def keys(self):
        return self.__getattr__("keys")()

    def clear(self):
        return self.__getattr__("clear")()

    def close(self):
        return self.__getattr__("close")()


@pytest.fixture
def backend(tmp_path):
    return Grumbling(tmp_path)


@pytest.fixture
def cache(backend, clock):
    with PolicyCache(
        backend,
        name="grumbling",
        provider="ib",
        policy=Policy(jitter=0.0),
        clock=clock,
        near_cache_size=100,
        near_cache_age=5.0,
        storage_retry=0.0,
    ) as cache:
        yield cache


async def validate(symbol, timeframes):
    return verdict(symbol, *timeframes)


def look_up(cache, symbol):
    return asyncio.run(cache.get_or_validate(symbol, ("1d",), validate))


USES = {
    "get": lambda cache, symbol: cache.get(symbol),
    "store": lambda cache, symbol: cache.store(symbol, verdict(symbol)),
    "get_or_validate": look_up,
    "get_stats": lambda cache, _symbol: cache.get_stats(),
    "forget": lambda cache, symbol: cache.forget(symbol),
    "symbols": lambda cache, _symbol: list(cache.symbols()),
}


def quietly(use, cache, symbol):
    """Use it, as a handler does that cannot help it if the storage fails."""
    try:
        use(cache, symbol)
    except BackendUnavailableError:
        pass


@pytest.fixture(params=[False, True], ids=["the same thread", "another thread"])
def handled_by(request):
    """Have a handler use the cache, and see whether it ever waits for whoever logs."""
    logger = logging.getLogger("symcache")
    handlers = []

    def handle(use, cache):
        def used():
            if not request.param or threading.current_thread() is not threading.main_thread():
                asyncio._set_running_loop(None)
            # Two threads never change one entry at a time, so that another one has to be content with another entry.
            quietly(use, cache, "GOOG" if request.param else "IBM")

        handler = Handler(used, in_another_thread=request.param)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        handlers.append(handler)
        return handler

    yield handle
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("use", [use for use in USES if use != "get_or_validate"])
@pytest.mark.parametrize("logged_by", list(USES))
def test_a_handler_may_use_the_cache_whatever_has_logged(cache, clock, handled_by, use, logged_by):
    handler = handled_by(USES[use], cache)
    for _ in range(2):
        cache.store("IBM", verdict("IBM"))
        clock.advance(FLUSH_EVERY)
        USES[logged_by](cache, "IBM")
        look_up(cache, "NOPE")
    assert handler.uses > 5
    assert handler.stuck == []


@pytest.mark.parametrize("use", [use for use in USES if use != "get_or_validate"])
def test_a_handler_may_use_the_cache_while_its_storage_fails_and_when_it_is_back(
    cache, backend, clock, handled_by, use
):
    handler = handled_by(USES[use], cache)
    backend.error = BackendUnavailableError("unplugged")
    for symbol in ("AAPL", "MSFT", "NOPE"):
        look_up(cache, symbol)
        clock.advance(FLUSH_EVERY)
    backend.error = None
    for symbol in ("AAPL", "MSFT", "GOOG"):
        clock.advance(1)
        look_up(cache, symbol)
        cache.get("AAPL")
    assert handler.uses > 5
    assert handler.stuck == []


def test_a_clock_may_use_the_cache(backend):
    class Curious(Clock):
        def __call__(self):
            if not self.is_at_it:
                self.is_at_it = True
                try:
                    asked.append(cache.get("IBM"))
                finally:
                    self.is_at_it = False
            return super().__call__()

    clock = Curious()
    clock.is_at_it, asked = True, []
    with open_symbol_cache(SymcacheSettings(backend="memory", provider="ib", jitter=0.0), clock=clock) as cache:
        clock.is_at_it = False
        look_up(cache, "IBM")
        for _ in range(3):
            clock.advance(FLUSH_EVERY)
            look_up(cache, "IBM")
            look_up(cache, "NOPE")
            cache.get_stats()
        clock.is_at_it = True  # a cache that is closing says no more
    assert asked[-1] is not None
