"""What has to be closed says so when it is collected unclosed; what is closed, or another process's, says nothing."""

import asyncio
import gc
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import ConfigurationError
from symcache_core.loading import DataManager
from symcache_core.testing.cache_harness import Provider, verdict

SETTINGS = SymcacheSettings(backend="memory", provider="ib", data_dir=Path("/nonexistent"))


class Market(Provider):
    provider = "ib"

    async def validate_and_get_metadata(self, symbol, timeframes):
        return await self.validate(symbol, timeframes)


def said_of(use):
    """What is warned of when all that a use has left is collected."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use()
        gc.collect()
    return [str(each.message) for each in caught if each.category is ResourceWarning]


@pytest.mark.parametrize("use", [lambda _cache: None, lambda cache: cache.store("AAPL", verdict("AAPL"))])
def test_a_cache_that_nobody_closes_says_what_to_do(use):
    said = said_of(lambda: use(open_symbol_cache(SETTINGS)))
    assert said == ["symbol cache of provider 'ib' over 'memory' was not closed: close() it, or use 'with'"]


def closed_twice():
    cache = open_symbol_cache(SETTINGS)
    cache.close()
    cache.close()


def closed_on_a_loop():
    asyncio.run(open_symbol_cache(SETTINGS).aclose())


def closed_by_with():
    with (
        open_symbol_cache(SETTINGS) as cache,
        DataManager(SETTINGS, symbol_cache=cache, external_provider=Market()) as it,
    ):
        it.validate("AAPL")


def never_used():
    DataManager(SETTINGS)


def never_opened():
    with pytest.raises(ConfigurationError):
        open_symbol_cache(SymcacheSettings(backend="nosuch"))
    with pytest.raises(ConfigurationError):
        DataManager(SymcacheSettings(backend="memory"), external_provider=object())

    def no_clock():
        raise RuntimeError("no clock")

    with pytest.raises(RuntimeError, match="no clock"):
        open_symbol_cache(SETTINGS, clock=no_clock)


@pytest.mark.parametrize("use", [closed_twice, closed_on_a_loop, closed_by_with, never_used, never_opened])
def test_what_is_closed_or_was_never_open_says_nothing(use):
    assert said_of(use) == []


def test_a_manager_that_has_run_and_that_nobody_closes_says_so():
    said = said_of(lambda: DataManager(SETTINGS, external_provider=Market()).validate("AAPL"))
    assert sorted(said) == [
        "DataManager was not closed: close() it, or use 'with'",
        "symbol cache of provider 'ib' over 'memory' was not closed: close() it, or use 'with'",
    ]


def test_a_forked_child_owes_nothing_for_what_it_has_inherited_and_not_used():
    cache = open_symbol_cache(SETTINGS)
    child = os.fork()
    if not child:
        status = 1
        try:
            left = [cache]
            del cache
            status = len(said_of(left.clear))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    cache.close()


PROGRAM = """
from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.loading import DataManager
cache = open_symbol_cache(SymcacheSettings(backend="memory", provider="ib"))
manager = DataManager(SymcacheSettings(backend="memory", provider="ib"))
manager.symbol_cache
manager._loop.run(__import__("asyncio").sleep(0))
cache.loop = [cache, manager]
"""


def test_the_end_of_a_program_is_no_time_to_complain(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
