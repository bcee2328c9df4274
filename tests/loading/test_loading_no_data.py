"""That a provider does not have a bar is believed for a while, and not for ever."""

import pandas as pd
import pytest

from symcache_core.loading.plan.gaps import still_empty
from symcache_core.timeframes import timeframe_of

DAILY = timeframe_of("1d")


@pytest.mark.parametrize(
    ("asked_after_its_end", "believed_for"),
    [("-3h", "1h"), ("20min", "1h"), ("22h", "22h"), ("10D", "10D"), ("4000D", "30D")],
)
def test_an_answer_of_no_data_is_believed_for_as_long_as_the_bar_was_over(asked_after_its_end, believed_for):
    stamp = pd.Timestamp("2012-03-01", tz="UTC")
    asked = stamp + pd.Timedelta("1D") + pd.Timedelta(asked_after_its_end)
    life = pd.Timedelta(believed_for)
    empty = pd.Series([asked], index=pd.DatetimeIndex([stamp]))
    assert list(still_empty(empty, DAILY, asked + life - pd.Timedelta("1s"))) == [stamp]
    assert list(still_empty(empty, DAILY, asked + life)) == []


def test_a_week_that_was_missing_on_its_friday_is_asked_for_again_on_monday():
    monday = pd.Timestamp("2012-03-05", tz="UTC")
    empty = pd.Series([monday + pd.Timedelta("4D21h5min")], index=pd.DatetimeIndex([monday]))
    assert list(still_empty(empty, timeframe_of("1w"), monday + pd.Timedelta("7D9h"))) == []


def test_without_answers_nothing_is_known_to_be_empty():
    nothing = pd.DatetimeIndex([], tz="UTC")
    assert len(still_empty(pd.Series(nothing, index=nothing), DAILY, pd.Timestamp("2012-03-01", tz="UTC"))) == 0
