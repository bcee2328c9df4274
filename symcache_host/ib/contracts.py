"""From a symbol to the contract that Interactive Brokers is asked for, and from its answer to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from ib_async import Contract, ContractDetails

from symcache_core import ContractInfo
from symcache_core.errors import InvalidSymbolError
from symcache_core.symbols import Instrument

from ..wire import Basis, Session
from .hours import day_of, trading_hours, zone_of

SMART = "SMART"
_SHARES = "STK"


class _Default(NamedTuple):
    """Where to ask about a type of contract, in this order, and in which currency, when the symbol does not say."""

    exchanges: tuple[str, ...]
    currency: str = ""


_DEFAULTS: Mapping[str, _Default] = MappingProxyType(
    {
        "STK": _Default((SMART,), "USD"),
        "CASH": _Default(("IDEALPRO",), "USD"),
        "FUT": _Default(("",)),
        "CRYPTO": _Default(("PAXOS", "ZEROHASH"), "USD"),
        "IND": _Default(("",)),
        "CMDTY": _Default((SMART,), "USD"),
        "CFD": _Default((SMART,)),
    }
)

_WHAT_TO_SHOW: Mapping[str, str] = MappingProxyType(
    {"CASH": "MIDPOINT", "CMDTY": "MIDPOINT", "CFD": "MIDPOINT", "CRYPTO": "AGGTRADES"}
)

_METALS = ("XAU", "XAG", "XPT", "XPD")  # currencies to ISO 4217, commodities there

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH_IN_WORDS = re.compile(rf"(?P<symbol>\S+) (?P<month>{'|'.join(_MONTHS)}) (?P<year>\d\d)")
_EXPIRY = re.compile(r"(?P<symbol>.+) (?P<expiry>\d{6}|\d{8})")
_LOCAL_SYMBOL = re.compile(r".*(?:[FGHJKMNQUVXZ]\d{1,2}| .*)")  # a month's letter and a year, or several words

# Of several listings the primary one is the first of these; over the counter comes after any exchange.
_PRIMARY = ("NYSE", "NASDAQ", "ARCA", "AMEX", "BATS")
_OVER_THE_COUNTER = ("PINK", "OTCBB", "OTCLNKECN")
_FORMER_NAMES = {"ISLAND": "NASDAQ"}

_CONTRACT_FIELDS = (
    "conId",
    "symbol",
    "secType",
    "lastTradeDateOrContractMonth",
    "multiplier",
    "exchange",
    "primaryExchange",
    "currency",
    "localSymbol",
    "tradingClass",
)


class Listing(NamedTuple):
    """What Interactive Brokers knows a symbol as; ``others`` are the symbols of what else it could have been.

    ``is_primary`` says whether anything sets it apart from those.
    """

    details: ContractDetails
    contract: Contract
    others: tuple[str, ...] = ()
    is_primary: bool = True


def candidates(instrument: Instrument) -> tuple[Contract, ...]:
    """The contracts to request, the next one only where the one before is unknown.

    Raises:
        InvalidSymbolError: A future without an expiry, or a type that this gateway cannot ask for.
    """
    if instrument.asset_type == "CASH" and instrument.symbol in _METALS:
        instrument = _metal(instrument)
    kind = instrument.asset_type or _SHARES
    default = _DEFAULTS.get(kind)
    if default is None:
        raise InvalidSymbolError(f"{instrument}: the ib gateway asks for {', '.join(_DEFAULTS)} only")
    if kind == _SHARES:
        return _shares(instrument, default)
    names = _future(instrument) if kind == "FUT" else {"symbol": instrument.symbol}
    currency = instrument.currency or default.currency
    exchanges = (instrument.venue,) if instrument.venue else default.exchanges
    return tuple(Contract(secType=kind, exchange=exchange, currency=currency, **names) for exchange in exchanges)


def is_asked_as_written(instrument: Instrument) -> bool:
    """Whether a symbol has all that tells the contract; some futures' local symbols have more spaces than are kept."""
    if instrument.asset_type != "FUT" or _EXPIRY.fullmatch(instrument.symbol):
        return True
    return " " not in instrument.symbol


def what_to_show(contract: Contract) -> str:
    """The kind of prices that a contract's bars are made of."""
    return _WHAT_TO_SHOW.get(contract.secType, "TRADES")


def regular_hours_only(contract: Contract) -> bool:
    """Whether its bars are those of the exchange's own hours; what trades around the clock has no others."""
    return contract.secType in (_SHARES, "IND")


def basis(contract: Contract, session: Session | None) -> Basis:
    """What a contract's bars are made of.

    Trades are adjusted for splits, and not for dividends: https://interactivebrokers.github.io/tws-api/historical_bars.html

    Args:
        contract: Which one.
        session: The hours that are asked for; those usual for its kind when left out.
    """
    show = what_to_show(contract)
    is_adjusted = contract.secType == _SHARES and show == "TRADES"
    usual: Session = "regular" if regular_hours_only(contract) else "extended"
    return Basis(show=show, adjustment="split" if is_adjusted else "none", session=session or usual)


def named(contract: Contract) -> dict[str, Any]:
    """What there is of the fields that tell a contract from others."""
    return {name: value for name in _CONTRACT_FIELDS if (value := getattr(contract, name))}


def choose(found: Sequence[ContractDetails], instrument: Instrument) -> Listing | None:
    """The contract that a symbol means: of several, the primary listing.

    Args:
        found: What Interactive Brokers answered.
        instrument: What was asked, which it takes as a hint only.

    Returns:
        ``None`` if none is what was asked for.
    """
    by_id: dict[int, tuple[ContractDetails, Contract]] = {}
    for details in found:
        if details.contract is not None and _is_asked(details.contract, instrument):
            by_id.setdefault(details.contract.conId, (details, _askable(details.contract)))
    ranked = sorted(by_id.values(), key=lambda each: _rank(each[1]))
    if not ranked:
        return None
    (details, contract), *rest = ranked
    is_primary = not rest or _rank(contract) < _rank(rest[0][1])
    return Listing(details, contract, tuple(_qualified(other) for _, other in rest), is_primary)


