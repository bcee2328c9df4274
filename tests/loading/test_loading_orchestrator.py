"""A load asks the provider for what is missing and for nothing else, and gives back everything that is there."""

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core import ContractInfo, SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import (
    ConfigurationError,
    InvalidSymbolError,
    LoadCancelledError,
    ProviderError,
    ProviderPacingError,
    ProviderUnavailableError,
    SymbolNotFoundError,
)
from symcache_core.loading import CancellationToken
from symcache_core.loading.bars.comparing import OVERLAP
from symcache_core.loading.fetching import ATTEMPTS, SEGMENTS_AT_ONCE
from symcache_core.loading.report import LoadReport

NOW = datetime(2013, 3, 1, 23, 59, 59, tzinfo=UTC)

LISTED = ContractInfo(asset_type="STK", exchange="NASDAQ")


async def unreachable(symbol, timeframes):
    raise ProviderUnavailableError("the line is dead")


def assert_same(frame, bars):
    pd.testing.assert_frame_equal(frame, bars)


def assert_asked(market, symbol, missing, timeframe="1d"):
    """Check that each missing bar was asked for once, and of the others none but the overlaps of a request."""
    asked, wanted = market.sessions_asked(symbol, timeframe), set(missing)
    assert wanted <= set(asked)
    others = [stamp for stamp in asked if stamp not in wanted]
    assert len(asked) - len(missing) <= 2 * OVERLAP * len(market.asked), others


def test_a_full_load_gives_every_bar_and_asks_for_none_twice_but_the_overlaps(loader, market, source):
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert set(market.sessions_asked("AAPL")) == set(source["AAPL"].index)
    assert len(market.asked) == 14
    assert len(market.sessions_asked("AAPL")) == len(source["AAPL"]) + 13 * OVERLAP


def test_a_second_full_load_asks_nothing_at_all(loader, market, source):
    loader.load("AAPL", mode="full")
    market.asked.clear()
    market.lookups.clear()
    frame = loader.load("aapl ", mode="full")
    assert_same(frame, source["AAPL"])
    assert frame.attrs["outcome"] == "hit"
    assert market.asked == market.lookups == []


GAPS = {
    "symbol": st.sampled_from(["AAPL", "IBM", "MSFT", "GOOG", "FB"]),
    "scattered": st.sets(st.integers(0, 3269), max_size=25),
    "stretches": st.lists(st.tuples(st.integers(0, 3269), st.integers(1, 800)), max_size=4),
}


@pytest.mark.once
@settings(max_examples=12)
@given(**GAPS)
def test_whatever_is_missing_is_filled_in_and_nothing_present_is_asked_but_the_overlaps(
    new_loader, source, symbol, scattered, stretches
):
    assert_filled_exactly(new_loader(), source, symbol, scattered, stretches)


@pytest.mark.soak
@settings(max_examples=500)
@given(**GAPS)
def test_hundreds_of_patterns_of_gaps_are_filled_exactly(new_loader, source, symbol, scattered, stretches):
    assert_filled_exactly(new_loader(), source, symbol, scattered, stretches)


def assert_filled_exactly(loader, source, symbol, scattered, stretches):
    bars = source[symbol]
    gone = scattered.union(*(range(first, first + length) for first, length in stretches))
    missing = bars.index[sorted(at for at in gone if at < len(bars))]
    loader.keep(symbol, bars.drop(missing))
    assert_same(loader.load(symbol, mode="full"), bars)
    assert set(missing) <= set(loader.market.sessions_asked(symbol))
    # Bars that are missing within five of each other are asked for together, with those between them.
    near = {at + by for at in gone for by in range(-OVERLAP - 1, OVERLAP + 2)}
    asked = {bars.index.get_loc(stamp) for stamp in loader.market.sessions_asked(symbol)}
    assert len(missing) == len(bars) or asked <= {max(at, 0) for at in near}
    loader.market.asked.clear()
    assert_same(loader.load(symbol, mode="full"), bars)
    assert loader.market.asked == []


