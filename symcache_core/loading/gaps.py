"""Which of the expected bars are missing, in gaps that one request could fill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing bars.

    Args:
        stamps: Theirs, rising.
        before: The stamp of the next bar that is expected, if there is one.
    """

    stamps: pd.DatetimeIndex
    before: pd.Timestamp | None = None


def gaps(
    expected: pd.DatetimeIndex, present: pd.DatetimeIndex, doubtful: pd.DatetimeIndex, longest: timedelta
) -> Iterator[Gap]:
    """What is missing: bars with none present in between.

    Doubtful bars are mostly not there, many, and alone: they are gathered with what is present in between.

    Args:
        expected: The stamp of every bar that there should be, rising.
        present: Those of the bars that there are, and of those that there are not to be.
        doubtful: Those of the bars that the provider did not have when it was asked.
        longest: What doubtful bars that are gathered may span.
    """
    missing = np.flatnonzero(~expected.isin(present))
    if not missing.size:
        return
    runs = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)
    doubted = expected.isin(doubtful)
    gathered: list[np.ndarray] = []
    for run in runs:
        if gathered and not (
            doubted[run].all()
            and doubted[gathered[-1]].all()
            and expected[run[-1]] - expected[gathered[0][0]] < longest
        ):
            yield _gap(expected, gathered)
            gathered = []
        gathered.append(run)
    yield _gap(expected, gathered)


def _gap(expected: pd.DatetimeIndex, runs: list[np.ndarray]) -> Gap:
    following = runs[-1][-1] + 1
    stamps = expected[runs[0][0] : following] if len(runs) == 1 else expected[np.concatenate(runs)]
    return Gap(stamps, expected[following] if following < len(expected) else None)
