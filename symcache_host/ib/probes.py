"""A look at Interactive Brokers: the connection, a contract that everybody knows, and whether its bars may be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from symcache_core import ProviderAnswer
from symcache_core.errors import ProviderPacingError, SymcacheError

from ..gateway import Bars, Caller, Finding, Problem
from .advice import SUBSCRIPTION, one_line, row_of
from .codes import IN_ENGLISH, Meaning, classify
from .connection import IbConnection
from .connectivity import Connectivity
from .resets import reset_ends
from .session import NO_CODE

KNOWN = "AAPL"
"""A symbol that every account knows."""

FREE = "EURUSD"
"""One whose bars every account may have: so one exchange that is not subscribed to is told from no data at all."""

REACH = timedelta(days=10)
"""No ten days pass without a session of either."""

LIMIT = 25.0
"""Seconds that the questions may take: one that was asked just before is held up for 15 s, and a no is asked twice."""

LONGEST_QUIET = 15.0
"""Seconds after the start of the host for which a look waits, beyond that, until history may be asked for at all."""

APART = 15.0
"""Seconds for which what was answered is told again to whoever looks, as long as the connection is the same."""

CALLER = Caller("look")


class Gateway(Protocol):
    """What asks."""

    @property
    def quiet_left(self) -> float:
        """Seconds until history is asked for, as nothing of it is just after a start."""
        ...

    def as_of(self) -> datetime:
        """The present (UTC)."""
        ...

    async def validate(self, symbol: str, timeframes: list[str], caller: Caller) -> ProviderAnswer:
        """The verdict on a symbol."""
        ...

    async def bars(self, symbol: str, timeframe: str, start: datetime, end: datetime, caller: Caller) -> Bars:
        """The bars of a span."""
        ...


class _Asked(NamedTuple):
    at: float
    connection: tuple[int | None, datetime | None]
    findings: list[Finding]


class Probes:
    """Asks, and knows for a moment what was answered, so that many looks cost no more than a few.

    Args:
        connection: The way there.
        gateway: What asks, at its own pace.
        clock: The present, in seconds since the epoch.
    """

    def __init__(self, connection: IbConnection, gateway: Gateway, clock: Callable[[], float]) -> None:
        self._connection, self._gateway, self._clock = connection, gateway, clock
        self._asked: _Asked | None = None

    async def look(self) -> list[Finding]:
        """Connect at once if need be, and ask; nothing is asked where nothing can be answered."""
        await self._connection.hurry()
        state = self._connection.connectivity
        if not state.connected:
            return [self._about_connection(state)]
        same = state.client_id, state.since
        asked = self._asked
        if asked is None or asked.connection != same or abs(self._clock() - asked.at) >= APART:
            asked = self._asked = _Asked(self._clock(), same, await self._ask())
        # It may have been lost meanwhile.
        return [self._about_connection(self._connection.connectivity), *asked.findings]

    def _about_connection(self, state: Connectivity) -> Finding:
        problem = advised(self._connection.problem, self._gateway.as_of())
        if problem is None:
            return Finding("connection", "ok", f"connected to {self._connection.place} as client {state.client_id}")
        return Finding("connection", "warn" if state.connected else "fail", problem.text, problem.advice)

    async def _ask(self) -> list[Finding]:
        findings: list[Finding] = []
        quiet = self._gateway.quiet_left
        waits = quiet if quiet <= LONGEST_QUIET else 0.0
        try:
            async with asyncio.timeout(LIMIT + waits):
                await self._connection.recheck_taken_ids()
                if (others := self._connection.warning) is not None:
                    findings.append(Finding("other programs", "warn", others.text, others.advice))
                findings.append(await _contract(self._gateway))
                if findings[-1].state == "ok":
                    findings.append(await _market_data(self._gateway) if waits == quiet else _quiet(self._gateway))
        except TimeoutError:
            findings.append(Finding("answers", "fail", f"no answer within {LIMIT:g} s", "restart TWS or IB Gateway"))
        return findings


def advised(problem: Problem | None, now: datetime) -> Problem | None:
    """A problem with advice that fits the hour: at night, some are over when Interactive Brokers has restarted."""
    if problem is None or (ends := reset_ends(now)) is None:
        return problem
    advice = f"wait until {ends:%H:%M} UTC, when Interactive Brokers has restarted its servers; else {problem.advice}"
    return problem._replace(advice=advice)


async def _contract(gateway: Gateway) -> Finding:
    try:
        verdict = (await gateway.validate(KNOWN, [], CALLER)).result
    except SymcacheError as error:
        return _failed("contract", error)
    if verdict.contract_info is None:
        return Finding("contract", "fail", f"{KNOWN} is said to be unknown", "restart TWS or IB Gateway")
    return Finding("contract", "ok", f"{KNOWN} is {one_line(verdict.contract_info.description)}")


def _quiet(gateway: Gateway) -> Finding:
    until = gateway.as_of() + timedelta(seconds=gateway.quiet_left)
    detail = f"not asked: that waits until {until:%H:%M:%S} UTC, as nothing may be asked just after a start"
    return Finding("market data", "warn", detail, "look again then")


async def _market_data(gateway: Gateway) -> Finding:
    found = await _bars(gateway, KNOWN)
    if found.state == "fail" and found.detail.startswith(SUBSCRIPTION):
        free = await _bars(gateway, FREE)
        if free.state == "ok":
            return found._replace(state="warn", detail=f"{found.detail}; {free.detail}")
    return found


async def _bars(gateway: Gateway, symbol: str) -> Finding:
    now = gateway.as_of()
    try:
        bars = (await gateway.bars(symbol, "1d", now - REACH, now, CALLER)).bars
    except SymcacheError as error:
        if classify(_code(error), str(error)).meaning is not Meaning.NO_DATA:
            return _failed("market data", error, f" ({symbol})")
        bars = []
    if not bars:
        advice = "look again later; if it stays so, restart TWS or IB Gateway"
        return Finding("market data", "warn", f"no bars of {symbol} within {REACH.days} days", advice)
    return Finding("market data", "ok", f"{len(bars)} daily bars of {symbol}")


def _failed(what: str, error: SymcacheError, about: str = "") -> Finding:
    told = str(error).removeprefix("Interactive Brokers: ")
    said = one_line(told.removesuffix(f"; {IN_ENGLISH}"))
    if isinstance(error, ProviderPacingError):
        return Finding(what, "warn", said, "look again later: too much was asked just before")
    row = row_of(_code(error), said)
    if row is None and told.endswith(IN_ENGLISH):
        return Finding(what, "fail", f"{said}{about}", IN_ENGLISH)
    if row is None:
        return Finding(what, "fail", f"{said}{about}", "look again; if it stays so, restart TWS or IB Gateway")
    return Finding(what, "fail", f"{row.name}: {said}{about}", row.advice)


def _code(error: SymcacheError) -> int:
    return int(getattr(error, "code", None) or NO_CODE)
