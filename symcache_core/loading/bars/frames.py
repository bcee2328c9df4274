"""What a frame of bars looks like, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...errors import ProviderError

COLUMNS = ("open", "high", "low", "close", "volume")
INDEX = "timestamp"
ADJUSTMENT, BASIS, CONTRACT, OLDER_HOST = "adjustment", "basis", "contract", "older_host"
"""What a provider may say of its bars in their frame's ``attrs``; see
:meth:`~symcache_core.protocols.ExternalDataProvider.fetch_historical_data`."""

Stamps = npt.NDArray[np.datetime64]
"""UTC, in nanoseconds."""
Floats = npt.NDArray[np.float64]


def frame_of(stamps: Stamps, columns: Sequence[Floats]) -> pd.DataFrame:
    """Put stamps and columns, in the order of :data:`COLUMNS`, together; the frame takes the arrays over."""
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=index_of(stamps), copy=False)


def index_of(stamps: Stamps) -> pd.DatetimeIndex:
    """Make an index of stamps, with no frequency that a store could not give back."""
    return pd.DatetimeIndex(stamps, name=INDEX).tz_localize("UTC")


def stamps_of(index: pd.DatetimeIndex) -> Stamps:
    """The stamps of an index of times, which are UTC unless it says otherwise."""
    utc = index if index.tz is None else index.tz_convert(None)
    return utc.as_unit("ns").to_numpy()


@dataclass(frozen=True, slots=True)
class Given:
    """What a provider gave, in the one form that the loader works with.

    Args:
        stamps: UTC, rising, each once.
        columns: Open, high, low, close, volume; a volume that is not finite is unknown: NaN.
        bad: The stamps of the rows that cannot be bars: a price is not finite, or a high below its low.
    """

    stamps: Stamps
    columns: Sequence[Floats]
    bad: Stamps


def conform(frame: pd.DataFrame, label: Callable[[pd.DatetimeIndex], Stamps]) -> Given:
    """Read a provider's frame of bars; of rows with one stamp the last is kept, and one without a stamp is dropped.

    Args:
        frame: What the provider gave.
        label: Gives the stamp of each of its rows, by their times.

    Raises:
        ProviderError: It is no frame, lacks a column, holds something else than numbers, or its index is not of times.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ProviderError(f"the provider gave a {type(frame).__name__}; a DataFrame of bars is expected")
    if frame.empty:
        none = np.empty(0, "datetime64[ns]")
        return Given(none, [np.empty(0) for _ in COLUMNS], none)
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise ProviderError("the provider's bars have no index of times")
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise ProviderError(f"the provider's bars have no {', '.join(missing)}")
    if twice := [column for column in COLUMNS if (frame.columns == column).sum() > 1]:
        raise ProviderError(f"the provider's bars have several columns {', '.join(twice)}")
    try:
        columns = [_numbers(frame[column]) for column in COLUMNS]
    except (TypeError, ValueError):
        raise ProviderError("the provider's bars are not all numbers") from None
    try:
        stamps = label(frame.index)
    except (OverflowError, ValueError) as error:
        raise ProviderError(f"the provider's bars have a time that is out of range: {error}") from None
    order = np.argsort(stamps, kind="stable")
    sorted_stamps = stamps[order]
    is_last = np.append(sorted_stamps[1:] != sorted_stamps[:-1], True)
    order = order[is_last & ~np.isnat(sorted_stamps)]
    stamps, columns = stamps[order], [column[order] for column in columns]
    *prices, volume = columns
    volume[~np.isfinite(volume)] = np.nan
    with np.errstate(invalid="ignore"):
        is_sound = np.isfinite(prices).all(axis=0) & (prices[1] >= prices[2])
    return Given(stamps[is_sound], [column[is_sound] for column in columns], stamps[~is_sound])


def _numbers(column: pd.Series) -> Floats:
    if column.dtype.kind in "bc":
        raise TypeError(column.dtype)
    return column.to_numpy("float64", copy=True)
