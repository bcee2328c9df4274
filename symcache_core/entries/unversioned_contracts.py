"""Tells which instrument an unversioned cache had under a symbol, by what its contract says of itself."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import replace
from datetime import date

from ..errors import CorruptEntryError
from ..merging import after
from ..models import CachedSymbolInfo, ContractInfo
from ..policy import with_changes
from ..symbols import ASSET_TYPES, Instrument, canonical_multiplier

_SHARES, _PAIR, _FUTURE = "STK", "CASH", "FUT"

# Of these a symbol, a venue and a currency name many.
_ONE_OF_MANY = frozenset("OPT FOP WAR BOND BAG".split())

# Where orders are routed, which says nothing about where an instrument is listed.
_ROUTERS = frozenset(("", "SMART", "IDEALPRO", "QBALGO"))
_AT_HOME = frozenset(("", *"NYSE NASDAQ ISLAND ARCA AMEX BATS CBOE IEX OTC OTCBB OTCLNKECN PINK".split()))

_CODE = r"[FGHJKMNQUVXZ](?:\d|[23]\d)"  # ESZ6, ESZ26; not the X50 of ESTX50
_MONTH = r"(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC) ?(?:20)?\d\d"
_EXPIRING = re.compile(rf"(?P<root>.+?) ?(?:{_CODE}|{_MONTH}|(?<= )\d{{6}}(?:\d\d)?)")
_EXPIRY = re.compile(r"\d{6}(?:\d\d)?(?!\d)")  # a time of day and its zone may follow
_DAY = len("20261218")
_PREFERRED = re.compile(r"([A-Z]+)p([A-Z]?)")
_SEPARATE = frozenset(",@:=")


def instrument_of(symbol: str, contract: ContractInfo | None) -> Instrument:
    """The instrument that a symbol stood for, qualified unless a plain symbol means this very one.

    A plain symbol means a share listed in the United States and traded in dollars, and two currencies their pair. A
    future is told by its own symbol and its last day, and by its trading class where that is another.

    Args:
        symbol: What the cache had it under.
        contract: What the provider had said it was.

    Raises:
        CorruptEntryError: It is one of many, and nothing says which.
        InvalidSymbolError: The symbol cannot be one.
    """
    plain = Instrument.parse(symbol)
    if contract is None:
        return plain
    if plain.is_qualified:
        return _of_its_class(plain, contract)
    kind = contract.asset_type.strip().upper() or plain.asset_type or _SHARES
    if kind not in ASSET_TYPES:
        raise CorruptEntryError(f"asset type {contract.asset_type!r} is not known")
    if kind in _ONE_OF_MANY:
        raise CorruptEntryError(f"one of many of type {kind}: no symbol says which of them it was")
    venue, currency = _venue(contract), contract.currency.strip().upper()
    if kind == _FUTURE:
        return _typed(replace(_future(plain, contract), venue=venue, currency=currency))
    name = _name(plain, kind, contract)
    if kind == _SHARES and venue in _AT_HOME and currency in ("", "USD"):
        return _typed(Instrument(name))
    if kind == _PAIR and name == plain.symbol:
        currency = currency or plain.currency
    return _typed(Instrument(name, "" if kind == _SHARES else kind, venue, currency))


def within_its_life(info: CachedSymbolInfo) -> CachedSymbolInfo:
    """An entry that says when its contract ends, and lives no longer than that."""
    result, contract = info.validation_result, info.validation_result.contract_info
    if contract is None or (ends := contract.last_trade_date or _last_day(contract)) is None:
        return info
    if len(_expiry(contract)) == _DAY:  # of a month alone it is not known which of its days is the last one
        result = with_changes(result, contract_info=contract.model_copy(update={"last_trade_date": ends}))
    end = after(ends)
    ttl = info.ttl_seconds if end is None else min(info.ttl_seconds, max(end - info.cached_at, 0.0))
    parts = {name: part.model_copy(update={"ttl_seconds": ttl}) for name, part in info.parts.items()}
    return CachedSymbolInfo(**{**dict(info), "validation_result": result, "ttl_seconds": ttl, "parts": parts})


def _of_its_class(said: Instrument, contract: ContractInfo) -> Instrument:
    """What a qualified symbol says, with the trading class of a future that has another one than its symbol."""
    if said.asset_type != _FUTURE or said.trading_class or said.multiplier:
        return said
    symbol, local = (_folded(_FUTURE, _told(contract, field)) for field in ("symbol", "localSymbol"))
    trading_class = _spelled_class(contract)
    is_told = said.symbol == local or trading_class in ("", symbol)
    return said if is_told else _typed(replace(said, trading_class=trading_class))


def _future(plain: Instrument, contract: ContractInfo) -> Instrument:
    """A future without its venue: by its local symbol if that was typed or is all there is, else by symbol and end."""
    typed, told = plain.symbol, _told(contract, "symbol")
    symbol, local = (
        _folded(_FUTURE, text) for text in (told or contract.symbol or typed, _told(contract, "localSymbol"))
    )
    trading_class, multiplier = _spelled_class(contract), _multiplier(contract)
    expiry = _expiry(contract)
    is_local = _ends_with_a_month(local) and (trading_class in ("", symbol) or local.startswith(trading_class))
    if is_local and (typed == local or len(expiry) < _DAY or not _told(contract, "tradingClass")):
        return Instrument(local, _FUTURE)
    if expiry:
        said = Instrument(f"{symbol} {expiry}", _FUTURE)
        if trading_class:
            return said if trading_class == symbol else replace(said, trading_class=trading_class)
        if multiplier or not _told(contract, "tradingClass"):
            return replace(said, multiplier=multiplier)
        raise CorruptEntryError("a future of a trading class that cannot be typed: no symbol says which it was")
    if not local and _ends_with_a_month(typed, (symbol, trading_class) if told else ()):
        return Instrument(typed, _FUTURE)
    raise CorruptEntryError("a future without an expiry: nothing says which of them it was")


def _ends_with_a_month(name: str, roots: tuple[str, ...] = ()) -> bool:
    """Whether a future's name says when it ends, and, if they are known, begins with one of these."""
    match = _EXPIRING.fullmatch(name)
    return match is not None and (not roots or match["root"].strip() in roots)


