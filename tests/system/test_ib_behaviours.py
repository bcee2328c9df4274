"""The whole way to Interactive Brokers as it is reported to behave: what is loaded in the end is the truth.

Loader, cache, adapter, HTTP, host process, ib_async, and a TWS that is simulated, in a process of its own.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import NamedTuple

import pandas as pd
import pytest
from host_process import HostProcess
from tws.listings import known_on
from tws.market import NOW, Market
from tws.process import TwsProcess
from tws.spans import SIZES, Span

from symcache_core import SymcacheSettings
from symcache_core.errors import ProviderError
from symcache_core.loading import DataManager, LoadReport

backend = "json"
SIZE = {"1h": "1 hour", "1d": "1 day", "15m": "15 mins", "4h": "4 hours"}
MOST_LOADS = 25
"""How often a program comes back until all is there; each time it goes on where it was."""


class Case(NamedTuple):
    """What to load: first up to a moment, and then the rest of it as a tail."""

    symbol: str
    timeframe: str
    start: str
    middle: str
    end: str
    listing: str
    has_regular_hours: bool = False


CASES = [
    Case("AAPL", "1h", "2013-01-14T00:00", "2013-02-12T12:00", "2013-02-28T22:00", "AAPL STK USD", True),
    Case("AAPL", "1d", "2010-06-01T00:00", "2012-11-30T00:00", "2013-02-28T00:00", "AAPL STK USD", True),
    Case("EUR/USD", "1h", "2013-01-14T18:00", "2013-02-12T12:00", "2013-02-28T07:59", "EUR CASH USD"),
    Case("FUT:ESZ2@CME", "1h", "2012-11-26T18:00", "2012-12-12T12:00", "2012-12-21T14:29", "ESZ2 FUT USD"),
    Case("FUT:ESH3@CME", "4h", "2012-12-10T18:00", "2013-02-12T12:00", "2013-02-28T07:59", "ESH3 FUT USD"),
    Case("IND:SPX@CBOE", "15m", "2013-02-04T00:00", "2013-02-21T12:00", "2013-02-28T22:00", "SPX IND USD", True),
    Case("CRYPTO:BTC", "1h", "2013-02-04T00:00", "2013-02-21T12:00", "2013-02-28T11:59", "BTC CRYPTO USD"),
]


def truth(case):
    """Every bar of a case's range, as the simulated market has it."""
    name, kind, currency = case.listing.split()
    listing = next(
        listing
        for listings in known_on(NOW.date()).values()
        for listing in listings
        if (listing.sec_type, listing.currency) == (kind, currency) and name in (listing.symbol, listing.local_symbol)
    )
    start, end = (pd.Timestamp(moment, tz="UTC") for moment in (case.start, case.end))
    seconds = SIZES[SIZE[case.timeframe]][0]
    days = (end - start).days + 10
    span = Span(seconds, days, "D", (end + timedelta(days=4)).to_pydatetime())
    bars = list(Market(NOW)._bars(listing, span, case.has_regular_hours))
    columns = ["open", "high", "low", "close", "volume"]
    frame = pd.DataFrame([[getattr(bar, name) for name in columns] for bar in bars], columns=columns, dtype="float64")
    frame.index = pd.to_datetime([bar.time for bar in bars], utc=True).as_unit("ns")
    frame.index.name = "timestamp"
    return frame.loc[start:end]


@pytest.mark.parametrize(
    "behaviours",
    [
        pytest.param(("german", "strict", "id-held", "slow-heads=0.5"), id="some"),
        pytest.param(("all",), id="all", marks=pytest.mark.soak),
    ],
)
def test_what_is_loaded_in_the_end_is_the_truth(tmp_path, behaviours):
    options = [option for name in behaviours for option in ("--behaviour", name)]
    with TwsProcess(*options) as tws:
        host = HostProcess(tmp_path, "--gateway", "ib", "--ib-port", str(tws.port))
        try:
            settings = SymcacheSettings(backend="json", data_dir=tmp_path / "data", host_service_url=host.url)
            for case in CASES:
                for mode, end in (("full", case.middle), ("tail", case.end)):
                    frame = load(settings, case, mode, end)
                expected = truth(case)
                assert len(expected) > 40, case
                pd.testing.assert_frame_equal(frame, expected, check_freq=False)
            assert not tws.counts()["violations"]
        finally:
            host.close()


def load(settings, case, mode, end):
    """Load as a program does that comes back when it was told that Interactive Brokers is away."""
    for _load in range(MOST_LOADS):
        with DataManager(settings) as manager:
            try:
                frame = manager.load(case.symbol, case.timeframe, start_date=case.start, end_date=end, mode=mode)
            except ProviderError:
                time.sleep(1)
                continue
            if not LoadReport.of(frame).missing:
                return frame
    pytest.fail(f"{case} is not whole after {MOST_LOADS} loads")
