"""Reads when a contract trades: the hours as Interactive Brokers writes them, into the form that the wire carries.

A day is ``20261123:0930-20261123:1600``, several sessions of a day are parted by commas or stand for themselves, and a
closed day is ``20261126:CLOSED``. In an older form, ``20261123:1700-1600``, a session that begins later than it ends
begins the day before. Only about a week is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

_DATE = re.compile(r"\d{8}")
_TIME = r"(?:[01]\d|2[0-3])[0-5]\d"
_SESSION = re.compile(rf"(?:\d{{8}}:)?(?P<begin>{_TIME})-(?:(?P<day>\d{{8}}):)?(?P<end>{_TIME})")
_MIDNIGHT = "0000"
_WEEKEND = (5, 6)
_DAYS_OF_A_WEEK = 5

# What is no name of the IANA's, one of a zone without summer time there, or one that it keeps for the past alone.
_ZONES: Mapping[str, str] = MappingProxyType(
    {
        "EST": "America/New_York",
        "EST5EDT": "America/New_York",
        "US/Eastern": "America/New_York",
        "CST": "America/Chicago",
        "CST6CDT": "America/Chicago",
        "US/Central": "America/Chicago",
        "MST": "America/Denver",
        "MST7MDT": "America/Denver",
        "PST": "America/Los_Angeles",
        "PST8PDT": "America/Los_Angeles",
        "BST": "Europe/London",
        "GB": "Europe/London",
        "GB-Eire": "Europe/London",
        "CET": "Europe/Brussels",
        "MET": "Europe/Brussels",
        "EET": "Europe/Athens",
        "Israel": "Asia/Jerusalem",
        "IST": "Asia/Kolkata",
        "Asia/Calcutta": "Asia/Kolkata",
        "SGT": "Asia/Singapore",
        "Singapore": "Asia/Singapore",
        "HKT": "Asia/Hong_Kong",
        "Hongkong": "Asia/Hong_Kong",
        "KST": "Asia/Seoul",
        "ROK": "Asia/Seoul",
        "JST": "Asia/Tokyo",
        "Japan": "Asia/Tokyo",
        "AEST": "Australia/Sydney",
        "Australia/NSW": "Australia/Sydney",
        "NZ": "Pacific/Auckland",
    }
)


class Hours(NamedTuple):
    """From when to when a day's trading goes (``HHMM``); over midnight if it begins later than it ends."""

    begin: str
    end: str


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of a ``timeZoneId``, if there is one of that name.

    >>> zone_of("EST (Eastern Standard Time)")
    zoneinfo.ZoneInfo(key='America/New_York')
    """
    plain = name.partition("(")[0].strip()
    try:
        return ZoneInfo(_ZONES.get(plain, plain))
    except (KeyError, ValueError, OSError):  # a name that is unknown, or none at all
        return None


def day_of(text: str) -> date:
    """The day of a date of eight digits.

    Raises:
        ValueError: It is none; strptime alone takes six digits, a month, for a day.
    """
    if not _DATE.fullmatch(text):
        raise ValueError(f"not a date: {text!r}")
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  # a day of the exchange's calendar


def trading_hours(trading: str, liquid: str, zone: str) -> dict[str, Any] | None:
    """When a contract trades, as ``timezone``, ``regular_hours``, ``extended_hours``, ``trading_days``, ``holidays``.

    Days are numbered from Monday, 0. The hours are those of most days: a day that ends early does not show. A session
    over midnight belongs to the day on which it ends, and then ``start`` is later than ``end``.

    Args:
        trading: The ``tradingHours`` of the contract's details.
        liquid: Their ``liquidHours``; without any, the trading hours are the regular ones.
        zone: Their ``timeZoneId``.

    Returns:
        ``None`` where no hours are told, or in a time zone that nobody knows.
    """
    known, (days, closed) = zone_of(zone), _read(trading)
    regular = _usual((_read(liquid)[0] or days).values())
    if known is None or regular is None:
        return None
    whole = _usual(days.values()) or regular
    extended = [
        _named("Pre-Market", Hours(whole.begin, regular.begin)),
        _named("After-Hours", Hours(regular.end, whole.end)),
    ]
    holidays = _holidays(days, closed)
    return {
        "timezone": known.key,
        "regular_hours": _named("Regular", regular),
        "extended_hours": [hours for hours in extended if hours["start"] != hours["end"]],
        "trading_days": sorted({day.weekday() for day in (*days, *holidays)}),
        "holidays": [day.isoformat() for day in holidays],
    }


def _read(text: str) -> tuple[dict[date, Hours], list[date]]:
    """Each day's hours, from the beginning of its first session to the end of its last, and the closed days."""
    days: dict[date, Hours] = {}
    closed = []
    for part in text.split(";"):
        day, _, sessions = part.strip().partition(":")
        try:
            if sessions == "CLOSED":
                closed.append(day_of(day))
            for session in map(_SESSION.fullmatch, sessions.split(",")):
                if session is not None:
                    ends = _last_day(session["day"] or day, session)
                    first = days.get(ends, Hours(session["begin"], ""))
                    days[ends] = Hours(first.begin, session["end"])
        except (ValueError, OverflowError):  # a day that no calendar has
            continue
    return days, [day for day in closed if day not in days]


def _last_day(ends: str, session: re.Match[str]) -> date:
    """The day that a session belongs to; one that ends at midnight belongs to the day that is over then."""
    over = session["day"] and session["end"] == _MIDNIGHT
    return day_of(ends) - timedelta(days=1 if over else 0)


def _usual(hours: Iterable[Hours]) -> Hours | None:
    return max(counted, key=counted.__getitem__) if (counted := Counter(hours)) else None


def _holidays(days: Iterable[date], closed: Iterable[date]) -> list[date]:
    """The closed days on which there would be trading, as far as a week can tell: a full one has five such days."""
    open_on = {day.weekday() for day in days}
    full = len(open_on) >= _DAYS_OF_A_WEEK
    return sorted(day for day in closed if day.weekday() in open_on or not (full or day.weekday() in _WEEKEND))


def _named(name: str, hours: Hours) -> dict[str, str]:
    start, end = (f"{moment[:2]}:{moment[2:]}" for moment in hours)
    return {"start": start, "end": end, "name": name}
