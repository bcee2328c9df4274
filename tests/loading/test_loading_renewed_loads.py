"""A load that finds an adjustment renews the history, alone or beside others, and never gives two bases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from symcache_core import ContractInfo
from symcache_core.errors import ProviderError
from symcache_core.loading.bars.listing import kept_series
from symcache_core.loading.report import LoadReport

SPRING, NOW = datetime(2012, 6, 1, 23, tzinfo=UTC), datetime(2013, 3, 1, 23, 59, tzinfo=UTC)
DAY = timedelta(days=1)


def at(loader, now):
    """Let it be a day after some moment of the provider's, so that its bars are final."""
    loader.now, loader.clock = now, (now + DAY).timestamp()


@pytest.fixture
def halved(source):
    bars = source["AAPL"]
    return bars.assign(**{name: (bars[name] * 0.5).round(2) for name in ("open", "high", "low", "close")})


@pytest.fixture
def adjusted(loader, market, halved):
    """A loader with bars up to a spring, whose provider has halved all prices since."""
    at(loader, SPRING)
    loader.load("AAPL", mode="full")
    market.bars["AAPL"] = halved
    market.asked.clear()
    at(loader, NOW)
    return loader


def test_a_tail_renews_all_that_was_stored(adjusted, market, source, halved):
    frame = adjusted.load("AAPL")
    pd.testing.assert_frame_equal(frame, halved)
    assert frame.attrs["happened"] == ["renewed"]
    assert len(market.asked) <= 15, "each bar about once"
    old = adjusted.load(None, series="ib:AAPL#1")
    pd.testing.assert_frame_equal(old, source["AAPL"].loc[:"2012-06-01"])


@pytest.mark.parametrize("answers", range(1, 14, 3))
def test_a_renewal_that_fails_gives_the_old_bars_until_it_has_gone_on(adjusted, market, source, halved, answers):
    market.trouble = lambda call, start: ProviderError("no more today") if call > answers else None
    with pytest.raises(ProviderError, match="no more today; 3084 bars are at hand"):
        adjusted.load("AAPL", mode="full")
    local = adjusted.load("AAPL", mode="local")
    pd.testing.assert_frame_equal(local, source["AAPL"].loc[:"2012-06-01"])
    assert local.attrs["renewing"] is True
    asked = len(market.asked)
    market.trouble = lambda call, start: None
    frame = adjusted.load("AAPL", mode="full")
    pd.testing.assert_frame_equal(frame, halved)
    assert frame.attrs["renewing"] is False
    assert len(market.asked) - asked <= 16 - answers, "what was renewed is not asked for again"


def test_loads_beside_one_that_renews_get_the_old_bars_or_the_new_ones(adjusted, source, halved):
    async def four():
        return await asyncio.gather(*(adjusted.aload("AAPL", mode="full") for _ in range(4)))

    for frame in asyncio.run(four()):
        if frame.attrs["renewing"]:
            pd.testing.assert_frame_equal(frame, source["AAPL"].loc[:"2012-06-01"])
        else:
            pd.testing.assert_frame_equal(frame, halved)
    pd.testing.assert_frame_equal(adjusted.load("AAPL", mode="full"), halved)


def test_an_adjustment_that_is_undone_at_once_is_reported_and_not_followed(adjusted, market, source, halved):
    adjusted.load("AAPL", mode="full")
    market.bars["AAPL"] = source["AAPL"]
    frame = adjusted.load("AAPL", mode="full", refresh=True)
    pd.testing.assert_frame_equal(frame, halved)
    assert frame.attrs["happened"] == ["unstable"]
    adjusted.clock += 8 * DAY.total_seconds()
    frame = adjusted.load("AAPL", mode="full", refresh=True)
    pd.testing.assert_frame_equal(frame, source["AAPL"])
    assert frame.attrs["happened"] == ["renewed"]


def test_a_bar_that_was_provisional_is_replaced_and_compared_with_nothing(loader, market, source):
    early = source["FB"].copy()
    early.iloc[-1, :4] = (early.iloc[-1, :4] * 0.97).round(2)
    market.bars["FB"] = early
    assert loader.load("FB", mode="full").attrs["provisional"] == 1
    market.bars["FB"] = source["FB"]
    loader.clock += DAY.total_seconds()
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    report = LoadReport.of(frame)
    assert (report.happened, report.provisional, report.revised) == ([], 0, 0)


def test_a_refresh_finds_one_bar_that_was_revised(loader, market, source):
    at(loader, NOW)
    loader.load("AAPL", mode="full")
    revised = source["AAPL"].copy()
    revised.iloc[100, 3] += 0.01
    market.bars["AAPL"] = revised
    frame = loader.load("AAPL", mode="full", refresh=True)
    pd.testing.assert_frame_equal(frame, revised)
    assert (frame.attrs["revised"], frame.attrs["fetched"]) == (1, 0)


@pytest.mark.parametrize("permanent_id", ["X/1#2", "X#0"])
def test_any_text_may_be_a_permanent_id(loader, market, source, permanent_id):
    at(loader, NOW)
    market.contracts["FB"] = ContractInfo(contract={"id": permanent_id}, currency="USD", asset_type="STK")
    series = loader.load("FB", mode="full").attrs["series"]
    pd.testing.assert_frame_equal(loader.load(None, series=series), source["FB"])
    assert [kept.series for kept in kept_series(loader.store)] == [series]
