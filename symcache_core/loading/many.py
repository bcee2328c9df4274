"""Loads many symbols, several at a time, and says at the end what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from ..concurrency.tasks import concurrently
from ..concurrency.workers import WorkerThreads
from ..errors import ConfigurationError, LoadCancelledError
from ..messages import Names
from ..symbols import check_text
from .report import LoadReport

SYMBOLS_AT_ONCE = 4
"""How many symbols are loaded at the same time, unless the caller says otherwise."""


_END: Any = object()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of one symbol of many: its bars, or the error that kept it from them.

    Args:
        symbol: As the caller wrote it.
        bars: What a load of this symbol alone would have given.
        error: Why there are none.
    """

    symbol: str
    bars: pd.DataFrame | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadManyReport:
    """The figures of a load of many symbols.

    Args:
        loaded: How many there are bars of, or are known to have none.
        from_local: For how many of them the provider was not asked for bars.
        asked: For how many it was.
        requests: How often, in all.
        failed: Why the others could not be loaded, by symbol as the caller wrote it.
    """

    loaded: int
    from_local: int
    asked: int
    requests: int
    failed: Mapping[str, str]

    @classmethod
    def of(cls, results: Iterable[Loaded]) -> Self:
        """Add up what came of each; the bars are looked at one after the other, and not kept."""
        requests, failed, names = list[int](), dict[str, str](), Names()
        for result in results:
            if result.bars is None:
                failed[names.of(result.symbol)] = str(result.error)
            else:
                requests.append(LoadReport.of(result.bars).requests)
        from_local = requests.count(0)
        return cls(
            loaded=len(requests),
            from_local=from_local,
            asked=len(requests) - from_local,
            requests=sum(requests),
            failed=failed,
        )


@dataclass(frozen=True, slots=True)
class LoadedMany:
    """The bars of many symbols.

    Args:
        frames: Those that could be loaded, by symbol as the caller wrote it, in the order in which they were named.
        report: What came of all of them.
    """

    frames: Mapping[str, pd.DataFrame]
    report: LoadManyReport


def load_each(
    symbols: Iterable[str], load: Callable[[str], Coroutine[Any, Any, pd.DataFrame]], concurrency: int
) -> AsyncGenerator[Loaded, None]:
    """Load symbols, and give each as soon as it is there; one that fails hurts no other.

    Args:
        symbols: Which; taken as they are needed, each of them once.
        load: Loads one.
        concurrency: How many to load at the same time.

    Raises:
        ConfigurationError: What is wrong is wrong for every symbol.
        LoadCancelledError: The caller has cancelled all of it.
    """

    async def named() -> AsyncGenerator[str, None]:
        seen, names, rest = set[str](), Names(), iter(symbols)
        threads = WorkerThreads("symcache-symbols")  # whoever makes them up may take their time, and a thread with it
        try:
            while (symbol := await asyncio.wrap_future(threads.begin(next, rest, _END))) is not _END:
                if (name := names.of(symbol)) not in seen:
                    seen.add(name)
                    yield symbol
        finally:
            threads.leave()

    async def one(symbol: str) -> Loaded:
        try:
            check_text(symbol)
            return Loaded(symbol, await load(symbol))
        except (ConfigurationError, LoadCancelledError):
            raise
        except Exception as error:  # noqa: BLE001  # one symbol's failure is its own
            return Loaded(symbol, error=error)

    return concurrently(one, named(), concurrency)


async def load_many(
    symbols: Sequence[str], load: Callable[[str], Coroutine[Any, Any, pd.DataFrame]], concurrency: int
) -> LoadedMany:
    """Load symbols like :func:`load_each`, and keep all of them."""
    names = Names()
    results = {names.of(result.symbol): result async for result in load_each(symbols, load, concurrency)}
    found = [results[name] for name in dict.fromkeys(map(names.of, symbols))]
    frames = {result.symbol: result.bars for result in found if result.bars is not None}
    return LoadedMany(frames, LoadManyReport.of(results.values()))
