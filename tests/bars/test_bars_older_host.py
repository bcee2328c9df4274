"""An older host service over HTTP, which rounds ranges down and calls emptiness a failure: no bar is lost to it."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pandas as pd
import pytest
from bars.truth import Clock, at, of_one_truth, same
from json_server import JsonServer

from symcache_core import SymcacheSettings
from symcache_core.errors import ProviderError
from symcache_core.loading import DataManager, LoadReport
from symcache_core.providers import IbDataAdapter

NOW = "2013-03-02T12:00"
NO_DATA = {"success": False, "data": None, "error": "No data returned for AAPL 1d", "rows": 0}
CONTRACT = {
    "symbol": "AAPL",
    "asset_type": "STK",
    "exchange": "NASDAQ",
    "currency": "USD",
    "description": "APPLE INC",
    "contract": {},
}


@pytest.fixture(scope="module")
def apple():
    """The 3,270 days that there are."""
    with (files("symcache_host") / "data" / "daily_bars.csv.gz").open("rb") as file:
        table = pd.read_csv(file, compression="gzip", parse_dates=["date"])
    table = table[table["symbol"] == "AAPL"].drop(columns="symbol").rename(columns={"date": "timestamp"})
    table["timestamp"] = table["timestamp"].dt.tz_localize("UTC").dt.as_unit("ns")
    table["volume"] = table["volume"].astype("float64")
    bars = table.set_index("timestamp")
    assert len(bars) == 3270
    return bars


def exact(start, _end):
    return start


def rounded_down(start, end):
    """Whole weeks, counted back from the end; up to a week, whole days."""
    days = (end - start).days
    back = timedelta(days=max(1, days) if days <= 7 else days // 7 * 7)
    return max(start, end - back)


class OlderHost(JsonServer):
    """The server, on any free port of the loopback; a context manager.

    Args:
        bars: What it has.
        begin: Where it begins for a range.
        mistakes: The numbers of the requests for bars (from 1) that it answers with "no data" though it has some.
    """

    def __init__(self, bars, begin=exact, mistakes=()):
        self.bars, self.begin, self.mistakes = bars, begin, set(mistakes)
        self.asked = []
        self._lock = threading.Lock()

    def answer(self, method, path, question):
        if method == "GET":
            return 200, {"healthy": True, "service": "ib-host", "status": "healthy"}
        return 200, self.validate(question) if path.endswith("validate") else self.historical(question)

    def validate(self, question):
        heads = dict.fromkeys(question.get("timeframes") or (), "2000-03-01T14:30:00+00:00")
        return {
            "success": True,
            "is_valid": True,
            "error_message": None,
            "contract_info": CONTRACT,
            "head_timestamps": heads,
            "error": None,
        }

    def historical(self, question):
        start, end = (datetime.fromisoformat(question[name]).astimezone(UTC) for name in ("start", "end"))
        with self._lock:
            self.asked.append((start, end, time.monotonic()))
            number = len(self.asked)
        given = self.bars.loc[self.begin(start, end) : end]
        if number in self.mistakes or given.empty:
            return NO_DATA
        data = {stamp.isoformat(): row for stamp, row in given.to_dict("index").items()}
        return {"success": True, "data": json.dumps(data), "error": None, "rows": len(given)}


@pytest.fixture
def clock(monkeypatch):
    """Of the loader, and of the adapter, whose present is the wall clock's otherwise."""
    clock = Clock(NOW)
    monkeypatch.setattr(IbDataAdapter, "as_of", lambda _self: clock.now.to_pydatetime(warn=False))
    return clock


def manager_of(host, folder, clock):
    settings = SymcacheSettings(provider="ib", backend="memory", data_dir=folder, host_service_url=host.url)
    return DataManager(settings, clock=clock)


