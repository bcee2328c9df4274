"""Any frame of bars of a provider takes the one form, and what cannot be a bar is named."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from stored_bars import some_bars, times

from symcache_core import ContractInfo
from symcache_core.errors import ProviderError
from symcache_core.loading.bars.frames import conform, frame_of, stamps_of
from symcache_core.loading.calendars import calendar_of
from symcache_core.timeframes import timeframe_of


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


def read(frame, timeframe="1d"):
    return conform(frame, partial(calendar_of(ContractInfo(exchange="NYSE")).labels, timeframe=timeframe_of(timeframe)))


def frame_read(frame, timeframe="1d"):
    given = read(frame, timeframe)
    return frame_of(given.stamps, given.columns)


def test_any_frame_of_a_provider_takes_the_one_form(bars):
    local_time = bars.tz_localize(None).tz_localize("America/New_York").iloc[::-1]
    pd.testing.assert_frame_equal(
        frame_read(local_time.assign(volume=local_time["volume"].astype("int64"), extra=1)), bars
    )
    pd.testing.assert_frame_equal(frame_read(bars.tz_localize(None)), bars)
    late = bars.set_axis(bars.index + pd.Timedelta(hours=14.5)).rename_axis("date")
    pd.testing.assert_frame_equal(frame_read(late), bars)
    pd.testing.assert_frame_equal(frame_read(pd.DataFrame()), bars.head(0))
    pd.testing.assert_frame_equal(frame_read(pd.concat([bars + 1.0, bars])), bars)


def test_the_clock_on_which_a_moment_is_told_changes_nothing(bars):
    pd.testing.assert_frame_equal(frame_read(bars.tz_convert("America/New_York")), bars)


def test_a_stamp_is_the_bars_beginning_its_day_or_its_weeks_monday_or_its_months_first():
    stamps = times("2024-03-01 14:30", "2024-03-04 14:30", "2024-03-08 20:00", "2024-04-01 14:00")
    assert list(frame_read(some_bars(stamps), "1h").index) == list(stamps)
    days = times("2024-03-01", "2024-03-04", "2024-03-08", "2024-04-01")
    assert list(frame_read(some_bars(stamps)).index) == list(days)
    weekly = frame_read(some_bars(stamps), "1w")
    assert list(weekly.index) == list(times("2024-02-26", "2024-03-04", "2024-04-01"))
    assert weekly["low"].tolist() == [100.01, 102.01, 103.01], "of two rows of one week the last"
    assert list(frame_read(some_bars(stamps), "1M").index) == list(times("2024-03-01", "2024-04-01"))


def test_a_row_decides_its_own_day_whatever_day_the_others_are_of(bars):
    late = bars.set_axis(bars.index + pd.Timedelta(hours=21))
    mixed = pd.concat([bars.head(10), late.tail(10)])
    pd.testing.assert_frame_equal(frame_read(mixed), bars)


def test_what_cannot_be_a_bar_is_kept_out_and_named(bars):
    bad = bars.copy()
    bad.iloc[1, 3] = np.nan
    bad.iloc[2, 0] = np.inf
    bad.iloc[3, 1] = 0.0
    bad.index = bad.index.where(np.arange(len(bad)) != 4)
    given = read(bad)
    pd.testing.assert_frame_equal(frame_of(given.stamps, given.columns), bars.drop(bars.index[1:5]))
    assert list(given.bad) == list(stamps_of(bars.index[1:4])), "one without a time has no place"


def test_a_volume_that_is_not_finite_is_unknown(bars):
    conforming = frame_read(bars.assign(volume=np.inf))
    assert conforming["volume"].isna().all()
    assert len(conforming) == 20


def test_a_frame_that_does_not_hold_bars_is_the_providers_error(bars):
    with pytest.raises(ProviderError, match="no close, volume"):
        read(bars.drop(columns=["close", "volume"]))
    with pytest.raises(ProviderError, match="index of times"):
        read(bars.reset_index(drop=True))
    with pytest.raises(ProviderError, match="not all numbers"):
        read(bars.assign(close="many"))
    with pytest.raises(ProviderError, match="gave a list"):
        read([])
