"""What a provider said about a symbol, and what the cache makes of it: immutable values."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, NoReturn, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, computed_field, model_validator

REPLAY = "replay"
"""The provider whose answers are recorded history, which must never pass for a market's."""

ANY_TIMEFRAME = "*"
"""The part that stands for every timeframe whose own is not known."""


class FrozenDict(dict[str, Any]):
    """A dict that refuses to change; equal to, and serialised as, a plain one."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a cached value is immutable: make a changed copy with dict(value)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


def freeze(value: Any) -> Any:
    """Copy a JSON-like value into one that nobody can change.

    Dates become ISO 8601 text, lists become tuples, dicts become :class:`FrozenDict`.

    Raises:
        ValueError: The value has no JSON form (an object, a set, NaN), so it could not be cached.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is not JSON; leave it out or use null")
            return value
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("text with lone surrogates is not JSON") from None
            return str(value)
        case date():
            return value.isoformat()
        case Mapping():
            return FrozenDict((str(name), freeze(item)) for name, item in value.items())
        case list() | tuple():
            return tuple(freeze(item) for item in value)
        case _:
            raise ValueError(f"a {type(value).__name__} is not JSON and cannot be cached; convert it first")


def _iso_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: item.isoformat() if isinstance(item, datetime) else item for name, item in value.items()}
    return value


def _all_iso(value: Mapping[str, str | None]) -> Mapping[str, str | None]:
    for timeframe, stamp in value.items():
        if stamp is not None:
            try:
                parse_utc(stamp)
            except ValueError:
                raise ValueError(f"head timestamp of {timeframe} is not an ISO 8601 time: {stamp!r}") from None
    return FrozenDict(value)


def parse_utc(stamp: str) -> datetime:
    """Read an ISO 8601 time; one without an offset is UTC.

    Raises:
        ValueError: The text is not an ISO 8601 time.
    """
    moment = datetime.fromisoformat(stamp)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # before the year 1 or after 9999 in UTC: the nearest that there is
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


FrozenJson = Annotated[Mapping[str, Any], AfterValidator(freeze)]
"""A mapping of JSON values that cannot be changed."""

HeadTimestamps = Annotated[Mapping[str, str | None], BeforeValidator(_iso_or_none), AfterValidator(_all_iso)]
"""Timeframe to the ISO 8601 time of its first bar; ``None`` says that there is no data."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class ContractInfo(_Value):
    """Which contract a symbol is, as the provider describes it.

    The named fields are those of the host service's wire contract; whatever else the provider sends is kept,
    unread, in ``details``. ``validated_at`` and ``head_timestamp_fetched_at`` are seconds since the epoch.
    """

    symbol: str = ""
    asset_type: str = ""
    exchange: str = ""
    currency: str = ""
    description: str = ""
    validated_at: float | None = None
    contract: FrozenJson = FrozenDict()
    trading_hours: FrozenJson | None = None
    last_trade_date: date | None = None
    head_timestamp: str | None = None
    head_timestamp_timeframes: FrozenJson | None = None
    head_timestamp_fetched_at: float | None = None
    details: FrozenJson = FrozenDict()

    @model_validator(mode="before")
    @classmethod
    def _keep_unknown_fields(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {name: value for name, value in data.items() if name in cls.model_fields and value is not None}
        unknown = {name: value for name, value in data.items() if name not in cls.model_fields}
        if unknown:
            known["details"] = {**known.get("details", {}), **unknown}
        return known

    @property
    def permanent_id(self) -> str | None:
        """The provider's permanent id of the contract, if it told one: a ``conId``, or else an ``id``."""
        for name in ("conId", "id"):
            told = self.contract.get(name)
            if isinstance(told, str | int) and not isinstance(told, bool) and str(told).strip() not in ("", "0"):
                return str(told).strip()
        return None


class ValidationResult(_Value):
    """A provider's verdict on a symbol.

    ``head_timestamps`` maps a timeframe to the ISO 8601 time of its first bar, or to ``None`` where the provider
    has no data; a timeframe that is not in it was not asked for.
    """

    model_config = ConfigDict(extra="forbid")

    is_valid: bool
    symbol: str
    error_message: str | None = None
    contract_info: ContractInfo | None = None
    head_timestamps: HeadTimestamps | None = None
    suggested_symbol: str | None = None

    def head_timestamp(self, timeframe: str) -> datetime | None:
        """The time (UTC) of the first bar of a timeframe, if the provider named one."""
        stamp = (self.head_timestamps or {}).get(timeframe)
        return None if stamp is None else parse_utc(stamp)


