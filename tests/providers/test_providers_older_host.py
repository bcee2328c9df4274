"""An older host service, with the same wire contract, serves the adapter as well, and proves less."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from older_host import OlderHost

from symcache_core import Outcome, SymcacheSettings, open_symbol_cache
from symcache_core.errors import ProviderError, ProviderNoDataError, ProviderUnavailableError
from symcache_core.providers import IbDataAdapter
from symcache_core.providers.wire import before_rounding

START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)
MINUTE = 60
DAY = timedelta(days=1)
FIGURES = dict.fromkeys(("open", "high", "low", "close", "volume"), 1)
DAILY = {(datetime(2009, 1, 1, tzinfo=UTC) + day * DAY).isoformat(): FIGURES for day in range(4 * 365)}
NEW = {"provenance": {"gateway": "ib", "host": "symcache 0.2.0"}}


def test_an_older_host_reads_without_loss(older_url, validate):
    answer = validate(IbDataAdapter(older_url), "AAPL", "1d", "1h")
    assert answer.result.head_timestamps == {"1d": "1980-12-12T14:30:00+00:00"}, "a null was never asked for"
    assert answer.result.contract_info.contract == {"conId": 1, "symbol": "AAPL"}
    assert (answer.provenance.gateway, answer.provenance.host) == ("ib", None)


def test_a_negative_of_an_older_host_proves_nothing(older_url, validate):
    answer = validate(IbDataAdapter(older_url), "MSFT", "1d")
    assert (answer.result.is_valid, answer.confirmed) == (False, False)


def test_bars_of_an_older_host_are_sorted_and_cut_to_the_range(older_url, fetch):
    first, naive = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3)  # noqa: DTZ001  # a naive one is UTC
    frame = fetch(IbDataAdapter(older_url), "AAPL", first, naive)
    assert frame["close"].tolist() == [1.5, 3.5]
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]


def test_a_failure_of_an_older_host_may_pass(older_url, fetch):
    with pytest.raises(ProviderUnavailableError, match="Historical data request failed"):
        fetch(IbDataAdapter(older_url), "MSFT", START, END)


def test_it_is_not_asked_again_since_it_has_tried_again_itself(serve_with, validate, pauses):
    asked = []

    def answer(path, _question):
        asked.append(path)
        return 200, b'{"success": false, "error": "IB Gateway timed out"}'

    with pytest.raises(ProviderUnavailableError, match="timed out"):
        validate(IbDataAdapter(serve_with(answer), sleep=pauses.sleep), "AAPL", "1d")
    assert (asked, pauses) == (["/data/validate"], [])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("No data returned for KO 1d", ProviderNoDataError),
        ("no data", ProviderNoDataError),
        (
            "Historical Market Data Service error message:HMDS query returned no data: KO@SMART Trades",
            ProviderNoDataError,
        ),
        ("NO DATA", ProviderNoDataError),
        (
            "Historical Market Data Service error message:No historical market data for KO/STK@SMART",
            ProviderNoDataError,
        ),
        ("HMDS data farm connection is broken: there is no data farm", ProviderUnavailableError),
        ("No market data permissions for NYSE STK", ProviderUnavailableError),
        ("Historical data request failed", ProviderUnavailableError),
        ("no database", ProviderUnavailableError),
    ],
)
def test_what_an_older_host_says_of_bars_tells_no_data_from_a_failure(serve, fetch, words, error):
    url = serve({"success": False, "data": None, "error": words, "rows": 0})
    with pytest.raises(ProviderError) as caught:
        fetch(IbDataAdapter(url), "KO", START, END)
    assert isinstance(caught.value, error)
    assert caught.value.passes is (error is ProviderUnavailableError)
    assert str(caught.value) == words


def test_no_data_about_a_symbol_is_a_failure_that_may_pass(serve, validate):
    with pytest.raises(ProviderUnavailableError, match="no data"):
        validate(IbDataAdapter(serve({"success": False, "error": "no data"})), "KO", "1d")


@pytest.mark.parametrize("kind", ["permanent", "transient", "pacing", "permission"])
def test_a_host_that_says_of_which_kind_a_failure_is_is_taken_at_that(serve, fetch, kind):
    url = serve({"success": False, "error": "no data", "error_kind": kind, **NEW})
    with pytest.raises(ProviderError) as caught:
        fetch(IbDataAdapter(url), "KO", START, END)
    assert not isinstance(caught.value, ProviderNoDataError)


def in_turn(url, *questions):
    """What one adapter gets for each of some questions: a frame, an answer, or an error."""

    async def main():
        adapter = IbDataAdapter(url)
        try:
            return [(await asyncio.gather(ask(adapter), return_exceptions=True))[0] for ask in questions]
        finally:
            await adapter.aclose()

    return asyncio.run(main())


def bars_of(days, end=datetime(2012, 3, 31, tzinfo=UTC), **options):
    return lambda adapter: adapter.fetch_historical_data("AAPL", "1d", end - days * DAY, end, **options)


@pytest.fixture
def rounding():
    """An older host that rounds down, and fails where it gets nothing."""
    with OlderHost(DAILY, rounds_down=True) as host:
        yield host


@pytest.mark.parametrize("days", [0, 1, 5, 6, 7, 8, 13, 14, 29, 89, 90, 120, 358, 359, 364, 365, 366, 600, 729, 730])
def test_no_bar_is_lost_to_an_older_host_that_rounds_down(rounding, days):
    _, frame = in_turn(rounding.url, lambda each: each.validate_and_get_metadata("AAPL", ["1d"]), bars_of(days))
    assert len(frame) == days + 1
    assert frame.attrs == {"provider": "ib", "older_host": True}
    assert len(rounding.asked_for_bars) == 1, "the verdict said which kind of host it is"


def test_a_host_that_turns_out_to_be_an_older_one_is_asked_once_more_and_then_known(rounding):
    first, second = in_turn(rounding.url, bars_of(89), bars_of(89))
    assert len(first) == len(second) == 90
    starts = [question["start"][:10] for question in rounding.asked_for_bars]
    assert starts == ["2012-01-02", "2011-12-26", "2011-12-26"]


def test_a_failure_of_a_host_tells_that_it_is_an_older_one(rounding):
    rounding.mistakes = 1
    failed, frame = in_turn(rounding.url, bars_of(89), bars_of(89))
    assert isinstance(failed, ProviderNoDataError)
    assert str(failed) == "No data returned for AAPL 1d"
    assert len(frame) == 90
    assert len(rounding.asked_for_bars) == 2, "what it says is not asked again here"


def test_an_older_host_without_any_bars_says_so_and_proves_nothing(rounding):
    (failed,) = in_turn(rounding.url, bars_of(20, datetime(2005, 1, 31, tzinfo=UTC)))
    assert isinstance(failed, ProviderNoDataError)


def test_an_older_host_confirms_no_session(rounding):
    (frame,) = in_turn(rounding.url, bars_of(5, session="extended"))
    assert rounding.asked_for_bars[0]["session"] == "extended"
    assert "basis" not in frame.attrs


def test_a_newer_host_in_its_place_is_asked_for_what_is_wanted_and_no_more(serve_with):
    asked, more = [], {}

    def answer(_path, question):
        asked.append(question["start"])
        return 200, json.dumps({"success": True, "data": "{}", "rows": 0} | more).encode()

    def upgraded(adapter):
        more.update(NEW)
        return bars_of(20)(adapter)

    older, newer, again = in_turn(serve_with(answer), bars_of(20), upgraded, bars_of(20))
    assert [frame.attrs.get("older_host", False) for frame in (older, newer, again)] == [True, False, False]
    wanted, further = "2012-03-11T00:00:00+00:00", "2012-03-04T00:00:00+00:00"
    assert asked == [wanted, further, further, wanted]


@given(st.timedeltas(timedelta(), 2000 * DAY))
@example(6 * DAY)
@example(6 * DAY + timedelta(microseconds=1))
@example(365 * DAY)
@example(365 * DAY + timedelta(microseconds=1))
def test_however_an_older_host_rounds_down_it_reaches_the_start(span):
    end = datetime(2012, 3, 31, tzinfo=UTC)
    days = (end - before_rounding(end - span, end)).days
    in_weeks = days if days <= 7 else days // 7 * 7
    in_years = days // 365 * 365 if days > 365 else in_weeks
    assert days >= 1, "hours are no unit of Interactive Brokers"
    assert min(in_weeks, in_years) * DAY >= span


def test_there_is_nothing_before_a_calendars_first_day():
    first = datetime.min.replace(tzinfo=UTC)
    assert before_rounding(first, first + 3 * DAY) == first


def test_many_symbols_are_asked_one_by_one(older, validate_many):
    answers = validate_many(IbDataAdapter(older.url), ["AAPL", "MSFT"], "1d")
    assert {symbol: (each.result.is_valid, each.confirmed) for symbol, each in answers.items()} == {
        "AAPL": (True, True),
        "MSFT": (False, False),
    }
    assert older.asked == ["/data/validate-batch", "/data/validate", "/data/validate"]


def looked_up(older, story):
    """Tell a story of lookups through a cache whose clock the story moves."""
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    async def main():
        adapter = IbDataAdapter(older.url)
        settings = SymcacheSettings(backend="memory", host_service_url=older.url)
        cache = open_symbol_cache(settings, clock=lambda: now)

        async def look_up(symbol, *timeframes, later=0):
            nonlocal now
            now += later
            return await cache.get_or_validate(symbol, timeframes, adapter.validate_and_get_metadata)

        try:
            await story(look_up)
        finally:
            await cache.aclose()
            await adapter.aclose()

    asyncio.run(main())


def test_what_it_calls_unknown_while_it_has_lost_its_gateway_is_believed_for_minutes_only(older):
    async def story(look_up):
        older.connected = False
        first = await look_up("AAPL", "1d")
        assert (first.result.is_valid, first.info.confirmed) == (False, False)
        older.connected = True
        assert not (await look_up("AAPL", "1d", later=MINUTE)).result.is_valid
        assert (await look_up("AAPL", "1d", later=5 * MINUTE)).result.is_valid

    looked_up(older, story)
    assert len(older.asked) == 2


def test_a_valid_symbol_stays_valid_while_it_has_lost_its_gateway(older):
    async def story(look_up):
        assert (await look_up("AAPL", "1d")).result.is_valid
        older.connected = False
        assert (await look_up("AAPL", "1d", later=31 * 24 * 60 * MINUTE)).result.is_valid

    looked_up(older, story)


def test_a_null_head_timestamp_is_not_asked_and_soon_asked_again(older):
    async def story(look_up):
        first = await look_up("AAPL", "1d", "1h")
        assert dict(first.result.head_timestamps) == {"1d": "1980-12-12T14:30:00+00:00"}, "a null is no answer"
        assert (await look_up("AAPL", "1d")).outcome is Outcome.HIT
        await look_up("AAPL", "1h", later=6 * MINUTE)

    looked_up(older, story)
    assert older.asked == ["/data/validate"] * 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_our_host_answers_every_question_with_every_field_of_the_older_one(older, replay_url, method):
    """Types of values, not values: the two have different gateways."""
    bars = {"symbol": "AAPL", "timeframe": "1d", "start": "2024-01-01", "end": "2024-01-05", "instrument_type": None}
    questions = {
        "GET": [
            ("/data/symbol-info/AAPL", None),
            ("/data/symbol-info/NOSUCH", None),
            ("/data/head-timestamp?symbol=AAPL&timeframe=1d&instrument_type=STK", None),
            ("/data/head-timestamp?symbol=NOSUCH&timeframe=1d", None),
            ("/health", None),
            ("/health/", None),
        ],
        "POST": [
            ("/data/validate", {"symbol": "AAPL", "timeframes": ["1d", "1h"]}),
            ("/data/validate", {"symbol": "NOSUCH", "timeframes": None}),
            ("/data/validate", {}),
            ("/data/historical", bars),
            ("/data/historical", bars | {"symbol": "NOSUCH"}),
        ],
    }
    for path, question in questions[method]:
        theirs, ours = (
            httpx.request(method, url + path, json=question, trust_env=False) for url in (older.url, replay_url)
        )
        assert ours.status_code == theirs.status_code, path
        assert shape(theirs.json()) <= shape(ours.json()), path


def shape(answer):
    """Every field of an answer, with the type of its value; of what is an object by its keys, only that it is one."""
    return {(name, type(value).__name__) for name, value in answer.items()} | {
        (f"{outer}.{name}", type(value).__name__)
        for outer in ("contract_info", "ib_status")
        for name, value in (answer.get(outer) or {}).items()
        if name != "client_id"
    }
