"""Rows of a bar store: for each stamp a bar, or what the provider said when it had none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from ...timeframes import timeframe_of
from .frames import COLUMNS, Floats, Stamps

_MONTH, _YEAR, _DECADE = "datetime64[M]", "datetime64[Y]", "datetime64[10Y]"
_NEVER = np.datetime64("NaT", "ns")

APART = np.timedelta64(10, "m")
"""How far two looks have to be apart to prove that a bar is missing, or those that are to be compared."""

_Which = slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]
_States = npt.NDArray[np.uint8]


class RowState(IntEnum):
    """What a row is; the numbers are part of the stored form."""

    BAR = 0
    """A bar that changes no more."""
    PROVISIONAL = 1
    """A bar that was given before it was final."""
    ABSENT = 2
    """An answer had no bar here, which proves nothing yet."""
    ABSENT_AGAIN = 3
    """Another answer, too soon after the first one to prove it, had none either."""
    NONE = 4
    """There is no bar here: proven."""
    FAILED = 5
    """The provider failed in a way that may have meant that there is none."""
    BAD = 6
    """The provider gave something that cannot be a bar."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Bars, and stamps of which there is none.

    Args:
        stamps: Rising, once all is well.
        columns: Open, high, low, close, volume; NaN where there is no bar, and for a volume that nobody knows.
        asked: When the provider was last asked for what is not final; NaT of a final bar.
        states: A :class:`RowState` of each.
    """

    stamps: Stamps
    columns: Sequence[Floats]
    asked: Stamps
    states: _States

    @classmethod
    def of_bars(cls, stamps: Stamps, columns: Sequence[Floats]) -> Self:
        """Final bars only."""
        return cls(stamps, columns, np.full(len(stamps), _NEVER), np.zeros(len(stamps), "uint8"))

    @classmethod
    def of_none(cls, stamps: Stamps, asked: np.datetime64, state: RowState = RowState.NONE) -> Self:
        """Stamps that have no bar, as the provider said when it was asked."""
        columns = [np.full(len(stamps), np.nan) for _ in COLUMNS]
        return cls(stamps, columns, np.full(len(stamps), asked, "datetime64[ns]"), np.full(len(stamps), state, "uint8"))

    @classmethod
    def nothing(cls) -> Self:
        """No rows at all."""
        return cls.of_none(np.empty(0, "datetime64[ns]"), _NEVER)

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Self:
        """One after the other, in arrays of their own; there is at least one part."""
        # One piece of memory is had, and given back, faster than many.
        block = np.empty((len(COLUMNS), sum(map(len, parts))))
        columns = zip(*(part.columns for part in parts), strict=True)
        return cls(
            np.concatenate([part.stamps for part in parts]),
            [np.concatenate(pieces, out=column) for column, pieces in zip(block, columns, strict=True)],
            np.concatenate([part.asked for part in parts]),
            np.concatenate([part.states for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.stamps)

    def __getitem__(self, which: _Which) -> Rows:
        columns = [column[which] for column in self.columns]
        return Rows(self.stamps[which], columns, self.asked[which], self.states[which])

    @property
    def has_bar(self) -> npt.NDArray[np.bool_]:
        """Of each row, whether it is a bar."""
        return self.states <= RowState.PROVISIONAL

    def of(self, *states: RowState) -> Rows:
        """Those in one of these states."""
        return self[np.isin(self.states, states)]

    def between(self, first: np.datetime64, last: np.datetime64) -> Rows:
        """Those from first to last, both included."""
        begin = int(self.stamps.searchsorted(first, side="left"))
        return self[begin : int(self.stamps.searchsorted(last, side="right"))]

    def updated(self, newer: Rows) -> Rows:
        """These and newer ones: the last of a stamp wins, except that no stamp loses its bar."""
        both = Rows.join([self, newer])
        order = np.lexsort((both.has_bar, both.stamps))
        is_last = np.diff(both.stamps[order], append=_NEVER) != np.timedelta64(0, "ns")
        return both[order[is_last]]

    def looked(
        self, stamps: Stamps, proven: npt.NDArray[np.bool_], asked: np.datetime64, *, failed: bool = False
    ) -> Rows:
        """The rows of stamps of which an answer had no bar, in the light of what is known of them here.

        Args:
            stamps: Which, rising.
            proven: Of each, whether the answer itself proves it.
            asked: When it came.
            failed: Whether it was a failure that may have meant that there is nothing: which proves nothing.
        """
        place = np.minimum(self.stamps.searchsorted(stamps), max(len(self) - 1, 0))
        known = self.stamps[place] == stamps if len(self) else np.zeros(len(stamps), bool)
        states = np.full(len(stamps), RowState.FAILED if failed else RowState.ABSENT, "uint8")
        times = np.full(len(stamps), asked, "datetime64[ns]")
        if known.any():
            old, since = self.states[place], self.asked[place]
            late = asked - since >= APART
            before = known & np.isin(old, (RowState.ABSENT, RowState.ABSENT_AGAIN))
            if failed:
                before |= known & (old == RowState.FAILED) & late
            again = known & (old == RowState.ABSENT_AGAIN)
            states[before] = RowState.ABSENT_AGAIN
            kept = again & ~late & (since <= asked)  # a time that is yet to come, by a clock that was set back, is none
            times[kept] = since[kept]
            states[(before & late & (not failed)) | (known & (old == RowState.NONE))] = RowState.NONE
        states[proven] = RowState.NONE
        times[proven] = asked
        return replace(Rows.of_none(stamps, asked), states=states, asked=times)

    def by_period(self, timeframe: str) -> Iterator[tuple[str, Rows]]:
        """The rows of each period, with its name."""
        periods = self.stamps.astype(_unit(timeframe))
        for period in np.unique(periods):
            yield period_of(period, timeframe), self[periods == period]

    def fault(self) -> str | None:
        """What keeps them from being rows as they ought to be, if anything does."""
        stamps, bars = self.stamps, self.has_bar
        if np.isnat(stamps).any() or not (stamps[1:] > stamps[:-1]).all():
            return "the stamps do not rise"
        if (self.states > RowState.BAD).any() or (np.isnat(self.asked) != (self.states == RowState.BAR)).any():
            return "it is not told what a row is"
        columns = self.columns
        if not bars.all():
            if not all(np.isnan(column[~bars]).all() for column in columns):
                return "there are prices where there is no bar"
            columns = self[bars].columns
        *prices, volume = columns
        if not all(np.isfinite(price).all() for price in prices) or np.isinf(volume).any():
            return "a price or a volume is not finite"
        _, high, low, _ = prices
        return None if (high >= low).all() else "a high is below its low"


def period_of(stamp: np.datetime64, timeframe: str) -> str:
    """The name of the period that a stamp is in: of a month, a year or a decade; they sort by their age."""
    unit = _unit(timeframe)
    name = str(stamp.astype(unit))
    return f"{name}s" if unit == _DECADE else name


def _unit(timeframe: str) -> str:
    """How long a period is: some ten thousand bars, few enough to rewrite and enough to be read fast."""
    known = timeframe_of(timeframe)
    if not known.is_intraday:
        return _DECADE
    return _YEAR if known.length >= timedelta(minutes=5) else _MONTH