def describe(listing: Listing, instrument: Instrument) -> ContractInfo:
    """The contract as the core keeps it; whatever has no field of its own there is in its details."""
    details, contract = listing.details, listing.contract
    more = {
        "provider": "ib",
        "stock_type": details.stockType,
        "industry": details.industry,
        "category": details.category,
        "subcategory": details.subcategory,
        "contract_month": details.contractMonth,
        "valid_exchanges": details.validExchanges,
        "min_tick": details.minTick,
        "time_zone_id": details.timeZoneId,
        "alternatives": listing.others,
        "note": _note(listing, instrument),
    }
    return ContractInfo(
        symbol=str(instrument.unqualified()),
        asset_type=contract.secType,
        exchange=_market(contract),
        currency=contract.currency,
        description=details.longName,
        contract=named(contract),
        trading_hours=trading_hours(details.tradingHours, details.liquidHours, details.timeZoneId),
        last_trade_date=last_trade_date(listing),
        details={name: value for name, value in more.items() if value},
    )


def last_trade_date(listing: Listing) -> date | None:
    """The last day on which a contract trades, if it has one."""
    told = listing.details.realExpirationDate or listing.contract.lastTradeDateOrContractMonth
    try:
        return day_of(told.partition(" ")[0])  # a time of day may follow
    except ValueError:
        return None


def valid_until(listing: Listing) -> float | None:
    """When a contract ends by itself: after its last day in its market's time zone (seconds since the epoch)."""
    last = last_trade_date(listing)
    if last is None or last == date.max:  # how it is told that there is no end
        return None
    zone = zone_of(listing.details.timeZoneId) or UTC
    return datetime.combine(last + timedelta(days=1), time(), zone).timestamp()


def _metal(instrument: Instrument) -> Instrument:
    """An ounce of it, which is asked for by the name of the pair."""
    currency = instrument.currency or _DEFAULTS["CASH"].currency
    return Instrument(f"{instrument.symbol}{currency}", "CMDTY", instrument.venue, currency)


def _shares(instrument: Instrument, default: _Default) -> tuple[Contract, ...]:
    # A venue alone says enough: its currency is whatever is traded there.
    venue = "" if instrument.venue == SMART else instrument.venue
    currency = instrument.currency or ("" if venue else default.currency)
    # In the United States a class share is written with a space, in Toronto with a point.
    dotted = " " in instrument.symbol and currency != default.currency
    symbols = (instrument.symbol, instrument.symbol.replace(" ", ".")) if dotted else (instrument.symbol,)
    return tuple(
        Contract(secType=_SHARES, symbol=symbol, exchange=SMART, primaryExchange=venue, currency=currency)
        for symbol in symbols
    )


def _future(instrument: Instrument) -> dict[str, str | bool]:
    """What names a future: its local symbol, or its symbol and expiry; an expired one has bars all the same."""
    if match := _MONTH_IN_WORDS.fullmatch(instrument.symbol):
        expiry = f"20{match['year']}{_MONTHS.index(match['month']) + 1:02}"
        return {"symbol": match["symbol"], "lastTradeDateOrContractMonth": expiry, "includeExpired": True}
    if match := _EXPIRY.fullmatch(instrument.symbol):
        return {"symbol": match["symbol"], "lastTradeDateOrContractMonth": match["expiry"], "includeExpired": True}
    if not _LOCAL_SYMBOL.fullmatch(instrument.symbol):
        raise InvalidSymbolError(
            f"{instrument}: a future needs its local symbol or its expiry, as in FUT:ESZ6@CME or FUT:ES 202612@CME"
        )
    return {"localSymbol": instrument.symbol, "includeExpired": True}


def _askable(contract: Contract) -> Contract:
    """A contract as it is to be asked about from now on."""
    return replace(contract, includeExpired=True) if contract.secType == "FUT" else contract


def _is_asked(contract: Contract, instrument: Instrument) -> bool:
    venue = _home(instrument.venue)
    listed = {_home(contract.primaryExchange) or _home(contract.exchange)}
    if contract.secType != _SHARES:
        listed.add(_home(contract.exchange))
    return venue in ("", SMART, *listed) and instrument.currency in ("", contract.currency)


def _home(exchange: str) -> str:
    """An exchange's name as it can be compared: what follows a point is left out by some calls."""
    name = exchange.partition(".")[0]
    return _FORMER_NAMES.get(name, name)


def _market(contract: Contract) -> str:
    exchange = contract.primaryExchange or contract.exchange
    return _FORMER_NAMES.get(exchange, exchange)


def _rank(contract: Contract) -> int:
    market = _market(contract)
    if market in _PRIMARY:
        return _PRIMARY.index(market)
    return len(_PRIMARY) + (market in _OVER_THE_COUNTER)


def _qualified(contract: Contract) -> str:
    named = contract.symbol if contract.secType == _SHARES else contract.localSymbol or contract.symbol
    kind = "" if contract.secType == _SHARES else contract.secType
    return str(Instrument(named, kind, _market(contract), contract.currency))


def _note(listing: Listing, instrument: Instrument) -> str:
    if not listing.others:
        return ""
    chosen, others = _qualified(listing.contract), ", ".join(listing.others)
    which = "the primary listing" if listing.is_primary else "the first that was told"
    return f"{instrument} is ambiguous: this is {chosen}, {which}; there is also {others}"
