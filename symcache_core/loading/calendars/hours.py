"""Hours of trading as text and as a contract tells them: a time zone, from when to when, and on which days."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Self
from zoneinfo import ZoneInfo

DAY = 24 * 60
"""Minutes."""

WEEKDAYS = (0, 1, 2, 3, 4)
_SATURDAY, _SUNDAY = 5, 6
_TIME = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """The same hours on each of some days of the week.

    Args:
        zone: The time zone, by its IANA name.
        pieces: From when to when (minutes of the day). A session that does not begin before it ends begins on the day
            before, and belongs to the day on which it ends. Of two, the first is the night after the trading day
            before: Friday's night belongs to Monday.
        days: The days of the week on which there is a session, from Monday, 0.
        closed: Dates without one.
    """

    zone: str
    pieces: tuple[tuple[int, int], ...]
    days: tuple[int, ...] = WEEKDAYS
    closed: tuple[date, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``Asia/Tokyo 16:30-06:00+08:45-15:45``, with the days of the week behind it if they are other ones.

        >>> Hours.parse("Asia/Jerusalem 09:30-17:45 012346").days
        (0, 1, 2, 3, 4, 6)

        Raises:
            ValueError: It does not say hours, or names a time zone that there is not.
        """
        zone, pieces, *days = text.split()
        return cls(
            _zone(zone),
            tuple(_piece(*piece.split("-")) for piece in pieces.split("+")),
            tuple(map(int, days[0])) if days else WEEKDAYS,
        )

    @property
    def begin(self) -> int:
        """When a session begins (minutes of the day)."""
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        """When it ends (minutes of the day, at most 24 hours)."""
        return self.pieces[-1][1]


@dataclass(frozen=True, slots=True)
class ToldHours:
    """What a contract tells of its hours: the regular ones, and the whole of a day's trading."""

    regular: Hours
    whole: Hours

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> Self | None:
        """Read a contract's ``trading_hours``; ``None`` if it has none, or none that make sense."""
        if not told:
            return None
        try:
            zone = _zone(told["timezone"])
            regular = told["regular_hours"]
            begin, end = regular["start"], regular["end"]
            first, last = begin, end
            for part in told.get("extended_hours") or ():
                first = part["start"] if part["end"] == begin else first
                last = part["end"] if part["start"] == end else last
            days = _days(told.get("trading_days") or ())
            closed = tuple(map(date.fromisoformat, told.get("holidays") or ()))
            (opens, closes), (starts, ends) = _piece(begin, end), _piece(first, last)
            pieces: tuple[tuple[int, int], ...] = ((starts, ends),)
            if starts >= ends and opens < closes and _SATURDAY in days and _SUNDAY not in days:
                # A night before each day, of which Friday's is told as a session of Saturday.
                days = tuple(day for day in days if day != _SATURDAY)
                pieces = ((starts, opens), (opens, ends))
            return cls(Hours(zone, ((opens, closes),), days, closed), Hours(zone, pieces, days, closed))
        except (KeyError, TypeError, ValueError, AttributeError):  # another host may tell them in another form
            return None


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, OSError) as error:
        raise ValueError(f"no time zone: {name!r}") from error


def _days(told: Any) -> tuple[int, ...]:
    """The days of the week that are told; a week with a holiday tells too few of them."""
    days = {day for day in map(int, told) if day in range(7)}
    return tuple(sorted(days if len(days) >= len(WEEKDAYS) else days | {*WEEKDAYS}))


def _piece(begin: str, end: str) -> tuple[int, int]:
    return _minutes(begin) % DAY, _minutes(end) or DAY


def _minutes(time: str) -> int:
    if not (match := _TIME.fullmatch(time)) or (minutes := int(match[1]) * 60 + int(match[2])) > DAY:
        raise ValueError(f"no time of day: {time!r}")
    return minutes
