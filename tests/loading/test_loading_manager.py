"""A manager loads from anywhere, opens what it needs when it needs it, and closes what it opened."""

import asyncio
import inspect
import itertools
import json
import pydoc
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pandas as pd
import pytest

from symcache_core import Outcome, SymcacheSettings, ValidationResult
from symcache_core.errors import ClosedError, ConfigurationError, InvalidSymbolError, LoadCancelledError, ProviderError
from symcache_core.loading import CancellationToken, DataManager, LoadManyReport

NOW = datetime(2013, 3, 1, 22, tzinfo=UTC).timestamp()


@pytest.fixture
def manager(settings, market):
    with DataManager(settings, external_provider=market, clock=lambda: NOW) as manager:
        yield manager


def test_a_load_gives_the_bars_up_to_the_clocks_now(manager, source):
    frame = manager.load("AAPL", mode="full")
    pd.testing.assert_frame_equal(frame, source["AAPL"])
    assert frame.attrs["provider"] == "ib"
    assert frame.attrs["replay"] is False


def test_dates_may_be_given_by_place_or_by_name(manager, source):
    expected = source["AAPL"].loc["2012-01-01":"2012-06-30"]
    pd.testing.assert_frame_equal(manager.load("AAPL", "1d", "2012-01-01", "2012-06-30"), expected)
    pd.testing.assert_frame_equal(manager.load("AAPL", start_date="2012-01-01", end_date="2012-06-30"), expected)


def test_the_provider_may_have_a_now_of_its_own(settings, market, source):
    market.as_of = lambda: datetime(2012, 6, 1, 22, tzinfo=UTC)
    with DataManager(settings, external_provider=market) as manager:
        assert manager.load("AAPL").index[-1] == pd.Timestamp("2012-06-01", tz="UTC")


def test_loading_works_inside_a_running_loop_twice(manager, source):
    async def notebook():
        first = manager.load("AAPL")
        return first, manager.load("AAPL"), await manager.aload("AAPL")

    for frame in (*asyncio.run(notebook()), asyncio.run(manager.aload("AAPL"))):
        pd.testing.assert_frame_equal(frame, source["AAPL"].loc["2012-03-05":])


def test_several_threads_load_at_once(manager, source):
    symbols = ["AAPL", "IBM", "MSFT", "GOOG", "FB"] * 2
    with ThreadPoolExecutor(10) as pool:
        frames = list(pool.map(lambda symbol: manager.load(symbol, mode="full"), symbols))
    for symbol, frame in zip(symbols, frames, strict=True):
        pd.testing.assert_frame_equal(frame, source[symbol])


def test_a_lookup_asks_once_and_loads_nothing(manager, market):
    assert manager.validate("AAPL").outcome is Outcome.MISS
    assert manager.validate("aapl").outcome is Outcome.HIT
    assert asyncio.run(manager.avalidate("AAPL", ["1d"])).result.head_timestamp("1d") == datetime(
        2000, 3, 1, tzinfo=UTC
    )
    assert not manager.validate("NOPE").result.is_valid
    assert market.asked == []


def test_figures_are_plain_values_that_count_lookups(manager):
    manager.load("AAPL")
    manager.load("AAPL")
    stats = manager.get_symbol_cache_stats()
    assert (stats["cached_symbols"], stats["hits"], stats["misses"]) == (1, 1, 1)
    assert stats["size"] is None, "the memory backend does not know it"
    assert json.loads(json.dumps(stats)) == stats


def test_one_symbol_or_all_can_be_forgotten_and_their_bars_stay(manager, market):
    for symbol in ("AAPL", "IBM", "MSFT"):
        manager.load(symbol)
    market.asked.clear()
    assert manager.clear_symbol_cache("aapl") == 1
    assert manager.clear_symbol_cache("AAPL") == 0
    assert manager.clear_symbol_cache() == 2
    assert manager.get_symbol_cache_stats()["cached_symbols"] == 0
    manager.load("AAPL")
    assert market.asked == []


def test_a_token_ends_a_hanging_load(manager, market):
    market.hangs = True
    token = CancellationToken()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(manager.load, "AAPL", cancellation_token=token)
        token.cancel()
        with pytest.raises(LoadCancelledError):
            load.result(5)