@pytest.mark.parametrize("removed", [["2001-09-10"], ["2001-09-10", "2001-09-17"], ["2012-10-26", "2012-10-31"]])
def test_a_hole_beside_a_closure_is_filled_with_one_request(loader, market, source, removed):
    removed = pd.DatetimeIndex(removed, tz="UTC")
    loader.keep("MSFT", source["MSFT"].drop(removed))
    assert_same(loader.load("MSFT", mode="full"), source["MSFT"])
    before = source["MSFT"].index[source["MSFT"].index < removed[0]][-OVERLAP:]
    assert list(market.sessions_asked("MSFT")) == [*before, *removed]
    assert len(market.asked) == 1


def test_a_gap_from_friday_to_tuesday_is_one_request_with_the_five_bars_before_it(loader, market, source):
    loader.keep("MSFT", source["MSFT"].drop(pd.DatetimeIndex(["2012-06-08", "2012-06-11", "2012-06-12"], tz="UTC")))
    assert_same(loader.load("MSFT", mode="full"), source["MSFT"])
    friday, tuesday = datetime(2012, 6, 1, tzinfo=UTC), datetime(2012, 6, 12, 23, 59, 59, tzinfo=UTC)
    assert market.asked == [("MSFT", friday, tuesday)]


def test_a_tail_without_local_bars_is_one_request_back_from_now(loader, market, source):
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-03-05":])
    assert len(market.asked) == 1


def test_a_tail_goes_on_from_the_last_local_bar_and_gives_all_bars_at_hand(loader, market, source):
    loader.keep("AAPL", source["AAPL"].loc["2012-06-01":"2012-12-31"])
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-06-01":])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].loc["2012-12-24":].index)


def test_a_backfill_ends_with_the_first_five_local_bars(loader, market, source):
    loader.keep("AAPL", source["AAPL"].loc["2001-01-02":"2001-12-31"])
    assert_same(loader.load("AAPL", mode="backfill"), source["AAPL"].loc[:"2001-12-31"])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].loc[:"2001-01-08"].index)


def test_a_backfill_without_local_bars_is_a_full_load(loader, source):
    assert_same(loader.load("FB", mode="backfill"), source["FB"])


@pytest.mark.parametrize("mode", ["tail", "backfill", "full"])
def test_explicit_dates_win_over_the_mode_and_bound_what_comes_back(loader, market, source, mode):
    loader.keep("AAPL", source["AAPL"].loc["2005-01-01":"2005-12-31"])
    frame = loader.load("AAPL", start_date="2004-06-01", end_date="2005-02-01", mode=mode)
    assert_same(frame, source["AAPL"].loc["2004-06-01":"2005-02-01"])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].loc["2004-06-01":"2005-01-07"].index)


def test_a_start_before_the_first_bar_is_doubted_for_one_request_and_moved_there_and_said(
    loader, market, source, caplog
):
    caplog.set_level(logging.INFO, "symcache")
    frame = loader.load("GOOG", start_date="2000-01-01", end_date="2005-01-01")
    assert_same(frame, source["GOOG"].loc[:"2005-01-01"])
    assert min(start for _, start, _ in market.asked) >= datetime(2003, 8, 19, tzinfo=UTC), "a year before the head"
    assert len(market.asked) == 2
    assert frame.attrs["clamped_to"] == "2004-08-19T00:00:00+00:00"
    assert frame.attrs["missing"] == 0, "nobody says that there should be bars before the head timestamp"
    assert "GOOG 1d has no data before 2004-08-19" in caplog.text
    assert loader.load("GOOG", start_date="2004-08-19").attrs["clamped_to"] is None


def test_a_head_timestamp_that_is_too_late_loses_no_bars_that_named_dates_ask_for(loader, market, source):
    market.heads["GOOG"] = "2005-03-01T00:00:00+00:00"
    frame = loader.load("GOOG", start_date="2004-08-19", end_date="2005-12-31")
    assert_same(frame, source["GOOG"].loc["2004-08-19":"2005-12-31"])


