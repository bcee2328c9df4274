"""One socket to TWS or IB Gateway, from its handshake to its end, and the requests sent through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

from ib_async import IB, StartupFetchNONE
from ib_async.contract import Contract, ContractDetails
from ib_async.objects import BarData

from .acknowledgements import Message, Slot, Unacknowledged, Unpaced
from .advice import FAILURE_OF_CODE, ConnectError, failure_of, misfit_of
from .codes import Meaning, classify, ends_a_request, readable
from .connectivity import Notice
from .limits import MARGIN, TIME_PAUSE

CLIENT_ID_TAKEN = 326
LOGIN = 2
"""Messages of a login: that it begins, and ib_async's question for positions."""

NO_REQUEST = -1
NO_CODE = 0
SECONDS_SINCE_1970 = 2
GREETING = 64
"""How many bytes are kept of what comes first, to say what it is that answers."""

UNPACED = Unpaced()

Send = Callable[[int], None]


class IbError(Exception):
    """What Interactive Brokers answered in place of a result.

    Args:
        code: Its number for what is wrong; 0 if it answered something that is no answer.
        text: Its words; for some codes only they tell what is meant.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (IB {code})")
        self.code = code
        self.text = text


class Session:
    """One connected socket.

    Args:
        on_notice: Called with every message that answers no request.
    """

    def __init__(self, on_notice: Callable[[Notice], None]) -> None:
        self._on_notice = on_notice
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._errors: dict[int, IbError] = {}
        self._heard = b""
        self._unacknowledged = Unacknowledged()
        self._asking_time: asyncio.Task[bool] | None = None
        self._heard_time = -inf
        self.ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """Why it ended, as soon as it has."""
        self._ib = IB()
        self._client, self._wrapper = self._ib.client, self._ib.wrapper
        self._client.MaxRequests = 0  # a second queue behind the host's own would only delay what that admits
        # It would ask for account figures whenever the link is restored.
        self._ib.errorEvent -= self._ib._onError  # noqa: SLF001  # the only way to leave it out
        self._ib.errorEvent += self._on_error
        self._client.conn.hasData += self._on_data
        self._client.conn.disconnected += self._on_disconnected

    @property
    def open_requests(self) -> int:
        """How many requests wait for their answers."""
        return len(self._open)

    async def connect(self, host: str, port: int, client_id: int, timeout: float, message: Message = UNPACED) -> None:
        """Connect, to read only, and be ready for requests.

        Args:
            host: Where TWS or IB Gateway is.
            port: The port of its API.
            client_id: As whom.
            timeout: Seconds that it may take.
            message: The one that it takes.

        Raises:
            IbError: The client id is in use (326).
            ConnectError: It cannot be connected to, in time or at all.
        """
        try:
            await self._connect(host, port, client_id, timeout)
        except BaseException as error:
            if isinstance(error, ConnectError) and not error.opened:
                raise  # nothing was sent
            message.sent()
            if isinstance(error, IbError):
                message.acknowledged()
            else:
                message.lost()
            raise
        message.sent()
        message.acknowledged()

    async def _connect(self, host: str, port: int, client_id: int, timeout: float) -> None:
        connecting = asyncio.ensure_future(
            self._ib.connectAsync(host, port, client_id, timeout, readonly=True, fetchFields=StartupFetchNONE)
        )
        try:
            # ib_async itself does not notice that a handshake has come to an end before its time.
            await asyncio.wait({connecting, self.ended}, return_when=asyncio.FIRST_COMPLETED)
            self._check_connected(connecting)
        finally:
            connecting.cancel()
            await asyncio.wait({connecting})
            if not connecting.cancelled():
                connecting.exception()

    def _check_connected(self, connecting: asyncio.Task[Any]) -> None:
        """Raise why there is no connection, if there is none."""
        ended = self.ended.result() if self.ended.done() else None
        if isinstance(ended, IbError | ConnectError):
            raise ended
        # A handshake that is given up ends the socket, too, which is then not the reason.
        error = (connecting.exception() if connecting.done() else None) or ended
        if error is not None:
            opened = ended is not None or self._client.conn.transport is not None
            raise failure_of(error, opened=opened, heard=self._heard) from error

    async def contract_details(self, contract: Contract, slot: Slot = UNPACED) -> list[ContractDetails]:
        """Every contract that fits a description."""
        found: list[ContractDetails] = await self._request(
            lambda request: self._client.reqContractDetails(request, contract), slot
        )
        return found

    async def head_timestamp(self, contract: Contract, what: str, rth: bool, slot: Slot = UNPACED) -> datetime:
        """Since when there is data (UTC); the request is cancelled whatever comes of it, or else it would stay open."""
        try:
            first = await self._request(
                lambda request: self._client.reqHeadTimeStamp(request, contract, what, rth, SECONDS_SINCE_1970),
                slot,
                cancel_always=self._client.cancelHeadTimeStamp,
            )
        except ValueError as error:  # ib_async cannot read it
            first = error
        if not isinstance(first, datetime):
            raise IbError(NO_CODE, f"no head timestamp: {first}")
        return first

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
        """The bars of a span that ends at ``end``."""
        found: list[BarData] = await self._request(
            lambda request: self._client.reqHistoricalData(
                request,
                contract,
                end,
                duration,
                bar_size,
                what,
                rth,
                SECONDS_SINCE_1970,
                keepUpToDate=False,
                chartOptions=[],
            ),
            slot,
            cancel_if_abandoned=self._client.cancelHistoricalData,
        )
        return found

    async def is_alive(self, timeout: float, message: Message = UNPACED) -> bool:
        """Whether the other end answers at all, in time (seconds); sends nothing if it has just done so."""
        if self._now() - self._heard_time < TIME_PAUSE * MARGIN:
            return True
        asking = self._asking_time
        if asking is None or asking.done():
            asking = self._asking_time = asyncio.create_task(self._ask_time(message))
        await asyncio.wait({asking}, timeout=timeout)
        if not asking.done():
            asking.cancel()
            return False
        return not asking.cancelled() and asking.result()

    async def _ask_time(self, message: Message) -> bool:
        try:
            answer = self._ib.reqCurrentTimeAsync()
            place = self._unacknowledged.add(message)
            await answer
        except OSError:
            return False
        self._unacknowledged.acknowledge(place)
        self._heard_time = self._now()
        return True

    def close(self) -> None:
        """End it; whoever waits for an answer gets a ConnectionError."""
        transport = self._client.conn.transport
        self._wrapper.connectionClosed()
        self._client.disconnect()
        if transport is not None:
            transport.abort()  # closing alone would wait for an other end that does not read any more

    async def _request(
        self,
        send: Send,
        slot: Slot,
        *,
        cancel_always: Send | None = None,
        cancel_if_abandoned: Send | None = None,
    ) -> Any:
        """Send one request and wait for its result, for an error in its place, or for the end of the socket.

        ib_async ends a request with some errors as if its result were empty, and with others never. So an error is kept
        here, beside the future that it ends, and raised in place of the result.

        Args:
            send: Sends it under the number that it is given.
            slot: The right to do so.
            cancel_always: Sends what has to follow its end in any case.
            cancel_if_abandoned: Sends what has to follow only if its caller leaves before there is an answer.
        """
        request = self._client.getReqId()
        answer = self._open[request] = self._wrapper.startReq(request)
        cancel = cancel_always or cancel_if_abandoned
        try:
            send(request)
            place = self._unacknowledged.add(slot.message)
            result = await answer
            self._unacknowledged.acknowledge(place)
            slot.answered()
            cancel = cancel_always
        finally:
            del self._open[request]
            error = self._errors.pop(request, None)
            if cancel is not None:  # contract details cannot be cancelled: ib_async goes on to expect them
                self._end(request)
                with suppress(ConnectionError):
                    slot.cancel(partial(self._cancel, cancel, request))
        if error is not None:
            raise error
        return result

    def _cancel(self, cancel: Send, request: int, message: Message) -> None:
        cancel(request)
        self._unacknowledged.add(message)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _end(self, request: int) -> None:
        self._wrapper.contractDetailsEnd(request)  # does nothing but end the request, of whatever kind

    def _on_error(self, request: int, code: int, told: str, _contract: Contract | None) -> None:
        text = readable(told)
        if request in self._open:
            if ends_a_request(code, text):
                self._errors[request] = IbError(code, text)
                self._end(request)
        elif request == NO_REQUEST:
            if code == CLIENT_ID_TAKEN:
                self._finish(IbError(code, text))
            elif code in FAILURE_OF_CODE and not self._client.isReady():
                self._finish(ConnectError(FAILURE_OF_CODE[code], text, code))
            if classify(code, text).meaning is Meaning.DATA_LOST:
                self._fail_all(IbError(code, text))
            self._on_notice(Notice(code, text))

    def _fail_all(self, why: IbError) -> None:
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(why)

    def _on_data(self, data: bytes) -> None:
        if len(self._heard) < GREETING:
            self._heard = (self._heard + data)[:GREETING]
            if (misfit := misfit_of(self._heard)) is not None:
                self._finish(misfit)  # ib_async would go on to wait

    def _on_disconnected(self, reason: str) -> None:
        self._finish(ConnectionError(reason or "the other end closed the connection"))

    def _finish(self, why: Exception) -> None:
        self._unacknowledged.lose()
        if not self.ended.done():
            self.ended.set_result(why)
