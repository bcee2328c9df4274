"""What sets one contract apart from others in the spelling of a symbol, and the error when a symbol does not say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ib_async import Contract

from symcache_core.errors import AmbiguousSymbolError
from symcache_core.symbols import Instrument, canonical_multiplier

from .exchanges import house, present_name

_SHARES, _FUTURE, _SMART = "STK", "FUT", "SMART"
_DAY = len("20130315")


def fitting(contracts: Sequence[Contract], instrument: Instrument) -> list[Contract]:
    """Those of several contracts that a symbol may mean; at the very exchange that it names, if there are any."""
    fit = [contract for contract in contracts if is_asked(contract, instrument)]
    venue = present_name(instrument.venue)
    return [contract for contract in fit if venue and market(contract) == venue] or fit


def is_asked(contract: Contract, instrument: Instrument) -> bool:
    """Whether a contract is one that a symbol's venue, currency, trading class and multiplier mean."""
    listed = {house(contract.primaryExchange) or house(contract.exchange)}
    if contract.secType != _SHARES:
        listed.add(house(contract.exchange))
    return (
        house(instrument.venue) in ("", _SMART, *listed)
        and instrument.currency in ("", contract.currency)
        and instrument.trading_class in ("", contract.tradingClass.upper())
        and instrument.multiplier in ("", _multiplier(contract))
    )


def is_alike(one: Contract, other: Contract) -> bool:
    """Whether one contract may stand for another: it is the same, or no spelling of a symbol can tell them apart.

    Of a future, nobody but its holder knows whether another one is as good.
    """
    return one.conId == other.conId or (one.secType != _FUTURE and _said(one) == _said(other))


def market(contract: Contract) -> str:
    """The exchange at which a contract is listed, by its present name."""
    return present_name(contract.primaryExchange or contract.exchange)


def spelling(contract: Contract) -> str:
    """The symbol of a contract, qualified with its market and its currency."""
    name = contract.symbol if contract.secType == _SHARES else contract.localSymbol or contract.symbol
    kind = "" if contract.secType == _SHARES else contract.secType
    return str(_read(Instrument(name, kind, market(contract), contract.currency)))


def names_apart(contracts: Sequence[Contract], instrument: Instrument) -> dict[int, str]:
    """By the number of each of several contracts that a symbol fits, the symbol that means it and no other.

    One is left out where no spelling can say which it is.

    Args:
        contracts: All that it fits.
        instrument: The symbol.
    """
    apart: dict[int, str] = {}
    for contract in contracts:
        for said in _spellings(contract, instrument):
            if all(is_alike(each, contract) for each in fitting(contracts, said) if _is_on_day(each, said)):
                apart[contract.conId] = str(said)
                break
    return apart


def ambiguous(
    instrument: Instrument, others: Iterable[str], said: str = "", *, unnamed: int = 0
) -> AmbiguousSymbolError:
    """The error about a symbol that fits several contracts.

    Args:
        instrument: The symbol.
        others: For each contract, the symbol that means it.
        said: What Interactive Brokers said, if it names none of them.
        unnamed: How many contracts it fits that no symbol means.
    """
    others = tuple(dict.fromkeys(others))
    told = [f"ask for {' or '.join(others)}"] if others else []
    if unnamed:
        told.append(f"{unnamed} {'more ' if others else ''}of what it fits cannot be told apart by a symbol")
    how = "; ".join(told) or "say which with @VENUE:CURRENCY, ,class= or ,multiplier="
    message = f"{instrument} is ambiguous: {how}" + (f" ({said})" if said else "")
    return AmbiguousSymbolError(message, alternatives=others)


def _spellings(contract: Contract, instrument: Instrument) -> Iterator[Instrument]:
    """Ways to say which contract is meant, each with more in it than the one before."""
    where = {"venue": market(contract), "currency": contract.currency}
    if contract.secType in (instrument.asset_type or _SHARES, _FUTURE):
        symbol = contract.symbol if contract.secType == _SHARES else instrument.symbol
        asked = replace(instrument, symbol=symbol, **where)
    else:
        asked = replace(instrument, symbol=contract.symbol, asset_type=contract.secType, **where)
    with_class = replace(asked, trading_class=_class(contract))
    with_both = replace(with_class, multiplier=_multiplier(contract))
    ways = [asked, with_class, replace(asked, multiplier=_multiplier(contract)), with_both]
    if _day(contract):
        ways.append(replace(with_both, symbol=f"{contract.symbol} {_day(contract)}"))
    for way in ways:
        said = _read(way)
        if said.venue == where["venue"] and said.currency == where["currency"]:  # else there is no way to spell it
            yield said


def _is_on_day(contract: Contract, said: Instrument) -> bool:
    """Whether a contract ends on the day that a symbol names, if it names one."""
    *_, last = said.symbol.rpartition(" ")
    is_day = contract.secType == _FUTURE and len(last) == _DAY and last.isdigit()
    return not is_day or _day(contract) == last


def _day(contract: Contract) -> str:
    """The last day of a future."""
    day = contract.lastTradeDateOrContractMonth[:_DAY]
    return day if contract.secType == _FUTURE and len(day) == _DAY else ""


def _said(contract: Contract) -> tuple[str, ...]:
    return market(contract), contract.currency, _class(contract), _multiplier(contract), _day(contract)


def _class(contract: Contract) -> str:
    """The trading class as a symbol can say it."""
    trading_class = " ".join(contract.tradingClass.upper().split())
    return "" if set(trading_class) & set(",@=") else trading_class


def _multiplier(contract: Contract) -> str:
    try:
        return canonical_multiplier(contract.multiplier)
    except ValueError:
        return ""


def _read(instrument: Instrument) -> Instrument:
    """The same, as its spelling is read."""
    return Instrument.parse(str(instrument))
