"""How far a request for bars reaches: its end and its duration, as Interactive Brokers reads them."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .codes import HMDS, RefusedError, invalid

UNITS = {"S": 1, "D": 86400, "W": 7 * 86400, "M": 30 * 86400, "Y": 365 * 86400}
SMALL = 60
"""Seconds; for bars shorter than this a stricter pacing holds."""

DAY, WEEK, MONTH = 86400, 7 * 86400, 31 * 86400

# Seconds of a bar, and days that one request may span.
SIZES = {
    "5 secs": (5, 1),
    "30 secs": (30, 1),
    "1 min": (60, 1),
    "5 mins": (300, 7),
    "15 mins": (900, 14),
    "30 mins": (1800, 30),
    "1 hour": (3600, 30),
    "2 hours": (7200, 30),
    "3 hours": (10800, 30),
    "4 hours": (14400, 120),
    "1 day": (86400, 365),
    "1 week": (7 * 86400, 730),
    "1 month": (31 * 86400, 5 * 365),
}

OWN_ZONE = "US/Eastern"
"""Where TWS runs: an end without a zone is meant there."""

ZONES = ("UTC", "GB", "MET", "Hongkong", "Japan")
"""Those that are understood without a stroke in their name; short names for summer and winter time are not."""


class Span(NamedTuple):
    """What a request for bars asks for: so many seconds for each, and a duration back from the end."""

    seconds: int
    length: int
    unit: str
    end: datetime

    @property
    def start(self):
        """How far it reaches back by the clock."""
        return self.end - timedelta(seconds=self.length * UNITS[self.unit])


def is_small(size):
    """Whether bars are so short that a stricter pacing holds."""
    return size in SIZES and SIZES[size][0] < SMALL


def span_of(request, now):
    """What a request asks for.

    Raises:
        RefusedError: It cannot be read, or reaches too far.
    """
    if request.size not in SIZES:
        raise invalid(f"Historical data bar size setting is invalid. Legal ones are: {', '.join(SIZES)}")
    duration = re.fullmatch(r"([1-9]\d*) ([SDWMY])", request.duration)
    if duration is None:
        raise invalid("Historical data query duration format is invalid")
    length, unit = int(duration[1]), duration[2]
    if unit == "S" and length > DAY:
        raise invalid("Historical data requests for durations longer than 86400 seconds must be made in days")
    if unit == "D" and length > 365:
        raise invalid("Historical data requests for durations longer than 365 days must be made in years")
    seconds, days = SIZES[request.size]
    if length * UNITS[unit] > days * DAY:
        raise RefusedError(162, HMDS + "Time length exceed max.")
    return Span(seconds, length, unit, end_of(request.end, now))


def end_of(text, now):
    """The end of a request: in UTC as ``20130301-22:00:00``, in a zone as ``20130301 17:00:00 US/Eastern``, or now.

    Both are taken: https://github.com/ib-api-reloaded/ib_async/issues/132 (which has a zone that is not, EDT).

    Raises:
        RefusedError: It is none of these.
    """
    if not text:
        return now
    try:
        if "-" in text:
            return datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        day, time, *zone = text.split()
        (name,) = zone or (OWN_ZONE,)
        if "/" not in name and name not in ZONES:
            raise ValueError(f"no zone: {name}")
        return datetime.strptime(f"{day} {time}", "%Y%m%d %H:%M:%S").replace(tzinfo=ZoneInfo(name)).astimezone(UTC)
    except (KeyError, OSError, ValueError):
        raise RefusedError(10314) from None
