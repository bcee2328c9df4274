"""The host service's wire contract: what may be asked, and the shape of every answer.

What an older host service does not send (``error_kind`` and all that follows it in a shape) is an addition: a client
that does not know it reads on unharmed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from symcache_core.symbols import Instrument

WIRE_VERSION = 1
VERSION = version("symcache")

ErrorKind = Literal["permanent", "transient", "pacing", "permission"]
Timeframe = Literal["1m", "5m", "15m", "30m", "1h", "2h", "4h", "1d", "1w"]


def _canonical(text: str) -> str:
    return str(Instrument.parse(text))


def _checked(text: str) -> str:
    Instrument.parse(text)
    return text


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None


Symbol = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_canonical)]
"""A symbol in any spelling; read into the canonical one."""

AskedSymbol = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_checked)]
"""A symbol in any spelling; left in that one."""

Timeframes = Annotated[list[Timeframe], Field(max_length=16)]
"""Since when there is data is asked of these."""

Moment = Annotated[datetime, AfterValidator(_utc)]
"""An ISO 8601 time; one without an offset is UTC."""


class ValidateRequest(BaseModel):
    """A question about a symbol, and since when some timeframes have data."""

    symbol: Symbol
    timeframes: Timeframes | None = None


class ValidateBatchRequest(BaseModel):
    """The same question about many symbols."""

    symbols: list[AskedSymbol] = Field(min_length=1, max_length=500)
    timeframes: Timeframes | None = None


class HistoricalRequest(BaseModel):
    """A question for bars; ``instrument_type`` is for older clients, since the symbol itself says it."""

    symbol: Symbol
    timeframe: Timeframe
    start: Moment
    end: Moment
    instrument_type: str | None = Field(None, max_length=32)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError("start is after end")
        return self


class Origin(BaseModel):
    """Who gave an answer."""

    gateway: str
    host: str = f"symcache {VERSION}"


class Answer(BaseModel):
    """What every answer under ``/data`` has; ``retry_after`` is in seconds."""

    success: bool = True
    error: str | None = None
    error_kind: ErrorKind | None = None
    error_code: str | None = None
    retry_after: float | None = None
    suggested_symbol: str | None = None
    provenance: Origin


class VerdictAnswer(Answer):
    """A verdict. A head timestamp of null says that there is no data; a timeframe left out was not answered."""

    is_valid: bool = False
    error_message: str | None = None
    contract_info: dict[str, Any] | None = None
    head_timestamps: dict[str, str | None] | None = None
    confirmed: bool | None = None


class BatchAnswer(Answer):
    """A verdict, or a failure of its own, for each symbol as it was asked."""

    results: dict[str, VerdictAnswer] = {}


class HistoricalAnswer(Answer):
    """Bars: ``data`` is the text of a JSON object of ISO 8601 times to open, high, low, close and volume."""

    data: str | None = None
    rows: int = 0


class HeadTimestampAnswer(Answer):
    """The time of the first bar, or null where there is no data."""

    timestamp: str | None = None


class Health(BaseModel):
    """Whether the service can answer; ``timestamp`` is its clock's time."""

    healthy: bool
    service: str = "symcache-host"
    timestamp: str
    status: str


class Calls(BaseModel):
    """How many requests under ``/data`` were served, and how many calls to the gateway they cost."""

    requests: int
    gateway: int


class DetailedHealth(Health):
    """Health with what lies behind it."""

    ib_status: dict[str, Any]
    connection_info: dict[str, Any]
    gateway: str
    as_of: str
    calls: Calls


class About(BaseModel):
    """What this service is."""

    name: str = "symcache-host"
    version: str = VERSION
    wire_version: int = WIRE_VERSION
    gateway: str
    notice: str | None
