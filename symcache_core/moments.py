"""Reads the moments that providers tell: ISO 8601 text, or the dates and times of Python."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from .frozen import FrozenDict


def parse_utc(stamp: str) -> datetime:
    """Read an ISO 8601 time; one without an offset is UTC.

    Raises:
        ValueError: The text is not an ISO 8601 time.
    """
    return as_utc(datetime.fromisoformat(stamp))


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC, or the nearest that there is in the years 1 to 9999; a naive one is in UTC already."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value  # a time is a date, too


def _each_iso(value: Any) -> Any:
    return {name: _iso(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _all_iso(value: Mapping[str, str | None]) -> Mapping[str, str | None]:
    for timeframe, stamp in value.items():
        if stamp is not None:
            try:
                parse_utc(stamp)
            except ValueError:
                raise ValueError(f"head timestamp of {timeframe} is not an ISO 8601 time: {stamp!r}") from None
    return FrozenDict(value)


IsoTime = Annotated[str, BeforeValidator(_iso)]
"""Text that tells a moment; a date or a time becomes that."""

HeadTimestamps = Annotated[Mapping[str, str | None], BeforeValidator(_each_iso), AfterValidator(_all_iso)]
"""Timeframe to the ISO 8601 time of its first bar; ``None`` says that there is no data."""
