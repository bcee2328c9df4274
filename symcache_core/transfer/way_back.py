"""Writes the entries of a store as an unversioned symbol cache had them, so that a program goes back to its own.

The form is that of ``ktrdr/data/components/symbol_cache.py``::

    {"AAPL": {"validation_result": {...}, "cached_at": 1750000000.0, "ttl_seconds": 2592000.0}}

It goes by the symbol alone, and says neither whose answers these are nor which negative is a disguised failure. What it
would tell wrongly is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..entries import unversioned
from ..entries.items import Found, Unreadable
from ..errors import ConfigurationError, InvalidSymbolError
from ..files import replacing
from ..models import REPLAY, CachedSymbolInfo, ContractInfo
from ..policy import answers, verdict_for
from ..settings import SymcacheSettings
from ..symbols import Instrument
from ..timeframes import TIMEFRAMES
from .stores import StoredEntries, open_store

_NEW_FIELDS = {"last_trade_date", "details"}


class LeftOut(StrEnum):
    """Why an entry is not among those that are written."""

    OTHERS = "others"
    """It is another provider's."""
    QUALIFIED = "qualified"
    """The symbol says more than a ticker, and would be another instrument's without that."""
    UNCONFIRMED = "unconfirmed"
    """A negative that may be a disguised failure."""
    EXPIRED = "expired"
    """Its life is over."""


@dataclass(slots=True)
class WayBack:
    """What became of the entries of a store.

    Args:
        table: What the file has.
        exported: How many entries are in it; a pair or a class share is there under each of its spellings.
        left_out: How many are not, and why.
        unreadable: Those that could not be understood.
    """

    table: dict[str, Any] = field(default_factory=dict)
    exported: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)


def export_unversioned(file: Path, settings: SymcacheSettings, *, now: float, provider: str | None = None) -> WayBack:
    """Write the configured store in the unversioned form; the file appears under its name when it is complete.

    Args:
        file: Where to.
        settings: Say which store.
        now: Seconds since the epoch.
        provider: Whose answers; Interactive Brokers' when left out, as those of such caches were.

    Raises:
        ConfigurationError: Recorded history would pass for a market's there, or the file cannot be written.
        BackendError: The store cannot be read.
    """
    whose = provider or unversioned.PROVIDER
    if whose == REPLAY:
        raise ConfigurationError("option '--provider': what is replayed would pass for a market's in such a file")
    with closing(open_store(settings, settings.backend)) as store:
        found = StoredEntries(store, whose)
        result = unversioned_form(found, now)
        others = len(StoredEntries(store).keys) - len(found)
    if others:
        result.left_out[LeftOut.OTHERS] = others
    try:
        with replacing(file) as opened:
            opened.write(json.dumps(result.table, indent=2).encode())
    except OSError as error:
        raise ConfigurationError(f"argument 'FILE': {file} cannot be written: {error.strerror or error}") from None
    return result


def unversioned_form(found: Iterable[Found], now: float) -> WayBack:
    """What such a file says of some entries.

    Args:
        found: Of one provider.
        now: Seconds since the epoch.
    """
    result = WayBack()
    written: dict[str, dict[str, Any]] = {}
    for each in found:
        if isinstance(each, Unreadable):
            result.unreadable.append(each)
            continue
        instrument = Instrument.from_key(each.key)
        if (why := _why_not(instrument, each.info, now)) is not None:
            result.left_out[why] += 1
            continue
        entry = _entry(each.info)
        written[str(instrument)] = dict.fromkeys(_spellings(instrument, each.info), entry)
        result.exported += 1
    for _, spelled in sorted(written.items()):
        result.table |= spelled
    return result


def _why_not(instrument: Instrument, info: CachedSymbolInfo, now: float) -> LeftOut | None:
    if instrument.is_qualified:
        return LeftOut.QUALIFIED
    if not info.confirmed:
        return LeftOut.UNCONFIRMED
    return None if answers(info, (), now) else LeftOut.EXPIRED


def _spellings(instrument: Instrument, info: CachedSymbolInfo) -> Iterator[str]:
    """Under what a program may look for it that does not know that they are the same.

    First as the verdict has it and as the provider writes it, where these are ways to write this very symbol.
    """
    told = (info.validation_result.symbol, info.provenance.spelling or "")
    yield from (each for each in told if _is_way_to_write(each, instrument))
    yield str(instrument)
    if instrument.asset_type == "CASH":
        yield from (f"{instrument.symbol}{sign}{instrument.currency}" for sign in "./")
    elif instrument.symbol.count(" ") == 1:
        others = (instrument.symbol.replace(" ", sign) for sign in ".-/")
        yield from (each for each in others if _is_way_to_write(each, instrument))


def _is_way_to_write(symbol: str, instrument: Instrument) -> bool:
    try:
        return Instrument.parse(symbol) == instrument
    except InvalidSymbolError:
        return False


def _entry(info: CachedSymbolInfo) -> dict[str, Any]:
    verdict = verdict_for(info, TIMEFRAMES)
    # A null would say there that nobody has asked.
    heads = {name: stamp for name, stamp in (verdict.head_timestamps or {}).items() if stamp is not None}
    told = verdict.model_dump(mode="json") | {
        "contract_info": _contract(verdict.contract_info, info.cached_at),
        "head_timestamps": heads or None,
    }
    return {"validation_result": told, "cached_at": info.cached_at, "ttl_seconds": info.ttl_seconds}


def _contract(contract: ContractInfo | None, since: float) -> Mapping[str, Any] | None:
    """The eleven fields that there were; an object is made of them by keyword, and dies of any other."""
    if contract is None:
        return None
    told = contract.model_dump(mode="json", exclude=_NEW_FIELDS)
    return told if contract.validated_at is not None else told | {"validated_at": since}
