"""Tells which instrument an unversioned cache had under a symbol: it went by the symbol alone, whatever was found."""

from __future__ import annotations

import re

from ..errors import CorruptEntryError
from ..models import ContractInfo
from ..symbols import ASSET_TYPES, Instrument

_SHARES, _PAIR, _FUTURE = "STK", "CASH", "FUT"

# Where orders are routed, which says nothing about where an instrument is listed.
_ROUTERS = frozenset(("", "SMART", "IDEALPRO"))
_US_VENUES = frozenset("NYSE NASDAQ ISLAND ARCA AMEX BATS CBOE IEX OTC OTCBB OTCLNKECN PINK".split())
_EXPIRING = re.compile(r".+(?:[FGHJKMNQUVXZ]\d{1,2}| \d{6}(?:\d\d)?)")  # ESZ6, or ES 202612


def instrument_of(symbol: str, contract: ContractInfo | None) -> Instrument:
    """The instrument that a symbol stood for, qualified unless the plain symbol means this very one.

    A plain symbol means a share listed in the United States and traded in dollars, and two currencies their pair.

    Args:
        symbol: What the cache had it under.
        contract: What the provider had said it was.

    Raises:
        CorruptEntryError: It is one of many, and nothing says which.
        InvalidSymbolError: The symbol cannot be one.
    """
    plain = Instrument.parse(symbol)
    if contract is None or plain.is_qualified:
        return plain
    told = (contract.asset_type, contract.exchange, contract.currency)
    kind, venue, currency = (field.strip().upper() for field in told)
    kind = kind or plain.asset_type or _SHARES
    if _is_plain(plain, kind, venue, currency):
        return plain
    if kind not in ASSET_TYPES:
        raise CorruptEntryError(f"asset type {contract.asset_type!r} is not known")
    return _qualified(_expiring(plain, contract) if kind == _FUTURE else plain, kind, venue, currency)


def _is_plain(plain: Instrument, kind: str, venue: str, currency: str) -> bool:
    if kind != (plain.asset_type or _SHARES):
        return False
    home = plain.currency or "USD"
    return currency in ("", home) and (venue in _ROUTERS or (kind == _SHARES and venue in _US_VENUES))


def _expiring(plain: Instrument, contract: ContractInfo) -> Instrument:
    local, expiry = (contract.contract.get(name) for name in ("localSymbol", "lastTradeDateOrContractMonth"))
    for name in (plain.symbol, str(local or ""), f"{plain.symbol} {expiry or ''}"):
        if _EXPIRING.fullmatch(name):
            return Instrument(name)
    raise CorruptEntryError("a future without an expiry: nothing says which of them it was")


def _qualified(plain: Instrument, kind: str, venue: str, currency: str) -> Instrument:
    prefix = "" if kind == _SHARES else f"{kind}:"
    venue = "" if venue in _ROUTERS else venue
    name = str(plain) if plain.asset_type else plain.symbol
    # Read as if it had been typed, so that it is the key of whoever does.
    instrument = Instrument.parse(f"{prefix}{name}@{venue}" + (f":{currency}" if currency else ""))
    understood = instrument.asset_type or _SHARES, instrument.venue, instrument.currency
    if understood != (kind, venue, currency or instrument.currency):
        raise CorruptEntryError(f"no symbol can be typed for {kind} at {venue!a} in {currency!a}")
    return instrument
