"""The one connection to Interactive Brokers: made again whenever it is lost, and true about its state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from ib_async.contract import Contract, ContractDetails
from ib_async.objects import BarData

from .connectivity import Connectivity, Notice
from .session import CLIENT_ID_TAKEN, IbError, Session

CLIENT_IDS = 32
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
HEARTBEAT = 60.0

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
        if client_id < 1:
            raise ValueError("a client id is 1 or more: client 0 would take over the orders placed by hand in TWS")
        self._host, self._port, self._client_id = host, port, client_id
        self._request_timeout, self._connect_timeout = request_timeout, connect_timeout
        self._clock, self._sleep = clock, sleep
        self._connectivity = Connectivity()
        self._attempt: asyncio.Task[Session] | None = None
        self._reconnecting: asyncio.Task[None] | None = None

    @property
    def connectivity(self) -> Connectivity:
        """How things stand now."""
        return self._connectivity.at(self._now())

    @property
    def open_requests(self) -> int:
        """How many requests wait for their answers."""
        session = self._session
        return 0 if session is None else session.open_requests

    async def open(self) -> None:
        """Begin to connect, and stay connected; does not wait for it."""
        self._attempt = asyncio.create_task(self._connect())
        self._reconnecting = asyncio.create_task(self._keep_connected())

    async def ready(self) -> None:
        """Wait until an attempt to connect that is under way has come to its end.

        Raises:
            ConnectionError: There is no socket.
            TimeoutError: It takes too long.
        """
        async with asyncio.timeout(self._request_timeout):
            await self._connected()

    async def aclose(self) -> None:
        """Disconnect for good; whoever waits for an answer gets a ConnectionError."""
        session, tasks = self._session, {task for task in (self._reconnecting, self._attempt) if task is not None}
        self._reconnecting = self._attempt = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if session is not None:
            await self._close(session)

    async def contract_details(self, contract: Contract) -> list[ContractDetails]:
        """Every contract that fits a description."""
        return await self._request(lambda session: session.contract_details(contract))

    async def head_timestamp(self, contract: Contract, what: str, rth: bool) -> datetime:
        """Since when there is data of a kind for a contract (UTC).

        Args:
            contract: Which one.
            what: The kind of data, as ``TRADES``.
            rth: Whether only regular trading hours count.
        """
        return await self._request(lambda session: session.head_timestamp(contract, what, rth))

    async def bars(
        self, contract: Contract, end: str, duration: str, bar_size: str, what: str, rth: bool
    ) -> list[BarData]:
        """The bars of a span.

        Args:
            contract: Whose.
            end: The end of the span, as ``yyyymmdd-hh:mm:ss`` (UTC).
            duration: Its length, as ``30 D``.
            bar_size: The length of a bar, as ``1 hour``.
            what: The kind of data, as ``TRADES``.
            rth: Whether only regular trading hours count.

        Returns:
            Bars that begin at a moment (UTC), or from one day on at a date.
        """
        return await self._request(lambda session: session.bars(contract, end, duration, bar_size, what, rth))

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
            if self._connectivity.lost is not None:
                raise IbError(*self._connectivity.lost)
            return await send(session)

    async def _connected(self) -> Session:
        attempt = self._attempt
        if attempt is not None:
            await asyncio.wait({attempt})  # not awaited itself: a caller that is cancelled must not cancel it
        if attempt is None or attempt.cancelled():
            raise ConnectionError("the connection to Interactive Brokers is not open")
        if (error := attempt.exception()) is not None:
            raise ConnectionError(f"no connection to {self._host}:{self._port}: {_reason(error)}") from error
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
            await self._sleep(pause)
            self._attempt = asyncio.create_task(self._connect())

    async def _connect(self) -> Session:
        self._connectivity = self._connectivity.closed(self._now())
        try:
            return await self._connect_with_a_free_id()
        except Exception as error:
            log.warning("no connection to %s:%d: %a", self._host, self._port, _reason(error))
            raise

    async def _connect_with_a_free_id(self) -> Session:
        ids = range(self._client_id, self._client_id + CLIENT_IDS)
        for client_id in ids:
            session = Session(self._on_notice)
            try:
                await session.connect(self._host, self._port, client_id, self._connect_timeout)
            except IbError as error:
                # Another program has this id, or TWS has not noticed that a lost socket had it: the next one will do.
                if error.code != CLIENT_ID_TAKEN:
                    raise
            else:
                self._connectivity = self._connectivity.opened(client_id, self._now())
                log.info("connected to %s:%d as client %d", self._host, self._port, client_id)
                return session
        raise ConnectionError(f"every client id from {ids[0]} to {ids[-1]} is in use")

    async def _watch(self, session: Session) -> None:
        """Wait until a session ends: by the other end, or here, when that does not answer a heartbeat."""
        while not session.ended.done():
            await asyncio.wait({session.ended}, timeout=HEARTBEAT)
            # The socket of a machine that vanished would look connected for hours.
            if not session.ended.done() and not await session.is_alive(self._connect_timeout):
                await self._close(session)
        self._connectivity = self._connectivity.closed(self._now())
        log.warning("the connection to %s:%d was lost: %a", self._host, self._port, _reason(session.ended.result()))

    async def _close(self, session: Session) -> None:
        session.close()
        await session.ended
        self._connectivity = self._connectivity.closed(self._now())

    def _on_notice(self, notice: Notice) -> None:
        log.info("Interactive Brokers says %d: %a", *notice)
        self._connectivity = self._connectivity.after(notice, self._now())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
