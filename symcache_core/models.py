"""What a provider said about a symbol, and what the cache makes of it: immutable values."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from numbers import Real
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    computed_field,
    model_validator,
)

from .errors import InvalidAnswerError
from .frozen import FrozenDict, FrozenJson, attributes_of, fields_of
from .messages import explain, shown
from .moments import HeadTimestamps, IsoTime, parse_utc

REPLAY = "replay"
"""The provider whose answers are recorded history, which must never pass for a market's."""

ANY_TIMEFRAME = "*"
"""The part that stands for every timeframe whose own is not known."""

TTL, NEGATIVE_TTL, UNCONFIRMED_TTL = 30 * 86400.0, 3600.0, 300.0
"""The life of a valid verdict, of a negative, and of one that may be a disguised failure, in seconds, if nobody says
another."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


_NOT_ON_THE_WIRE = frozenset(("last_trade_date", "details"))


class ContractInfo(_Value):
    """Which contract a symbol is, as the provider describes it.

    The named fields are those of the host service's wire contract, and ``last_trade_date``; whatever else the provider
    sends is kept, unread, in ``details``. ``validated_at`` and ``head_timestamp_fetched_at`` are seconds since the
    epoch. It can be made of another program's object, too, which has all fields of the wire contract.
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
    head_timestamp: IsoTime | None = None
    head_timestamp_timeframes: FrozenJson | None = None
    head_timestamp_fetched_at: float | None = None
    details: FrozenJson = FrozenDict()

    @model_validator(mode="before")
    @classmethod
    def _keep_unknown_fields(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            if isinstance(data, cls) or not (told := attributes_of(data) | fields_of(data, cls.model_fields)):
                return data
            data = told
            if lacking := cls.model_fields.keys() - data.keys() - _NOT_ON_THE_WIRE:
                raise ValueError(f"it has no {', '.join(sorted(lacking))}")
        known = {name: value for name, value in data.items() if name in cls.model_fields and value is not None}
        unknown = {name: value for name, value in data.items() if name not in cls.model_fields}
        for name in ("contract", "trading_hours"):
            value = known.get(name)
            if type(value) is not dict and value is not None and not isinstance(value, Mapping):  # most are
                known[name] = attributes_of(value) or value
        details = known.get("details", {})
        if unknown and isinstance(details, Mapping):
            known["details"] = {**details, **unknown}
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

    @classmethod
    def of(cls, verdict: object) -> Self:
        """Read a verdict of whatever class: an object with these six fields, or a mapping that has them.

        Other classes' head timestamps of ``None`` mean that nobody has asked, as old systems write them.

        Raises:
            InvalidAnswerError: It lacks a field, or what is in one is not fit for it; the message names it.
        """
        if isinstance(verdict, cls):
            return verdict
        given, told = f"the provider gave a {type(verdict).__name__}", fields_of(verdict, cls.model_fields)
        if not told:
            raise InvalidAnswerError(f"{given}; a ValidationResult or a ProviderAnswer is expected")
        if lacking := [name for name in cls.model_fields if name not in told]:
            raise InvalidAnswerError(f"{given} without {', '.join(lacking)}, which a verdict has, be it as None")
        if isinstance(heads := told["head_timestamps"], Mapping):
            told["head_timestamps"] = {name: stamp for name, stamp in heads.items() if stamp is not None} or None
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            raise InvalidAnswerError(f"{given} that is no verdict: {explain(error, 'field', [])}") from None

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

    @classmethod
    def of(cls, answer: object) -> ProviderAnswer:
        """Read what a provider gave: one of these, or a verdict of whatever class that has its six fields.

        Raises:
            InvalidAnswerError: It is neither, or says something that cannot be; the message names that.
        """
        if not isinstance(answer, cls):
            return cls(ValidationResult.of(answer))
        if not isinstance(answer.confirmed, int):
            raise InvalidAnswerError(f"the provider gave confirmed as {shown(answer.confirmed)}; it is True or False")
        if not isinstance(answer.valid_until, Real | None):
            given = type(answer.valid_until).__name__
            raise InvalidAnswerError(f"the provider gave valid_until as a {given}; it is in seconds since the epoch")
        result = ValidationResult.of(answer.result)
        return answer if result is answer.result else replace(answer, result=result)


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


def _usual_life(result: ValidationResult, *, confirmed: bool) -> float:
    if result.is_valid:
        return TTL
    return NEGATIVE_TTL if confirmed else UNCONFIRMED_TTL


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

    def __init__(
        self, validation_result: object, cached_at: float, ttl_seconds: float | None = None, **more: Any
    ) -> None:
        """Put an entry together.

        Args:
            validation_result: The verdict, of whatever class.
            cached_at: When it was given.
            ttl_seconds: How long it lives; as long as is usual for such a verdict, if left out.
            more: The other fields.
        """
        result = ValidationResult.of(validation_result)
        if ttl_seconds is None:
            ttl_seconds = _usual_life(result, confirmed=more.get("confirmed", True))
        super().__init__(validation_result=result, cached_at=cached_at, ttl_seconds=ttl_seconds, **more)

    # For whoever writes an entry in Python; what is stored says all of its fields, and is read without this.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic looks for it at its models

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Read an entry of a mapping; one that does not say its life lives as long as is usual for such a verdict."""
        if not isinstance(obj, Mapping) or "ttl_seconds" in obj:
            return super().model_validate(obj, **options)
        made = super().model_validate({**obj, "ttl_seconds": 0.0}, **options)
        return made.model_copy(update={"ttl_seconds": _usual_life(made.validation_result, confirmed=made.confirmed)})

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
    storage that is out of reach or takes no writes (``degraded``; ``trouble`` says why). ``size`` is how many bytes
    the storage takes, other providers' entries included, or ``None`` where it does not know, or is out of reach.
    """

    backend: str
    provider: str
    cached_symbols: int
    waiting: int = 0
    degraded: bool = False
    trouble: str | None = None
    unwritten: int = 0
    size: int | None = None
    totals: Counters = Counters()
    since: float | None = None
