"""The last request that this account or session may not make, as long as that is so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

from ib_async.contract import Contract

from .advice import one_line
from .codes import Meaning, classify
from .session import IbError

T = TypeVar("T")


class Refused(NamedTuple):
    """A request that this account or session may not make."""

    at: datetime
    symbol: str
    contract: tuple[int | str, ...]
    code: int
    text: str


class Refusals:
    """Notes what comes of requests.

    Args:
        now: The present (UTC).
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.last: Refused | None = None
        """The last request that was not permitted, until one about the same contract is answered."""

    async def noted(self, contract: Contract, request: Awaitable[T]) -> T:
        """What comes of a request; that it is not permitted is noted, and that one about the same contract is."""
        try:
            answer = await request
        except IbError as error:
            if classify(error.code, error.text).meaning is Meaning.PERMISSION:
                symbol = one_line(contract.symbol or contract.localSymbol)
                self.last = Refused(self._now(), symbol, _key(contract), error.code, one_line(error.text))
            raise
        if self.last is not None and _key(contract) == self.last.contract:
            self.last = None
        return answer


def _key(contract: Contract) -> tuple[int | str, ...]:
    """What tells a contract from others: its number, or, before that is known, what was asked for."""
    if contract.conId:
        return (contract.conId,)
    named = contract.secType, contract.symbol, contract.localSymbol, contract.exchange, contract.currency
    return (*named, contract.lastTradeDateOrContractMonth, contract.multiplier, contract.tradingClass)
