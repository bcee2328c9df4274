"""What a provider said to one request for bars, and what that adds to what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from .frames import Stamps
from .moments import moment
from .rows import Rows, RowState


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider said to one request for bars.

    Args:
        rows: The bars, and the rows that cannot be any.
        absent: The stamps of the bars that were wanted and not given, rising.
        proven: Of each of them, whether the answer proves that there is none.
        is_seam: Whether it has to be compared with what is stored.
        failed: Whether there was no answer, in a way that may have meant that there is nothing.
        asked: When it came (UTC).
        first: The first moment that was asked for (UTC).
        last: The last one.
        final_until: The last stamp of which a bar is final by then; of later ones nothing is proven yet.
        basis: What the provider says that its bars are, if it does.
    """

    rows: Rows
    absent: Stamps
    proven: npt.NDArray[np.bool_]
    is_seam: bool = False
    failed: bool = False
    asked: datetime
    first: datetime
    last: datetime
    basis: Mapping[str, Any] | None = None
    final_until: np.datetime64

    def added_to(self, near: Rows) -> Rows:
        """The rows that this adds to those that are near: its bars, and what it says of those that are not there."""
        asked = moment(self.asked)
        absent = near.looked(self.absent, self.proven, asked, failed=self.failed)
        absent.states[(absent.states == RowState.NONE) & (absent.stamps > self.final_until)] = RowState.ABSENT_AGAIN
        if self.failed:
            return absent
        # A provisional bar that the provider does not have now stays, and has been asked for.
        again = near.between(moment(self.first), moment(self.last)).of(RowState.PROVISIONAL)
        again.asked[:] = asked
        is_final = again.stamps <= self.final_until
        again.states[is_final], again.asked[is_final] = RowState.BAR, np.datetime64("NaT", "ns")
        return again.updated(absent).updated(self.rows)
