"""The three requests to Interactive Brokers, each sent when the pacing rules allow it; their errors are the core's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from ib_async import BarData, Contract, ContractDetails

from symcache_core.errors import ProviderTimeoutError, ProviderUnavailableError
from symcache_core.timeframes import Timeframe

from ..gateway import Caller
from ..wire import Basis
from .acknowledgements import Slot
from .codes import Meaning, classify, error_of
from .connection import IbConnection
from .contracts import regular_hours_only, what_to_show
from .durations import Span, bar_size
from .limits import Request
from .pacing import Scheduler
from .session import IbError
from .single_flight import SingleFlight

HEAD_TIMEOUT = 15.0
"""Seconds for a head timestamp, which comes within some or, as that of some indices, never: a symbol is valid without.

https://github.com/erdewit/ib_insync/issues/258
"""

SILENT = "no answer"
"""The code of a head timestamp that does not come."""


class PacedClient:
    """Sends through a connection what the scheduler admits.

    Every request raises a ProviderError if it is not answered; the kind of error says why. One that is under way
    already is not sent again: its answer is everyone's, and nobody may change it.

    Args:
        connection: The way there.
        scheduler: What may be sent now.
    """

    def __init__(self, connection: IbConnection, scheduler: Scheduler) -> None:
        self._connection = connection
        self._scheduler = scheduler
        self._flights = SingleFlight()

    async def open(self) -> None:
        """Begin to connect, and to count; does not wait until there is a connection."""
        self._scheduler.start(self._connection.ping)
        await self._connection.open(self._scheduler.own_message)

    async def details(self, contract: Contract, caller: Caller) -> list[ContractDetails]:
        """The contracts that fit a description; that there is none is a verdict only if it is confirmed."""

        async def call(caller: Caller) -> list[ContractDetails]:
            async with self._slot(Request("details"), caller) as slot:
                try:
                    return await self._connection.contract_details(contract, slot)
                except IbError as error:
                    if classify(error.code, error.text).meaning is Meaning.NO_CONTRACT:
                        return []
                    raise

        with _core_errors():
            return await self._flights.do(repr(contract), caller, call)

    async def head_timestamp(self, contract: Contract, caller: Caller) -> datetime | None:
        """Since when there is data (UTC), if there is any."""
        what, rth = what_to_show(contract), regular_hours_only(contract)
        request = Request("head", contract.conId, what)

        async def call(caller: Caller) -> datetime | None:
            async with self._slot(request, caller) as slot:
                try:
                    async with asyncio.timeout(HEAD_TIMEOUT):
                        return await self._connection.head_timestamp(contract, what, rth, slot)
                except IbError as error:
                    self._check_that_there_is_no_data(error)
                    return None
                except TimeoutError:
                    raise ProviderTimeoutError(
                        f"since when {contract.symbol} has data was not answered within {HEAD_TIMEOUT:g} s", code=SILENT
                    ) from None

        with _core_errors():
            return await self._flights.do(request, caller, call)

    async def bars(
        self, contract: Contract, timeframe: Timeframe, span: Span, basis: Basis, caller: Caller
    ) -> list[BarData]:
        """The bars of a span."""
        what, rth = basis.show, basis.session == "regular"
        size = bar_size(timeframe)
        request = Request("bars", contract.conId, what, size, (span, rth))

        async def call(caller: Caller) -> list[BarData]:
            async with self._slot(request, caller) as slot:
                try:
                    return await self._connection.bars(contract, span.end, span.duration, size, what, rth, slot)
                except IbError as error:
                    self._check_that_there_is_no_data(error)
                    return []

        with _core_errors():
            return await self._flights.do(request, caller, call)

    @asynccontextmanager
    async def _slot(self, request: Request, caller: Caller) -> AsyncIterator[Slot]:
        """A slot of the scheduler, on a connection that is there.

        A request waits for the connection first, and fails if that is lost while it is queued. Requests that were
        admitted and waited for it then would all be sent at once when it is there, whatever the rules.
        """
        await self._connection.ready()
        async with self._scheduler.slot(request, caller) as slot:
            if self._connection.connectivity.client_id is None:
                raise ConnectionError("the connection was lost in the meantime")
            yield slot

    def _check_that_there_is_no_data(self, error: IbError) -> None:
        """Let pass what says so, but not from a place where there may be some that is out of reach."""
        if classify(error.code, error.text).meaning is not Meaning.NO_DATA:
            raise error
        if not self._connection.connectivity.conclusive:
            raise error_of(error.code, error.text)


@contextmanager
def _core_errors() -> Iterator[None]:
    """Turn whatever a request ends in instead of an answer into an error of the core."""
    try:
        yield
    except IbError as error:
        raise error_of(error.code, error.text) from None
    except TimeoutError:
        raise ProviderTimeoutError("Interactive Brokers did not answer in time") from None
    except OSError as error:
        raise ProviderUnavailableError(f"Interactive Brokers cannot be reached: {error}") from None