KINDS = {
    "exact": {},
    "rounds down": {"begin": rounded_down},
    "a mistake at first": {"mistakes": (1,)},
    "a mistake in between": {"mistakes": (5,)},
    "several mistakes": {"mistakes": (2, 6, 13)},
    "rounds down, and mistakes": {"begin": rounded_down, "mistakes": (3, 9)},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_after_two_more_loads_all_bars_are_there_or_the_report_says_that_some_are_not(kind, apple, folder, clock):
    with OlderHost(apple, **kind) as host, manager_of(host, folder, clock) as manager:
        for _ in range(3):
            before = len(host.asked)
            frame = manager.load("AAPL", "1d", mode="full")
            missing = LoadReport.of(frame).missing
            assert frame["close"].equals(apple["close"].reindex(frame.index))
            assert len(frame) == 3270 or missing is None or missing > 0
            ranges = [asked[:2] for asked in host.asked[before:]]
            assert len(set(ranges)) == len(ranges), "what was answered is not asked again within the same load"
            clock.advance(minutes=11)
        same_prices(frame, apple, missing)


def same_prices(frame, truth, missing):
    if len(frame) == len(truth) or missing == 0:
        same(frame, truth)


@pytest.mark.parametrize("kind", ["rounds down", "a mistake in between"])
def test_explicit_dates_bring_what_a_mistake_or_a_rounding_hid(kind, apple, folder, clock):
    with OlderHost(apple, **KINDS[kind]) as host, manager_of(host, folder, clock) as manager:
        for _ in range(3):
            frame = manager.load("AAPL", "1d", "2000-03-01", "2013-03-01")
            clock.advance(minutes=11)
        same(frame, apple)


def test_a_range_without_any_bar_is_no_outage(apple, folder, clock):
    halted = apple[(apple.index < at("2005-01-01")) | (apple.index > at("2006-12-31"))]
    with OlderHost(halted) as host, manager_of(host, folder, clock) as manager:
        for _ in range(5):
            frame = manager.load("AAPL", "1d", mode="full")
            same(frame, halted)
            clock.advance(minutes=11)
        frame = manager.load("AAPL", "1d", "2005-03-01", "2006-10-31")
        assert frame.empty
        assert LoadReport.of(frame).reason
        within = [asked for asked in host.asked if asked[0] > at("2005-01-05") and asked[1] < at("2006-12-25")]
        assert len(within) <= 3 * 3


def test_no_data_after_the_last_bar_leaves_what_is_at_hand(apple, folder, clock):
    with OlderHost(apple) as host, manager_of(host, folder, clock) as manager:
        same(manager.load("AAPL", "1d", mode="full"), apple)
        clock.set("2013-03-09T12:00")  # the host has no bar of this week
        frame = manager.load("AAPL", "1d", mode="tail")
        of_one_truth(frame, apple)
        report = LoadReport.of(frame)
        assert report.missing is None or report.missing > 0


def test_nothing_is_absent_before_the_first_bar_that_it_gave(apple, folder, clock):
    """It gives the end of a range only; what it left out is there when it is asked for it alone."""
    with OlderHost(apple, begin=rounded_down) as host, manager_of(host, folder, clock) as manager:
        frame = manager.load("AAPL", "1d", "2012-01-01", "2012-03-31")
        truth = apple.loc["2012-01-01":"2012-03-31"]
        report = LoadReport.of(frame)
        assert len(frame) == len(truth) or report.missing is None or report.missing > 0
        assert report.without_data == 0
        clock.advance(minutes=11)
        for _ in range(2):
            frame = manager.load("AAPL", "1d", "2012-01-01", "2012-03-31")
        same(frame, truth)


def test_its_no_data_is_not_tried_again_within_fifteen_seconds(apple, folder, clock):
    with OlderHost(apple.loc[:"2012-06-29"]) as host, manager_of(host, folder, clock) as manager:
        try:
            frame = manager.load("AAPL", "1d", "2012-07-02", "2012-07-31")
        except ProviderError as error:
            pytest.fail(f"no bars in a range are no failure of the load: {error}")
        assert frame.empty
        ranges = [asked[:2] for asked in host.asked]
        assert len(set(ranges)) == len(ranges)
