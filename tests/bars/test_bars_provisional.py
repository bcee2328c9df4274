"""A bar is final some time after its end; until then it is provisional, and asked for again once an hour at most."""

import pandas as pd
import pytest
from bars.truth import Clock, Daily, Listing, TruthProvider, at, closes, same, walk

from symcache_core.loading import LoadReport

FIRST, LAST = "2024-10-01", "2025-03-31"
OVER = closes("XLON", FIRST, LAST)
BARS = walk(pd.DatetimeIndex(OVER.index), level=70.0)


def before_the_auction(now, timeframe):
    """Daily bars in London; until 16:36 the day's has neither the price nor the volume of the closing auction."""
    assert timeframe == "1d"
    bars = BARS[now >= OVER].copy()
    fresh = bars.index[(OVER[bars.index] + pd.Timedelta(minutes=6) > now).to_numpy()]
    bars.loc[fresh, "close"] = (bars.loc[fresh, "close"] - 0.3).round(2)
    bars.loc[fresh, "low"] = bars.loc[fresh, ["low", "close"]].min(axis="columns")
    bars.loc[fresh, "volume"] *= 0.6
    return bars


@pytest.fixture
def vodafone():
    listing = Listing(
        before_the_auction, con_id=15016251, exchange="LSE", currency="GBP", head=f"{FIRST}T07:00:00+00:00"
    )
    return TruthProvider(Clock("2025-01-15T16:30:05"), {"VOD@LSE:GBP": listing})


def load(manager, mode="full"):
    frame = manager.load("VOD@LSE:GBP", "1d", mode=mode)
    return frame, LoadReport.of(frame)


def test_a_close_before_the_auction_is_provisional_and_right_a_day_later(vodafone, folder):
    with vodafone.manager(folder) as manager:
        frame, report = load(manager)
        same(frame, before_the_auction(vodafone.clock.now, "1d"))
        assert report.provisional == 1
        vodafone.clock.set("2025-01-16T12:00")
        frame, report = load(manager)
        same(frame, BARS.loc[:"2025-01-15"])
        assert report.provisional == 0
        assert not {"renewed", "unstable", "reused"} & set(report.happened)
        asked = len(vodafone.asked)
        load(manager)
        assert len(vodafone.asked) == asked, "all is final"


def test_a_provisional_bar_is_not_asked_for_again_within_an_hour(vodafone, folder):
    with vodafone.manager(folder) as manager:
        load(manager)
        asked = len(vodafone.asked)
        for _ in range(5):
            vodafone.clock.advance(minutes=11)
            load(manager)
            assert len(vodafone.asked) == asked
        vodafone.clock.advance(minutes=11)
        frame, report = load(manager)
        assert len(vodafone.asked) == asked + 1
        same(frame, BARS.loc[:"2025-01-15"])
        assert report.provisional == 1, "right by now, and not final before twelve hours are over"


def test_until_it_is_final_a_bar_is_asked_for_once_an_hour_at_most_and_then_no_more(vodafone, folder):
    with vodafone.manager(folder) as manager:
        load(manager)
        asked, began = len(vodafone.asked), vodafone.clock.now
        while vodafone.clock.now < at("2025-01-16T07:30"):
            vodafone.clock.advance(minutes=10)
            load(manager, "tail")
        hours = (at("2025-01-16T04:30") - began) / pd.Timedelta(hours=1)
        assert 1 <= len(vodafone.asked) - asked <= hours + 1
        same(load(manager)[0], BARS.loc[:"2025-01-15"])


def test_nobody_who_comes_late_has_the_wrong_close(vodafone, folder):
    with vodafone.manager(folder) as manager:
        load(manager)
        vodafone.clock.set("2025-02-15T12:00")
        frame, report = load(manager, "tail")
        same(frame, BARS.loc[: vodafone.clock.now])
        assert "renewed" not in report.happened


def test_an_hour_within_a_day_is_final_an_hour_after_its_end(folder):
    index = pd.date_range("2025-01-13T14:00", "2025-01-13T20:00", freq="h", tz="UTC", name="timestamp").as_unit("ns")
    index = index.where(index != index[0], index[0] + pd.Timedelta(minutes=30))
    bars = walk(index, level=30.0)

    def truth(now, _timeframe):
        over = index.floor("h") + pd.Timedelta(hours=1)
        given = bars[over <= now].copy()
        late = (over + pd.Timedelta(minutes=20) > now)[: len(given)]
        given.loc[late, "close"] = given.loc[late, "low"]
        return given

    provider = TruthProvider(
        Clock("2025-01-13T17:00:10"), {"KO": Listing(truth, con_id=8894, head="2025-01-13T14:30:00+00:00")}
    )
    with provider.manager(folder) as manager:
        frame = manager.load("KO", "1h", mode="full")
        assert LoadReport.of(frame).provisional == 1
        provider.clock.set("2025-01-13T17:59")
        asked = len(provider.asked)
        manager.load("KO", "1h", mode="full")
        assert len(provider.asked) == asked
        provider.clock.set("2025-01-13T18:30")
        frame = manager.load("KO", "1h", mode="full")
        same(frame, bars.loc[:"2025-01-13T17:00"])
        assert LoadReport.of(frame).provisional == 1, "that of 17:00"
        provider.clock.set("2025-01-14T12:00")
        frame = manager.load("KO", "1h", mode="full")
        same(frame, bars)
        asked = len(provider.asked)
        assert LoadReport.of(manager.load("KO", "1h", mode="full")).provisional == 0
        assert len(provider.asked) == asked


def test_the_week_under_way_is_no_bar_and_the_last_one_final_twelve_hours_after_its_last_session(folder):
    truth = Daily(FIRST, LAST)
    provider = TruthProvider(
        Clock("2025-01-17T21:30"), {"KO": Listing(truth, con_id=8894, head=f"{FIRST}T13:30:00+00:00")}
    )
    with provider.manager(folder) as manager:
        report = LoadReport.of(manager.load("KO", "1w", mode="full"))
        assert report.provisional == 1
        provider.clock.set("2025-01-18T12:00")
        frame = manager.load("KO", "1w", mode="full")
        same(frame, truth(provider.clock.now, "1w"))
        assert LoadReport.of(frame).provisional == 0
