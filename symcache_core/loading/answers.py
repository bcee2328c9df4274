"""Reads what a provider gave for one segment: its bars, which of them are final, and what it does not have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ProviderError, ProviderNoDataError
from ..models import ContractInfo
from ..timeframes import Timeframe
from .bars.answer import Answer
from .bars.frames import ADJUSTMENT, BASIS, CONTRACT, OLDER_HOST, Stamps, conform
from .bars.moments import moment
from .bars.rows import Rows, RowState
from .calendars import Calendar
from .identity import permanent_identity
from .plan.outlook import FINAL_AFTER, Expected
from .plan.segments import Segment


class OtherContractError(Exception):
    """The bars are of another contract than the verdict names.

    Args:
        found: The permanent id of the one that they are of.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class AnswerReader:
    """Reads the answers to one load's requests.

    Args:
        timeframe: The length of the bars.
        calendar: By which each row's day, and the end of its bar, is told.
        permanent_id: That of the contract whose bars are wanted, if the provider has such ids.
        session: Which hours were asked for, if any in particular.
        now: The provider's present (UTC); what ends later is still forming, and not kept.
        clock: The present (seconds since the epoch), by which a bar becomes final.
    """

    def __init__(
        self,
        timeframe: Timeframe,
        calendar: Calendar,
        permanent_id: str | None,
        session: str | None,
        now: datetime,
        clock: float,
    ) -> None:
        self._timeframe = timeframe
        self._calendar = calendar
        self._permanent_id = permanent_id
        self._session = session
        self._now = moment(now)
        self._asked = datetime.fromtimestamp(clock, UTC)

    def read(self, segment: Segment, frame: pd.DataFrame | ProviderNoDataError) -> Answer:
        """Understand an answer.

        Args:
            segment: What was asked.
            frame: What came, be it a failure that may have meant that there is nothing.

        Raises:
            OtherContractError: The bars are of another contract.
            ProviderError: It is not as bars have to be, or on another basis than was asked for.
        """
        nothing = Rows.nothing()
        answer = Answer(
            rows=nothing,
            absent=segment.stamps,
            proven=np.zeros(len(segment.stamps), bool),
            failed=True,
            is_seam=segment.is_seam,
            asked=self._asked,
            first=segment.start,
            last=segment.end,
            final_until=moment(self._asked - self._timeframe.length) - FINAL_AFTER[self._timeframe.is_intraday],
        )
        if isinstance(frame, ProviderNoDataError):
            return answer
        given = conform(frame, partial(self._calendar.labels, timeframe=self._timeframe))
        basis = self._checked(frame)
        first, last = moment(segment.start), moment(segment.end)
        slots = self._calendar.slots(self._timeframe, segment.start, segment.end)
        expected = Expected.of(slots, self._timeframe, datetime.max.replace(tzinfo=UTC))
        inside = (given.stamps >= first) & (given.stamps <= last)
        bars = Rows.of_bars(given.stamps, given.columns)[inside]
        bars = self._dated(bars, expected)
        bad = given.bad[(given.bad >= first) & (given.bad <= last)]
        rows = bars.updated(Rows.of_none(bad, moment(self._asked), RowState.BAD))
        # What was asked for on the way counts, too, so that it is not asked for by itself the next day.
        over = expected.stamps[expected.ends <= self._now]
        absent = _without(np.union1d(segment.stamps, over[(over >= first) & (over <= last)]), rows.stamps, expected)
        if frame.attrs.get(OLDER_HOST) and len(bars):
            absent = absent[absent > bars.stamps[0]]
        proven = np.zeros(len(absent), bool)
        if len(bars):
            proven = (absent > bars.stamps[0]) & (absent < bars.stamps[-1])
        return replace(
            answer,
            rows=rows,
            absent=absent,
            proven=proven,
            failed=False,
            basis=basis,
        )

    def _checked(self, frame: pd.DataFrame) -> Mapping[str, Any] | None:
        """What the provider says that its bars are, if that is what was asked for."""
        told = frame.attrs.get(CONTRACT)
        named = ContractInfo.model_construct(contract=told) if isinstance(told, Mapping) else None
        found = permanent_identity(named)
        if found is not None and self._permanent_id is not None and found != self._permanent_id:
            raise OtherContractError(found)
        basis = _basis(frame)
        if found is not None and self._permanent_id is None:
            basis[CONTRACT] = found  # the verdict does not say it, and another one is another basis
        if self._session is not None and basis.get("session") != self._session:
            raise ProviderError(
                f"bars of the {self._session} session were asked for, and the provider does not confirm that it gave "
                "such: leave out session, or use a provider that can choose"
            )
        return basis or None

    def _dated(self, bars: Rows, expected: Expected) -> Rows:
        """The bars that are over, each final or provisional."""
        ends = bars.stamps + np.timedelta64(self._timeframe.length)
        place = expected.places(bars.stamps)
        ends[place >= 0] = expected.ends[place[place >= 0]]
        over = ends <= self._now
        final = ends + FINAL_AFTER[self._timeframe.is_intraday] <= moment(self._asked)
        asked = np.where(final, np.datetime64("NaT", "ns"), moment(self._asked))
        states = np.where(final, RowState.BAR, RowState.PROVISIONAL).astype("uint8")
        return replace(bars, asked=asked, states=states)[over]


def _without(wanted: Stamps, given: Stamps, expected: Expected) -> Stamps:
    """The wanted stamps for which nothing that was given stands."""
    place = expected.places(given)
    stood_for = np.union1d(expected.stamps[place[place >= 0]], given)
    return np.setdiff1d(wanted, stood_for, assume_unique=True)


def _basis(frame: pd.DataFrame) -> dict[str, Any]:
    """What a provider says that its bars are, as values that JSON gives back as they were."""
    told = frame.attrs.get(BASIS)
    basis = {**told} if isinstance(told, Mapping) else {}
    if ADJUSTMENT in frame.attrs:
        basis.setdefault(ADJUSTMENT, frame.attrs[ADJUSTMENT])
    try:
        plain: dict[str, Any] = json.loads(json.dumps(basis))
    except (TypeError, ValueError):
        raise ProviderError("what the provider says of its bars, in attrs, is not JSON") from None
    return plain
