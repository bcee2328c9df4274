"""That a bar does not exist is believed only where it is proven; what is truly empty is not asked for on and on."""

import numpy as np
import pandas as pd
import pytest
from bars.truth import Clock, Daily, Listing, TruthProvider, at, same, sessions, walk

from symcache_core.loading import LoadReport

FIRST, LAST = "2018-01-02", "2023-12-29"
NOW = "2023-03-04T12:00"
HEAD = f"{FIRST}T14:30:00+00:00"
CON_ID = 4391
NOTHING = walk(sessions("XNYS", FIRST, LAST)).iloc[:0]


def share(truth=None, **options):
    truth = truth or Daily(FIRST, LAST)
    listing = Listing(truth, con_id=CON_ID, head=options.pop("head", HEAD))
    return truth, TruthProvider(Clock(NOW), {"AMD": listing}, **options)


def heads(*told):
    """Answers with each in turn, and with the last one from then on."""
    told = list(told)
    return lambda _now: told.pop(0) if len(told) > 1 else told[0]


def honest(report):
    return report.missing is None or report.missing > 0


def test_one_null_head_timestamp_does_not_hide_bars_from_explicit_dates(folder):
    truth, provider = share(head=heads(None, HEAD))
    with provider.manager(folder) as manager:
        assert manager.load("AMD", "1d", mode="full").empty
        frame = manager.load("AMD", "1d", "2020-01-02", "2023-03-03")
        same(frame, truth(at(NOW), "1d").loc["2020-01-02":])


@pytest.mark.parametrize("mode", ["full", "tail"])
def test_one_null_head_timestamp_is_looked_at_again_ten_minutes_later(mode, folder):
    truth, provider = share(head=heads(None, HEAD))
    with provider.manager(folder) as manager:
        frame = manager.load("AMD", "1d", mode="full")
        assert frame.empty
        assert LoadReport.of(frame).reason
        assert len(provider.validated) <= 2
        provider.clock.advance(minutes=11)
        frame = manager.load("AMD", "1d", mode=mode)
        assert len(frame) > 200
        same(frame, truth(at(NOW), "1d").loc[frame.index[0] :])
        if mode == "full":
            same(frame, truth(at(NOW), "1d"))


def test_a_null_head_timestamp_of_explicit_dates_only_is_overridden_at_once(folder):
    truth, provider = share(head=None)
    with provider.manager(folder) as manager:
        frame = manager.load("AMD", "1d", "2022-01-03", "2022-12-30")
        same(frame, truth(at(NOW), "1d").loc["2022-01-03":"2022-12-30"])


def test_explicit_dates_before_a_wrong_head_timestamp_are_asked_for(folder):
    truth, provider = share(head="2022-06-01T13:30:00+00:00")
    with provider.manager(folder) as manager:
        same(
            manager.load("AMD", "1d", "2019-01-02", "2023-03-03"),
            truth(at(NOW), "1d").loc["2019-01-02":"2023-03-03"],
        )


def test_an_instrument_that_truly_has_no_data_is_asked_about_three_times_at_most(folder):
    _, provider = share(lambda _now, _timeframe: NOTHING, head=None)
    with provider.manager(folder) as manager:
        for _ in range(12):
            frame = manager.load("AMD", "1d", mode="full")
            assert frame.empty
            assert LoadReport.of(frame).reason
            provider.clock.advance(minutes=11)
        assert len(provider.validated) <= 3
        assert len(provider.asked) <= 3


def test_explicit_dates_of_an_instrument_that_truly_has_no_data_are_asked_for_three_times_at_most(folder):
    _, provider = share(lambda _now, _timeframe: NOTHING, head=None)
    with provider.manager(folder) as manager:
        for _ in range(12):
            frame = manager.load("AMD", "1d", "2022-01-03", "2022-11-30")
            assert frame.empty
            assert LoadReport.of(frame).reason
            provider.clock.advance(minutes=11)
        stamps = sessions("XNYS", "2022-01-03", "2022-11-30")
        assert provider.times_asked(stamps).max() <= 3
        assert len(provider.validated) <= 3


def mistaken_once(day):
    """Answers nothing, once, to the first request that has a day in it."""
    mistakes = [at(day)]

    def trouble(_number, asked):
        if mistakes and asked.start <= mistakes[0] <= asked.end:
            mistakes.clear()
            return NOTHING
        return None

    return trouble


