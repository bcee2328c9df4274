"""Warming brings what is missing into the cache, within its budget, and stops when the provider is gone."""

import asyncio
import subprocess
import sys
from contextlib import aclosing, nullcontext

import pytest
from tws.looptime import run as run_simulated

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import (
    InvalidSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from symcache_core.lookup.warming import OUTAGE_AFTER, SINGLY, TOGETHER, TRIES, Warming
from symcache_core.models import CachedSymbolInfo, Lookup, Outcome, ProviderAnswer, SymbolLookup, ValidationResult
from symcache_core.protocols import CanValidateMany
from symcache_core.testing.cache_harness import DAY, Clock

SYMBOLS = [f"S{number}" for number in range(50)]


class Source:
    """A provider of single symbols that fails as a test wants, and knows when it was asked for what."""

    def __init__(self):
        self.asked = []
        self.times = []
        self.invalid = {}
        self.failing = {}
        self.gate = None

    async def validate_and_get_metadata(self, symbol, timeframes):
        self.asked.append(symbol)
        self.times.append(asyncio.get_running_loop().time())
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answer(symbol, timeframes)
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def fetch_historical_data(self, *_args):
        raise NotImplementedError

    def answer(self, symbol, timeframes):
        if error := self.failing.get(symbol, self.failing.get("*")):
            return error
        if symbol in self.invalid:
            return ProviderAnswer(
                ValidationResult(is_valid=False, symbol=symbol, suggested_symbol=self.invalid[symbol])
            )
        heads = dict.fromkeys(timeframes, "2000-03-01T00:00:00+00:00")
        return ProviderAnswer(ValidationResult(is_valid=True, symbol=symbol, head_timestamps=heads))


class BatchSource(Source):
    """The same, of many symbols at once."""

    def __init__(self):
        super().__init__()
        self.batches = []

    async def validate_many(self, symbols, timeframes):
        self.batches.append(list(symbols))
        return {symbol: self.answer(symbol, timeframes) for symbol in symbols}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(clock):
    with open_symbol_cache(SymcacheSettings(backend="memory", provider="ib"), clock=clock) as cache:
        yield cache


@pytest.fixture(params=[Source, BatchSource], ids=["single", "batch"])
def source(request):
    return request.param()


def warm(cache, source, symbols=SYMBOLS, **settings):
    """Warm to the end; gives what came, and the summary."""
    warming = Warming(cache, source, **settings)

    async def main():
        async with aclosing(warming.run(symbols)) as results:
            return [each async for each in results]

    return asyncio.run(asyncio.wait_for(main(), 30)), warming.summary


def test_every_symbol_is_asked_about_once_and_then_known(cache, source):
    found, summary = warm(cache, source, timeframes=["1d"])
    assert sorted(each.symbol for each in found) == sorted(SYMBOLS)
    assert (summary.symbols, summary.asked, summary.valid, summary.saved) == (50, 50, 50, 0)
    assert all(cache.get(symbol, ["1d"]) for symbol in SYMBOLS)
    assert summary.seconds > 0
    assert summary.rate == summary.symbols / summary.seconds


def test_a_provider_of_many_is_asked_for_many(cache):
    source = BatchSource()
    assert isinstance(source, CanValidateMany)
    warm(cache, source)
    assert source.asked == []
    assert sorted(symbol for batch in source.batches for symbol in batch) == sorted(SYMBOLS)
    assert len(source.batches) < 10


def test_what_is_known_costs_nothing_and_counts_as_a_saved_call(cache, source):
    warm(cache, source, SYMBOLS[:30])
    _, summary = warm(cache, source)
    assert (summary.symbols, summary.saved, summary.asked) == (50, 30, 20)
    assert warm(cache, source)[1].asked == 0


def test_an_alias_is_a_saved_call_too(cache, source):
    _, summary = warm(cache, source, ["BRK.B", "brk-b", "EURUSD", "EUR/USD"])
    assert (summary.asked, summary.saved, summary.valid) == (2, 2, 4)


def test_a_run_that_stops_early_keeps_what_it_had_and_the_next_one_goes_on(cache):
    source, warming = Source(), Warming(cache, Source(), concurrency=2)

    async def stop_after_ten():
        async with aclosing(warming.run(SYMBOLS)) as results:
            async for _each in results:
                if warming.summary.symbols == 10:
                    break

    asyncio.run(stop_after_ten())
    _, summary = warm(cache, source)
    assert summary.saved >= 10
    assert summary.saved + summary.asked == len(SYMBOLS)
    assert len(source.asked) == summary.asked


def test_what_is_invalid_is_told_with_what_was_meant(cache, source):
    source.invalid = {"S7": "S70", "S8": None}
    _, summary = warm(cache, source)
    assert summary.invalid == {"S7": "S70", "S8": None}
    assert (summary.valid, summary.symbols) == (48, 50)


def test_a_failure_is_that_of_its_symbol_and_is_told_with_its_reason(cache, source):
    source.failing = {"S7": ProviderError("ambiguous")}
    _, summary = warm(cache, source, [*SYMBOLS, "A\x07"])
    assert {symbol: type(error) for symbol, error in summary.failed.items()} == {
        "S7": ProviderError,
        "A\x07": InvalidSymbolError,
    }
    assert summary.valid == 49


def test_an_old_answer_for_want_of_a_new_one_is_a_failure(cache, clock, source):
    warm(cache, source, ["AAPL"])
    clock.advance(31 * DAY)
    source.failing = {"*": ProviderUnavailableError("unplugged")}
    _, summary = warm(cache, source, ["AAPL"])
    assert str(summary.failed["AAPL"]) == "unplugged"
    assert (summary.valid, summary.saved) == (0, 0)


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailableError("unplugged"),
        ProviderTimeoutError("silent"),
        ProviderPermissionError("not yours"),
        ProviderPacingError("slowly"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_provider_that_is_gone_ends_it_soon(cache, source, error):
    source.failing = {"*": error}
    symbols = [f"S{number}" for number in range(10_000)]
    with pytest.raises(type(error), match=str(error)):
        warm(cache, source, symbols, concurrency=5)
    calls = len(source.asked) + sum(map(len, source.batches if isinstance(source, BatchSource) else ()))
    assert OUTAGE_AFTER <= calls <= OUTAGE_AFTER + 10


def test_failures_now_and_then_are_no_outage(cache, source):
    source.failing = {f"S{number}": ProviderTimeoutError("silent") for number in range(0, 50, 2)}
    _, summary = warm(cache, source, concurrency=1)
    assert (len(summary.failed), summary.valid) == (25, 25)


def test_whom_the_provider_puts_off_is_asked_about_again_when_it_may_be(cache, source):
    source.failing = {"S7": ProviderPacingError("slowly", retry_after=0.02)}
    original = source.answer

    def answer_then_give_in(symbol, timeframes):
        answer = original(symbol, timeframes)
        if symbol == "S7":
            source.failing = {}
        return answer

    source.answer = answer_then_give_in
    _, summary = warm(cache, source)
    assert (summary.valid, summary.failed, summary.asked) == (50, {}, 51)
    assert summary.seconds >= 0.02


def test_who_is_put_off_for_ever_has_failed(cache, source):
    source.failing = {"S7": ProviderPacingError("slowly", retry_after=0.001)}
    _, summary = warm(cache, source)
    assert list(summary.failed) == ["S7"]
    assert summary.asked == 50 + TRIES - 1


def test_the_budget_spaces_the_calls_and_hits_are_free(cache):
    source = Source()
    per_minute = 6_000
    _, summary = warm(cache, source, SYMBOLS[:6], budget=per_minute)
    assert summary.asked == 6
    interval = 60 / per_minute
    waited = [moment - source.times[0] for moment in source.times]
    # Half an interval of grace, in case the first one was late.
    assert all(wait >= (number - 0.5) * interval for number, wait in enumerate(waited)), "faster than the budget allows"
    one_call_an_hour = Warming(cache, source, budget=1)

    async def hits():
        async with aclosing(one_call_an_hour.run(SYMBOLS[:6])) as results:
            return [each async for each in results]

    asyncio.run(asyncio.wait_for(hits(), 20))
    assert (one_call_an_hour.summary.saved, one_call_an_hour.summary.asked) == (6, 0)


def test_the_last_call_of_a_budget_keeps_nobody_waiting(cache):
    assert warm(cache, Source(), ["AAPL"], budget=1)[1].asked == 1


def test_a_budget_of_nothing_is_an_error(cache):
    with pytest.raises(ValueError, match="budget is 0"):
        Warming(cache, Source(), budget=0)


def test_who_is_cancelled_cancels_the_calls_under_way(cache):
    source = Source()

    async def main():
        source.gate = asyncio.Event()
        warming = asyncio.ensure_future(anext(Warming(cache, source, concurrency=3).run(SYMBOLS)))
        async with asyncio.timeout(20):
            while len(source.asked) < 3:
                await asyncio.sleep(0)
        warming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await warming
        assert cache.get_stats().waiting == 0

    asyncio.run(main())


WITHOUT_HTTPX = """
import asyncio, sys
sys.modules["httpx"] = None  # as if it were not installed

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.lookup.warming import Warming

class Source:
    async def validate_and_get_metadata(self, symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol)

class ManyAtOnce(Source):
    async def validate_many(self, symbols, timeframes):
        return {symbol: await self.validate_and_get_metadata(symbol, timeframes) for symbol in symbols}

async def warm(source, symbols):
    with open_symbol_cache(SymcacheSettings(backend="memory")) as cache:
        warming = Warming(cache, source)
        async for _ in warming.run(symbols):
            pass
        return warming.summary.valid

print(asyncio.run(warm(Source(), ["AAPL", "MSFT"])), asyncio.run(warm(ManyAtOnce(), ["AAPL", "MSFT"])))
"""


def test_warming_from_a_provider_of_ones_own_needs_no_http_client():
    done = subprocess.run([sys.executable, "-c", WITHOUT_HTTPX], capture_output=True, text=True, check=False)
    assert done.stdout == "2 2\n", done.stderr


LATE = 0.25
"""Seconds of a simulated clock after which a run begins, as no clock of a real loop begins at zero."""


class Direct:
    """Has every symbol asked about, one after the other, and keeps nothing; notes how many might be at once."""

    def __init__(self):
        self.concurrency = None

    async def get_or_validate_many(self, symbols, timeframes, validate, *, concurrency=8):
        self.concurrency = concurrency
        for symbol in symbols:
            try:
                answer = await validate(symbol, timeframes)
            except ProviderError as error:
                yield SymbolLookup(symbol, error=error)
                continue
            result = getattr(answer, "result", answer)
            info = CachedSymbolInfo(validation_result=result, cached_at=0.0, ttl_seconds=DAY)
            yield SymbolLookup(symbol, Lookup(result, Outcome.MISS, 0.0, info))


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        (Source, {}, SINGLY),
        (BatchSource, {}, TOGETHER),
        (Source, {"concurrency": 3}, 3),
        (BatchSource, {"concurrency": 3}, 3),
        (Source, {"budget": 1}, 1),
        (Source, {"budget": 119}, 1),
        (Source, {"budget": 120}, 2),
        (Source, {"budget": 6000}, SINGLY),
        (BatchSource, {"budget": 6000}, 100),
    ],
    ids=str,
)
def test_as_many_are_under_way_as_suit_the_provider_and_its_budget(source, settings, expected):
    cache = Direct()
    run_simulated(drained(Warming(cache, source(), **settings), ["AAPL"]))
    assert cache.concurrency == expected
    assert type(cache.concurrency) is int


