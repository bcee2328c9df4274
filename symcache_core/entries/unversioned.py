"""Reads what an unversioned symbol cache wrote, for whoever opens such a file and for whoever imports it.

The file is ``{"AAPL": {"validation_result", "cached_at", "ttl_seconds"}}``. It goes by the symbol alone, whatever
was found under it, and says neither whose answers these are nor whether a negative is a disguised failure: such a one
counts as unconfirmed. A null head timestamp means "not asked".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from ..errors import CorruptEntryError, InvalidSymbolError
from ..merging import settle
from ..messages import explain
from ..models import TTL, CachedSymbolInfo, Part, Provenance, ValidationResult
from ..policy import Freshness, Policy, freshness
from .items import Found, Item, Unreadable
from .unversioned_contracts import instrument_of, within_its_life

PROVIDER = "ib"
"""Whose answers such caches held."""

_NEGATIVE_TTL = 300.0
_USUAL = Policy()

_LONGEST = 100 * 365.25 * 86400.0

END_OF_TIME = 253_402_300_800.0
"""The year 10000, in seconds since the epoch: a later moment is in other units, or damaged."""


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
    if not math.isfinite(info.cached_at) or info.cached_at >= END_OF_TIME:
        raise CorruptEntryError(f"entry {symbol!r} is not readable: 'cached_at' is no moment")
    if not math.isfinite(info.ttl_seconds) or info.ttl_seconds > _LONGEST:
        raise CorruptEntryError(
            f"entry {symbol!r} is not readable: 'ttl_seconds' is no life of a hundred years or less"
        )
    info = within_its_life(info)
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
