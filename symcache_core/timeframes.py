"""The lengths of bars that can be loaded, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from .errors import ConfigurationError

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A length of bars.

    Args:
        name: What it is called.
        length: How long a bar is at most; one that a session's start or end cuts is shorter, and so is a short month's.
        limit: How far back Interactive Brokers lets one request for bars reach.
    """

    name: str
    length: timedelta
    limit: timedelta

    @property
    def is_intraday(self) -> bool:
        """Whether a session has several bars, each stamped with its beginning, and not with its session's day."""
        return self.length < _DAY

    @property
    def longest(self) -> timedelta:
        """What one request for bars may span: the limit, less what has to be asked for beyond it.

        That is a day for bars within one, because a day may mean a session there; or else a bar at either end.
        """
        if not self.is_intraday:
            return self.limit - 2 * self.length
        return self.limit if self.limit <= _DAY else self.limit - _DAY


TIMEFRAMES: Mapping[str, Timeframe] = MappingProxyType(
    {
        timeframe.name: timeframe
        for timeframe in (
            Timeframe("1m", timedelta(minutes=1), _DAY),
            Timeframe("5m", timedelta(minutes=5), 7 * _DAY),
            Timeframe("15m", timedelta(minutes=15), 14 * _DAY),
            Timeframe("30m", timedelta(minutes=30), 30 * _DAY),
            Timeframe("1h", timedelta(hours=1), 30 * _DAY),
            Timeframe("2h", timedelta(hours=2), 30 * _DAY),
            Timeframe("3h", timedelta(hours=3), 30 * _DAY),
            Timeframe("4h", timedelta(hours=4), 120 * _DAY),
            Timeframe("1d", _DAY, 365 * _DAY),
            Timeframe("1w", 7 * _DAY, 730 * _DAY),
            Timeframe("1M", 31 * _DAY, 5 * 365 * _DAY),
        )
    }
)


def timeframe_of(name: str) -> Timeframe:
    """The timeframe of a name.

    Raises:
        ConfigurationError: There is none; the message lists those there are.
    """
    try:
        return TIMEFRAMES[name]
    except KeyError:
        raise ConfigurationError(f"timeframe {name!r}: use one of {', '.join(TIMEFRAMES)}") from None