def _name(plain: Instrument, kind: str, contract: ContractInfo) -> str:
    """The symbol by which a contract is known, or the one that was typed where that is another way to write it."""
    name = _folded(kind, _told(contract, "symbol") or contract.symbol or str(plain))
    preferred = _PREFERRED.fullmatch(plain.symbol)
    return plain.symbol if preferred and name == f"{preferred[1]} PR{preferred[2]}" else name


def _folded(kind: str, text: str) -> str:
    if not text.strip():
        return ""
    if set(text) & _SEPARATE:
        raise CorruptEntryError(f"no symbol can be typed for {text!a}")
    return Instrument.parse(f"{kind}:{text}").symbol


def _venue(contract: ContractInfo) -> str:
    """Where it is listed, as far as that is told."""
    told = (contract.exchange.strip().upper(), _told(contract, "primaryExchange").upper())
    return next((venue for venue in told if venue not in _ROUTERS), "")


def _spelled_class(contract: ContractInfo) -> str:
    """The trading class as a symbol can say it."""
    trading_class = " ".join(_told(contract, "tradingClass").upper().split())
    return "" if set(trading_class) & _SEPARATE else trading_class


def _multiplier(contract: ContractInfo) -> str:
    try:
        return canonical_multiplier(_told(contract, "multiplier"))
    except ValueError:
        return ""


def _expiry(contract: ContractInfo) -> str:
    """The last day of a contract, or its month."""
    match = _EXPIRY.match(_told(contract, "lastTradeDateOrContractMonth"))
    return match[0] if match else ""


def _last_day(contract: ContractInfo) -> date | None:
    """The day after which it surely does not trade any more."""
    expiry = _expiry(contract)
    try:
        year, month = int(expiry[:4]), int(expiry[4:6])
        return date(year, month, int(expiry[6:]) if len(expiry) == _DAY else monthrange(year, month)[1])
    except ValueError:
        return None


def _told(contract: ContractInfo, field: str) -> str:
    value = contract.contract.get(field)
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _typed(said: Instrument) -> Instrument:
    """The same, as it is read when somebody types it, so that it is their key."""
    if Instrument.parse(str(said)) != said:
        kind = said.asset_type or _SHARES
        raise CorruptEntryError(f"no symbol can be typed for {kind} at {said.venue!a} in {said.currency!a}")
    return said
