"""Millions of lookups, many of which fail: neither memory nor descriptors nor threads grow with their number."""

import asyncio
import gc
import itertools
import math
import os
import threading
from pathlib import Path

import pytest
from patience import PATIENCE

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import ProviderError, ProviderUnavailableError
from symcache_core.testing.cache_harness import verdict

pytestmark = pytest.mark.soak

FAILING = [f"F{number}" for number in range(2000)]
KNOWN = [f"K{number}" for number in range(100)]
ROUNDS = 5000
FAILURES, HITS = 100, 300
"""Lookups in each round."""

MEBIBYTE = 1024 * 1024


async def validate(symbol, timeframes):
    await asyncio.sleep(0)
    if symbol.startswith("K"):
        return verdict(symbol, *timeframes)
    ballast = bytearray(100_000)  # whoever keeps the frame keeps this
    if int(symbol[1:]) % 2:
        raise ProviderUnavailableError(f"{symbol}: the provider is away after {len(ballast)} bytes")
    raise ProviderError(f"{symbol}: ambiguous after {len(ballast)} bytes")


def resident():
    """Bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def descriptors(at_most=math.inf):
    """How many files are open, once leases that are just being given back are closed."""
    async with asyncio.timeout(PATIENCE):
        while (count := len(os.listdir("/proc/self/fd"))) > at_most:
            await asyncio.sleep(0.01)
    return count


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process has is read from /proc")
@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_two_million_lookups_with_two_thousand_failing_symbols_leave_nothing_behind(tmp_path, backend):
    figures = []

    async def main(cache):
        failing, known = itertools.cycle(FAILING), itertools.cycle(KNOWN)
        for number in range(ROUNDS):
            symbols = [*itertools.islice(failing, FAILURES), *itertools.islice(known, HITS)]
            lookups = (cache.get_or_validate(symbol, ("1d",), validate) for symbol in symbols)
            found = await asyncio.gather(*lookups, return_exceptions=True)
            assert sum(isinstance(each, ProviderError) for each in found) == FAILURES
            del found  # the errors, and all that their tracebacks lead to
            if number % (ROUNDS // 10) == ROUNDS // 10 - 1:
                handles = await descriptors(figures[0][1] + 2 if figures else math.inf)
                figures.append((resident(), handles, threading.active_count()))

    before = resident()
    settings = SymcacheSettings(backend=backend, provider="ib", data_dir=tmp_path)
    with open_symbol_cache(settings) as cache:
        asyncio.run(main(cache))
    memory, handles, threads = zip(*figures, strict=True)
    print(f"{backend}: {before / MEBIBYTE:.0f} MiB before, then", [round(size / MEBIBYTE) for size in memory])
    print("descriptors", handles, "threads", threads)
    assert max(memory) - before < 150 * MEBIBYTE, "two thousand kept frames take 200"
    assert max(memory[1:]) - memory[0] < 20 * MEBIBYTE
    assert max(handles) <= handles[0] + 2
    assert max(threads) <= threads[0] + 2