def test_errors_come_out_as_they_are(manager):
    with pytest.raises(ConfigurationError, match="'7h': use one of 1m, 5m"):
        manager.load("AAPL", "7h")


def test_making_one_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())  # those of tests before may still end
    manager = DataManager(SymcacheSettings(data_dir=tmp_path / "data", provider="ib"))
    manager.close()
    assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= before


def test_what_was_passed_in_stays_open_and_what_it_opened_is_closed(settings, market, symbol_cache):
    closed = []

    async def aclose():
        closed.append("market")

    market.aclose = aclose
    with DataManager(settings, symbol_cache=symbol_cache, external_provider=market) as manager:
        assert manager.symbol_cache is symbol_cache
        assert manager.external_provider is market
        manager.load("AAPL")
    assert closed == []
    assert symbol_cache.get_stats().cached_symbols == 1
    with DataManager(settings, external_provider=market) as manager:
        own = manager.symbol_cache
    with pytest.raises(ClosedError):
        own.get_stats()


def test_after_close_every_use_is_an_error_and_closing_again_is_none(manager):
    manager.load("FB")
    manager.close()
    manager.close()
    uses = [
        lambda: manager.load("FB"),
        lambda: asyncio.run(manager.aload("FB")),
        lambda: manager.validate("FB"),
        lambda: asyncio.run(manager.avalidate("FB")),
        manager.clear_symbol_cache,
        manager.get_symbol_cache_stats,
        lambda: manager.symbol_cache,
        lambda: manager.external_provider,
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()


def test_an_interrupt_while_it_closes_leaves_nothing_open(settings, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    manager = DataManager(settings)
    cache = manager.symbol_cache
    monkeypatch.setattr(manager._loop, "cancel_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manager.close()
    with pytest.raises(ClosedError):
        cache.get("AAPL")


def test_closing_ends_a_load_in_another_thread(manager, market):
    market.hangs = True
    fetching = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(manager.load, "AAPL", progress=lambda _: fetching.set())
        fetching.wait(5)
        manager.close()
        with pytest.raises(ClosedError):
            load.result(5)


def test_many_symbols_load_with_one_report_and_one_that_fails_hurts_no_other(manager, source):
    manager.load("IBM", mode="full")
    many = manager.load_many(["AAPL", "NOPE", "IBM", "AAPL"], mode="full")
    assert list(many.frames) == ["AAPL", "IBM"]
    for symbol, frame in many.frames.items():
        pd.testing.assert_frame_equal(frame, source[symbol])
    assert many.report == LoadManyReport(
        loaded=2,
        from_local=1,
        asked=1,
        requests=14,
        failed={"NOPE": "Symbol NOPE not found; did you mean 'META'?"},
    )
    again = asyncio.run(manager.aload_many(["AAPL", "IBM"], mode="full"))
    assert (again.report.from_local, again.report.requests) == (2, 0)


def test_of_many_symbols_no_more_than_so_many_are_loaded_at_once(manager, market):
    under_way, most = set(), [0]

    def note(step):
        if step.step < step.of:
            under_way.add(step.symbol)
        else:
            under_way.discard(step.symbol)
        most[0] = max(most[0], len(under_way))

    manager.load_many(["AAPL", "IBM", "MSFT", "GOOG", "FB"], mode="full", concurrency=2, progress=note)
    assert most[0] == 2
    with pytest.raises(ValueError, match="concurrency is 0"):
        manager.load_many(["AAPL"], concurrency=0)


def test_each_of_many_comes_as_soon_as_it_is_there_and_leaving_early_ends_the_rest(manager, market):
    results = manager.load_each(["FB", "AAPL"], concurrency=1)
    assert next(results).symbol == "FB"
    market.hangs = True
    results.close()
    assert market.ended.count("AAPL") == sum(symbol == "AAPL" for symbol, _, _ in market.asked)
    market.hangs = False
    assert len(manager.load("AAPL")) > 200


def test_what_is_wrong_for_every_symbol_is_one_error(manager, market):
    with pytest.raises(ConfigurationError, match="start_date 'someday'"):
        manager.load_many(["AAPL", "IBM"], start_date="someday")
    assert market.lookups == []


def test_a_token_ends_a_load_of_many(manager, market):
    market.hangs = True
    token = CancellationToken()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(manager.load_many, ["AAPL", "IBM"], cancellation_token=token)
        token.cancel()
        with pytest.raises(LoadCancelledError):
            load.result(5)


def test_symbols_without_end_are_taken_as_they_are_needed(manager):
    taken = []

    def endless():
        for symbol in itertools.cycle(["FB", "AAPL", "IBM", "MSFT", "GOOG"]):
            taken.append(symbol)
            yield symbol if len(taken) <= 5 else f"NOPE{len(taken)}"

    results = manager.load_each(endless(), concurrency=2)
    assert {next(results).symbol for _ in range(3)} <= {"FB", "AAPL", "IBM", "MSFT", "GOOG"}
    results.close()
    assert len(taken) < 12


@pytest.mark.parametrize("method", ["load", "aload", "load_many", "aload_many", "load_each"])
def test_help_and_completion_know_every_argument(method):
    signature = inspect.signature(getattr(DataManager, method))
    options = {"mode", "cancellation_token", "progress", "session", "refresh"}
    options |= {"series"} if method.endswith("load") else set()
    names = [
        "self",
        "symbols" if method.endswith(("many", "each")) else "symbol",
        "timeframe",
        "start_date",
        "end_date",
    ]
    assert list(signature.parameters)[:5] == names
    assert set(signature.parameters) - {*names, "concurrency"} == options
    assert signature.parameters["mode"].default == "tail"
    assert "timeframe" in pydoc.render_doc(getattr(DataManager, method))


@pytest.mark.parametrize("method", ["load", "aload", "load_many", "aload_many", "load_each"])
@pytest.mark.parametrize(("args", "options"), [((), {"timefram": "1d"}), ((), {"symbool": 1}), (("1d",) * 9, {})])
def test_arguments_that_there_are_not_are_an_error_before_anything_is_done(settings, method, args, options):
    with DataManager(settings) as unopened, pytest.raises(TypeError):
        called = getattr(unopened, method)("AAPL", *args, **options)
        asyncio.run(called) if inspect.iscoroutine(called) else list(called)


def test_of_many_that_are_shown_alike_each_is_loaded_or_fails_for_itself(manager):
    symbols = [None, "None", ["AAPL"], ["MSFT"], None]
    many = manager.load_many(symbols, mode="full")
    assert len(many.frames) + len(many.report.failed) == 4
    assert {"None", "a list", "a list (2)"} <= many.report.failed.keys()
    assert len(list(manager.load_each(iter(symbols), mode="full"))) == 4


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, None])
def test_a_clock_that_tells_no_time_is_an_error_that_says_so(settings, seconds):
    with (
        DataManager(settings, clock=lambda: seconds, external_provider=Timeless()) as manager,
        pytest.raises(ConfigurationError, match=r"the clock gives .*: it has to give seconds since the epoch"),
    ):
        manager.load("AAPL", start_date="2024-01-02", end_date="2024-01-05")


class Timeless:
    """A provider without a present of its own."""

    provider = "ib"

    async def validate_and_get_metadata(self, symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol)

    async def fetch_historical_data(self, *_arguments):
        raise ProviderError("nobody has got so far")


def test_what_is_no_symbol_fails_alone_among_many(manager, source):
    symbols = ["AAPL", None, float("nan"), ["IBM"], b"IBM", "", "IBM"]
    many = manager.load_many(symbols, mode="full")
    assert list(many.frames) == ["AAPL", "IBM"]
    assert list(many.report.failed) == ["None", "nan", "a list", "a bytes", ""]
    assert all("symbol" in why for why in many.report.failed.values())
    each = list(manager.load_each(iter(symbols), mode="full"))
    assert sorted(loaded.symbol for loaded in each if loaded.error is None) == ["AAPL", "IBM"]
    assert len(each) == len(symbols)


@pytest.mark.parametrize("symbol", [float("nan"), 7203, ["AAPL"], b"AAPL", "\ud800"], ids=repr)
def test_what_is_no_symbol_is_refused_by_every_door(manager, market, symbol):
    for call in (manager.load, manager.validate, manager.series, manager.clear_symbol_cache):
        with pytest.raises(InvalidSymbolError):
            call(symbol)
    assert market.lookups == []
