"""A load asks the provider for what is missing and for nothing else, and gives back everything that is there."""

import asyncio
import json
import logging
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
    ProviderUnavailableError,
    SymbolNotFoundError,
)
from symcache_core.loading import CancellationToken


async def unreachable(symbol, timeframes):
    raise ProviderUnavailableError("the line is dead")


def assert_same(frame, bars):
    pd.testing.assert_frame_equal(frame, bars)


def test_a_full_load_gives_every_bar_and_asks_for_each_once(loader, market, source):
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].index)
    assert len(market.asked) == 13


def test_a_second_full_load_asks_nothing_at_all(loader, market, source):
    loader.load("AAPL", mode="full")
    market.asked.clear()
    market.lookups.clear()
    frame = loader.load("aapl ", mode="full")
    assert_same(frame, source["AAPL"])
    assert frame.attrs["outcome"] == "hit"
    assert market.asked == market.lookups == []


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(removed=st.sets(st.integers(0, 119), max_size=25), start=st.integers(0, 3000))
def test_whatever_is_missing_is_filled_in_and_nothing_present_is_asked(new_loader, source, removed, start):
    loader, bars = new_loader(), source["IBM"].iloc[start : start + 120]
    local = bars.drop(bars.index[sorted(removed)])
    loader.store.merge("IBM", "1d", local)
    assert_same(loader.load("IBM", start_date=bars.index[0], end_date=bars.index[-1]), bars)
    asked = loader.market.sessions_asked("IBM")
    assert list(asked) == [bars.index[at] for at in sorted(removed)]


@pytest.mark.parametrize("removed", [["2001-09-10"], ["2001-09-10", "2001-09-17"], ["2012-10-26", "2012-10-31"]])
def test_a_hole_beside_a_closure_is_filled_with_one_request(loader, market, source, removed):
    loader.store.merge("MSFT", "1d", source["MSFT"].drop(pd.DatetimeIndex(removed, tz="UTC")))
    assert_same(loader.load("MSFT", mode="full"), source["MSFT"])
    assert list(market.sessions_asked("MSFT")) == list(pd.DatetimeIndex(removed, tz="UTC"))
    assert len(market.asked) == 1


def test_a_gap_from_friday_to_tuesday_is_one_request(loader, market, source):
    loader.store.merge(
        "MSFT", "1d", source["MSFT"].drop(pd.DatetimeIndex(["2012-06-08", "2012-06-11", "2012-06-12"], tz="UTC"))
    )
    assert_same(loader.load("MSFT", mode="full"), source["MSFT"])
    friday, tuesday = datetime(2012, 6, 8, tzinfo=UTC), datetime(2012, 6, 12, 23, 59, 59, tzinfo=UTC)
    assert market.asked == [("MSFT", friday, tuesday)]


def test_a_tail_without_local_bars_is_one_request_back_from_now(loader, market, source):
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-03-02":])
    assert len(market.asked) == 1


def test_a_tail_goes_on_from_the_last_local_bar_and_gives_all_bars_at_hand(loader, market, source):
    loader.store.merge("AAPL", "1d", source["AAPL"].loc["2012-06-01":"2012-12-31"])
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-06-01":])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].loc["2013-01-01":].index)


def test_a_backfill_ends_at_the_first_local_bar(loader, market, source):
    loader.store.merge("AAPL", "1d", source["AAPL"].loc["2001-01-02":"2001-12-31"])
    assert_same(loader.load("AAPL", mode="backfill"), source["AAPL"].loc[:"2001-12-31"])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].loc[:"2000-12-31"].index)


def test_a_backfill_without_local_bars_is_a_full_load(loader, source):
    assert_same(loader.load("FB", mode="backfill"), source["FB"])


@pytest.mark.parametrize("mode", ["tail", "backfill", "full"])
def test_explicit_dates_win_over_the_mode_and_bound_what_comes_back(loader, market, source, mode):
    loader.store.merge("AAPL", "1d", source["AAPL"].loc["2005-01-01":"2005-12-31"])
    frame = loader.load("AAPL", start_date="2004-06-01", end_date="2005-02-01", mode=mode)
    assert_same(frame, source["AAPL"].loc["2004-06-01":"2005-02-01"])
    assert list(market.sessions_asked("AAPL")) == list(source["AAPL"].loc["2004-06-01":"2004-12-31"].index)


def test_a_start_before_the_first_bar_is_moved_there_and_said(loader, market, source, caplog):
    caplog.set_level(logging.INFO, "symcache")
    frame = loader.load("GOOG", start_date="2000-01-01", end_date="2005-01-01")
    assert_same(frame, source["GOOG"].loc[:"2005-01-01"])
    assert market.asked[0][1] == datetime(2004, 8, 19, tzinfo=UTC)
    assert frame.attrs["clamped_to"] == "2004-08-19T00:00:00+00:00"
    assert "GOOG 1d has no data before 2004-08-19" in caplog.text
    assert "clamped_to" not in loader.load("GOOG", start_date="2004-08-19").attrs


