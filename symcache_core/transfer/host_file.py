"""What an unversioned host service wrote: ``{"cache": {"AUDCAD": {...}}, "validated_symbols", "last_updated"}``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from ..entries.items import Found, Item, Unreadable
from ..entries.unversioned import END_OF_TIME, found
from ..entries.unversioned_contracts import instrument_of, within_its_life
from ..errors import CorruptEntryError
from ..merging import merge
from ..models import (
    ANY_TIMEFRAME,
    CachedSymbolInfo,
    ContractInfo,
    Part,
    Provenance,
    ProviderAnswer,
    ValidationResult,
)
from ..moments import HeadTimestamps
from ..policy import Policy
from ..symbols import Instrument

_DEFAULT = "default"
"""What a host service called the timeframe of a head timestamp that it asked for without naming one."""

_MOMENT = TypeAdapter(float)
_HEADS: TypeAdapter[Mapping[str, str | None]] = TypeAdapter(HeadTimestamps)


def host_entries(document: Mapping[str, Any], provider: str, policy: Policy) -> Iterator[Found]:
    """The entries of such a file.

    An older form has ``failed_symbols``, too, among which are real ones. Answers live as long as if they had been
    stored when they were given.

    Args:
        document: What is in the file.
        provider: Whose answers these are.
        policy: How long answers live.
    """
    table, since = document["cache"], document.get("last_updated")
    for symbol, value in table.items():
        yield found(symbol, partial(_described, value=value, provider=provider, policy=policy))
    failed = partial(_failed, since=since, provider=provider, policy=policy)
    for name in _names(document, "failed_symbols"):
        yield found(name, failed) if isinstance(name, str) else name
    for name in _names(document, "validated_symbols"):
        if not isinstance(name, str):
            yield name
        elif name not in table:
            yield Unreadable(name, "it is listed as validated, and nothing says what it is")


def _names(document: Mapping[str, Any], field: str) -> Iterator[str | Unreadable]:
    names = document.get(field) or []
    if not isinstance(names, list):
        yield Unreadable(field, "it is no list of symbols")
        return
    for name in names:
        yield name if isinstance(name, str) else Unreadable(f"{json.dumps(name)} in {field}", "it is no symbol")


def _described(symbol: str, value: Any, provider: str, policy: Policy) -> Item:
    contract = ContractInfo.model_validate(value)
    key = instrument_of(symbol, contract).key(provider)
    since = _moment(contract.validated_at, "validated_at")
    asked_at = _moment(contract.head_timestamp_fetched_at or since, "head_timestamp_fetched_at")
    told = {_DEFAULT: contract.head_timestamp, **(contract.head_timestamp_timeframes or {})}
    known = dict(_HEADS.validate_python({name: stamp for name, stamp in told.items() if stamp is not None}))
    shared = known.pop(_DEFAULT, None)
    result = ValidationResult(is_valid=True, symbol=symbol, contract_info=contract, head_timestamps=known or None)
    info = merge(None, ProviderAnswer(result, provenance=Provenance(provider=provider)), (), key, since, policy)
    heads = known if shared is None else {**known, ANY_TIMEFRAME: shared}
    parts = {
        name: Part(head_timestamp=stamp, asked_at=asked_at, ttl_seconds=info.ttl_seconds)
        for name, stamp in heads.items()
    }
    return Item.made(key, within_its_life(CachedSymbolInfo(**{**dict(info), "parts": parts})))


def _failed(symbol: str, since: Any, provider: str, policy: Policy) -> Item:
    key = Instrument.parse(symbol).key(provider)
    result = ValidationResult(is_valid=False, symbol=symbol)
    answer = ProviderAnswer(result, confirmed=False, provenance=Provenance(provider=provider))
    return Item.made(key, merge(None, answer, (), key, _moment(since, "last_updated"), policy))


def _moment(value: Any, field: str) -> float:
    if value is None:
        raise CorruptEntryError(f"no {field!r} says when the answer was given")
    moment = _MOMENT.validate_python(value)
    if not math.isfinite(moment) or moment >= END_OF_TIME:
        raise CorruptEntryError(f"{field!r} is no moment")
    return moment