def test_the_first_session_counts_although_the_head_timestamp_names_its_opening(loader, market, source):
    market.heads["GOOG"] = "2004-08-19T13:30:00+00:00"
    assert_same(loader.load("GOOG", mode="full"), source["GOOG"])


def test_a_span_before_the_first_bar_costs_one_request_and_is_empty(loader, market, source):
    frame = loader.load("FB", start_date="2005-01-01", end_date="2006-01-01")
    assert_same(frame, source["FB"].head(0))
    assert len(market.asked) == 1
    assert frame.attrs["missing"] == 0
    assert "before 2012-05-18" in frame.attrs["reason"]


@pytest.mark.parametrize("start", ["0001-01-01", "1600-01-01", "1899-12-31"])
def test_a_start_long_before_any_market_is_as_good_as_the_first_bar(loader, source, start):
    assert_same(loader.load("FB", start_date=start, end_date="9999-12-31"), source["FB"])


def test_a_start_after_now_is_empty(loader, market, source):
    assert_same(loader.load("FB", start_date="2014-01-01"), source["FB"].head(0))
    assert market.asked == []


def test_a_session_is_not_asked_for_before_its_market_has_closed(loader, market, source):
    loader.now = datetime(2013, 3, 1, 20, 59, tzinfo=UTC)
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-03-05":"2013-02-28"])


def test_bars_beyond_what_was_asked_are_dropped(loader, market, source):
    async def talkative(symbol, timeframe, start, end, instrument_type=None):
        return source[symbol]

    market.fetch_historical_data = talkative
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-03-05":])


def test_a_valid_symbol_without_data_is_an_empty_frame_and_asks_nothing(loader, market, source):
    market.heads["JEPI"] = None
    frame = loader.load("JEPI", mode="full")
    assert_same(frame, source["AAPL"].head(0))
    assert frame.attrs["symbol"] == "JEPI"
    assert market.asked == []


def test_an_unknown_symbol_is_an_error_with_the_providers_words_and_nothing_is_loaded(loader, market):
    loader.load("FB")
    del market.bars["FB"]
    loader.symbol_cache.clear()
    market.asked.clear()
    with pytest.raises(SymbolNotFoundError, match=r"^Symbol FB not found; did you mean 'META'\?$") as caught:
        loader.load("FB")
    assert caught.value.suggested_symbol == "META"
    assert market.asked == []


