"""What a load has to do: which bars there should be, how things stand with them, which requests bring the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

import numpy as np
import pandas as pd

from ...models import ValidationResult
from ...symbols import Instrument
from ...timeframes import Timeframe, timeframe_of
from ..bars.moments import moment
from ..bars.rows import Rows, RowState
from ..bars.store import LocalBars
from ..calendars import Calendar, calendar_of
from .outlook import Expected, Outlook, outlook
from .ranges import DateLike, DateRange, Mode, back, check_mode, check_session, resolve
from .segments import Segment, segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one call asks for.

    Args:
        instrument: Whose bars.
        timeframe: Their length.
        asked: The explicit dates.
        mode: What to make of a side that they leave open.
        session: Which hours; ``None`` stands for those that the provider usually gives.
        refresh: Whether what is at hand is compared, too.
    """

    instrument: Instrument
    timeframe: Timeframe
    asked: DateRange
    mode: Mode
    session: str | None = None
    refresh: bool = False

    @property
    def is_explicit(self) -> bool:
        """Whether the caller has named a date."""
        return self.asked.start is not None or self.asked.end is not None


def request_for(
    symbol: str,
    timeframe: str,
    start_date: DateLike | None,
    end_date: DateLike | None,
    mode: Mode,
    session: str | None = None,
    *,
    refresh: bool = False,
) -> Request:
    """Read what a caller gave.

    Raises:
        InvalidSymbolError: The text cannot be a symbol.
        ConfigurationError: The timeframe, the mode, the session or a date is not usable.
    """
    check_mode(mode)
    check_session(session)
    return Request(
        instrument=Instrument.parse(symbol),
        timeframe=timeframe_of(timeframe),
        asked=DateRange.parse(start_date, end_date),
        mode=mode,
        session=session,
        refresh=refresh,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What there should be, and how things stand with it.

    Args:
        calendar: By whose hours.
        span: Where bars are looked for; ``None`` if nobody says where they begin.
        clamped_to: Where the start was moved, as there are no bars before it.
        expected: The bars that there should be in that span.
        outlook: How things stand with them.
        has_no_data: Whether the provider says that it has no such bars at all.
    """

    calendar: Calendar
    span: DateRange | None = None
    clamped_to: datetime | None = None
    expected: Expected
    outlook: Outlook
    has_no_data: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is to be asked for."""
        return not self.outlook.due.any()


def plan(request: Request, verdict: ValidationResult | None, local: LocalBars, now: datetime, clock: float) -> Plan:
    """Compare what is at hand with what the calendar expects.

    Args:
        request: What is wanted.
        verdict: What is known of the symbol, if anything.
        local: What is known of the bars, within the dates that were asked for.
        now: The provider's present (UTC); bars that end later are not expected.
        clock: The present (seconds since the epoch), by which answers age.
    """
    timeframe, rows = request.timeframe, local.rows
    contract = None if verdict is None else verdict.contract_info
    calendar = calendar_of(contract, request.instrument.asset_type, request.session)
    nothing = Plan(calendar=calendar, expected=Expected.of_stamps(np.empty(0, "datetime64[ns]")), outlook=_NOTHING_DUE)
    if verdict is not None and has_no_data(verdict, timeframe) and not request.is_explicit:
        bars = rows[rows.has_bar].stamps
        at_hand = Outlook(np.zeros(len(bars), bool), np.zeros(len(bars), bool), at_hand=len(bars))
        return replace(
            nothing, span=request.asked, expected=Expected.of_stamps(bars), outlook=at_hand, has_no_data=True
        )
    head = None if verdict is None else earliest(verdict, timeframe)
    if head is not None and request.session == "extended" and timeframe.is_intraday:
        head = back(head, timedelta(days=1))  # it is that of the regular hours, before which there are others
    bars = rows.stamps[rows.has_bar]
    stamps = pd.DatetimeIndex(bars[[0, -1]] if len(bars) else bars, tz="UTC")
    if head is not None and len(stamps):
        head = min(head, stamps[0].to_pydatetime(warn=False))
    lead = calendar.lead(timeframe, now)
    wanted = resolve(request.asked, request.mode, stamps, head, now, timeframe.longest - lead, local.state.first)
    span = wanted.clamp(_doubted(head, wanted, timeframe))
    if span.start is None or span.end is None:
        return nothing
    expected = Expected.of(calendar.slots(timeframe, span.start, span.end), timeframe, now)
    standing = outlook(
        expected,
        rows,
        clock,
        explicit=request.is_explicit,
        refresh=request.refresh,
        counted_from=None if head is None else moment(head),
    )
    if request.mode == "local":
        standing = replace(standing, due=np.zeros(len(expected), bool))
    clamped = head is not None and wanted.start is not None and wanted.start < head
    return Plan(
        calendar=calendar,
        span=span,
        clamped_to=verdict.head_timestamp(timeframe.name) if clamped and verdict is not None else None,
        expected=expected,
        outlook=standing,
    )


def requests_for(
    todo: Plan, request: Request, stored: Rows, now: datetime, *, compare: bool = False, earlier: bool = False
) -> Sequence[Segment]:
    """The requests that bring what is to be asked for, the most urgent one first.

    Args:
        todo: How things stand.
        request: What is wanted.
        stored: All bars that are stored, and what else is known, whatever dates were asked for.
        now: The provider's present (UTC).
        compare: Whether to compare what is stored even if nothing else is to be asked for.
        earlier: Whether to compare bars of a day before the last ones, too.
    """
    standing, final = todo.outlook, stored.of(RowState.BAR)
    return segments(
        todo.expected,
        standing.due,
        standing.doubtful,
        (final if len(final) else stored[stored.has_bar]).stamps,
        request.timeframe,
        now,
        newest_first=request.mode in ("tail", "backfill"),
        compare=compare,
        earlier=earlier,
        lead=todo.calendar.lead(request.timeframe, now),
    )


_NOTHING_DUE = Outlook(np.zeros(0, bool), np.zeros(0, bool))


def earliest(verdict: ValidationResult, timeframe: Timeframe) -> datetime | None:
    """The earliest stamp that the first bar can have: a head timestamp may name the moment of its first trade."""
    head = verdict.head_timestamp(timeframe.name)
    if head is None:
        return None
    if timeframe.is_intraday:
        return back(head, timeframe.length - head.resolution)
    day = datetime.combine(head.date(), time.min, UTC)
    if timeframe.name == "1M":
        return day.replace(day=1)
    return back(day, timedelta(days=day.weekday())) if timeframe.name == "1w" else day


def has_no_data(verdict: ValidationResult, timeframe: Timeframe) -> bool:
    """Whether the provider says that it has no bars of a timeframe."""
    heads = verdict.head_timestamps or {}
    return timeframe.name in heads and heads[timeframe.name] is None


def _doubted(head: datetime | None, wanted: DateRange, timeframe: Timeframe) -> datetime | None:
    """Where an explicit range is taken to begin at the earliest: a head timestamp is doubted for one request."""
    if head is None or wanted.start is None or wanted.end is None or wanted.start >= head:
        return head
    return max(wanted.start, back(min(head, wanted.end), timeframe.longest - 2 * timeframe.length))
