"""The rules that say when there are sessions: a calendar of exchange_calendars, the same hours each day, or both."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import exchange_calendars
import numpy as np
import pandas as pd

from ...concurrency.forks import told_in_children
from ...messages import is_news
from .hours import DAY, Hours
from .sessions import DAY as DAY_LENGTH
from .sessions import Sessions, nanoseconds

log = logging.getLogger("symcache")

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""The earliest bars of any provider are younger, and the latest ones that anybody asks for are older."""

UNKNOWN = "so what bars to expect is unknown"

_RECENT = 250
"""So many sessions show what is usual."""


class _Building:
    """Of the first loads of a program, one builds the sessions, and the others wait for it.

    Others' code runs meanwhile, exchange_calendars': what it says may lead a logging handler back here.
    """

    def __init__(self) -> None:
        self.unlock()
        told_in_children(self.unlock)

    def unlock(self) -> None:
        """Begin with a free lock: a forked child lacks the thread that may have held it."""
        self.lock = threading.RLock()


_building = _Building()


class Rule(Protocol):
    """Says when there are sessions: hashable, and equal to any other that says the same."""

    def __hash__(self) -> int: ...

    def build(self, year: int) -> Sessions:
        """All sessions up to the end of a year."""
        ...


@dataclass(frozen=True, slots=True)
class ByCalendar:
    """The sessions of a calendar of exchange_calendars: it knows holidays, pauses and early closes."""

    name: str

    def build(self, year: int) -> Sessions:
        """All sessions up to the end of a year, or as far as the calendar is known."""
        try:
            return _of_calendar(self.name, year)
        except Exception as error:  # noqa: BLE001  # some fail under some versions of pandas, each in its own way
            return replace(Sessions.nothing(), trouble=f"calendar {self.name} cannot be made, {UNKNOWN}: {error!r}")


@dataclass(frozen=True, slots=True)
class ByHours:
    """The same hours on each of some days of the week."""

    hours: Hours

    def build(self, year: int) -> Sessions:
        """All sessions up to the end of a year."""
        hours = self.hours
        days = pd.date_range(f"{FIRST_YEAR}-01-01", f"{year}-12-31")
        days = days[np.isin(days.day_of_week, hours.days) & ~days.isin(pd.DatetimeIndex(list(hours.closed)))]
        sessions = _at(hours, days)
        return sessions if len(hours.pieces) == 1 else sessions.and_also(_nights_before_a_rest(hours, days))


@dataclass(frozen=True, slots=True)
class ByDaysAndHours:
    """The days of a calendar of exchange_calendars with hours of their own.

    Args:
        name: The calendar.
        hours: When a session begins and ends; its days do not matter.
        early: When it ends where the calendar's session ends early (minutes of the day), if not as ever.
    """

    name: str
    hours: Hours
    early: int | None = None

    def build(self, year: int) -> Sessions:
        """All sessions up to the end of a year, or as far as the calendar is known."""
        base = ByCalendar(self.name).build(year)
        days = pd.DatetimeIndex(base.days.view("M8[ns]"))
        sessions = replace(_at(self.hours, days, base.known), trouble=base.trouble)
        if self.early is None:
            return sessions
        closes = _minutes(pd.DatetimeIndex(base.closes.view("M8[ns]")), self.hours.zone)
        ends_early = closes < np.median(closes[-_RECENT:])
        early = _moments(days, self.early, self.hours.zone, is_first=False)
        return sessions.closing(np.where(ends_early, nanoseconds(early), sessions.closes))


def sessions_of(rule: Rule, year: int) -> Sessions:
    """The sessions of a rule up to the end of a year at least."""
    # One table serves several years: nobody's program runs longer, and building one takes up to a second.
    until = min(-(-year // 5) * 5, LAST_YEAR)
    with _building.lock:
        sessions = _sessions(rule, until)
    if sessions.trouble is not None and is_news(rule, until):
        log.warning("%s", sessions.trouble)
    return sessions


@lru_cache(maxsize=32)
def _sessions(rule: Rule, until: int) -> Sessions:
    return rule.build(until)


@lru_cache(maxsize=64)
def usual_hours(name: str) -> Hours | None:
    """From when to when an ordinary session of a calendar of exchange_calendars goes, and on which days."""
    try:
        calendar = exchange_calendars.get_calendar(name)
    except Exception:  # noqa: BLE001  # see ByCalendar.build
        return None
    recent = calendar.schedule.tail(_RECENT)
    zone = str(calendar.tz)
    begin, end = (_most(_minutes(pd.DatetimeIndex(recent[column]), zone)) for column in ("open", "close"))
    return Hours(zone, ((begin, end or DAY),), tuple(sorted({*recent.index.day_of_week.tolist()})))


def _of_calendar(name: str, year: int) -> Sessions:
    # Without a start, a calendar goes back twenty years; some know no holidays before or after times of their own.
    bounded = exchange_calendars.get_calendar(name)
    known = oldest, newest = bounded.bound_min(), bounded.bound_max()
    last = pd.Timestamp(year, 12, 31)
    calendar = exchange_calendars.get_calendar(
        name,
        start=oldest or pd.Timestamp(FIRST_YEAR, 1, 1),
        end=last if newest is None else min(newest, last),
    )
    schedule = calendar.schedule
    closes = schedule["close"]
    pauses, resumes = (schedule[column].fillna(closes) for column in ("break_start", "break_end"))
    return Sessions.of(
        schedule.index, schedule["open"], closes, str(calendar.tz), pauses=pauses, resumes=resumes, known=known
    )


def _minutes(times: pd.DatetimeIndex, zone: str) -> np.ndarray:
    local = (times.tz_localize("UTC") if times.tz is None else times).tz_convert(zone)
    return np.asarray(local.hour * 60 + local.minute)


def _most(minutes: np.ndarray) -> int:
    return int(Counter(minutes.tolist()).most_common(1)[0][0])


def _at(
    hours: Hours, days: pd.DatetimeIndex, known: tuple[pd.Timestamp | None, pd.Timestamp | None] = (None, None)
) -> Sessions:
    """Sessions with the same hours on each of some days."""
    (begin, pause), (resume, end) = hours.pieces[0], hours.pieces[-1]
    closes = _moments(days, end, hours.zone, is_first=False)
    opens = _moments(days, begin - (DAY if begin >= end else 0), hours.zone, is_first=True)
    pauses = resumes = closes
    if len(hours.pieces) > 1:
        pauses = _moments(days, pause, hours.zone, is_first=False)
        resumes = _moments(days, resume, hours.zone, is_first=True)
    return Sessions.of(days, opens, closes, hours.zone, pauses=pauses, resumes=resumes, known=known)


def _nights_before_a_rest(hours: Hours, days: pd.DatetimeIndex) -> Sessions:
    """The nights that follow a trading day before days of rest, as sessions of the trading day after these."""
    after_rest = np.flatnonzero(np.diff(nanoseconds(days)) > DAY_LENGTH) + 1
    night = Hours(hours.zone, hours.pieces[:1])
    return replace(_at(night, days[after_rest - 1] + pd.Timedelta(days=1)), days=nanoseconds(days[after_rest]))


def _moments(days: pd.DatetimeIndex, minutes: int, zone: str, *, is_first: bool) -> pd.DatetimeIndex:
    """The moments at a time of days; of two that a clock shows on the day it is set back, the first or the last one."""
    wall = days + pd.Timedelta(minutes=minutes)
    return wall.tz_localize(zone, ambiguous=np.full(len(wall), is_first), nonexistent="shift_forward").tz_convert("UTC")
