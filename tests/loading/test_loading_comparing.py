"""What it means that a provider's bars differ from those that were stored."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_bars import rows_of

from symcache_core.loading.bars.comparing import Agreement, compare
from symcache_core.loading.bars.frames import frame_of
from symcache_core.loading.bars.rows import Rows, RowState

PRICES = ["open", "high", "low", "close"]
DAYS = pd.date_range("2012-01-02", periods=400, freq="B")


def walk(count, seed=1, price=50.0, step=0.01, decimals=2):
    """A random walk of bars, rounded as prices are shown."""
    chance = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(chance.normal(0, step, count)))
    start = np.roll(close, 1)
    high, low = np.maximum(start, close) * 1.004, np.minimum(start, close) * 0.997
    columns = [column.round(decimals) for column in (start, high, low, close)]
    return frame_of(DAYS[:count].as_unit("ns").to_numpy(), [*columns, np.full(count, 1e6)])


def changed(bars, change, where=slice(None)):
    other = bars.copy()
    other.iloc[where, :4] = change(bars.iloc[where, :4])
    return other


def verdict(old, new, asset_type=""):
    return compare(rows_of(old), rows_of(new), asset_type).agreement


def by(factor, decimals=2):
    return lambda prices: (prices * factor).round(decimals)


def test_without_a_common_bar_there_is_nothing_to_compare():
    bars = walk(10)
    assert verdict(bars.head(5), bars.tail(5)) is Agreement.NOTHING
    assert Agreement.NOTHING.holds


def provisional(rows):
    return Rows(rows.stamps, rows.columns, rows.asked, np.ones(len(rows), "uint8"))


def test_of_provisional_bars_alone_only_a_common_factor_tells_anything():
    bars = walk(10)
    assert compare(rows_of(bars), provisional(rows_of(changed(bars, by(0.5))))).agreement is Agreement.ADJUSTED
    other = provisional(rows_of(walk(10, seed=5)))
    assert compare(rows_of(bars), other).agreement is Agreement.SAME


def test_what_is_no_bar_is_not_compared():
    bars = walk(10)
    provisional = rows_of(bars)
    none = Rows.of_none(provisional.stamps, np.datetime64("2013-01-01", "ns"), RowState.NONE)
    assert compare(none, rows_of(bars)).agreement is Agreement.NOTHING


def test_volumes_are_not_compared():
    bars = walk(10)
    assert verdict(bars, bars.assign(volume=np.nan)) is Agreement.SAME


def test_the_last_shown_digit_may_be_rounded_otherwise():
    finer = walk(10, decimals=4)
    assert verdict(finer.round(2), finer) is Agreement.SAME
    assert verdict(finer, finer.round(2)) is Agreement.SAME


@pytest.mark.parametrize(
    ("count", "differing", "agreement"),
    [
        (5, 1, Agreement.REVISED),
        (5, 2, Agreement.UNCLEAR),
        (40, 4, Agreement.REVISED),
        (40, 5, Agreement.UNCLEAR),
    ],
)
def test_one_bar_or_up_to_a_tenth_of_them_may_be_revised(count, differing, agreement):
    bars = walk(count)
    at = np.arange(1, count, max(count // differing, 1))[:differing]
    other = bars.copy()
    other.iloc[at, 3] = (other.iloc[at, 3] + 0.07 * np.arange(1, differing + 1)).round(2)
    comparison = compare(rows_of(bars), rows_of(other))
    assert comparison.agreement is agreement
    assert (comparison.compared, comparison.differing) == (count, differing)


@pytest.mark.parametrize(("asset_type", "share"), [("CASH", 5e-4), ("CMDTY", 5e-4), ("CFD", 5e-4), ("IND", 2e-4)])
def test_all_may_differ_within_the_noise_of_their_kind(asset_type, share):
    bars = walk(20, price=1.3, step=0.001, decimals=5)
    chance = np.random.default_rng(2)
    noisy = changed(bars, lambda prices: prices * (1 + chance.uniform(-0.9 * share, 0.9 * share, prices.shape)))
    assert verdict(bars, noisy, asset_type) is Agreement.REVISED
    assert verdict(bars, noisy, "STK") is Agreement.UNCLEAR
    far = changed(bars, lambda prices: prices * (1 + chance.uniform(-9 * share, 9 * share, prices.shape)))
    assert verdict(bars, far, asset_type) is Agreement.UNCLEAR


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(5, 60),
    price=st.floats(2, 900),
    factor=st.sampled_from([0.5, 2.0, 1 / 3, 0.1, 1.5, 0.98, 0.9931, 1.0471, 20.0]),
)
def test_one_ratio_over_all_is_an_adjustment_and_equal_bars_are_the_same(seed, count, price, factor):
    bars = walk(count, seed, price)
    assert verdict(bars, bars.copy()) is Agreement.SAME
    if min(price, price * factor) > 15:
        assert verdict(bars, changed(bars, by(factor))) is Agreement.ADJUSTED


@pytest.mark.parametrize(("price", "factor"), [(21.0, 0.1), (10.0, 0.7), (5.0, 0.5), (0.9, 2.0)])
def test_cents_of_a_cheap_stock_keep_no_adjustment_from_being_one(price, factor):
    bars = walk(5, 0, price)
    assert verdict(bars, changed(bars, by(factor))) is Agreement.ADJUSTED


@settings(max_examples=100)
@given(seed=st.integers(0, 10_000), count=st.integers(5, 60), share=st.floats(0.2, 0.9), price=st.floats(40, 900))
def test_one_step_of_ratio_at_one_date_is_an_adjustment(seed, count, share, price):
    bars = walk(count, seed, price)
    step = max(int(count * share), 1)
    assert verdict(bars, changed(bars, by(0.97), slice(step))) is Agreement.ADJUSTED
    both = changed(changed(bars, by(0.5), slice(step)), by(0.8), slice(step, None))
    assert verdict(bars, both) is Agreement.ADJUSTED


def test_a_single_scaled_bar_at_the_beginning_is_an_adjustment():
    bars = walk(5)
    assert verdict(bars, changed(bars, by(0.5), slice(1))) is Agreement.ADJUSTED


def test_another_price_of_a_bar_of_one_price_is_a_revision():
    bars = walk(5)
    bars.iloc[0, :4] = 50.0
    assert verdict(bars, changed(bars, by(0.9), slice(1))) is Agreement.REVISED


def test_a_single_scaled_bar_at_the_end_is_a_revision():
    bars = walk(5)
    assert verdict(bars, changed(bars, by(0.5), slice(4, 5))) is Agreement.REVISED


@pytest.mark.parametrize(
    "change",
    [
        lambda prices: prices + 3.17,
        lambda prices: prices - 1.05,
        lambda prices: -prices[["open", "low", "high", "close"]].to_numpy(),
        lambda prices: prices * 0.0,
        lambda prices: prices * np.linspace(0.5, 1.5, len(prices))[:, None],
    ],
    ids=["added", "taken", "negative", "zero", "another walk"],
)
def test_anything_else_is_unclear(change):
    bars = walk(30)
    assert verdict(bars, changed(bars, change)) is Agreement.UNCLEAR
    assert not Agreement.UNCLEAR.holds


def test_negative_prices_that_are_the_same_are_the_same():
    spread = walk(10)
    spread[PRICES] = (spread[["open", "low", "high", "close"]].to_numpy() * -1).round(2)
    assert verdict(spread, spread.copy()) is Agreement.SAME
    assert verdict(spread, changed(spread, by(2.0))) is Agreement.UNCLEAR, "no factor is told of such"


def test_of_another_instrument_the_prices_are_unclear(source):
    both = source["AAPL"].index.intersection(source["MSFT"].index)[:5]
    assert verdict(source["AAPL"].loc[both], source["MSFT"].loc[both]) is Agreement.UNCLEAR
