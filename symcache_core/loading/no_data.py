"""For how long it is believed that a provider does not have a bar."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .timeframes import Timeframe

_SOONEST = np.timedelta64(1, "h")
_LATEST = np.timedelta64(30, "D")


def still_empty(empty: pd.Series[pd.Timestamp], timeframe: Timeframe, now: pd.Timestamp) -> pd.DatetimeIndex:
    """The stamps of the bars that a provider has said not to have, and need not be asked for again yet.

    An answer is believed for as long as the bar had been over when it was given, for an hour at least and thirty days
    at most: what is missing on the evening of a session may be there in the morning.

    Args:
        empty: When the provider was asked, by stamp.
        timeframe: The length of the bars.
        now: The present (UTC).
    """
    stamps, asked = pd.DatetimeIndex(empty.index), pd.DatetimeIndex(empty)
    believed = np.clip((asked - stamps - timeframe.length).to_numpy(), _SOONEST, _LATEST)
    return stamps[asked + believed > now]
