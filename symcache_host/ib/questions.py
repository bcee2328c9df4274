"""The three questions for Interactive Brokers: each asked in its turn, and ended by an answer or a core error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from ib_async import BarData, Contract, ContractDetails

from symcache_core.errors import ProviderTimeoutError, ProviderUnavailableError
from symcache_core.timeframes import Timeframe

from ..gateway import Asker
from .codes import Meaning, classify, error_of
from .connection import IbConnection
from .contracts import regular_hours_only, what_to_show
from .durations import Span, bar_size
from .flights import Flights
from .pacing import Request, Scheduler
from .session import IbError


class Questions:
    """Asks through a connection what the scheduler lets pass.

    Every question raises a ProviderError if it is not answered; the kind of error says why. One that is under way
    already is not asked again: its answer is everyone's, and nobody may change it.

    Args:
        connection: The way there.
        scheduler: Who may ask now.
    """

    def __init__(self, connection: IbConnection, scheduler: Scheduler) -> None:
        self._connection = connection
        self._scheduler = scheduler
        self._flights = Flights()

    async def details(self, contract: Contract, asker: Asker) -> list[ContractDetails]:
        """The contracts that fit a description; that there is none is a verdict only if it is confirmed."""

        async def ask(asker: Asker) -> list[ContractDetails]:
            async with self._turn(Request("details"), asker):
                try:
                    return await self._connection.contract_details(contract)
                except IbError as error:
                    if classify(error.code, error.text).meaning is Meaning.NO_CONTRACT:
                        return []
                    raise

        with _core_errors():
            return await self._flights.ask(repr(contract), asker, ask)

    async def head_timestamp(self, contract: Contract, asker: Asker) -> datetime | None:
        """Since when there is data (UTC), if there is any."""
        what, rth = what_to_show(contract), regular_hours_only(contract)
        request = Request("head", contract.conId, what)

        async def ask(asker: Asker) -> datetime | None:
            async with self._turn(request, asker):
                try:
                    return await self._connection.head_timestamp(contract, what, rth)
                except IbError as error:
                    self._check_that_there_is_no_data(error)
                    return None

        with _core_errors():
            return await self._flights.ask(request, asker, ask)

    async def bars(self, contract: Contract, timeframe: Timeframe, span: Span, asker: Asker) -> list[BarData]:
        """The bars of a span."""
        what, rth = what_to_show(contract), regular_hours_only(contract)
        size = bar_size(timeframe)
        request = Request("bars", contract.conId, what, size, span)

        async def ask(asker: Asker) -> list[BarData]:
            async with self._turn(request, asker):
                try:
                    return await self._connection.bars(contract, span.end, span.duration, size, what, rth)
                except IbError as error:
                    self._check_that_there_is_no_data(error)
                    return []

        with _core_errors():
            return await self._flights.ask(request, asker, ask)

    @asynccontextmanager
    async def _turn(self, request: Request, asker: Asker) -> AsyncIterator[None]:
        """A turn that finds a socket: those who had theirs and waited for one would all go out at once."""
        await self._connection.ready()
        async with self._scheduler.slot(request, asker):
            if self._connection.connectivity.client_id is None:
                raise ConnectionError("the connection was lost in the meantime")
            yield

    def _check_that_there_is_no_data(self, error: IbError) -> None:
        """Let pass what says so, but not from a place where there may be some that is out of reach."""
        if classify(error.code, error.text).meaning is not Meaning.NO_DATA:
            raise error
        if not self._connection.connectivity.whole:
            raise error_of(error.code, error.text)


@contextmanager
def _core_errors() -> Iterator[None]:
    """Turn whatever a question ends in instead of an answer into an error of the core."""
    try:
        yield
    except IbError as error:
        raise error_of(error.code, error.text) from None
    except TimeoutError:
        raise ProviderTimeoutError("Interactive Brokers did not answer in time") from None
    except OSError as error:
        raise ProviderUnavailableError(f"Interactive Brokers cannot be reached: {error}") from None