def test_the_first_session_counts_although_the_head_timestamp_names_its_opening(loader, market, source):
    market.heads["GOOG"] = "2004-08-19T13:30:00+00:00"
    assert_same(loader.load("GOOG", mode="full"), source["GOOG"])


def test_a_span_before_the_first_bar_is_empty_and_asks_nothing(loader, market, source):
    frame = loader.load("FB", start_date="2005-01-01", end_date="2006-01-01")
    assert_same(frame, source["FB"].head(0))
    assert market.asked == []


@pytest.mark.parametrize("start", ["0001-01-01", "1600-01-01", "1899-12-31"])
def test_a_start_long_before_any_market_is_as_good_as_the_first_bar(loader, source, start):
    assert_same(loader.load("FB", start_date=start, end_date="9999-12-31"), source["FB"])


def test_a_start_after_now_is_empty(loader, market, source):
    assert_same(loader.load("FB", start_date="2014-01-01"), source["FB"].head(0))
    assert market.asked == []


def test_a_session_is_not_asked_for_before_its_market_has_closed(loader, market, source):
    loader.now = datetime(2013, 3, 1, 20, 59, tzinfo=UTC)
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-03-02":"2013-02-28"])


def test_bars_beyond_what_was_asked_are_dropped(loader, market, source):
    async def talkative(symbol, timeframe, start, end, instrument_type=None):
        return source[symbol]

    market.fetch_historical_data = talkative
    assert_same(loader.load("AAPL"), source["AAPL"].loc["2012-03-02":])


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
        ("AAPL", {"timeframe": "1h"}, ConfigurationError),
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


def test_a_failing_request_leaves_the_error_unchanged_and_what_came_before_saved(loader, market, source):
    market.fails_at = 4
    with pytest.raises(ProviderUnavailableError, match="the line is dead") as caught:
        loader.load("AAPL", mode="full")
    assert caught.value.code == "1100"
    saved = loader.store.read("AAPL", "1d")
    assert_same(saved, source["AAPL"].head(len(saved)))
    assert len(saved) > 700
    market.fails_at = None
    market.asked.clear()
    assert_same(loader.load("AAPL", mode="full"), source["AAPL"])
    assert not market.sessions_asked("AAPL").isin(saved.index).any()


def test_forex_is_asked_for_on_its_own_calendar_by_its_canonical_name(loader, market):
    days = pd.bdate_range("2012-12-24", "2013-01-04", tz="UTC", unit="ns", name="timestamp")
    market.bars["EURUSD"] = pd.DataFrame(1.3, index=days, columns=["open", "high", "low", "close", "volume"])
    market.contracts["EURUSD"] = ContractInfo(asset_type="CASH")
    frame = loader.load("eur/usd", start_date="2012-12-24", end_date="2013-01-04")
    assert list(frame.index) == list(days)
    assert frame.attrs["symbol"] == "EURUSD"
    assert {symbol for symbol, _, _ in market.asked} == {"EURUSD"}


def test_a_symbol_whose_head_timestamp_cannot_be_had_now_still_loads_explicit_dates(loader, market, source):
    loader.symbol_cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL"))
    market.validate_and_get_metadata = unreachable
    frame = loader.load("AAPL", start_date="2012-01-01")
    assert_same(frame, source["AAPL"].loc["2012":])
    assert frame.attrs["outcome"] == "partial"


def test_a_full_load_that_cannot_know_where_to_start_is_the_providers_error(loader, market):
    loader.symbol_cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL"))
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
    assert frame.attrs == {"symbol": "AAPL", "timeframe": "1d", "provider": "ib", "replay": False, "outcome": "miss"}
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
    assert [(step.step, step.of) for step in told] == [(at, 13) for at in range(14)]
    assert told[0].what == "AAPL 1d: 0 bars at hand, lookup was a miss"
    assert told[1].what == "AAPL 1d: 252 bars from 2000-03-01 to 2001-02-28"


def test_two_loads_of_one_symbol_at_once_lose_no_bars(loader, source):
    async def both():
        old = loader.aload("AAPL", end_date="2006-01-01", start_date="2000-01-01")
        return await asyncio.gather(old, loader.aload("AAPL", start_date="2004-01-01"))

    asyncio.run(both())
    assert_same(loader.store.read("AAPL", "1d"), source["AAPL"])


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
    assert len(market.asked) == 2
    assert_same(loader.store.read("AAPL", "1d"), source["AAPL"].loc[: market.asked[1][2]])


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
        return ValidationResult(is_valid=True, symbol=symbol)

    market.validate_and_get_metadata = untold
    with pytest.raises(ConfigurationError, match="does not say when its 1d bars begin; give start_date"):
        loader.load("AAPL", mode="full")
    assert_same(loader.load("AAPL", start_date="2000-03-01", mode="full"), source["AAPL"])
