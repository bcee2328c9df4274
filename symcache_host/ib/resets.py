"""When Interactive Brokers restarts its servers, so that what they say then proves nothing.

The times are those of https://www.interactivebrokers.com/en/software/systemStatus.php for North America, in New York.
Accounts served from Europe or Asia have other hours, which this does not know.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from symcache_core.errors import ProviderUnavailableError

_ZONE = ZoneInfo("America/New_York")
_DAY = timedelta(days=1)


class _Window(NamedTuple):
    """On which days (Monday is 0) a restart begins, when, and how long it takes."""

    days: tuple[int, ...]
    begins: time
    lasts: timedelta


_WINDOWS = (
    _Window((0, 1, 2, 3, 5, 6), time(23, 45), timedelta(hours=1)),
    _Window((4,), time(23, 0), timedelta(hours=4)),
)


def reset_ends(now: datetime) -> datetime | None:
    """The end (UTC) of the restart that is under way at a moment, if one is.

    Args:
        now: The moment, with its offset.
    """
    here = now.astimezone(_ZONE)
    for window in _WINDOWS:
        for day in (here.date() - _DAY, here.date()):  # one that began yesterday goes on past midnight
            # Counted on in UTC: on the clocks there, an hour of that night may be skipped, or come twice.
            begin = datetime.combine(day, window.begins, _ZONE).astimezone(UTC)
            if day.weekday() in window.days and begin <= now < begin + window.lasts:
                return begin + window.lasts
    return None


def inconclusive(code: str, said: str, when: str, retry_after: float | None) -> ProviderUnavailableError:
    """The error that something was said at a moment when that proves nothing.

    Args:
        code: By which code.
        said: What.
        when: At which moment.
        retry_after: Seconds after which asking again makes sense, if that is known.
    """
    return ProviderUnavailableError(
        f"Interactive Brokers says that {said}, {when}, which proves nothing", code=code, retry_after=retry_after
    )
