"""The one connection to Interactive Brokers: made again whenever it is lost, and true about its state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from ib_async.contract import Contract, ContractDetails
from ib_async.objects import BarData

from ..gateway import Problem
from .acknowledgements import Message, Slot
from .advice import ConnectError, Failure, problem_of
from .connectivity import Connectivity
from .logins import CLIENT_IDS, Logins, Pace, unpaced
from .ports import TIMEOUT, UsualPorts
from .refused import Refusals, Refused
from .session import UNPACED, IbError, Session
from .standing import Standing

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
HEARTBEAT = 60.0

RECHECKED = 4
"""How many client ids that were taken are looked at again with each heartbeat."""

HURRY_APART = 3.0
"""Seconds between two attempts to connect that are asked for, however many ask."""

log = logging.getLogger("symcache")

T = TypeVar("T")


class IbConnection:
    """A connection that lasts from ``open`` to ``aclose``, over as many sockets as that takes.

    A request ends in its result, in what Interactive Brokers answers instead (`IbError`), in a TimeoutError, or in a
    ConnectionError, and never leaves anything behind at the other end.

    The latest attempt to connect is the state. While it runs, requests wait for it; if it failed, they fail with its
    error until the next one begins; else its result is the session. One task begins the next attempt when a session has
    ended or an attempt has failed, after a pause that doubles as long as no session lasts.

    Args:
        host: Where TWS or IB Gateway is.
        port: The port of its API.
        client_id: The first client id to try, from 1 on; while one is in use, the next is taken.
        request_timeout: Seconds after which a request is given up.
        connect_timeout: Seconds that a connection may take, and the answer to a heartbeat.
        clock: The present, in seconds since 1970.
        sleep: Waits for a number of seconds, between one attempt to connect and the next.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: int = 1,
        request_timeout: float = 60.0,
        connect_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.place = f"{host}:{port}"
        """Where TWS or IB Gateway is."""
        self._logins = Logins(host, port, client_id, connect_timeout)
        self._request_timeout, self._connect_timeout = request_timeout, connect_timeout
        self._clock, self._sleep = clock, sleep
        self._standing = Standing(clock)
        self._refusals = Refusals(self._standing.now)
        self._attempt: asyncio.Task[Session] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[object] | None = None
        self._ports = UsualPorts(host, port, clock)
        self.last_attempt: datetime | None = None
        """When the last attempt to connect began (UTC)."""
        self.next_attempt: datetime | None = None
        """When the next one begins, while one is waited for (UTC)."""

    @property
    def connectivity(self) -> Connectivity:
        """How things stand now."""
        return self._standing.connectivity.at(self._standing.now())

    @property
    def problem(self) -> Problem | None:
        """Why requests do not reach the broker, or not all that they are about; None when all is well."""
        state = self.connectivity
        if state.problem is not None or state.connected:
            return state.problem
        if self._attempt is None:
            return Problem(f"no connection to {self.place}: it is not open", "open it")
        return Problem(f"no connection to {self.place} yet: the first attempt is under way", "wait a moment")

    @property
    def open_requests(self) -> int:
        """How many requests wait for their answers."""
        session = self._session
        return 0 if session is None else session.open_requests

    async def open(self, pace: Pace = unpaced) -> None:
        """Begin to connect, and stay connected; does not wait for it.

        Args:
            pace: Waits until so many messages of the connection's own may be sent at once.
        """
        self._logins.pace = pace
        self._begin_attempt()
        self._reconnecting = asyncio.create_task(self._keep_connected())

    async def ready(self) -> None:
        """Wait until an attempt to connect that is under way has come to its end.

        Raises:
            ConnectionError: There is no socket.
            TimeoutError: It takes too long.
        """
        async with asyncio.timeout(self._request_timeout):
            await self._connected()

    async def hurry(self) -> None:
        """Wait for the attempt to connect that is under way, or else begin the next one now, and wait for that.

        Now is some seconds after the last, however many are in a hurry. How it ended is to be seen afterwards.
        """
        if self._pause is not None:
            await self._sleep(min(HURRY_APART, max(0.0, HURRY_APART - self._since_last_attempt())))
            if self._pause is not None and abs(self._since_last_attempt()) >= HURRY_APART:
                self._ports.forget()
                self._begin_attempt()
                self._pause.cancel()
        if self._attempt is not None:
            await asyncio.wait({self._attempt}, timeout=self._connect_timeout + TIMEOUT)

    @property
    def warning(self) -> Problem | None:
        """What other programs at the same TWS mean, as long as there are some."""
        return self._standing.warning

    @property
    def last_refusal(self) -> Refused | None:
        """The last request that was not permitted, until one about the same contract is answered."""
        return self._refusals.last

    async def recheck_taken_ids(self, most: int = CLIENT_IDS) -> None:
        """See which client ids others still have; one that was taken may have been that of a lost socket of our own.

        Args:
            most: How many of them to look at; the first ones.
        """
        state = self._standing.connectivity
        looked_at, left = state.taken_ids[:most], state.taken_ids[most:]
        still_taken = [*[client_id for client_id in looked_at if await self._logins.is_taken(client_id)], *left]
        now = self._standing.connectivity
        if (now.client_id, now.since) == (state.client_id, state.since):  # else another connection knows better
            self._standing.change(self._standing.connectivity.taken(tuple(still_taken)))

    async def aclose(self) -> None:
        """Disconnect for good; whoever waits for an answer gets a ConnectionError."""
        session, tasks = self._session, {task for task in (self._reconnecting, self._attempt) if task is not None}
        self._reconnecting = self._attempt = self._pause = None  # so that nobody begins another one in a hurry
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if session is not None:
            session.close()
            await session.ended
            self._standing.change(self._standing.connectivity.closed(self._standing.now()))

    async def ping(self, message: Message) -> None:
        """Ask for a sign of life, if there is a socket; its answer acknowledges all that was sent before."""
        if (session := self._session) is not None:
            await session.is_alive(self._connect_timeout, message)

    async def contract_details(self, contract: Contract, slot: Slot = UNPACED) -> list[ContractDetails]:
        """Every contract that fits a description."""
        return await self._refusals.noted(
            contract, self._request(lambda session: session.contract_details(contract, slot))
        )

    async def head_timestamp(self, contract: Contract, what: str, rth: bool, slot: Slot = UNPACED) -> datetime:
        """Since when there is data of a kind for a contract (UTC).

        Args:
            contract: Which one.
            what: The kind of data, as ``TRADES``.
            rth: Whether only regular trading hours count.
            slot: The right to ask.
        """
        asked = self._request(lambda session: session.head_timestamp(contract, what, rth, slot))
        return await self._refusals.noted(contract, asked)

    async def bars(
        self,
        contract: Contract,
        end: str,
        duration: str,
        bar_size: str,
        what: str,
        rth: bool,
        slot: Slot = UNPACED,
    ) -> list[BarData]:
        """The bars of a span.

        Args:
            contract: Whose.
            end: The end of the span, as ``yyyymmdd-hh:mm:ss`` (UTC).
            duration: Its length, as ``30 D``.
            bar_size: The length of a bar, as ``1 hour``.
            what: The kind of data, as ``TRADES``.
            rth: Whether only regular trading hours count.
            slot: The right to ask.

        Returns:
            Bars that begin at a moment (UTC), or from one day on at a date.
        """
        asked = self._request(lambda session: session.bars(contract, end, duration, bar_size, what, rth, slot))
        return await self._refusals.noted(contract, asked)

    @property
    def _session(self) -> Session | None:
        attempt = self._attempt
        if attempt is None or not attempt.done() or attempt.cancelled() or attempt.exception() is not None:
            return None
        return attempt.result()

    async def _request(self, send: Callable[[Session], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._request_timeout):
            session = await self._connected()
            # Without its own way to the broker TWS has no answer, and the caller would wait for the timeout.
            if self._standing.connectivity.lost is not None:
                raise IbError(*self._standing.connectivity.lost)
            return await send(session)

    async def _connected(self) -> Session:
        attempt = self._attempt
        if attempt is not None:
            await asyncio.wait({attempt})  # not awaited itself: a caller that is cancelled must not cancel it
        if attempt is None or attempt.cancelled():
            raise ConnectionError("the connection to Interactive Brokers is not open")
        if (error := attempt.exception()) is not None:
            raise ConnectionError(problem_of(self.place, error).text) from error
        return attempt.result()

    async def _keep_connected(self) -> None:
        pause = 0.0
        while (attempt := self._attempt) is not None:
            await asyncio.wait({attempt})
            began = self._clock()
            if self._session is not None:
                await self._watch(self._session)
            # A connection that is dropped as soon as it is made is no better than one that is refused.
            lasted = self._clock() - began >= FIRST_PAUSE
            pause = 0.0 if lasted else min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)
            await self._wait(pause)
            if self._attempt is attempt:
                self._begin_attempt()

    async def _wait(self, seconds: float) -> None:
        """Wait before the next attempt, unless somebody is in a hurry."""
        self.next_attempt = self._standing.now() + timedelta(seconds=seconds)
        self._pause = pause = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({pause})
        finally:
            pause.cancel()
            self._pause = None

    def _since_last_attempt(self) -> float:
        return HURRY_APART if self.last_attempt is None else (self._standing.now() - self.last_attempt).total_seconds()

    def _begin_attempt(self) -> None:
        self.last_attempt, self.next_attempt = self._standing.now(), None
        self._attempt = asyncio.create_task(self._connect())

    async def _connect(self) -> Session:
        self._standing.change(self._standing.connectivity.closed(self._standing.now()))
        try:
            session, client_id, taken = await self._logins.log_in(self._standing.notice)
        except Exception as error:
            is_refused = isinstance(error, ConnectError) and error.failure is Failure.REFUSED
            problem = problem_of(self.place, error, await self._ports.answering() if is_refused else ())
            self._standing.change(self._standing.connectivity.failed(problem, self._standing.now()))
            raise
        self._standing.change(self._standing.connectivity.opened(client_id, self._standing.now(), taken))
        log.info("connected to %s as client %d", self.place, client_id)
        return session

    async def _watch(self, session: Session) -> None:
        """Wait until a session ends: by the other end, or here, when that does not answer a heartbeat."""
        is_silent = False
        while not session.ended.done():
            await asyncio.wait({session.ended}, timeout=HEARTBEAT)
            await self._recheck_during(session)
            # The socket of a machine that vanished would look connected for hours.
            if not session.ended.done() and not await self._logins.is_alive(session):
                is_silent = not session.ended.done()
                session.close()
                await session.ended
        said = f"no sign of life for {self._connect_timeout:g} s" if is_silent else str(session.ended.result())
        self._ports.forget()
        problem = problem_of(self.place, ConnectError(Failure.LOST, said))
        self._standing.change(self._standing.connectivity.closed(self._standing.now(), problem))

    async def _recheck_during(self, session: Session) -> None:
        """Look at the client ids that were taken, but no longer than the session lasts."""
        if session.ended.done() or not self._standing.connectivity.taken_ids:
            return
        rechecking = asyncio.create_task(self.recheck_taken_ids(RECHECKED))
        either: set[asyncio.Future[Any]] = {session.ended, rechecking}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rechecking.cancel()
            await asyncio.wait({rechecking})
