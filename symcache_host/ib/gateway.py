"""The ``ib`` gateway: Interactive Brokers' verdicts and bars, through TWS or IB Gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from ib_async import BarData

from symcache_core import ProviderAnswer, ValidationResult
from symcache_core.errors import ProviderError, ProviderUnavailableError, SymbolNotFoundError
from symcache_core.symbols import Instrument
from symcache_core.timeframes import TIMEFRAMES, Timeframe

from ..gateway import ANYONE, Asker, Bar
from .connection import IbConnection
from .contracts import (
    Listing,
    candidates,
    choose,
    describe,
    is_asked_as_written,
    regular_hours_only,
    valid_until,
    what_to_show,
)
from .durations import spans
from .memo import Memo
from .pacing import Scheduler
from .questions import Questions
from .resets import reset_ends

SECOND_LOOK = 5.0
"""Seconds between the two answers that together say that a symbol is unknown."""

PATIENCE = 25.0
"""Seconds that a request may wait for its turn."""

MOST_SPANS = 12
"""How many requests one question for bars may cost."""

KEPT = 10_000
"""How many listings are remembered, and how many head timestamps."""

KEPT_FOR = 86_400.0
"""Seconds for which they are. Contract details change over night, and first bars hardly ever."""

NO_CONTRACT = "200"


class IbGateway:
    """Answers from Interactive Brokers, asked no faster than it allows.

    Args:
        connection: The way there; opened and closed with the gateway.
        clock: The present, in seconds since the epoch.
        sleep: Waits for a number of seconds, before a second look.
    """

    name = "ib"
    notice = None

    def __init__(
        self,
        connection: IbConnection,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.calls = 0
        self._connection = connection
        self._clock, self._sleep = clock, sleep
        self._scheduler = Scheduler(PATIENCE)
        self._questions = Questions(connection, self._scheduler)
        self._listings: Memo[Instrument, Listing] = Memo(KEPT, KEPT_FOR, clock)
        self._heads: Memo[tuple[int, str, bool], str | None] = Memo(KEPT, KEPT_FOR, clock)

    @property
    def connected(self) -> bool:
        """Whether questions reach the broker."""
        return self._connection.connectivity.connected

    def as_of(self) -> datetime:
        """The present (UTC)."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def status(self) -> dict[str, Any]:
        """How things stand: the connection, the farms that are down, the queue, and what the rules leave."""
        way = self._connection.connectivity
        return {
            "client_id": way.client_id,
            "since": way.since and way.since.isoformat(),
            "lost": way.lost and way.lost.text,
            "farms_down": dict(way.farms_down),
            "last_reset": way.last_reset and way.last_reset.isoformat(),
            "open_requests": self._connection.open_requests,
            "waiting": self._scheduler.waiting,
            "messages_left": self._scheduler.messages_left,
            "historical_left": self._scheduler.historical_left,
        }

    async def open(self) -> None:
        """Begin to connect; does not wait until it can answer."""
        await self._connection.open()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._connection.aclose()

    async def validate(self, symbol: str, timeframes: Sequence[str], asker: Asker = ANYONE) -> ProviderAnswer:
        """Whether a symbol is valid, which contract it is, and since when it has data: the same for each timeframe.

        A negative was given twice, and all was well with Interactive Brokers both times. A symbol whose head timestamp
        cannot be had is valid all the same, with the code that says why; it is left unanswered.
        """
        self.calls += 1
        instrument = Instrument.parse(symbol)
        listing = await self._find(instrument, asker)
        if listing is None:
            negative = ValidationResult(is_valid=False, symbol=symbol, error_message=f"Symbol {symbol} not found")
            return self._signed(ProviderAnswer(negative, confirmed=is_asked_as_written(instrument)), NO_CONTRACT)
        heads: dict[str, str | None] = {}
        code = None
        if timeframes:
            try:
                heads = dict.fromkeys(timeframes, await self._head(listing, asker))
            except ProviderError as error:
                code = error.code
        positive = ValidationResult(
            is_valid=True, symbol=symbol, contract_info=describe(listing, instrument), head_timestamps=heads or None
        )
        answer = ProviderAnswer(positive, valid_until=valid_until(listing), one_head_timestamp=True)
        return self._signed(answer, code)

    async def bars(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, asker: Asker = ANYONE
    ) -> Sequence[Bar]:
        """The bars that begin from ``start`` to ``end`` (UTC): a day's with its midnight, a week's with its Monday."""
        self.calls += 1
        instrument, frame = Instrument.parse(symbol), TIMEFRAMES[timeframe]
        known = self._listings.get(instrument)
        listing = known.value if known is not None else await self._find(instrument, asker)
        if listing is None:
            raise SymbolNotFoundError(f"Symbol {symbol} not found")
        asked = list(islice(spans(start, end, self.as_of(), frame), MOST_SPANS + 1))
        if len(asked) > MOST_SPANS:
            raise ProviderError(
                f"{start:%Y-%m-%d} to {end:%Y-%m-%d} is too much at once: ask for bars of {timeframe} in pieces of "
                f"{frame.longest.days} days"
            )
        bars: dict[datetime, Bar] = {}
        for span in asked:
            for sent in await self._questions.bars(listing.contract, frame, span, asker):
                bar = _bar(sent, frame)
                if start <= bar.time <= end:
                    bars[bar.time] = bar
        return [bars[begin] for begin in sorted(bars)]

    async def _find(self, instrument: Instrument, asker: Asker) -> Listing | None:
        """What a symbol is known as; ``None`` if two answers agree that it is not, with nothing to be said for both.

        Raises:
            ProviderUnavailableError: It is said to be unknown, which proves nothing now.
        """
        before = self._connection.connectivity.last_reset
        listing = await self._look(instrument, asker)
        if listing is None:
            self._check_that_all_is_well(instrument, before)
            await self._sleep(SECOND_LOOK)
            listing = await self._look(instrument, asker)
        if listing is None:
            self._check_that_all_is_well(instrument, before)
            self._listings.forget(instrument)
            return None
        self._listings.keep(instrument, listing)
        return listing

    async def _look(self, instrument: Instrument, asker: Asker) -> Listing | None:
        for contract in candidates(instrument):
            if listing := choose(await self._questions.details(contract, asker), instrument):
                return listing
        return None

    def _check_that_all_is_well(self, instrument: Instrument, before: datetime | None) -> None:
        now, way = self.as_of(), self._connection.connectivity
        if (ends := reset_ends(now)) is not None:
            raise _doubtful(instrument, "while its servers restart", (ends - now).total_seconds())
        if not way.whole or way.last_reset != before:
            raise _doubtful(instrument, "without a whole connection", None)

    async def _head(self, listing: Listing, asker: Asker) -> str | None:
        contract = listing.contract
        key = contract.conId, what_to_show(contract), regular_hours_only(contract)
        if (known := self._heads.get(key)) is not None:
            return known.value
        first = await self._questions.head_timestamp(contract, asker)
        head = None if first is None else first.isoformat()
        self._heads.keep(key, head)
        return head

    def _signed(self, answer: ProviderAnswer, code: str | None) -> ProviderAnswer:
        origin = {"provider": self.name, "gateway": self.name, "code": code}
        return replace(answer, provenance=answer.provenance.model_copy(update=origin))


def _doubtful(instrument: Instrument, when: str, retry_after: float | None) -> ProviderUnavailableError:
    return ProviderUnavailableError(
        f"Interactive Brokers says that {instrument} is unknown, {when}, which proves nothing",
        code=NO_CONTRACT,
        retry_after=retry_after,
    )


def _bar(sent: BarData, timeframe: Timeframe) -> Bar:
    volume = max(0.0, float(sent.volume))  # prices between bid and ask have none, which is told as -1
    return Bar(_begin(sent.date, timeframe), sent.open, sent.high, sent.low, sent.close, volume)


def _begin(told: date | datetime, timeframe: Timeframe) -> datetime:
    if isinstance(told, datetime):
        return told.astimezone(UTC)
    day = datetime(told.year, told.month, told.day, tzinfo=UTC)
    # Whichever day of the week stands for it there.
    return day - timedelta(days=day.weekday()) if timeframe == TIMEFRAMES["1w"] else day
