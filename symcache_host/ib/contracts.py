"""From a symbol to the contract that Interactive Brokers is asked for, and from its answer to ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from ib_async import Contract, ContractDetails

from symcache_core import ContractInfo
from symcache_core.errors import InvalidSymbolError
from symcache_core.symbols import CURRENCIES, Instrument

from ..wire import Basis, Session
from .ambiguity import ambiguous, fitting, is_alike, is_asked, market, names_apart, spelling
from .exchanges import has_other_names, house, present_name
from .hours import day_of, trading_hours, zone_of
from .spellings import coin_and_currency, future_forms, share_forms
from .spellings import is_asked_in_every_form as every_form_of_future

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

_KNOWN_ANYWHERE = ("FUT", "IND")
"""The types that can be asked for without naming an exchange."""

_PAIR = re.compile(r"(?P<base>[A-Z]{3})(?P<quote>[A-Z]{3})")

_NOT_ASKED: Mapping[str, str] = MappingProxyType(
    {
        "CONTFUT": "a continuous future is made of many contracts, and has no verdict of its own: ask for one of them, "
        "by its expiry as in FUT:{symbol} 202612{at}, or by its local symbol as in FUT:ESZ6@CME",
        "OPT": "options are not kept: ask for what they are on, such as AAPL",
        "FOP": "options on futures are not kept: ask for the future, as in FUT:ESZ6@CME",
        "BOND": "bonds are not kept",
        "WAR": "structured warrants are not kept: ask for what they are on; one listed as a share is asked for as "
        "a share, as in XYZ WS",
        "FUND": "mutual funds are not kept: they have no bars; a fund that is traded on an exchange is asked for as a "
        "share",
        "BAG": "a combination is made of several contracts: ask for each of them",
        "NEWS": "news have no bars",
    }
)

_WHAT_TO_SHOW: Mapping[str, str] = MappingProxyType(
    {"CASH": "MIDPOINT", "CMDTY": "MIDPOINT", "CFD": "MIDPOINT", "CRYPTO": "AGGTRADES"}
)

_METALS = ("XAU", "XAG", "XPT", "XPD")  # currencies to ISO 4217, commodities there

# https://www.optionseducation.org/referencelibrary/faq/options-symbology: the root, the day, call or put, the strike.
_OPTION = re.compile(r"[A-Z]{1,6} ?\d{6}[CP]\d{8}")

# Of several listings the primary one is the first of these; over the counter comes after any exchange.
_PRIMARY = ("NYSE", "NASDAQ", "ARCA", "AMEX", "BATS")
_OVER_THE_COUNTER = ("PINK", "OTCBB", "OTCLNKECN")
_ROUTERS = ("SMART", "QBALGO")  # QBALGO repeats what is traded at CME and elsewhere

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

    ``note`` says which it is of several, and what sets it apart from the others.
    """

    details: ContractDetails
    contract: Contract
    others: tuple[str, ...] = ()
    note: str = ""


def candidates(instrument: Instrument, today: date) -> tuple[Contract, ...]:
    """The contracts to request, the next one only where the one before is unknown.

    A trading class and a multiplier are left to :func:`choose`: nobody knows how they are written there.

    Args:
        instrument: What is asked for.
        today: The present, from which the decade is told of a future's year of one digit.

    Raises:
        InvalidSymbolError: A future without an expiry, or a type that this gateway cannot ask for.
    """
    if instrument.asset_type == "CASH" and instrument.symbol in _METALS:
        instrument = _metal(instrument)
    kind = instrument.asset_type or _SHARES
    if kind not in _DEFAULTS or (kind == _SHARES and _OPTION.fullmatch(instrument.symbol)):
        raise _not_asked(instrument, kind if kind not in _DEFAULTS else "OPT")
    return tuple(_shares(instrument) if kind == _SHARES else _others(instrument, kind, today))


