"""How things stand with the bars that there should be: at hand, proven not to be, or to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ...timeframes import Timeframe
from ..bars.frames import Stamps
from ..bars.moments import moment, time_of
from ..bars.rows import APART, Rows, RowState
from ..calendars import Slots

ASKED_AGAIN_AFTER = np.timedelta64(1, "h")
"""For so long a provisional bar, or an absence that two looks too near each other did not prove, is left alone."""

FINAL_AFTER: Mapping[bool, np.timedelta64] = MappingProxyType(
    {
        # Within a day: late prints and the busts of wrong trades come within minutes; an hour is ample.
        True: np.timedelta64(1, "h"),
        # Days, weeks, months: exchanges and vendors correct a session, its closing auction included, over night.
        False: np.timedelta64(12, "h"),
    }
)
"""How long after its end a bar is final, by whether it is one of many in a day."""

SAME_REQUEST_AFTER = np.timedelta64(15, "s")
"""Interactive Brokers does not take the same request again sooner,
https://interactivebrokers.github.io/tws-api/historical_limitations.html."""

TIMES_AS_LONG = 10
"""For so many times as long as a bar had been over it is believed that there is none, if it would have been final; else
for as long as it had been over: what is missing in the evening may be there in the morning."""

OLD_SHARE = 4
"""What is no longer believed is asked for with what has no more than such a share of its life left: one request a week
instead of one a day."""

_SOONEST, _LATEST = np.timedelta64(1, "h"), np.timedelta64(30, "D")

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Expected:
    """The bars that there should be and that are over.

    Args:
        stamps: Theirs, rising.
        ends: When each is over.
        windows: A bar of another stamp, from its stamp to here, stands for it.
        known: Whether a calendar says so that is known to be the instrument's.
        final_after: How long after its end each is final.
    """

    stamps: Stamps
    ends: Stamps
    windows: Stamps
    known: bool
    final_after: np.timedelta64 = FINAL_AFTER[False]

    @classmethod
    def of(cls, slots: Slots, timeframe: Timeframe, now: datetime) -> Expected:
        """Those of a calendar that are over by now (UTC)."""
        stamps: Stamps = slots.pieces.stamps.view("M8[ns]")
        ends: Stamps = slots.pieces.ends.view("M8[ns]")
        windows: Stamps = stamps + np.timedelta64(timeframe.length)
        if len(stamps) > 1:
            windows[:-1] = np.minimum(windows[:-1], stamps[1:])
        over = int(ends.searchsorted(moment(now), side="right"))
        final_after = FINAL_AFTER[timeframe.is_intraday]
        return cls(stamps[:over], ends[:over], windows[:over], slots.known, final_after)

    @classmethod
    def of_stamps(cls, stamps: Stamps) -> Expected:
        """Bars that are known to have been there."""
        return cls(stamps, stamps, stamps + np.timedelta64(1, "ns"), known=True)

    def __len__(self) -> int:
        return len(self.stamps)

    def places(self, stamps: Stamps) -> npt.NDArray[np.intp]:
        """For which of the expected bars each of some stamps stands; -1 for none."""
        if not len(self):
            return np.full(len(stamps), -1)
        place = self.stamps.searchsorted(stamps, side="right") - 1
        place[stamps >= self.windows[place]] = -1
        return place


@dataclass(frozen=True, slots=True)
class Outlook:
    """How things stand with expected bars.

    Args:
        due: Of each, whether it is to be asked for.
        doubtful: Of each, whether it is there, or proven not to be, so that asking is a second look.
        at_hand: How many are there.
        without_data: How many are proven not to be.
        missing: Of how many nothing is known.
        provisional: How many are there and not final.
        believed_since: When the newest of the answers came that prove what is not there.
        bad: The stamps of the rows in their place that cannot be bars.
    """

    due: Flags
    doubtful: Flags
    at_hand: int = 0
    without_data: int = 0
    missing: int = 0
    provisional: int = 0
    believed_since: datetime | None = None
    bad: Stamps = field(default_factory=lambda: np.empty(0, "datetime64[ns]"))


def outlook(
    expected: Expected,
    rows: Rows,
    now: float,
    *,
    explicit: bool,
    refresh: bool = False,
    counted_from: np.datetime64 | None = None,
) -> Outlook:
    """Compare what there should be with what is known.

    Args:
        expected: What there should be.
        rows: What is known.
        now: The present (seconds since the epoch).
        explicit: Whether the caller has named dates, who then wants more than what was once said not to be there.
        refresh: Whether what is there is to be asked for, too.
        counted_from: Where the bars begin, as far as the provider knows; what is looked for before that is not missing.
    """
    count = len(expected)
    if not refresh and not rows.states.any() and len(rows) == count and (rows.stamps == expected.stamps).all():
        nothing = np.zeros(count, bool)
        return Outlook(nothing, nothing, at_hand=count)
    states = np.full(count, 255, "uint8")
    asked = np.full(count, "NaT", "datetime64[ns]")
    place = expected.places(rows.stamps)
    # Of several rows in one place, the one that is there for good wins.
    for state in sorted(RowState, reverse=True):
        of_state = (rows.states == state) & (place >= 0)
        states[place[of_state]] = state
        asked[place[of_state]] = rows.asked[of_state]
    age = (np.datetime64(round(now * 1e9), "ns") - asked).astype("timedelta64[ns]")
    age[age < -APART] = _LATEST  # from the future: a clock was set back
    over = np.minimum(asked - expected.ends, _LATEST)
    believed = np.clip(np.where(over >= expected.final_after, TIMES_AS_LONG * over, over), _SOONEST, _LATEST)
    is_bar = states <= RowState.PROVISIONAL
    once, again = states == RowState.ABSENT, states == RowState.ABSENT_AGAIN
    none, bad, failed = states == RowState.NONE, states == RowState.BAD, states == RowState.FAILED
    provisional = states == RowState.PROVISIONAL
    due = (states == 255) | (failed & (age >= SAME_REQUEST_AFTER))
    due |= once & (explicit | (age >= APART))
    due |= (again | provisional) & (age >= ASKED_AGAIN_AFTER)
    if ((none | bad) & (age >= believed)).any():
        due |= (none | bad) & (age >= believed - believed // OLD_SHARE)
    if refresh:
        due[:] = True
    counted = np.ones(count, bool) if counted_from is None else expected.stamps >= counted_from
    return Outlook(
        due=due,
        doubtful=is_bar | once | again | none | bad,
        at_hand=int(is_bar.sum()),
        without_data=int((none & counted).sum()),
        missing=int((~(is_bar | none | bad) & counted).sum()),
        provisional=int(provisional.sum()),
        believed_since=_newest(asked[none]),
        bad=rows.of(RowState.BAD).stamps,
    )


def _newest(stamps: Stamps) -> datetime | None:
    return time_of(stamps.max()) if len(stamps) else None
