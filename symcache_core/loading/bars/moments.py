"""Times as stamps: UTC, in nanoseconds, and never out of their range."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

# What nanoseconds since 1970 can tell, in whole years.
_EARLIEST = datetime(1678, 1, 1, tzinfo=UTC)
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)


def limits(start: datetime | None, end: datetime | None) -> tuple[np.datetime64, np.datetime64]:
    """The stamps from a start to an end (UTC), each of which may be left open."""
    return moment(start or _EARLIEST), moment(end or _LATEST)


def moment(time: datetime) -> np.datetime64:
    """A time as a stamp, or the nearest one that can be a stamp."""
    utc = min(max(time, _EARLIEST), _LATEST).astimezone(UTC)
    return np.datetime64(utc.replace(tzinfo=None), "ns")


def time_of(stamp: np.datetime64) -> datetime:
    """A stamp as a time (UTC), to the microsecond."""
    return pd.Timestamp(stamp, tz="UTC").to_pydatetime(warn=False)
