"""The series that a load reads and fills, and what is known of its instrument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..models import ContractInfo, ValidationResult
from ..moments import parse_utc
from .bars.moments import limits
from .bars.rows import Rows
from .bars.state import SeriesState
from .bars.store import BarSeries, LocalBars
from .bearers import Bearer
from .calendars import Calendar, calendar_of
from .plan.planning import Request

_ABOUT = timedelta(days=3)
"""By so much a head timestamp that moves with the time may be off: it is that of a session."""


@dataclass(slots=True)
class Target:
    """What a load reads and fills.

    Args:
        bearer: Whose series it is.
        series: Where it is kept.
        verdict: What is known of the symbol, if anything.
        beneath: Bars of unknown identity that may be the same instrument's; the series has none of its own.
    """

    bearer: Bearer
    series: BarSeries
    verdict: ValidationResult | None = None
    beneath: Rows | None = None

    @property
    def contract(self) -> ContractInfo | None:
        """What the provider says that it is, if it does."""
        return None if self.verdict is None else self.verdict.contract_info

    @property
    def asset_type(self) -> str:
        """What kind of instrument it is, if anybody says."""
        return "" if self.contract is None else self.contract.asset_type.upper()

    @property
    def head(self) -> str | None:
        """The provider's head timestamp, of an instrument without a permanent id."""
        if self.verdict is None or self.bearer.permanent_id is not None:
            return None
        return (self.verdict.head_timestamps or {}).get(self.series.timeframe)

    @property
    def listing(self) -> str | None:
        """Its exchange, likewise."""
        if self.contract is None or self.bearer.permanent_id is not None:
            return None
        return self.contract.exchange or None

    def calendar(self, request: Request) -> Calendar:
        """By which the day of each row is told."""
        return calendar_of(self.contract, request.instrument.asset_type, request.session)

    def read(self, start: datetime | None = None, end: datetime | None = None) -> LocalBars:
        """What is at hand; blocks."""
        local = self.series.read(start, end)
        if self.beneath is None:
            return local
        return replace(local, rows=self.beneath.between(*limits(start, end)))

    def has_moved(self, local: LocalBars) -> bool:
        """Whether an instrument without a permanent id is described otherwise than when it was last compared."""
        state = local.state
        heads = (None, None) if state.is_rolling else (state.head, self.head)
        return any(
            then is not None and now is not None and then != now for then, now in (heads, (state.listing, self.listing))
        )

    def is_rolling(self, state: SeriesState, now: datetime) -> bool:
        """Whether the head timestamp of an instrument without a permanent id moves as fast as the time.

        Args:
            state: What is remembered of the series.
            now: The present (UTC).
        """
        if state.is_rolling or self.head is None or state.head in (None, self.head) or state.head_at is None:
            return state.is_rolling
        assert state.head is not None, "it is none of those"
        moved, passed = parse_utc(self.head) - parse_utc(state.head), now - state.head_at
        return abs(moved - passed) <= _ABOUT

    def remember(self, now: datetime) -> None:
        """Write down how an instrument without a permanent id is described (at a time, UTC); blocks."""
        if self.head is None and self.listing is None:
            return
        state = self.series.state()
        rolling = self.is_rolling(state, now)
        if (state.head, state.listing, state.is_rolling) != (self.head, self.listing, rolling):
            self.series.remember(head=self.head, head_at=now, listing=self.listing, is_rolling=rolling)