def is_asked_in_every_form(instrument: Instrument) -> bool:
    """Whether what is asked for takes in every form that a symbol can stand for."""
    return instrument.asset_type != "FUT" or every_form_of_future(instrument.symbol)


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
    """The contract that a symbol means: of several, the primary listing, or the future whose class is its symbol.

    Args:
        found: What Interactive Brokers answered.
        instrument: What was asked, which it takes as a hint only.

    Returns:
        ``None`` if none is what was asked for.

    Raises:
        AmbiguousSymbolError: Nothing says which of several is meant.
    """
    by_id: dict[int, tuple[ContractDetails, Contract]] = {}
    for details in sorted(found, key=_is_less_telling):
        if details.contract is not None and is_asked(details.contract, instrument):
            by_id.setdefault(details.contract.conId, (details, _askable(details.contract)))
    known = sorted(fitting([contract for _, contract in by_id.values()], instrument), key=_rank)
    if not known:
        return None
    chosen, why = _chosen(known)
    names = names_apart(known, instrument) if len(known) > 1 else {}
    if chosen is None:
        raise ambiguous(instrument, names.values(), unnamed=len(known) - len(names))
    details, _ = by_id[chosen.conId]
    name = names.get(chosen.conId) or spelling(chosen)
    others = tuple(dict.fromkeys(other for other in names.values() if other != name))
    note = _note(instrument, name, why, others, len(known)) if len(known) > 1 else ""
    return Listing(details, chosen, others, note)


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
        "note": listing.note,
    }
    return ContractInfo(
        symbol=str(instrument.unqualified()),
        asset_type=contract.secType,
        exchange=market(contract),
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


def _not_asked(instrument: Instrument, kind: str) -> InvalidSymbolError:
    at = f"@{instrument.venue}" if instrument.venue else ""
    why = _NOT_ASKED.get(kind, "").format(symbol=instrument.symbol, at=at)
    return InvalidSymbolError(f"{instrument}: {why}; the ib gateway asks for {', '.join(_DEFAULTS)} only")


def _metal(instrument: Instrument) -> Instrument:
    """An ounce of it, which is asked for by the name of the pair."""
    currency = instrument.currency or _DEFAULTS["CASH"].currency
    return replace(instrument, symbol=f"{instrument.symbol}{currency}", asset_type="CMDTY", currency=currency)


def _shares(instrument: Instrument) -> Iterator[Contract]:
    # A venue alone says enough: its currency is whatever is traded there.
    venue = "" if instrument.venue == SMART else present_name(instrument.venue)
    currency = instrument.currency or ("" if venue else _DEFAULTS[_SHARES].currency)
    forms = share_forms(instrument.symbol, venue, currency)
    for symbol in forms:
        yield Contract(secType=_SHARES, symbol=symbol, exchange=SMART, primaryExchange=venue, currency=currency)
    if venue:  # there under another of its names, or not routed to by SMART, as India's is not
        for symbol in forms:
            yield Contract(secType=_SHARES, symbol=symbol, currency=currency)
    coin = coin_and_currency(instrument.symbol)
    if coin and not (instrument.asset_type or venue or instrument.currency) and coin[1] in CURRENCIES:
        yield from _others(Instrument(coin[0], "CRYPTO", "", coin[1]), "CRYPTO", date.min)


def _others(instrument: Instrument, kind: str, today: date) -> Iterator[Contract]:
    default = _DEFAULTS[kind]
    names = list(_names(instrument, kind, instrument.currency or default.currency, today))
    exchanges = (present_name(instrument.venue),) if instrument.venue else default.exchanges
    if kind in _KNOWN_ANYWHERE and has_other_names(instrument.venue):
        exchanges = (*exchanges, "")
    for exchange in exchanges:
        for name in names:
            yield Contract(secType=kind, exchange=exchange, **name)


def _names(instrument: Instrument, kind: str, currency: str, today: date) -> Iterator[dict[str, Any]]:
    """What names a contract that is no share, in each form in which it may be known."""
    symbol = instrument.symbol
    if kind == "FUT":
        yield from _future(instrument, currency, today)
        return
    joined = re.sub(r"[ ./-]", "", symbol)
    named = coin_and_currency(symbol)
    pair = _PAIR.fullmatch(joined)
    if kind == "CRYPTO" and named and instrument.currency in ("", named[1]):
        yield {"symbol": named[0], "currency": named[1]}
    if kind == "CMDTY" and pair and pair["base"] in _METALS and instrument.currency in ("", pair["quote"]):
        yield {"symbol": joined, "currency": pair["quote"]}
        return
    if kind == "CMDTY" and symbol in _METALS:
        symbol += currency
    yield {"symbol": symbol, "currency": currency}
    if kind == "CRYPTO" and symbol[-3:] in CURRENCIES and instrument.currency in ("", symbol[-3:]) and symbol[:-3]:
        yield {"symbol": symbol[:-3], "currency": symbol[-3:]}
    if kind == "CFD" and named:
        yield {"symbol": " ".join(named), "currency": currency}
    if kind == "CFD" and pair and currency in ("", pair["quote"]):
        yield {"symbol": pair["base"], "currency": pair["quote"]}


def _future(instrument: Instrument, currency: str, today: date) -> Iterator[dict[str, Any]]:
    forms = future_forms(instrument.symbol, today)
    if not forms:
        raise InvalidSymbolError(
            f"{instrument}: a future needs its local symbol or its expiry, as in FUT:ESZ6@CME or FUT:ES 202612@CME"
        )
    for form in forms:
        yield {
            "localSymbol": form.local,
            "symbol": form.symbol,
            "lastTradeDateOrContractMonth": form.expiry,
            "includeExpired": True,  # it has bars all the same
            "currency": currency,
        }


def _askable(contract: Contract) -> Contract:
    """A contract as it is to be asked about from now on."""
    return replace(contract, includeExpired=True) if contract.secType == "FUT" else contract


def _is_less_telling(details: ContractDetails) -> int:
    """Orders what is told of one contract at several exchanges: a share's router, or else where it is listed."""
    contract = details.contract
    if contract is None:
        return 0
    is_share = contract.secType == _SHARES
    if contract.exchange in _ROUTERS:
        return 0 if is_share else 2
    return 1 if not is_share or house(contract.exchange) == house(contract.primaryExchange) else 2


def _chosen(contracts: Sequence[Contract]) -> tuple[Contract | None, str]:
    """The contract that is meant, and why; ``None`` if nothing says so."""
    first = contracts[0]
    if all(is_alike(contract, first) for contract in contracts):
        return first, "the first that was told" if len(contracts) > 1 else ""
    if first.secType == "FUT":
        of_class = [contract for contract in contracts if contract.tradingClass == contract.symbol]
        one = of_class[0] if of_class and all(is_alike(contract, of_class[0]) for contract in of_class) else None
        return one, "the one whose trading class is the symbol"
    if first.secType == _SHARES:
        best = [contract for contract in contracts if _rank(contract) == _rank(first)]
        one = best[0] if all(is_alike(contract, best[0]) for contract in best) else None
        return one, "the primary listing" if len(best) == 1 else "the first that was told"
    return None, ""


def _rank(contract: Contract) -> int:
    if contract.secType != _SHARES:
        return 0
    exchange = market(contract)
    if exchange in _PRIMARY:
        return _PRIMARY.index(exchange)
    return len(_PRIMARY) + (exchange in _OVER_THE_COUNTER)


def _note(instrument: Instrument, name: str, why: str, others: Sequence[str], known: int) -> str:
    unnamed = known - 1 - len(others)
    also = [*others, *([f"{unnamed} that no symbol tells apart"] if unnamed else [])]
    return f"{instrument} is ambiguous: this is {name}, {why}; there is also {', '.join(also)}"
