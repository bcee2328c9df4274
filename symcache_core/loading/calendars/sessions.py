"""The sessions of a market: for each of its days, from when to when it trades."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

Nanoseconds = npt.NDArray[np.int64]
Known = tuple[pd.Timestamp | None, pd.Timestamp | None]

DAY = 86_400 * 10**9
ALWAYS = np.iinfo(np.int64)
_COLUMNS = ("days", "opens", "closes", "pauses", "resumes", "offsets")


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions, rising, one or two of a day; all in nanoseconds since the epoch (UTC).

    Args:
        zone: The market's time zone.
        days: The midnight (UTC) of each session's day.
        opens: When each begins.
        closes: When it ends.
        pauses: When its pause begins: with its end, where it has none.
        resumes: When that is over.
        offsets: What the market's clock is ahead of UTC at the opening.
        known: The first and the last day of which it is known whether there is a session; ``None`` without a bound.
        trouble: Why there are none, if that is somebody's fault.
    """

    zone: str
    days: Nanoseconds
    opens: Nanoseconds
    closes: Nanoseconds
    pauses: Nanoseconds
    resumes: Nanoseconds
    offsets: Nanoseconds
    known: Known = (None, None)
    trouble: str | None = None

    @classmethod
    def of(
        cls,
        days: pd.Index,
        opens: pd.Series | pd.DatetimeIndex,
        closes: pd.Series | pd.DatetimeIndex,
        zone: str,
        *,
        pauses: pd.Series | pd.DatetimeIndex,
        resumes: pd.Series | pd.DatetimeIndex,
        known: Known = (None, None),
    ) -> Self:
        """Make them of times."""
        begin = pd.DatetimeIndex(opens)
        wall = nanoseconds(begin.tz_convert(zone).tz_localize(None))
        return cls(
            zone=zone,
            days=nanoseconds(pd.DatetimeIndex(days)),
            opens=nanoseconds(begin),
            closes=nanoseconds(pd.DatetimeIndex(closes)),
            pauses=nanoseconds(pd.DatetimeIndex(pauses)),
            resumes=nanoseconds(pd.DatetimeIndex(resumes)),
            offsets=wall - nanoseconds(begin),
            known=known,
        )

    @classmethod
    def nothing(cls) -> Self:
        """None, and nothing is known of any day."""
        none = np.empty(0, np.int64)
        # The first of a week and of a month.
        first = pd.Timestamp("1900-01-01")
        return cls("UTC", none, none, none, none, none, none, (first, first - pd.Timedelta(days=1)))

    @property
    def first(self) -> int:
        """The midnight of the first day that is known."""
        return ALWAYS.min if self.known[0] is None else self.known[0].as_unit("ns").value

    @property
    def over(self) -> int:
        """The midnight after the last day that is known."""
        return ALWAYS.max if self.known[1] is None else self.known[1].as_unit("ns").value + DAY

    def closing(self, closes: Nanoseconds) -> Self:
        """The same, with other ends, and without pauses."""
        return replace(self, closes=closes, pauses=closes, resumes=closes)

    def and_also(self, others: Sessions) -> Self:
        """These and others of the same days."""
        both: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in _COLUMNS}
        order = np.argsort(both["opens"])
        return replace(self, **{name: column[order] for name, column in both.items()})

    def part(self, begin: int, end: int) -> Self:
        """Those from one position to another."""
        return replace(self, **{name: getattr(self, name)[begin:end] for name in _COLUMNS})


def nanoseconds(times: pd.DatetimeIndex) -> Nanoseconds:
    """Times in nanoseconds since the epoch; those of no zone are UTC."""
    return times.as_unit("ns").asi8


def times(stamps: Nanoseconds) -> pd.DatetimeIndex:
    """An index of times (UTC)."""
    return pd.DatetimeIndex(stamps.view("M8[ns]")).tz_localize("UTC")
