"""The host service's wire contract: the requests under ``/data``, and the shape of every answer.

What an older host service does not send (``error_kind`` and all that follows it in a shape) is an addition: a client
that does not know it reads on unharmed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetPydanticSchema, model_validator
from pydantic_core.core_schema import literal_schema

from symcache_core.symbols import Instrument
from symcache_core.timeframes import TIMEFRAMES

WIRE_VERSION = 1
VERSION = version("symcache")

LARGEST_BATCH = 500
"""How many symbols may be asked about at once."""

LONGEST_WAIT = 86400.0
"""Seconds that a client may say that it waits."""

PRIORITY_ORDER = "where not all can go at once: foreground before refresh before warming"

ErrorKind = Literal["permanent", "transient", "pacing", "permission"]
Urgency = Literal["foreground", "refresh", "warming"]
Session = Literal["regular", "extended"]


def _canonical(text: str) -> str:
    return str(Instrument.parse(text))


def _checked(text: str) -> str:
    Instrument.parse(text)
    return text


def _iso(moment: object) -> object:
    """Pydantic alone would take a number for seconds since 1970."""
    if not isinstance(moment, str):
        raise ValueError("write an ISO 8601 time")  # noqa: TRY004  # pydantic reports a ValueError
    return datetime.fromisoformat(moment)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None


Symbol = Annotated[
    str,
    Field(min_length=1, max_length=128, description="a symbol in any spelling, qualified or not", examples=["AAPL"]),
    AfterValidator(_canonical),
]
"""A symbol in any spelling; read into the canonical one."""

RawSymbol = Annotated[str, Field(min_length=1, max_length=128, examples=["AAPL"]), AfterValidator(_checked)]
"""A symbol in any spelling; left in that one."""

Timeframe = Annotated[str, GetPydanticSchema(lambda _source, _handler: literal_schema(list(TIMEFRAMES)))]
"""The name of a timeframe: a ``Literal`` of those that the core knows."""

Timeframes = Annotated[
    list[Timeframe] | None, Field(max_length=16, description="of these it is asked since when there is data")
]

Moment = Annotated[datetime, BeforeValidator(_iso), AfterValidator(_utc)]
"""An ISO 8601 time; one without an offset is UTC."""

InstrumentType = Annotated[
    str | None, Field(max_length=32, description="not read: the symbol itself says it; older clients send it")
]


class CallOptions(BaseModel):
    """The headers that name the caller, the priority, and the deadline of a request."""

    x_symcache_client: str = Field(
        "", max_length=64, pattern=r"^[!-~]*$", description="the caller; clients of one priority are served round robin"
    )
    x_symcache_priority: Urgency = Field("foreground", description=PRIORITY_ORDER)
    x_symcache_deadline: float = Field(
        LONGEST_WAIT, gt=0, le=LONGEST_WAIT, description="seconds after which nobody waits for the answer any more"
    )


class BatchCallOptions(CallOptions):
    """The same for many symbols, before which a request for one symbol goes."""

    x_symcache_priority: Urgency = Field("warming", description=PRIORITY_ORDER)


class ValidateRequest(BaseModel):
    """Asks for the verdict on a symbol, and since when some timeframes have data."""

    symbol: Symbol
    timeframes: Timeframes = None


class ValidateBatchRequest(BaseModel):
    """Asks the same of many symbols."""

    symbols: list[RawSymbol] = Field(
        min_length=1, max_length=LARGEST_BATCH, description="symbols in any spelling; the answer has them in the same"
    )
    timeframes: Timeframes = None


class HistoricalRequest(BaseModel):
    """Asks for bars."""

    symbol: Symbol
    timeframe: Timeframe = Field(description="the length of a bar")
    start: Moment = Field(description="when the first bar may begin; without an offset, in UTC")
    end: Moment = Field(description="when the last bar may begin; without an offset, in UTC")
    instrument_type: InstrumentType = None
    session: Session | None = Field(
        None,
        description="the hours that bars are of: the exchange's own, or all; left out: those usual for the instrument",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError("start is after end")
        return self


class Origin(BaseModel):
    """Who gave an answer."""

    gateway: str = Field(description="whose answer it is: ib, or replay for recorded history")
    host: str = Field(f"symcache {VERSION}", description="the host service and its version")


class Answer(BaseModel):
    """What every answer under ``/data`` has."""

    success: bool = Field(True, description="whether there is an answer; if not, error says why")
    error: str | None = Field(None, description="why there is no answer")
    error_kind: ErrorKind | None = Field(
        None,
        description="permanent: asking again changes nothing; transient: it may; pacing: asked too often; permission: "
        "not for this account",
    )
    error_code: str | None = Field(None, description="the gateway's own code")
    retry_after: float | None = Field(None, description="seconds after which asking again makes sense")
    suggested_symbol: str | None = Field(None, description="the symbol that may have been meant")
    alternatives: list[str] | None = Field(
        None, description="of an ambiguous symbol: for each instrument that it fits, the symbol that means no other"
    )
    provenance: Origin = Field(description="who gave the answer")


class Contract(BaseModel):
    """Which contract a symbol is: these eleven fields and no others, now and later.

    A client may make an object of them by keyword, as that of ktrdr's ib-host-service does, and fails at any other.
    What is new stands beside it in the answer.
    """

    symbol: str = Field(description="the symbol proper")
    asset_type: str = Field(description="STK, CASH, FUT, ...")
    exchange: str = Field(description="the primary exchange")
    currency: str = Field(description="the currency of its prices")
    description: str = Field(description="the name in full")
    validated_at: float = Field(description="when the gateway said so, in seconds since 1970")
    contract: dict[str, Any] = Field(description="the fields of Interactive Brokers' own contract")
    trading_hours: dict[str, Any] | None = Field(description="when it is traded, and in which time zone")
    head_timestamp: str | None = Field(description="since when there is data, whatever the timeframe")
    head_timestamp_timeframes: dict[str, Any] | None = Field(description="since when there is data, by timeframe")
    head_timestamp_fetched_at: float | None = Field(description="when that was asked, in seconds since 1970")


class VerdictAnswer(Answer):
    """A verdict on a symbol."""

    is_valid: bool = Field(False, description="whether there is such an instrument; proves nothing without success")
    error_message: str | None = Field(None, description="why the symbol is not valid")
    contract_info: Contract | None = Field(None, description="which contract it is")
    contract_details: dict[str, Any] | None = Field(None, description="what the gateway says more about that contract")
    last_trade_date: str | None = Field(None, description="the day on which that contract ends, for a future")
    head_timestamps: dict[str, str | None] | None = Field(
        None,
        description="the ISO 8601 time of the first bar, by timeframe; null: there is no data; left out: not answered",
    )
    one_head_timestamp: bool = Field(
        False, description="whether the first bar is the same for every timeframe, so that one answer serves them all"
    )
    confirmed: bool | None = Field(None, description="false for a negative that may be a failure in disguise")


class BatchAnswer(Answer):
    """A verdict on each of many symbols."""

    results: dict[str, VerdictAnswer] = Field(
        {}, description="for each symbol, as it was asked, its verdict or a failure of its own"
    )


class Basis(BaseModel):
    """What bars are made of; those on different bases are not comparable."""

    model_config = ConfigDict(frozen=True)

    show: str = Field(description="the kind of prices: TRADES, MIDPOINT, AGGTRADES")
    adjustment: Literal["split", "none"] = Field(description="what the prices are adjusted for")
    session: Session = Field(description="the hours that they are of; extended has the regular ones, too")


class HistoricalAnswer(Answer):
    """Bars."""

    data: str | None = Field(
        None,
        description="the text of a JSON object: the ISO 8601 time at which a bar begins, to its open, high, low, close "
        "and volume",
    )
    rows: int = Field(0, description="how many bars there are")
    contract: dict[str, Any] | None = Field(
        None, description="which contract they are of: as in a verdict's, or what tells a listing from others"
    )
    basis: Basis | None = Field(None, description="what they are made of")


class HeadTimestampAnswer(Answer):
    """Since when there is data."""

    timestamp: str | None = Field(None, description="the ISO 8601 time of the first bar; null: there is no data")
