"""When a contract's market is open, by its exchange's real calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import exchange_calendars
import pandas as pd

from ..models import ContractInfo

# Calendars go back twenty years unless told otherwise; the earliest bars of any provider are younger than this.
_FIRST_SESSION = "1900-01-01"

_BY_ASSET_TYPE = {"CASH": "24/5", "CRYPTO": "24/7"}
_STOCKS = "XNYS"


def calendar_name(contract: ContractInfo | None, asset_type: str = "") -> str:
    """The calendar of a contract: of the forex market, of crypto currencies, else of the New York Stock Exchange.

    Args:
        contract: What the provider says it is.
        asset_type: What its symbol says it is, for a contract that the provider does not describe.
    """
    described = contract.asset_type if contract is not None else ""
    return _BY_ASSET_TYPE.get((described or asset_type).upper(), _STOCKS)


def completed_sessions(name: str, start: datetime, end: datetime, now: datetime) -> pd.DatetimeIndex:
    """The sessions from start to end whose market has closed by now, each as the midnight (UTC) of its day.

    Args:
        name: The calendar.
        start: From here on (UTC).
        end: Up to here, included (UTC).
        now: The present (UTC); a session that closes later has no complete bar yet.
    """
    closes = _closes(name, now.astimezone(UTC).year)
    stamps = pd.DatetimeIndex(closes.index)
    inside = (stamps >= pd.Timestamp(start)) & (stamps <= pd.Timestamp(end))
    return stamps[inside & (closes <= pd.Timestamp(now)).to_numpy()]


@lru_cache(maxsize=8)
def _closes(name: str, year: int) -> pd.Series[pd.Timestamp]:
    # The labels of the sessions of a year do not depend on when they are asked for, and building costs 0.15 s.
    calendar = exchange_calendars.get_calendar(name, start=_FIRST_SESSION, end=f"{year}-12-31")
    closes: pd.Series[pd.Timestamp] = calendar.closes
    return closes.set_axis(calendar.sessions.tz_localize("UTC"))
