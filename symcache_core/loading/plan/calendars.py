"""Which bars there have to be: by the calendar of a contract's exchange, its holidays and early closes included."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

import exchange_calendars
import numpy as np
import numpy.typing as npt
import pandas as pd

from ...models import ContractInfo
from ...timeframes import Timeframe

log = logging.getLogger("symcache")

FOREX = "forex"
"""Not a calendar of an exchange: a day of the currency market ends at 17:00 in New York, and no day on a weekend."""

_FIRST_SESSION = "1900-01-01"
"""The earliest bars of any provider are younger than this."""

_WEEK = pd.Timedelta(days=7)

_BY_ASSET_TYPE = {"CASH": FOREX, "CRYPTO": "24/7"}
_STOCKS = "XNYS"

# Interactive Brokers' names of exchanges, https://www.interactivebrokers.com/en/trading/products-exchanges.php
_BY_EXCHANGE: Mapping[str, str] = MappingProxyType(
    {
        "TSE": "XTSE",
        "VENTURE": "XTSE",
        "LSE": "XLON",
        "LSEETF": "XLON",
        "IBIS": "XETR",
        "IBIS2": "XETR",
        "FWB": "XFRA",
        "SBF": "XPAR",
        "AEB": "XAMS",
        "ENEXT.BE": "XBRU",
        "BVME": "XMIL",
        "BM": "XMAD",
        "EBS": "XSWX",
        "SFB": "XSTO",
        "HEX": "XHEL",
        "OSE": "XOSL",
        "CPH": "XCSE",
        "VSE": "XWBO",
        "WSE": "XWAR",
        "BVL": "XLIS",
        "SEHK": "XHKG",
        "TSEJ": "XTKS",
        "KSE": "XKRX",
        "SGX": "XSES",
        "ASX": "XASX",
        "NSE": "XBOM",
        "CME": "CMES",
        "CBOT": "CMES",
        "NYMEX": "CMES",
        "COMEX": "CMES",
        "MEXI": "XMEX",
    }
)

_building = threading.Lock()
"""Of the first loads of a program, one builds the calendar, and the others wait for it."""

Nanoseconds = npt.NDArray[np.int64]


def calendar_name(contract: ContractInfo | None, asset_type: str = "") -> str:
    """The calendar of a contract: of its market or its exchange, when known, else of the New York Stock Exchange.

    Args:
        contract: What the provider says it is.
        asset_type: What its symbol says it is, for a contract that the provider does not describe.
    """
    described = contract.asset_type if contract is not None else ""
    if by_type := _BY_ASSET_TYPE.get((described or asset_type).upper()):
        return by_type
    if contract is None:
        return _STOCKS
    primary = contract.contract.get("primaryExchange") or contract.exchange
    return _BY_EXCHANGE.get(str(primary).upper(), _STOCKS)


def expected_bars(
    calendar: str, timeframe: Timeframe, start: datetime, end: datetime, now: datetime
) -> pd.DatetimeIndex:
    """The stamps (UTC) of the bars from start to end that are complete by now.

    A bar within a session is stamped with its beginning: the exchange's clock is cut into pieces of the timeframe's
    length, and the first bar begins with the session. A daily bar is stamped with the midnight (UTC) of its session's
    day, a weekly one with that of its week's Monday.

    Args:
        calendar: Its name; see :func:`calendar_name`.
        timeframe: The length of the bars.
        start: The first stamp wanted (UTC).
        end: The last stamp wanted, included (UTC).
        now: The present (UTC); a bar that ends later is still forming.
    """
    # The week that a year ends with has its last sessions in the next one.
    sessions = _sessions(calendar, (now.astimezone(UTC) + 2 * _WEEK).year)
    oldest, newest = sessions.index[[0, -1]]
    first: pd.Timestamp = max(pd.Timestamp(start), oldest - _WEEK)
    last: pd.Timestamp = min(pd.Timestamp(end), newest + _WEEK)
    # A bar's session, or its week's last one, is at most a week from its stamp.
    near = sessions.loc[first - _WEEK : last + _WEEK]
    days = pd.DatetimeIndex(near.index)
    if timeframe.is_intraday:
        stamps, ends = _within(near, timeframe)
    elif timeframe.name == "1d":
        stamps, ends = days, pd.DatetimeIndex(near["close"])
    else:
        weeks = near["close"].groupby(days - pd.to_timedelta(days.day_of_week, unit="D")).max()
        stamps, ends = pd.DatetimeIndex(weeks.index), pd.DatetimeIndex(weeks)
    inside = (stamps >= first) & (stamps <= last) & (ends <= pd.Timestamp(now))
    return stamps[inside]


def _within(sessions: pd.DataFrame, timeframe: Timeframe) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """The stamps and the ends of all bars within sessions."""
    length = int(timeframe.length.total_seconds()) * 10**9
    opens, closes, offsets = (sessions[name].to_numpy("int64") for name in ("open", "close", "offset"))
    # The exchange's wall clock, which stands still for nobody: within a session it is taken as it is at the opening.
    first = (opens + offsets) // length * length - offsets
    counts = np.maximum(-((first - closes) // length), 0)
    session = np.repeat(np.arange(len(sessions)), counts)
    number = np.arange(len(session)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = first[session] + number * length
    ends = np.minimum(begins + length, closes[session])
    begins = np.maximum(begins, opens[session])
    pauses, resumes = (sessions[name].to_numpy("int64")[session] for name in ("pause", "resume"))
    traded = (begins < pauses) | (ends > resumes)
    begins = np.where((begins >= pauses) & (begins < resumes), resumes, begins)
    return _utc(begins[traded]), _utc(ends[traded])


def _utc(nanoseconds: Nanoseconds) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(nanoseconds.astype("datetime64[ns]")).tz_localize("UTC")


def _sessions(name: str, year: int) -> pd.DataFrame:
    with _building:
        return _build(name, year)


@lru_cache(maxsize=8)
def _build(name: str, year: int) -> pd.DataFrame:
    """The sessions up to the end of a year, by the midnight (UTC) of their days.

    Columns open, close, pause and resume (the end of the session where it has no pause), and the exchange's offset from
    UTC at the opening, all in nanoseconds but for ``close``, which is a time.
    """
    # What a year's sessions are does not depend on when it is asked, and building a calendar costs 0.15 s.
    if name == FOREX:
        return _forex(year)
    # Without a start, a calendar goes back twenty years; some know no holidays before or after times of their own.
    known = exchange_calendars.get_calendar(name)
    oldest, newest = known.bound_min() or pd.Timestamp(_FIRST_SESSION), pd.Timestamp(year, 12, 31)
    if (bound := known.bound_max()) is not None and bound < newest:
        log.warning("calendar %s ends on %s, and so do the bars to expect: update exchange_calendars", name, bound)
        newest = bound
    calendar = exchange_calendars.get_calendar(name, start=oldest, end=newest)
    schedule = calendar.schedule
    opens, closes = schedule["open"], schedule["close"]
    return _table(
        schedule.index, opens, closes, str(calendar.tz), schedule["break_start"].fillna(closes), schedule["break_end"]
    )


def _forex(year: int) -> pd.DataFrame:
    days = pd.bdate_range(_FIRST_SESSION, f"{year}-12-31")
    evening = pd.Timedelta(hours=17)
    zone = "America/New_York"
    opens = pd.Series((days - pd.Timedelta(days=1) + evening).tz_localize(zone).tz_convert("UTC"), index=days)
    closes = pd.Series((days + evening).tz_localize(zone).tz_convert("UTC"), index=days)
    return _table(days, opens, closes, zone, closes, closes)


def _table(
    days: pd.Index, opens: pd.Series, closes: pd.Series, zone: str, pauses: pd.Series, resumes: pd.Series
) -> pd.DataFrame:
    wall = opens.dt.tz_convert(zone).dt.tz_localize(None)
    columns = {"open": opens, "close": closes, "pause": pauses, "resume": resumes.fillna(closes)}
    table = pd.DataFrame({name: column.astype("datetime64[ns, UTC]") for name, column in columns.items()})
    table["offset"] = (wall - opens.dt.tz_localize(None)).astype("timedelta64[ns]")
    return table.set_axis(pd.DatetimeIndex(days).as_unit("ns").tz_localize("UTC"))
