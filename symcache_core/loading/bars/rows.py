"""Rows of a bar store: for each stamp a bar, or the time at which the provider had none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from ...timeframes import timeframe_of
from .frames import COLUMNS, Floats, Stamps

_MONTH, _YEAR, _DECADE = "datetime64[M]", "datetime64[Y]", "datetime64[10Y]"

_Which = slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rows:
    """Bars, and stamps of which the provider has none.

    Args:
        stamps: Rising, once all is well.
        columns: Open, high, low, close, volume; NaN where there is no bar, and for a volume that nobody knows.
        asked: When the provider said that it has no bar of this stamp; NaT where there is one.
    """

    stamps: Stamps
    columns: Sequence[Floats]
    asked: Stamps

    @classmethod
    def of_bars(cls, stamps: Stamps, columns: Sequence[Floats]) -> Self:
        """Bars only."""
        return cls(stamps, columns, np.full(len(stamps), "NaT", "datetime64[ns]"))

    @classmethod
    def of_none(cls, stamps: Stamps, asked: np.datetime64) -> Self:
        """Stamps that have no bar, as the provider said when it was asked."""
        columns = [np.full(len(stamps), np.nan) for _ in COLUMNS]
        return cls(stamps, columns, np.full(len(stamps), asked, "datetime64[ns]"))

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
        )

    def __len__(self) -> int:
        return len(self.stamps)

    def __getitem__(self, which: _Which) -> Rows:
        return Rows(self.stamps[which], [column[which] for column in self.columns], self.asked[which])

    @property
    def has_bar(self) -> npt.NDArray[np.bool_]:
        """Of each row, whether it is a bar."""
        return np.isnat(self.asked)

    def between(self, first: np.datetime64, last: np.datetime64) -> Rows:
        """Those from first to last, both included."""
        begin = int(self.stamps.searchsorted(first, side="left"))
        return self[begin : int(self.stamps.searchsorted(last, side="right"))]

    def updated(self, newer: Rows) -> Rows:
        """These and newer ones: the last of a stamp wins, except that no stamp loses its bar."""
        both = Rows.join([self, newer])
        order = np.lexsort((both.has_bar, both.stamps))
        is_last = np.diff(both.stamps[order], append=np.datetime64("NaT", "ns")) != np.timedelta64(0, "ns")
        return both[order[is_last]]

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