class Provenance(_Value):
    """Who gave an answer: for an error report, and so that one gateway's answers never pass for another's."""

    provider: str | None = None
    gateway: str | None = None
    adapter: str | None = None
    host: str | None = None
    code: str | None = None
    spelling: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A verdict, and what else its provider knows about it.

    Args:
        result: The verdict itself.
        confirmed: False for a negative that may be a disguised failure; such a one lives minutes only.
        provenance: Who gave the answer.
        valid_until: When it ends by itself (seconds since the epoch, UTC): a contract's last trade date.
        one_head_timestamp: The head timestamp does not depend on the timeframe, so one serves them all.
    """

    result: ValidationResult
    confirmed: bool = True
    provenance: Provenance = Provenance()  # noqa: RUF009  # it cannot be changed
    valid_until: float | None = None
    one_head_timestamp: bool = False


class Basis(_Value):
    """What bars are made of: bars on different bases are not comparable.

    ``show`` is the kind of prices, as the provider calls it (TRADES, MIDPOINT, ...), ``adjustment`` what they are
    adjusted for (split, or none), ``session`` which hours they cover (regular, or extended, which includes those).
    """

    show: str
    adjustment: str
    session: str


class Part(_Value):
    """What is known about one timeframe: a head timestamp, or ``None`` for "no data", and since when.

    ``asked_at`` is in seconds since the epoch, ``ttl_seconds`` the life counted from it.
    """

    head_timestamp: str | None
    asked_at: float
    ttl_seconds: float


class VerdictChange(_Value):
    """That a verdict was overturned: when (seconds since the epoch), to what, and the provider's own code for it.

    Or that the symbol of a valid one became another contract's: ``contract`` is the permanent id that it has since, and
    ``former_contract`` the one that it had before.
    """

    at: float
    is_valid: bool
    code: str | None = None
    contract: str | None = None
    former_contract: str | None = None


class CachedSymbolInfo(_Value):
    """An entry: a verdict, when it was given and how long it lives, and the same for each timeframe.

    ``cached_at`` is in seconds since the epoch, ``ttl_seconds`` the life of the verdict counted from it.
    ``repeats`` counts how often in a row a negative verdict was given before; ``doubted`` is a valid one that the
    provider has contradicted, confirmed since ``suspect_since``; ``changes`` has the last times that the verdict was
    overturned or became another contract's, oldest first.
    """

    validation_result: ValidationResult
    cached_at: float
    ttl_seconds: float
    parts: Annotated[Mapping[str, Part], AfterValidator(FrozenDict)] = FrozenDict()
    confirmed: bool = True
    provenance: Provenance = Provenance()
    repeats: int = 0
    suspect_since: float | None = None
    doubted: bool = False
    changes: tuple[VerdictChange, ...] = ()

    @property
    def shared_part(self) -> Part | None:
        """What is known whatever the timeframe, if the provider said that one head timestamp serves them all."""
        return self.parts.get(ANY_TIMEFRAME)

    def part(self, timeframe: str) -> Part | None:
        """What is known of a timeframe, if anything: its own part, or the shared one."""
        return self.parts.get(timeframe) or self.shared_part

    def is_expired(self, now: float | None = None) -> bool:
        """Whether the verdict's life is over.

        Args:
            now: Seconds since the epoch; the wall clock's when left out.
        """
        return (time.time() if now is None else now) >= self.cached_at + self.ttl_seconds

    def to_validation_result(self) -> ValidationResult:
        """The verdict as its provider gave it, with the head timestamps of every timeframe asked so far."""
        return self.validation_result


class Outcome(StrEnum):
    """How a lookup was answered."""

    HIT = "hit"
    PARTIAL = "partial"
    MISS = "miss"
    COALESCED = "coalesced"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The answer to one lookup.

    Args:
        result: The verdict.
        outcome: HIT from the cache; MISS from the provider; COALESCED from another caller's question to the
            provider; STALE from a cache whose provider fails; PARTIAL without the timeframes in ``missing``.
        age: Seconds since the verdict was given.
        info: The whole entry that the answer comes from.
        missing: Timeframes that were asked for and are not answered.
        error: Why the provider did not answer, for STALE and PARTIAL.
    """

    result: ValidationResult
    outcome: Outcome
    age: float
    info: CachedSymbolInfo
    missing: tuple[str, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class SymbolLookup:
    """What came of one symbol of many: a lookup, or the error that kept it from one.

    Args:
        symbol: As the caller wrote it.
        lookup: The answer.
        error: Why there is none.
    """

    symbol: str
    lookup: Lookup | None = None
    error: Exception | None = None


class Counters(_Value):
    """How many lookups ended how, and what was asked of the provider."""

    hits: int = 0
    misses: int = 0
    partials: int = 0
    coalesced: int = 0
    stale: int = 0
    negatives: int = 0
    refreshes: int = 0
    provider_calls: int = 0
    provider_errors: int = 0

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented spelling; mypy knows no decorated property
    @property
    def hit_ratio(self) -> float | None:
        """The share of lookups that a fresh entry answered, or ``None`` before the first."""
        lookups = self.hits + self.misses + self.partials + self.coalesced + self.stale
        return round(self.hits / lookups, 4) if lookups else None

    def __add__(self, other: Counters) -> Counters:
        return Counters(**{name: getattr(self, name) + getattr(other, name) for name in Counters.model_fields})


class CacheStats(Counters):
    """The figures of one cache: this process's counters, and ``totals`` over every process since ``since``.

    ``waiting`` is how many callers wait for the provider at this moment, ``unwritten`` how many entries wait for a
    storage that is out of reach (``degraded``). ``size`` is how many bytes the storage takes, other providers' entries
    included, or ``None`` where it does not know, or is out of reach.
    """

    backend: str
    provider: str
    cached_symbols: int
    waiting: int = 0
    degraded: bool = False
    unwritten: int = 0
    size: int | None = None
    totals: Counters = Counters()
    since: float | None = None
