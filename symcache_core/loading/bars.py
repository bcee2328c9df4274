"""What a frame of daily bars looks like, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import ProviderError

COLUMNS = ("open", "high", "low", "close", "volume")
INDEX = "timestamp"


def empty_bars() -> pd.DataFrame:
    """No bars, with the columns and types of any other frame of them."""
    return frame_of(np.empty(0, "datetime64[ns]"), {column: np.empty(0) for column in COLUMNS})


def frame_of(stamps: npt.NDArray[np.datetime64], columns: Mapping[str, npt.NDArray[np.float64]]) -> pd.DataFrame:
    """Put stamps (UTC, nanoseconds) and columns together, with no frequency that a store could not give back."""
    return pd.DataFrame(columns, index=pd.DatetimeIndex(stamps, name=INDEX).tz_localize("UTC"))


def conform(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a provider's daily bars the one form that the loader works with.

    Returns:
        A new frame: float64 columns open, high, low, close, volume, and a rising, unique UTC index named
        ``timestamp``, in which a daily bar is stamped with the midnight of its session.

    Raises:
        ProviderError: The frame lacks a column, or its index is not of times.
    """
    if frame.empty:
        return empty_bars()
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise ProviderError(f"the provider's bars have no {', '.join(missing)}")
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise ProviderError("the provider's bars have no index of times")
    utc = frame.index if frame.index.tz is None else frame.index.tz_convert(None)
    columns = {column: frame[column].to_numpy("float64") for column in COLUMNS}
    return _tidy(frame_of(utc.normalize().as_unit("ns").to_numpy(), columns))


def merge(older: pd.DataFrame, newer: pd.DataFrame) -> pd.DataFrame:
    """Put two conforming frames into one; where both have a bar, the newer one wins."""
    parts = [frame for frame in (older, newer) if not frame.empty]
    return _tidy(pd.concat(parts)) if parts else empty_bars()


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame.index.duplicated(keep="last")].sort_index()