@pytest.mark.parametrize(
    ("symbol", "options", "error"),
    [
        ("AAPL", {"timeframe": "7h"}, ConfigurationError),
        ("AAPL", {"mode": "head"}, ConfigurationError),
        ("AAPL", {"start_date": "2013-01-02", "end_date": "2013-01-01"}, ConfigurationError),
        ("", {}, InvalidSymbolError),
        ("A\0B", {}, InvalidSymbolError),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_provider_hears_of_it(loader, market, symbol, options, error):
    with pytest.raises(error):
        loader.load(symbol, **options)
    assert market.lookups == []


def test_a_request_that_fails_for_good_leaves_its_error_unchanged_and_loses_no_other(loader, market, source):
    market.trouble = lambda call, start: (
        ProviderError("no permission for 2003", code="354") if start.year == 2003 else None
    )
    with pytest.raises(ProviderError, match="no permission for 2003") as caught:
        loader.load("AAPL", mode="full")
    assert caught.value.code == "354"
    assert loader.pauses == []
    saved = loader.kept("AAPL")
    assert len(market.asked) == 14
    market.trouble = lambda call, start: None
    market.asked.clear()
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert len(market.asked) <= 2
    assert_asked(market, "AAPL", source["AAPL"].index.difference(saved.index))


def test_a_request_that_fails_for_a_moment_is_made_again_after_a_pause(loader, market, source):
    market.trouble = lambda call, start: ProviderUnavailableError("reset by peer") if call in {2, 5} else None
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert len(market.asked) == 16
    assert len(loader.pauses) == 2


def test_a_provider_that_asks_for_time_is_given_that_time(loader, market, source):
    market.trouble = lambda call, start: ProviderPacingError("slower", retry_after=12.5) if call == 1 else None
    assert_same(loader.load("FB", mode="full"), source["FB"])
    assert loader.pauses == [12.5]


def test_a_provider_that_stays_away_is_not_asked_for_every_segment(loader, market):
    market.trouble = lambda call, start: ProviderUnavailableError("the line is dead", code="1100")
    with pytest.raises(ProviderUnavailableError, match="the line is dead") as caught:
        loader.load("AAPL", mode="full")
    assert caught.value.code == "1100"
    assert len(market.asked) == ATTEMPTS * SEGMENTS_AT_ONCE


@pytest.mark.parametrize("pause", [30.5, 3600, float("inf"), float("nan"), -1])
def test_a_provider_that_asks_for_too_much_time_is_not_waited_for(loader, market, pause):
    market.trouble = lambda call, start: ProviderPacingError("not today", retry_after=pause)
    with pytest.raises(ProviderPacingError, match="not today"):
        loader.load("FB", mode="full")
    assert loader.pauses == []


def test_a_provider_that_cancels_its_own_call_has_failed(loader, market):
    market.trouble = lambda call, start: asyncio.CancelledError() if start.year == 2003 else None
    with pytest.raises(ProviderError, match="cancelled its own call"):
        loader.load("AAPL", mode="full")


@pytest.mark.parametrize("answer", [None, [], "bars", pd.DataFrame({"open": [1.0]}), 7])
def test_an_answer_that_is_no_frame_of_bars_is_the_providers_error(loader, market, answer):
    async def wrong(*question):
        return answer

    market.fetch_historical_data = wrong
    with pytest.raises(ProviderError, match="the provider"):
        loader.load("FB", mode="full")


@pytest.mark.parametrize("at", [0, 1, 5])
def test_an_error_of_the_progress_callback_ends_the_load_as_it_is(loader, at):
    def callback(step):
        if step.step == at:
            raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        loader.load("AAPL", mode="full", progress=callback)


def test_a_row_that_cannot_be_a_bar_is_named_and_asked_for_again_when_that_is_old(loader, market, source):
    broken = source["FB"].copy()
    broken.iloc[5, 0] = float("nan")
    market.bars["FB"] = broken
    report = LoadReport.of(loader.load("FB", mode="full"))
    assert (report.missing, report.bad) == (0, 1)
    assert report.bad_rows == [source["FB"].index[5].isoformat()]
    market.bars["FB"] = source["FB"]
    market.asked.clear()
    assert LoadReport.of(loader.load("FB", mode="full")).bad == 1
    assert market.asked == []
    loader.clock += timedelta(days=31).total_seconds()
    frame = loader.load("FB", mode="full")
    assert_same(frame, source["FB"])
    assert frame.attrs["bad"] == 0


@pytest.mark.parametrize("mode", ["tail", "backfill"])
def test_what_an_interrupted_load_has_left_out_is_fetched_by_the_same_one(loader, market, source, mode):
    bars = source["AAPL"]
    loader.keep("AAPL", bars.iloc[:250] if mode == "tail" else bars.iloc[-250:])
    token = CancellationToken()
    with pytest.raises(LoadCancelledError):
        loader.load(
            "AAPL", mode=mode, cancellation_token=token, progress=lambda step: step.step == 2 and token.cancel()
        )
    kept = loader.kept("AAPL")
    assert 250 < len(kept) < len(bars)
    market.asked.clear()
    assert_same(loader.load("AAPL", mode=mode), bars)
    assert_asked(market, "AAPL", bars.index.difference(kept.index))


def test_a_tail_fetches_the_newest_bars_first(loader, market):
    loader.load("AAPL", start_date="2005-01-01")
    starts = [start for _, start, _ in market.asked]
    assert starts == sorted(starts, reverse=True)


def test_no_more_than_a_few_requests_are_under_way_at_once(loader, market, source):
    under_way, most = [0], [0]
    fetch = market.fetch_historical_data

    async def counted(*question):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await asyncio.sleep(0)
        bars = await fetch(*question)
        under_way[0] -= 1
        return bars

    market.fetch_historical_data = counted
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert most[0] == SEGMENTS_AT_ONCE


def test_bars_that_the_provider_does_not_have_are_not_asked_for_again_until_its_answer_is_old(loader, market, source):
    hole = pd.date_range("2012-06-04", "2012-06-06", tz="UTC")
    loader.clock += timedelta(days=1).total_seconds()  # so that the last bar is final
    market.bars["FB"] = source["FB"].drop(hole)
    assert len(loader.load("FB", mode="full")) == len(source["FB"]) - 3
    market.asked.clear()
    for dates in ({}, {"start_date": "2012-05-20"}):
        frame = loader.load("FB", mode="full", **dates)
        assert market.asked == [], "what lies between bars that one answer gave is proven, for named dates, too"
        assert (frame.attrs["without_data"], frame.attrs["missing"]) == (3, 0)
    loader.clock += timedelta(days=31).total_seconds()
    market.bars["FB"] = source["FB"]
    assert_same(loader.load("FB", mode="full", end_date="2013-03-01"), source["FB"])
    assert_asked(market, "FB", hole)


def test_last_evenings_missing_bar_is_asked_for_again_after_ten_minutes_and_then_as_it_ages(loader, market, source):
    market.bars["FB"] = source["FB"].loc[:"2013-02-28"]
    asked = []
    for minutes in (0, 5, 10, 30, 190, 205):
        loader.clock = NOW.timestamp() + 60 * minutes
        market.asked.clear()
        frame = loader.load("FB", mode="full")
        assert len(frame) == 195
        asked.append(len(market.asked))
    assert asked == [1, 0, 1, 0, 1, 0], "looks prove it when the bar would be final, and till then each hour has one"
    market.bars["FB"] = source["FB"]
    loader.clock += timedelta(days=30).total_seconds()
    assert_same(loader.load("FB", mode="full"), source["FB"])


def test_a_local_load_asks_nobody_for_anything(loader, market, source):
    loader.keep("AAPL", source["AAPL"].loc["2005":"2006"])
    market.validate_and_get_metadata = market.fetch_historical_data = unreachable
    frame = loader.load("AAPL", start_date="2004-12-01", mode="local")
    assert_same(frame, source["AAPL"].loc["2005":"2006"])
    report = LoadReport.of(frame)
    assert (report.outcome, report.requests, report.local) == (None, 0, len(frame))
    assert loader.symbol_cache.get_stats().misses == 0
    assert report.missing is None, "without a verdict nobody knows when it is traded"


def test_a_local_load_knows_what_the_cache_knows(loader, market, source):
    loader.load("GOOG", start_date="2013-01-01")
    market.lookups.clear()
    report = LoadReport.of(loader.load("GOOG", start_date="2000-01-01", mode="local"))
    assert report.clamped_to == "2004-08-19T00:00:00+00:00"
    assert report.missing == len(source["GOOG"].loc[:"2012"])
    assert market.lookups == []


def test_a_local_load_of_nothing_is_an_empty_frame_with_the_right_columns(loader, source):
    assert_same(loader.load("NOPE", mode="local"), source["AAPL"].head(0))


def test_a_report_says_where_everything_came_from(loader, source):
    loader.keep("GOOG", source["GOOG"].loc["2012"])
    report = LoadReport.of(loader.load("GOOG", start_date="2000-01-01", mode="full"))
    assert report.outcome == "miss"
    assert report.verdict_age < 60
    assert report.clamped_to == "2004-08-19T00:00:00+00:00"
    assert report.start < report.clamped_to, "the head timestamp was doubted"
    assert report.fetched == len(source["GOOG"]) - len(source["GOOG"].loc["2012"])
    assert report.requests == 10
    assert (report.without_data, report.missing) == (0, 0)
    assert LoadReport.of(loader.load("GOOG")).outcome == "hit"


def test_a_report_counts_as_local_what_was_at_hand_before(loader, source):
    loader.keep("GOOG", source["GOOG"].loc["2012"])
    report = LoadReport.of(loader.load("GOOG", mode="full"))
    assert report.local == len(source["GOOG"].loc["2012"])


def test_bars_within_sessions_are_loaded_by_the_exchanges_hours(loader, market):
    hours = [
        f"2012-11-{day} {hour}"
        for day in (20, 21)
        for hour in ("14:30", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00")
    ]
    hours += [f"2012-11-23 {hour}" for hour in ("14:30", "15:00", "16:00", "17:00")]  # the day after Thanksgiving
    stamps = pd.DatetimeIndex(hours, tz="UTC", name="timestamp").as_unit("ns")
    bars = pd.DataFrame(1.5, index=stamps, columns=["open", "high", "low", "close", "volume"])
    market.bars["AAPL", "1h"] = bars
    loader.keep("AAPL", bars.drop(stamps[[3, 4, 15]]), "1h")
    assert_same(loader.load("AAPL", "1h", start_date="2012-11-20", end_date="2012-11-25"), bars)
    assert_asked(market, "AAPL", stamps[[3, 4, 15]], "1h")


def test_a_bar_that_is_still_forming_is_neither_asked_for_nor_kept(loader, market):
    loader.now = datetime(2012, 11, 20, 15, 30, tzinfo=UTC)
    stamps = pd.DatetimeIndex(["2012-11-20 14:30", "2012-11-20 15:00"], tz="UTC", name="timestamp").as_unit("ns")
    market.bars["AAPL", "1h"] = pd.DataFrame(1.5, index=stamps, columns=["open", "high", "low", "close", "volume"])
    assert list(loader.load("AAPL", "1h", start_date="2012-11-20").index) == [stamps[0]]
    assert list(loader.kept("AAPL", "1h").index) == [stamps[0]]


def test_weekly_bars_are_whole_weeks_by_their_mondays(loader, market, source):
    weeks = (
        source["AAPL"].resample("W-MON", label="left", closed="left").last().rename_axis("timestamp").astype("float64")
    )
    market.bars["AAPL", "1w"] = weeks
    frame = loader.load("AAPL", "1w", mode="full")
    assert_same(
        frame,
        weeks.asfreq(None) if weeks.index.freq is None else weeks.set_axis(pd.DatetimeIndex(weeks.index, freq=None)),
    )
    assert market.asked[0][1] == datetime(2000, 2, 27, tzinfo=UTC), "a week may begin with its Sunday"


def test_forex_is_asked_for_on_its_own_calendar_by_its_canonical_name(loader, market):
    days = pd.bdate_range("2012-12-24", "2013-01-04", tz="UTC", unit="ns", name="timestamp")
    market.bars["EURUSD"] = pd.DataFrame(1.3, index=days, columns=["open", "high", "low", "close", "volume"])
    market.contracts["EURUSD"] = ContractInfo(asset_type="CASH")
    frame = loader.load("eur/usd", start_date="2012-12-24", end_date="2013-01-04")
    assert list(frame.index) == list(days)
    assert frame.attrs["symbol"] == "EURUSD"
    assert {symbol for symbol, _, _ in market.asked} == {"EURUSD"}


def test_a_symbol_whose_head_timestamp_cannot_be_had_now_still_loads_explicit_dates(loader, market, source):
    loader.symbol_cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL", contract_info=LISTED))
    market.validate_and_get_metadata = unreachable
    frame = loader.load("AAPL", start_date="2012-01-01")
    assert_same(frame, source["AAPL"].loc["2012":])
    assert frame.attrs["outcome"] == "partial"


def test_a_full_load_that_cannot_know_where_to_start_is_the_providers_error(loader, market):
    loader.symbol_cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL", contract_info=LISTED))
    market.validate_and_get_metadata = unreachable
    with pytest.raises(ProviderUnavailableError, match="the line is dead"):
        loader.load("AAPL", mode="full")
    assert market.asked == []


def test_an_outdated_verdict_still_loads_when_the_provider_cannot_give_a_new_one(loader, market, tmp_path, source):
    now = [0.0]
    options = SymcacheSettings(backend="memory", provider="ib", data_dir=tmp_path, ttl="30d")
    with open_symbol_cache(options, clock=lambda: now[0]) as cache:
        loader.symbol_cache = cache
        loader.load("FB")
        now[0] += timedelta(days=31).total_seconds()
        market.validate_and_get_metadata = unreachable
        frame = loader.load("FB", mode="full")
    assert_same(frame, source["FB"])
    assert frame.attrs["outcome"] == "stale"


def test_attrs_are_plain_values_that_neither_concat_nor_parquet_minds(loader, tmp_path):
    frame = loader.load("AAPL")
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs
    other = loader.load("MSFT")
    assert len(pd.concat([frame, other])) == len(frame) + len(other)
    frame.to_parquet(tmp_path / "x.parquet")
    assert_same(pd.read_parquet(tmp_path / "x.parquet"), frame)


def test_what_a_caller_does_to_a_frame_stays_with_the_caller(loader, source):
    frame = loader.load("FB", mode="full")
    frame["close"] = 0.0
    assert_same(loader.load("FB", mode="full"), source["FB"])


def test_progress_counts_every_request(loader):
    told = []
    loader.load("AAPL", mode="full", progress=told.append)
    assert [(step.step, step.of) for step in told] == [(at, 14) for at in range(15)]
    assert {(step.symbol, step.timeframe) for step in told} == {("AAPL", "1d")}
    assert told[0].what == "0 bars at hand"
    assert "250 bars from 2000-03-01 to 2001-02-26" in [step.what for step in told]


def test_two_loads_of_one_symbol_at_once_lose_no_bars(loader, source):
    async def both():
        old = loader.aload("AAPL", end_date="2006-01-01", start_date="2000-01-01")
        return await asyncio.gather(old, loader.aload("AAPL", start_date="2004-01-01"))

    asyncio.run(both())
    assert_same(loader.kept("AAPL"), source["AAPL"])


def test_a_cancelled_token_ends_a_hanging_request_at_once_and_leaves_nothing_behind(loader, market):
    async def scenario():
        market.hangs = True
        token = CancellationToken()
        load = asyncio.create_task(loader.aload("AAPL", cancellation_token=token))
        await market.fetching.wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        token.cancel()
        with pytest.raises(LoadCancelledError):
            await load
        assert loop.time() - began < 0.1
        assert market.ended == ["AAPL"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_token_cancelled_between_two_requests_keeps_what_the_first_brought(loader, market, source):
    token = CancellationToken()
    with pytest.raises(LoadCancelledError):
        loader.load(
            "AAPL", mode="full", cancellation_token=token, progress=lambda step: step.step == 2 and token.cancel()
        )
    kept = loader.kept("AAPL")
    assert len(kept) > 400
    market.asked.clear()
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert_asked(market, "AAPL", source["AAPL"].index.difference(kept.index))


def test_a_token_of_one_load_says_nothing_to_the_next(loader, market, source):
    token = CancellationToken()
    token.cancel()
    with pytest.raises(LoadCancelledError):
        loader.load("FB", mode="full", cancellation_token=token)
    assert_same(loader.load("FB", mode="full"), source["FB"])


def test_the_cancellation_of_a_task_passes_through_unchanged(loader, market):
    async def scenario():
        market.hangs = True
        load = asyncio.create_task(loader.aload("AAPL", cancellation_token=CancellationToken()))
        await market.fetching.wait()
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert market.ended == ["AAPL"]

    asyncio.run(scenario())


def test_a_provider_that_does_not_tell_when_bars_begin_needs_a_start_date(loader, market, source):
    async def untold(symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol, contract_info=LISTED)

    market.validate_and_get_metadata = untold
    with pytest.raises(ProviderError, match="does not say when its 1d bars begin; give start_date"):
        loader.load("AAPL", mode="full")
    assert_same(loader.load("AAPL", start_date="2000-03-01", mode="full"), source["AAPL"])


def test_a_load_needs_no_thread_of_its_event_loops_own(loader, source):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        load = loader.aload("AAPL", mode="full")
        return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(load, loop).result(60))

    pd.testing.assert_frame_equal(asyncio.run(main()), source["AAPL"])
