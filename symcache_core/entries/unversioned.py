"""Reads what an unversioned symbol cache wrote, for whoever opens such a file and for whoever imports it.

The file is ``{"AAPL": {"validation_result", "cached_at", "ttl_seconds"}}``. It goes by the symbol alone, whatever
was found under it, and says neither whose answers these are nor whether a negative is a disguised failure: such a one
counts as unconfirmed. A null head timestamp means "not asked".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from ..errors import CorruptEntryError, InvalidSymbolError
from ..merging import settle
from ..messages import explain
from ..models import TTL, CachedSymbolInfo, ContractInfo, Part, Provenance, ValidationResult
from ..policy import Freshness, Policy, freshness
from ..symbols import ASSET_TYPES, Instrument
from .items import Found, Item, Unreadable

PROVIDER = "ib"
"""Whose answers such caches held."""

_NEGATIVE_TTL = 300.0
_USUAL = Policy()

_SHARES, _PAIR, _FUTURE = "STK", "CASH", "FUT"

# Where orders are routed, which says nothing about where an instrument is listed.
_ROUTERS = frozenset(("", "SMART", "IDEALPRO"))
_US_VENUES = frozenset("NYSE NASDAQ ISLAND ARCA AMEX BATS CBOE IEX OTC OTCBB OTCLNKECN PINK".split())
_EXPIRING = re.compile(r".+(?:[FGHJKMNQUVXZ]\d{1,2}| \d{6}(?:\d\d)?)")  # ESZ6, or ES 202612


def is_table(document: Any) -> bool:
    """Whether a JSON document is such a file; an empty object is one."""
    if not isinstance(document, Mapping):
        return False
    return not document or any(
        isinstance(value, Mapping) and "validation_result" in value for value in document.values()
    )


def entries_of(table: Mapping[str, Any], provider: str = PROVIDER) -> Iterator[Found]:
    """The entry of each symbol, or why there is none, in the order of the file.

    Args:
        table: What is in the file.
        provider: Whose answers these are.
    """
    for symbol, value in table.items():
        yield found(symbol, partial(_entry, value=value, provider=provider))


def by_key(items: Iterable[Item], now: float, policy: Policy = _USUAL) -> dict[str, Item]:
    """One entry a key, of symbols that mean one instrument, without those that could not even bridge an outage.

    Args:
        items: In the order of the file.
        now: Seconds since the epoch.
        policy: How long answers live.
    """
    kept: dict[str, Item] = {}
    for item in items:
        if freshness(item.info, now, policy) is Freshness.EXPIRED:
            continue
        known = kept.get(item.key)
        info = item.info if known is None else settle(known.info, item.info, now, policy)
        if known is None or info is not known.info:
            kept[item.key] = item if info is item.info else Item.made(item.key, info)
    return kept


def found(symbol: str, make: Callable[[str], Item]) -> Found:
    """What is made of a symbol, or why nothing can be."""
    try:
        return make(symbol)
    except ValidationError as error:
        return Unreadable(symbol, explain(error, "field", []))
    except (CorruptEntryError, InvalidSymbolError) as error:
        return Unreadable(symbol, str(error))


def _entry(symbol: str, value: Any, provider: str) -> Item:
    if not isinstance(value, Mapping):
        raise CorruptEntryError(f"entry {symbol!r} is not readable: it is no object")
    # One that does not say its life has the usual one there (``ktrdr/data/components/symbol_cache.py``).
    info = CachedSymbolInfo.model_validate({"ttl_seconds": TTL, **value, "provenance": Provenance(provider=provider)})
    result, since, ttl = info.validation_result, info.cached_at, info.ttl_seconds
    known = {name: stamp for name, stamp in (result.head_timestamps or {}).items() if stamp is not None}
    update: dict[str, Any] = {
        "validation_result": ValidationResult.model_validate({**dict(result), "head_timestamps": known or None}),
        "parts": {name: Part(head_timestamp=stamp, asked_at=since, ttl_seconds=ttl) for name, stamp in known.items()},
    }
    if not result.is_valid:
        update |= {"confirmed": False, "ttl_seconds": min(ttl, _NEGATIVE_TTL)}
    key = instrument_of(symbol, result.contract_info).key(provider)
    return Item.made(key, CachedSymbolInfo(**{**dict(info), **update}))


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
