"""Which span of time a load is about: explicit dates, or what its mode makes of the bars at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, Self, get_args

import pandas as pd

from ...errors import ConfigurationError

Mode = Literal["tail", "backfill", "full", "local"]
"""Where to look for bars that are not at hand: after them, before them, everywhere, or nowhere."""

Session = Literal["regular", "extended"]
"""Which hours: those of the exchange's own session, or all in which there is trading."""

DateLike = str | date
"""ISO 8601 text, a date, a datetime or a pandas Timestamp; UTC unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class DateRange:
    """From start to end, both included (UTC); ``None`` leaves that side open."""

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def parse(cls, start: DateLike | None, end: DateLike | None) -> Self:
        """Read what a caller gave; an end without a time of day means the whole of that day.

        Raises:
            ConfigurationError: Something is not a date, or the start comes after the end.
        """
        asked = cls(_parse("start_date", start, time.min), _parse("end_date", end, time.max))
        if asked.start is not None and asked.end is not None and asked.start > asked.end:
            raise ConfigurationError(f"start_date {start} is after end_date {end}")
        return asked

    def clamp(self, head: datetime | None) -> Self:
        """The part of it that is not before the first bar there is."""
        if head is None or (self.start is not None and self.start >= head):
            return self
        return replace(self, start=head)


def check_mode(mode: str) -> None:
    """Refuse what is not a :data:`Mode`.

    Raises:
        ConfigurationError: It is none.
    """
    if mode not in get_args(Mode):
        raise ConfigurationError(f"mode {mode!r}: use one of {', '.join(get_args(Mode))}")


def check_session(session: str | None) -> None:
    """Refuse what is neither a :data:`Session` nor left open.

    Raises:
        ConfigurationError: It is none.
    """
    if session is not None and session not in get_args(Session):
        raise ConfigurationError(f"session {session!r}: use one of {', '.join(get_args(Session))}")


def resolve(
    asked: DateRange,
    mode: Mode,
    local: pd.DatetimeIndex,
    head: datetime | None,
    now: datetime,
    longest: timedelta,
    first: datetime | None = None,
) -> DateRange:
    """Close the sides that the caller left open, as the mode says.

    Args:
        asked: The explicit dates; they always win over the mode's.
        mode: What to make of an open side.
        local: The stamps of the bars at hand, rising.
        head: When the first bar is that the provider has, if that is known.
        now: The provider's present.
        longest: What one request can span; a tail without local bars goes back that far.
        first: When the first bar was that ever was at hand, if that is known: it may have been lost since.

    A tail begins with the first local bar, and a backfill ends with the last one: an earlier load may have been
    interrupted, and left a hole between them.

    Returns:
        A range closed on both sides, except for the start where only an unknown head could tell it.
    """
    end = asked.end
    if end is None:
        end = local[-1].to_pydatetime() if mode == "backfill" and len(local) else now
    start = asked.start
    if start is None and mode in ("tail", "local") and len(local):
        start = local[0].to_pydatetime()
        start = start if first is None else min(start, first)
    if start is None and mode == "tail":
        start = back(min(end, now), longest)
    return DateRange(head if start is None else start, end)


def back(moment: datetime, span: timedelta) -> datetime:
    """A moment by a span earlier, or the earliest one that there is."""
    try:
        return moment - span
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _parse(name: str, value: DateLike | None, day_time: time) -> datetime | None:
    if value is None:
        return None
    moment = _read(name, value) if isinstance(value, str) else value
    if not isinstance(moment, date) or pd.isna(moment):
        raise ConfigurationError(f"{name} {value!r} is no date")
    if isinstance(moment, pd.Timestamp):
        moment = moment.to_pydatetime(warn=False)
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, day_time)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ConfigurationError(f"{name} {value!s} is out of range: it is in no year from 1 to 9999 in UTC") from None


def _read(name: str, text: str) -> date:
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(text.strip())
        except ValueError:
            continue
    raise ConfigurationError(f"{name} {text!r} is no date: write 2013-03-01 or 2013-03-01T14:30:00+00:00")
