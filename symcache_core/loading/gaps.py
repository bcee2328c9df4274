"""Which of the expected sessions have no local bar, as runs that one request can fill."""

from __future__ import annotations

import numpy as np
import pandas as pd


def missing_runs(expected: pd.DatetimeIndex, present: pd.DatetimeIndex) -> list[pd.DatetimeIndex]:
    """Group the sessions that are missing; sessions with none present in between are in one run.

    Args:
        expected: Every session that there should be, rising.
        present: Those for which there is a bar.
    """
    missing = np.flatnonzero(~expected.isin(present))
    if not missing.size:
        return []
    breaks = np.flatnonzero(np.diff(missing) > 1) + 1
    return [expected[run] for run in np.split(missing, breaks)]