def test_one_empty_segment_is_not_believed_by_explicit_dates(folder):
    truth, provider = share(trouble=mistaken_once("2020-06-15"))
    with provider.manager(folder) as manager:
        frame = manager.load("AMD", "1d", mode="full")
        assert len(frame) < len(truth(at(NOW), "1d"))
        assert honest(LoadReport.of(frame)), "what was not proven absent is missing"
        frame = manager.load("AMD", "1d", FIRST, "2023-03-03")
        same(frame, truth(at(NOW), "1d"))
        assert LoadReport.of(frame).missing == 0


@pytest.mark.parametrize("options", [{"mode": "full"}, {"mode": "tail"}, {"start_date": FIRST, "mode": "tail"}])
def test_one_empty_segment_is_looked_at_again_ten_minutes_later_by_any_load(options, folder):
    truth, provider = share(trouble=mistaken_once("2020-06-15"))
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", mode="full")
        provider.clock.advance(minutes=11)
        same(manager.load("AMD", "1d", **options), truth(at(NOW), "1d"))


def test_an_empty_answer_at_the_end_is_not_believed_either(folder):
    truth, provider = share()
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", mode="full")
        provider.clock.set("2023-03-11T12:00")
        provider.trouble = lambda number, asked: truth(asked.now, "1d").loc[
            asked.start : min(asked.end, at("2023-03-03"))
        ]
        frame = manager.load("AMD", "1d", mode="tail")
        assert frame.index[-1] == at("2023-03-03")
        assert honest(LoadReport.of(frame))
        provider.trouble = lambda number, asked: None
        provider.clock.advance(minutes=11)
        same(manager.load("AMD", "1d", mode="tail"), truth(provider.clock.now, "1d"))


def halted(daily, _now):
    """There is no trade for a year and a half."""
    return daily[(daily.index < at("2020-01-01")) | (daily.index > at("2021-06-30"))]


def test_a_year_that_truly_is_empty_is_asked_for_three_times_at_most_and_then_believed(folder):
    truth, provider = share(Daily(FIRST, LAST, halted))
    stamps = sessions("XNYS", "2020-01-06", "2021-06-25")
    with provider.manager(folder) as manager:
        for minutes in (0, 0, 0, 11, 11, 11, 11, 60, 60, 600):
            provider.clock.advance(minutes=minutes)
            same(manager.load("AMD", "1d", "2018-01-02", "2023-03-03"), truth(at(NOW), "1d"))
        frame = manager.load("AMD", "1d", mode="full")
        times = provider.times_asked(stamps)
        assert times.median() <= 3
        assert times.max() <= 2 * 3, "where two requests meet, both have the same five days"
        report = LoadReport.of(frame)
        assert report.missing == 0
        assert report.without_data >= len(stamps)


def test_days_between_bars_of_one_answer_are_proven_absent_at_once(folder):
    gone = [at(day) for day in ("2022-05-10", "2022-05-11", "2022-09-20")]
    _, provider = share(Daily(FIRST, LAST, lambda daily, _now: daily[~daily.index.isin(gone)]))
    with provider.manager(folder) as manager:
        first = manager.load("AMD", "1d", "2022-03-01", "2022-12-30")
        report = LoadReport.of(first)
        assert (report.without_data, report.missing) == (3, 0)
        asked = len(provider.asked)
        for minutes in (0, 0, 11, 60, 600):
            provider.clock.advance(minutes=minutes)
            same(manager.load("AMD", "1d", "2022-03-01", "2022-12-30"), first)
        assert len(provider.asked) == asked


def test_proven_absence_ends_after_thirty_days(folder):
    gone = at("2022-05-10")
    late = at("2023-03-20")  # when the provider has mended it
    _, provider = share(Daily(FIRST, LAST, lambda daily, now: daily if now >= late else daily[daily.index != gone]))
    with provider.manager(folder) as manager:
        assert gone not in manager.load("AMD", "1d", "2022-03-01", "2022-12-30").index
        provider.clock.advance(days=31)
        assert gone in manager.load("AMD", "1d", "2022-03-01", "2022-12-30").index