async def drained(warming, symbols):
    await asyncio.sleep(LATE)
    async with aclosing(warming.run(symbols)) as results:
        return [each async for each in results]


def test_a_budget_lets_one_by_at_once_and_the_others_at_even_intervals():
    source = Source()
    warming = Warming(Direct(), source, budget=120)
    run_simulated(drained(warming, SYMBOLS[:5]))
    assert [moment - LATE for moment in source.times] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    assert warming.summary.seconds == pytest.approx(2.0)


def test_who_is_put_off_lets_nobody_by_for_as_long_as_the_provider_says():
    source = Source()
    source.failing = {"S0": ProviderPacingError("slowly", retry_after=7.0)}
    warming = Warming(Direct(), source)
    run_simulated(drained(warming, ["S0", "S1"]))
    assert source.asked == ["S0", "S1", "S0", "S0"]
    assert [moment - LATE for moment in source.times] == pytest.approx([0.0, 7.0, 7.0, 14.0])


@pytest.mark.parametrize(("count", "ends"), [(OUTAGE_AFTER - 1, False), (OUTAGE_AFTER, True)])
def test_so_many_failures_in_a_row_are_the_providers(count, ends):
    source = Source()
    source.failing = {f"S{number}": ProviderUnavailableError("unplugged") for number in range(count)}
    warming = Warming(Direct(), source)
    with pytest.raises(ProviderUnavailableError) if ends else nullcontext():
        run_simulated(drained(warming, SYMBOLS))
    assert (len(warming.summary.failed), warming.summary.valid) == (count, 0 if ends else len(SYMBOLS) - count)


