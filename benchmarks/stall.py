"""Measures how late an event loop is while it stores, against the same loop with nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from time import perf_counter
from typing import Any

from symcache_core import ProviderAnswer, SymbolCache

from .bench import Bench
from .contenders import open_cache
from .entries import TIMEFRAMES, Entry, answer
from .figures import Figure, median_and_p99

_PRESENT = 10_000
_STORES = 1_000
_BEAT = 0.001
"""Seconds between two beats of the heart that tells how late the loop is."""


def stall(bench: Bench) -> Iterator[Figure]:
    """Store entries one after another through ``get_or_validate``, with a heart beating beside it."""
    task = bench.begin(f"event loop, {_STORES:,} stores into {_PRESENT:,}")
    rounds = bench.scale.stall_rounds
    new = bench.shelf.entries(_STORES * rounds, first=_PRESENT)
    batches = (new[number::rounds] for number in range(rounds))
    storing: list[float] = []
    idle: list[float] = []
    with bench.shelf.place("symcache json", _PRESENT) as place, open_cache("json", place) as cache:
        for _ in bench.turns(task, ("both loops",), rounds):
            start = perf_counter()
            storing += asyncio.run(_lateness_beside(_store(cache, next(batches))))
            idle += asyncio.run(_lateness_beside(asyncio.sleep(perf_counter() - start)))
    yield Figure("stall", "storing loop", _PRESENT, median_and_p99(storing))
    yield Figure("stall", "idle loop", _PRESENT, median_and_p99(idle))


async def _lateness_beside(work: Coroutine[Any, Any, None]) -> list[float]:
    """Seconds that each beat came late while some work was done."""
    late: list[float] = []
    heart = asyncio.create_task(_beat(late))
    await work
    heart.cancel()
    return late


async def _beat(late: list[float]) -> None:
    while True:
        due = perf_counter() + _BEAT
        await asyncio.sleep(_BEAT)
        late.append(perf_counter() - due)


async def _store(cache: SymbolCache, entries: Sequence[Entry]) -> None:
    for entry in entries:
        await cache.get_or_validate(entry.symbol, TIMEFRAMES, _validate)


async def _validate(symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
    return answer(symbol)
