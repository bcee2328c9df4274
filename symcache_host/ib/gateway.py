"""The ``ib`` gateway: Interactive Brokers' verdicts and bars, through TWS or IB Gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from ib_async import Contract, ContractDetails

from symcache_core import ProviderAnswer, ValidationResult
from symcache_core.errors import (
    AmbiguousSymbolError,
    InvalidSymbolError,
    ProviderError,
    ProviderTimeoutError,
    SymbolNotFoundError,
)
from symcache_core.symbols import Instrument
from symcache_core.timeframes import TIMEFRAMES, Timeframe

from ..gateway import Bar, Bars, Caller, Finding, Problem
from ..wire import Session
from .ambiguity import ambiguous
from .bars import bar_of
from .connection import IbConnection
from .connectivity import Disturbances
from .contracts import (
    Listing,
    basis,
    candidates,
    choose,
    describe,
    is_asked_in_every_form,
    named,
    regular_hours_only,
    valid_until,
    what_to_show,
)
from .durations import spans
from .hints import fits, hints, told
from .paced_client import SILENT, PacedClient
from .pacing import Scheduler
from .probes import Probes, advised
from .resets import inconclusive, reset_ends
from .ttl_cache import TtlCache

SECOND_LOOK = 5.0
"""Seconds between the two negative answers that together are a verdict."""

SECOND_LOOK_AT_DATA = 15.5
"""Seconds between two answers that there is no data: the same historical request may not be made within 15."""

HINTS_TIMEOUT = 3.0
"""Seconds to find out what an unknown symbol may have been meant to be: that it is unknown is known by then."""

UNKNOWN_FOR = 300.0
"""Seconds for which a symbol is remembered as unknown by whoever asks for its bars; a verdict is asked for anew."""

MAX_WAIT = 25.0
"""Seconds that a request may be queued."""

MAX_SPANS = 12
"""How many requests one call for bars may cost."""

CACHE_SIZE = 10_000
"""How many listings are cached, and how many head timestamps."""

CACHE_TTL = 86_400.0
"""Seconds for which they are. Contract details change over night, and first bars hardly ever."""

SILENT_FOR = 3600.0
"""Seconds for which a head timestamp that never came is not asked for again: that of some indices never does."""

NO_CONTRACT = "200"
NO_DATA = "162"

T = TypeVar("T")


class IbGateway:
    """Answers from Interactive Brokers, asked no faster than it allows.

    Args:
        connection: The way there; opened and closed with the gateway.
        clock: The present, in seconds since the epoch.
        sleep: Waits for a number of seconds, before a second look.
        quiet_start: Seconds after it is opened for which all that TWS allows counts as used up before.
    """

    name = "ib"
    notice = None

    def __init__(
        self,
        connection: IbConnection,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        quiet_start: float = 0.0,
    ) -> None:
        self.calls = 0
        self._connection = connection
        self._clock, self._sleep = clock, sleep
        self._scheduler = Scheduler(MAX_WAIT, quiet=quiet_start)
        self._client = PacedClient(connection, self._scheduler)
        self._probes = Probes(connection, self, clock)
        self._listings: TtlCache[Instrument, Listing] = TtlCache(CACHE_SIZE, CACHE_TTL, clock)
        self._unknown: TtlCache[Instrument, str | None] = TtlCache(CACHE_SIZE, UNKNOWN_FOR, clock)
        self._heads: TtlCache[tuple[int, str, bool], str] = TtlCache(CACHE_SIZE, CACHE_TTL, clock)
        self._silent: TtlCache[tuple[int, str, bool], bool] = TtlCache(CACHE_SIZE, SILENT_FOR, clock)

    @property
    def connected(self) -> bool:
        """Whether requests reach the broker."""
        return self._connection.connectivity.connected

    def as_of(self) -> datetime:
        """The present (UTC)."""
        return datetime.fromtimestamp(self._clock(), UTC)

    @property
    def quiet_left(self) -> float:
        """Seconds until history is asked for, as nothing of it is just after a start."""
        return self._scheduler.quiet_left

    @property
    def problem(self) -> Problem | None:
        """Why requests do not reach the broker, or not all that they are about."""
        return advised(self._connection.problem, self.as_of())

    @property
    def problem_since(self) -> datetime | None:
        """Since when that is so, without a break (UTC)."""
        return self._connection.connectivity.problem_since

    def status(self) -> dict[str, Any]:
        """How things stand: the connection, what is wrong with it, the queue, and what the rules leave."""
        connection, problem = self._connection, self.problem
        state, refusal = connection.connectivity, connection.last_refusal
        return {
            "client_id": state.client_id,
            "since": _iso(state.since),
            "lost": state.lost and state.lost.text,
            "farms_down": dict(state.farms_down),
            "last_reset": _iso(state.last_reset),
            "open_requests": connection.open_requests,
            "waiting": self._scheduler.waiting,
            "messages_left": self._scheduler.messages_left,
            "historical_left": self._scheduler.historical_left,
            "problem": problem and problem.text,
            "problem_code": problem and problem.code,
            "advice": problem and problem.advice,
            "problem_since": _iso(state.problem_since),
            "last_attempt": _iso(connection.last_attempt),
            "next_attempt": _iso(connection.next_attempt),
            "taken_client_ids": list(state.taken_ids),
            "warning": (others := connection.warning) and f"{others.text}: {others.advice}",
            "last_refusal": refusal
            and {"at": refusal.at.isoformat(), "symbol": refusal.symbol, "code": refusal.code, "text": refusal.text},
            "quiet_until": self._quiet_until(),
        }

    async def look(self) -> list[Finding]:
        """Connect at once if need be, and ask for a contract and bars that everyone knows."""
        return await self._probes.look()

    async def open(self) -> None:
        """Begin to connect; does not wait until it can answer."""
        await self._client.open()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._connection.aclose()

    async def validate(self, symbol: str, timeframes: Sequence[str], caller: Caller) -> ProviderAnswer:
        """Whether a symbol is valid, which contract it is, and since when it has data: the same for each timeframe.

        A negative was given twice, and all was well with Interactive Brokers both times. A symbol whose head timestamp
        cannot be had is valid all the same, with the code that says why; it is left unanswered.
        """
        self.calls += 1
        instrument = Instrument.parse(symbol)
        listing = await self._find(instrument, caller)
        if listing is None:
            negative = ValidationResult(
                is_valid=False,
                symbol=symbol,
                error_message=f"Symbol {symbol} not found",
                suggested_symbol=await self._note_unknown(instrument, caller),
            )
            is_sure = is_asked_in_every_form(instrument)
            return self._with_provenance(ProviderAnswer(negative, confirmed=is_sure), NO_CONTRACT)
        heads: dict[str, str | None] = {}
        code = None
        if timeframes:
            try:
                heads = dict.fromkeys(timeframes, await self._head(listing, caller))
            except ProviderError as error:
                if (code := error.code) == NO_CONTRACT:
                    self._listings.discard(instrument)
        positive = ValidationResult(
            is_valid=True, symbol=symbol, contract_info=describe(listing, instrument), head_timestamps=heads or None
        )
        answer = ProviderAnswer(positive, valid_until=valid_until(listing), one_head_timestamp=True)
        return self._with_provenance(answer, code)

    async def bars(
        self,
        symbol: str,
        timeframe: str,
        start: datetime,
        end: datetime,
        caller: Caller,
        session: Session | None = None,
    ) -> Bars:
        """The bars that begin from ``start`` to ``end`` (UTC): a day's with its midnight, a week's with its Monday.

        A month's begins with its first day. Nothing is asked for after a contract's last trade date, and that there is
        nothing where a request reaches was said twice, and all was well with Interactive Brokers both times.
        """
        self.calls += 1
        instrument, frame = Instrument.parse(symbol), TIMEFRAMES[timeframe]
        if (cached := self._listings.get(instrument)) is not None:
            try:
                return await self._bars_of(cached.value, instrument, frame, (start, end), session, caller)
            except ProviderError as error:
                if error.code != NO_CONTRACT:
                    raise
                self._listings.discard(instrument)  # the symbol may mean another contract by now
                listing = await self._known(instrument, caller)
                if listing.contract.conId == cached.value.contract.conId:
                    raise
        else:
            listing = await self._known(instrument, caller)
        return await self._bars_of(listing, instrument, frame, (start, end), session, caller)

    async def _known(self, instrument: Instrument, caller: Caller) -> Listing:
        """What a symbol is known as.

        Raises:
            SymbolNotFoundError: It is not, or was not minutes ago.
        """
        if (unknown := self._unknown.get(instrument)) is not None:
            suggested = unknown.value
        elif (listing := await self._find(instrument, caller)) is not None:
            return listing
        else:
            suggested = await self._note_unknown(instrument, caller)
        raise SymbolNotFoundError(f"Symbol {instrument} not found", suggested_symbol=suggested)

    async def _note_unknown(self, instrument: Instrument, caller: Caller) -> str | None:
        """Remember that a symbol is unknown, and what it may have been meant to be."""
        suggested = await self._suggest(instrument, caller)
        self._unknown.put(instrument, suggested)
        return suggested

    async def _bars_of(
        self,
        listing: Listing,
        instrument: Instrument,
        frame: Timeframe,
        span: tuple[datetime, datetime],
        session: Session | None,
        caller: Caller,
    ) -> Bars:
        start, end = span
        present = self.as_of()
        if (ended := valid_until(listing)) is not None:
            present = min(present, datetime.fromtimestamp(ended, UTC))
        requests = list(islice(spans(start, end, present, frame), MAX_SPANS + 1))
        if len(requests) > MAX_SPANS:
            raise ProviderError(
                f"{start:%Y-%m-%d} to {end:%Y-%m-%d} is too much at once: ask for bars of {frame.name} in pieces of "
                f"{frame.longest.days} days"
            )
        made_of = basis(listing.contract, session)
        asking = [partial(self._client.bars, listing.contract, frame, each, made_of, caller) for each in requests]
        bars: dict[datetime, Bar] = {}
        for sent in chain.from_iterable(await self._given(asking, f"{instrument} has no bars")):
            bar = bar_of(sent, frame)
            if start <= bar.time <= end:
                bars[bar.time] = bar
        return Bars([bars[begin] for begin in sorted(bars)], named(listing.contract), made_of)

    def _quiet_until(self) -> str | None:
        left = self.quiet_left
        return (self.as_of() + timedelta(seconds=left)).isoformat() if left else None

    async def _find(self, instrument: Instrument, caller: Caller) -> Listing | None:
        """What a symbol is known as; ``None`` if two conclusive answers agree that it is not.

        Raises:
            AmbiguousSymbolError: It is known as several, and nothing says which is meant.
            ProviderUnavailableError: It is said to be unknown, which proves nothing now.
        """
        # Checked after each look, and against what was before both: a connection that was lost and is whole again in
        # between has asked two servers, each of which may have been without its data, and so has one whose farm was.
        before = self._connection.connectivity.disturbances
        listing = await self._look(instrument, caller)
        if listing is None:
            self._check_conclusive(NO_CONTRACT, f"{instrument} is unknown", before)
            await self._sleep(SECOND_LOOK)
            listing = await self._look(instrument, caller)
        if listing is None:
            self._check_conclusive(NO_CONTRACT, f"{instrument} is unknown", before)
            self._listings.discard(instrument)
            return None
        self._listings.put(instrument, listing)
        self._unknown.discard(instrument)
        return listing

    async def _look(self, instrument: Instrument, caller: Caller) -> Listing | None:
        """One look for each form of a symbol, until one of them is known."""
        for contract in candidates(instrument, self.as_of().date()):
            try:
                listing = choose(await self._details(instrument, contract, caller), instrument)
            except AmbiguousSymbolError:
                self._listings.discard(instrument)
                raise
            if listing is not None:
                return listing
        return None

    async def _details(self, instrument: Instrument, contract: Contract, caller: Caller) -> list[ContractDetails]:
        try:
            return await self._client.details(contract, caller)
        except AmbiguousSymbolError as error:
            raise ambiguous(instrument, (), str(error)) from None

    async def _suggest(self, instrument: Instrument, caller: Caller) -> str | None:
        """What an unknown symbol may have been meant to be; a failure to find out is none of the caller's."""
        with suppress(TimeoutError, InvalidSymbolError):  # what a long symbol hints at may be too long for one
            async with asyncio.timeout(HINTS_TIMEOUT):
                for hint in hints(instrument):
                    with suppress(ProviderError, InvalidSymbolError):
                        listing = await self._look(hint, caller)
                        if listing is not None and fits(hint, instrument, listing.details):
                            return str(told(hint, instrument, listing.contract))
        return None

    def _check_conclusive(self, code: str, said: str, before: Disturbances) -> None:
        now, connectivity = self.as_of(), self._connection.connectivity
        if (ends := reset_ends(now)) is not None:
            raise inconclusive(code, said, "while its servers restart", (ends - now).total_seconds())
        if not connectivity.conclusive or connectivity.disturbances != before:
            raise inconclusive(code, said, "without a whole connection", None)

    async def _head(self, listing: Listing, caller: Caller) -> str | None:
        contract = listing.contract
        key = contract.conId, what_to_show(contract), regular_hours_only(contract)
        if (cached := self._heads.get(key)) is not None:
            return cached.value
        if self._silent.get(key) is not None:
            raise ProviderTimeoutError(f"since when {contract.symbol} has data was not answered", code=SILENT)
        ask = partial(self._client.head_timestamp, contract, caller)
        try:
            (first,) = await self._given([ask], f"{contract.symbol} has no data")
        except ProviderTimeoutError as error:
            if error.code == SILENT:
                self._silent.put(key, True)
            raise
        if first is None:  # said twice, and to be asked again when whoever asks believes it no longer
            return None
        self._heads.put(key, first.isoformat())
        return first.isoformat()

    async def _given(self, asking: Sequence[Callable[[], Awaitable[T]]], nothing: str) -> list[T]:
        """What requests for history bring; that one brings nothing, only if two conclusive answers agree.

        Args:
            asking: Each makes a request.
            nothing: What it means if one brings nothing.

        Raises:
            ProviderUnavailableError: One brings nothing, which proves nothing now.
        """
        before = self._connection.connectivity.disturbances
        given = [await ask() for ask in asking]
        if not all(given):
            self._check_conclusive(NO_DATA, nothing, before)
            await self._sleep(SECOND_LOOK_AT_DATA)
            given = [found or await ask() for found, ask in zip(given, asking, strict=True)]
            if not all(given):
                self._check_conclusive(NO_DATA, nothing, before)
        return given

    def _with_provenance(self, answer: ProviderAnswer, code: str | None) -> ProviderAnswer:
        origin = {"provider": self.name, "gateway": self.name, "code": code}
        return replace(answer, provenance=answer.provenance.model_copy(update=origin))


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
