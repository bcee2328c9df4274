"""Gathers questions about single symbols, asked at nearly the same time, into questions about many."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from ..errors import ProviderError
from ..models import ProviderAnswer
from ..protocols import CanValidateMany

LINGER = 0.003
"""Seconds for which a batch that is not full waits for more."""

AT_ONCE = 4
"""How many questions are under way; while they are, the next ones gather more, so that a busy provider has fewer."""

Answers = Mapping[str, ProviderAnswer | ProviderError]


class BatchedValidation:
    """Asks a provider about single symbols, many at a time, on one event loop.

    Cancelling one caller never touches the others; when the last one of a batch leaves, its question is cancelled.

    Args:
        provider: Who is asked.
        size: How many symbols go into one question at most.
    """

    def __init__(self, provider: CanValidateMany, *, size: int = 200) -> None:
        if size < 1:
            raise ValueError(f"size is {size}: at least 1 symbol has to go into a question")
        self._provider = provider
        self._size = size
        self._open: dict[tuple[str, ...], _Batch] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def validate(self, symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
        """Ask about a symbol, together with others who ask for the same timeframes.

        Raises:
            ProviderError: There is no verdict on this symbol; the others may have theirs.
        """
        wanted = tuple(timeframes)
        batch = self._open.get(wanted)
        if batch is None:
            batch = self._open[wanted] = _Batch(
                lambda symbols: self._provider.validate_many(symbols, wanted),
                self._size,
                self._slots,
                on_close=lambda: self._open.pop(wanted),
            )
        answer = (await batch.answers(symbol)).get(symbol)
        if answer is None:
            raise ProviderError(f"the provider was asked about {symbol} among others, and left it out")
        if isinstance(answer, ProviderError):
            raise answer.with_traceback(None)  # many may share it, and each would add its own frames
        return answer


class _Batch:
    """One question about many symbols: gathered, then asked by a task of its own."""

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Awaitable[Answers]],
        size: int,
        slots: asyncio.Semaphore,
        on_close: Callable[[], object],
    ) -> None:
        self._ask = ask
        self._size = size
        self._slots = slots
        self._on_close = on_close
        self._waiting: Counter[str] = Counter()
        self._full = asyncio.Event()
        self._is_open = True
        self._task = asyncio.ensure_future(self._gather_and_ask())

    async def answers(self, symbol: str) -> Answers:
        """What comes of the question, which one more symbol goes into."""
        self._waiting[symbol] += 1
        if len(self._waiting) == self._size:
            self._full.set()
            self._close()
        try:
            return await asyncio.shield(self._task)
        finally:
            self._leave(symbol)

    async def _gather_and_ask(self) -> Answers:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._full.wait()
        # The batch stays open while it waits for a slot: a busy provider gets fewer and fuller questions.
        async with self._slots:
            self._close()
            return await self._ask(list(self._waiting))

    def _leave(self, symbol: str) -> None:
        self._waiting[symbol] -= 1
        if not self._waiting[symbol]:
            del self._waiting[symbol]
        if not self._waiting:
            self._close()
            self._task.cancel()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._on_close()
