"""What a frame of bars looks like, whoever made it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...errors import ProviderError
from ...timeframes import timeframe_of

log = logging.getLogger("symcache")

COLUMNS = ("open", "high", "low", "close", "volume")
INDEX = "timestamp"
ADJUSTMENT = "adjustment"
"""The name, in a frame's ``attrs``, of how its prices are adjusted: ``split``, for example."""

Stamps = npt.NDArray[np.datetime64]
"""UTC, in nanoseconds."""
Floats = npt.NDArray[np.float64]


def empty_bars() -> pd.DataFrame:
    """No bars, with the columns and types of any other frame of them."""
    return frame_of(np.empty(0, "datetime64[ns]"), [np.empty(0) for _ in COLUMNS])


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


def conform(frame: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Give a provider's bars the one form that the loader works with.

    What cannot be a bar is dropped, with a warning: without a stamp, with a price that is not finite, or with a high
    below its low. A volume that is not finite is unknown: NaN.

    Args:
        frame: What the provider gave; of its ``attrs``, ``adjustment`` is kept.
        timeframe: The name of the bars' length.

    Returns:
        A new frame: float64 columns open, high, low, close, volume, and a rising, unique UTC index named
        ``timestamp``. The stamp of a daily bar is the midnight of its session, of a weekly one that of its week's
        Monday, and of any other what the provider says; of bars with one stamp, the last is kept.

    Raises:
        ConfigurationError: There is no such timeframe.
        ProviderError: It is no frame, lacks a column, holds something else than numbers, or its index is not of times.
    """
    stamps = labels(frame, timeframe)
    if frame.empty:
        bars = empty_bars()
    else:
        if missing := [column for column in COLUMNS if column not in frame.columns]:
            raise ProviderError(f"the provider's bars have no {', '.join(missing)}")
        try:
            columns = [frame[column].to_numpy("float64", copy=True) for column in COLUMNS]
        except (TypeError, ValueError):
            raise ProviderError("the provider's bars are not all numbers") from None
        bars = _sound(frame_of(stamps_of(stamps), columns))
        bars = bars[~bars.index.duplicated(keep="last")].sort_index()
    if ADJUSTMENT in frame.attrs:
        bars.attrs[ADJUSTMENT] = frame.attrs[ADJUSTMENT]
    return bars


def labels(frame: pd.DataFrame, timeframe: str) -> pd.DatetimeIndex:
    """The stamp (UTC) of each of a provider's bars, in its own order.

    A daily or weekly bar that is stamped with a midnight of the provider's own clock is one of that day: midnight in
    Tokyo is another day in UTC.

    Raises:
        ConfigurationError: There is no such timeframe.
        ProviderError: It is no frame, or its index is not of times.
    """
    known = timeframe_of(timeframe)
    if not isinstance(frame, pd.DataFrame):
        raise ProviderError(f"the provider gave a {type(frame).__name__}; a DataFrame of bars is expected")
    if frame.empty:
        return index_of(np.empty(0, "datetime64[ns]"))
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise ProviderError("the provider's bars have no index of times")
    if known.is_intraday:
        return index_of(stamps_of(frame.index))
    wall = frame.index.tz_localize(None)
    days = (stamps_of(wall) if wall.equals(wall.normalize()) else stamps_of(frame.index)).astype("datetime64[D]")
    if known.name == "1w":
        days -= ((days.astype("int64") + 3) % 7).astype("timedelta64[D]")  # day 0, the first of 1970, was a Thursday
    return index_of(days.astype("datetime64[ns]"))


def _sound(bars: pd.DataFrame) -> pd.DataFrame:
    bars["volume"] = bars["volume"].where(np.isfinite(bars["volume"]))
    prices = bars[["open", "high", "low", "close"]].to_numpy()
    sound = bars.index.notna() & np.isfinite(prices).all(axis=1) & (bars["high"] >= bars["low"]).to_numpy()
    if not sound.all():
        log.warning(
            "%d of %d bars of the provider are dropped: no time, a price that is not finite, or a high below its low",
            len(bars) - sound.sum(),
            len(bars),
        )
    kept: pd.DataFrame = bars.loc[sound]
    return kept