def illiquid(first="2023-02-27", days=2, *, edges):
    """Minutes of a session in New York, of which 60 % had no trade; with or without one at each session's edges."""
    chance = np.random.default_rng(12)
    opens = pd.date_range(f"{first} 09:30", periods=days, freq="D", tz="America/New_York")
    minutes = [pd.date_range(day, periods=390, freq="min").tz_convert("UTC") for day in opens]
    kept = []
    for session in minutes:
        traded = chance.random(len(session)) < 0.4
        traded[[0, -1]] = edges
        kept.append(session[traded])
    index = kept[0].append(kept[1:]).as_unit("ns").rename("timestamp")
    bars = walk(index, seed=13, level=12.0)
    return lambda now, _timeframe: bars[bars.index + pd.Timedelta(minutes=1) <= now]


@pytest.mark.parametrize("hours", [0, 1], ids=["the clock stands still", "an hour passes each time"])
def test_illiquid_minutes_are_asked_for_once_more_at_most(hours, folder):
    truth, provider = share(illiquid(edges=True), head="2023-02-27T14:30:00+00:00")
    dates = "2023-02-27T14:30", "2023-02-28T20:59:59"
    with provider.manager(folder) as manager:
        first = manager.load("AMD", "1m", *dates)
        same(first, truth(at(NOW), "1m"))
        asked = len(provider.asked)
        assert asked <= 3
        for _ in range(9):
            provider.clock.advance(hours=hours)
            frame = manager.load("AMD", "1m", *dates)
            same(frame, first)
        assert len(provider.asked) - asked <= 1
        assert LoadReport.of(frame).missing == 0


@pytest.mark.parametrize("hours", [0, 1], ids=["the clock stands still", "an hour passes each time"])
def test_minutes_without_a_trade_at_the_edges_of_a_session_are_asked_for_three_times_at_most(hours, folder):
    truth, provider = share(illiquid(edges=False), head="2023-02-27T14:30:00+00:00")
    minutes = pd.date_range("2023-02-27T14:30", "2023-02-27T20:59", freq="min", tz="UTC")
    dates = "2023-02-27T14:30", "2023-02-28T20:59:59"
    with provider.manager(folder) as manager:
        for _ in range(10):
            same(manager.load("AMD", "1m", *dates), truth(at(NOW), "1m"))
            provider.clock.advance(hours=hours)
        times = provider.times_asked(minutes)
        assert times.max() <= 3
        assert times.median() <= 2, "not the whole session for the sake of its edge"


def test_the_second_load_of_final_bars_asks_for_nothing(folder):
    _, provider = share()
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", mode="full")
        asked = len(provider.asked)
        for options in ({"mode": "full"}, {"mode": "tail"}, {"start_date": "2019-01-01", "end_date": "2022-01-01"}):
            manager.load("AMD", "1d", **options)
        assert len(provider.asked) == asked


BAD = at("2022-07-25")


def nan_close(daily):
    daily.loc[BAD, "close"] = np.nan


def nan_row(daily):
    daily.loc[BAD] = np.nan


def high_below_low(daily):
    daily.loc[BAD, "high"] = daily.loc[BAD, "low"] - 1.0


@pytest.mark.parametrize("spoil", [nan_close, nan_row, high_below_low])
def test_a_bad_row_is_set_aside_once_and_named_and_not_asked_for_at_each_load(spoil, folder):
    def change(daily, _now):
        daily = daily.copy()
        spoil(daily)
        return daily

    truth, provider = share(Daily(FIRST, LAST, change))
    with provider.manager(folder) as manager:
        for number in range(4):
            asked = len(provider.asked)
            frame = manager.load("AMD", "1d", mode="full")
            report = LoadReport.of(frame)
            same(frame, truth(at(NOW), "1d").drop(BAD))
            assert report.bad == 1
            assert [pd.Timestamp(stamp) for stamp in report.bad_rows] == [BAD]
            assert number == 0 or len(provider.asked) == asked
            provider.clock.advance(minutes=11)


def test_a_bad_row_that_was_mended_is_there_a_month_later(folder):
    def change(daily, now):
        daily = daily.copy()
        if now < at("2023-03-20"):
            nan_close(daily)
        return daily

    truth, provider = share(Daily(FIRST, LAST, change))
    with provider.manager(folder) as manager:
        assert BAD not in manager.load("AMD", "1d", mode="full").index
        provider.clock.advance(days=35)
        frame = manager.load("AMD", "1d", mode="full")
        same(frame, truth(provider.clock.now, "1d"))
        assert LoadReport.of(frame).bad == 0
        assert list(LoadReport.of(frame).bad_rows) == []
