"""Looks many symbols up at once: read in batches, asked with bounded concurrency, given as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice

from ..concurrency.tasks import concurrently
from ..models import Lookup, SymbolLookup

BATCH = 500
"""How many symbols are read from the storage at once."""


def look_up_many(
    symbols: Iterable[str],
    look_up: Callable[[str], Awaitable[Lookup]],
    read_ahead: Callable[[Sequence[str]], Awaitable[object]],
    concurrency: int,
) -> AsyncGenerator[SymbolLookup, None]:
    """Look symbols up, several at a time.

    Closing the generator early cancels what is under way.

    Args:
        symbols: Which; read as they are needed.
        look_up: Looks one up.
        read_ahead: Reads what is stored of many.
        concurrency: How many to look up at the same time.

    Raises:
        ValueError: Not even one lookup may be under way.
    """

    async def one(symbol: str) -> SymbolLookup:
        try:
            return SymbolLookup(symbol, await look_up(symbol))
        except Exception as error:  # noqa: BLE001  # one symbol's failure is its own
            return SymbolLookup(symbol, error=error)

    async def ahead() -> AsyncGenerator[str, None]:
        for batch in _batches(symbols):
            await read_ahead(batch)
            for symbol in batch:
                yield symbol

    return concurrently(one, ahead(), concurrency)


def _batches(symbols: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(symbols)
    while batch := list(islice(rest, BATCH)):
        yield batch