@pytest.mark.parametrize("between", [None, ProviderError("ambiguous")], ids=["an answer", "an error about one symbol"])
def test_an_answer_about_a_symbol_begins_the_row_anew(between):
    source = Source()
    source.failing = {symbol: ProviderUnavailableError("unplugged") for symbol in SYMBOLS[: 2 * OUTAGE_AFTER - 1]}
    source.failing[f"S{OUTAGE_AFTER - 1}"] = between
    warming = Warming(Direct(), source)
    run_simulated(drained(warming, SYMBOLS[: 2 * OUTAGE_AFTER - 1]))
    assert warming.summary.symbols == 2 * OUTAGE_AFTER - 1


def test_errors_about_symbols_are_never_taken_for_the_providers():
    source = Source()
    source.failing = {"*": ProviderError("ambiguous")}
    warming = Warming(Direct(), source)
    run_simulated(drained(warming, SYMBOLS))
    assert len(warming.summary.failed) == len(SYMBOLS) > OUTAGE_AFTER


def test_old_answers_for_want_of_new_ones_are_failures_in_a_row_too(cache, clock):
    warm(cache, Source())
    clock.advance(31 * DAY)
    source = Source()
    source.failing = {"*": ProviderUnavailableError("unplugged")}
    with pytest.raises(ProviderUnavailableError):
        warm(cache, source)


@pytest.mark.parametrize("bad", [float("nan"), None, ["MSFT"], "", "\ud800"], ids=repr)
def test_what_is_no_symbol_fails_alone(cache, source, bad):
    found, summary = warm(cache, source, ["AAPL", bad, "MSFT"], timeframes=["1d"])
    assert (len(found), summary.valid, summary.asked) == (3, 2, 2)
    (error,) = summary.failed.values()
    assert isinstance(error, InvalidSymbolError)


def test_of_two_that_are_shown_alike_each_has_a_failure_of_its_own(cache, source):
    symbols = [["AAPL"], ["MSFT"], None, "None\x07", float("nan"), "nan\x07", b"one", b"other"]
    _, summary = warm(cache, source, symbols)
    assert summary.symbols == len(summary.failed) == len(symbols)
    assert {"a list", "a list (2)", "None", "nan", "a bytes", "a bytes (2)"} <= summary.failed.keys()
