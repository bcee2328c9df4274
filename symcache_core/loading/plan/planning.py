"""What a load has to do: which bars there should be, which are missing, and which requests bring those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import chain

import pandas as pd

from ...models import ValidationResult
from ...symbols import Instrument
from ...timeframes import Timeframe, timeframe_of
from ..bars.store import LocalBars
from .calendars import calendar_name, expected_bars
from .gaps import Segment, gaps, segments, still_empty
from .ranges import DateLike, DateRange, Mode, check_mode, resolve


def _no_stamps() -> pd.DatetimeIndex:
    return pd.DatetimeIndex([], tz="UTC")


@dataclass(frozen=True, slots=True)
class Request:
    """What one call asks for.

    Args:
        instrument: Whose bars.
        timeframe: Their length.
        asked: The explicit dates.
        mode: What to make of a side that they leave open.
    """

    instrument: Instrument
    timeframe: Timeframe
    asked: DateRange
    mode: Mode


def request_for(
    symbol: str, timeframe: str, start_date: DateLike | None, end_date: DateLike | None, mode: Mode
) -> Request:
    """Read what a caller gave.

    Raises:
        InvalidSymbolError: The text cannot be a symbol.
        ConfigurationError: The timeframe, the mode or a date is not usable.
    """
    check_mode(mode)
    asked = DateRange.parse(start_date, end_date)
    return Request(Instrument.parse(symbol), timeframe_of(timeframe), asked, mode)


@dataclass(frozen=True, slots=True)
class Plan:
    """What there should be, and what to ask for.

    Args:
        span: Where bars are looked for; ``None`` if nobody says where they begin.
        clamped_to: Where the start was moved, as there are no bars before it.
        expected: The stamps of all bars that there should be in that span (UTC, rising).
        at_hand: How many of them are.
        requests: What brings the others, the most urgent one first.
    """

    span: DateRange | None
    clamped_to: datetime | None = None
    expected: pd.DatetimeIndex = field(default_factory=_no_stamps)
    at_hand: int = 0
    requests: Sequence[Segment] = ()


def plan(request: Request, verdict: ValidationResult | None, local: LocalBars, now: datetime) -> Plan:
    """Compare what is at hand with what the calendar expects.

    Args:
        request: What is wanted.
        verdict: What is known of the symbol, if anything.
        local: The bars at hand, and those that are known not to be had.
        now: The provider's present (UTC).
    """
    timeframe = request.timeframe
    stamps = pd.DatetimeIndex(local.bars.index)
    if verdict is not None and _has_no_data(verdict, timeframe):
        return Plan(request.asked, expected=stamps, at_hand=len(stamps))
    head = None if verdict is None else _head(verdict, timeframe)
    wanted = resolve(request.asked, request.mode, stamps, head, now, timeframe.longest)
    span = wanted.clamp(head)
    if span.start is None or span.end is None:
        return Plan(None)
    clamped_to = None
    if verdict is not None and wanted.start is not None and span != wanted:
        clamped_to = verdict.head_timestamp(timeframe.name)
    calendar = calendar_name(None if verdict is None else verdict.contract_info, request.instrument.asset_type)
    expected = expected_bars(calendar, timeframe, span.start, span.end, now)
    at_hand = int(expected.isin(stamps).sum())
    if request.mode == "local" or at_hand == len(expected):
        return Plan(span, clamped_to, expected, at_hand)
    empty = still_empty(local.empty, timeframe, pd.Timestamp(now))
    doubtful = pd.DatetimeIndex(local.empty.index)
    missing = gaps(expected, stamps.union(empty), doubtful, timeframe.longest - timeframe.length)
    requests = list(chain.from_iterable(segments(gap, timeframe, now) for gap in missing))
    if request.mode in ("tail", "backfill"):
        requests.reverse()
    return Plan(span, clamped_to, expected, at_hand, requests)


def _head(verdict: ValidationResult, timeframe: Timeframe) -> datetime | None:
    """The earliest stamp that the first bar can have: a head timestamp may name the moment of its first trade."""
    head = verdict.head_timestamp(timeframe.name)
    if head is None:
        return None
    if timeframe.is_intraday:
        return head - timeframe.length + head.resolution
    day = datetime.combine(head.date(), time.min, UTC)
    return day - timedelta(days=day.weekday()) if timeframe.name == "1w" else day


def _has_no_data(verdict: ValidationResult, timeframe: Timeframe) -> bool:
    heads = verdict.head_timestamps or {}
    return timeframe.name in heads and heads[timeframe.name] is None
