"""A provider that fails, hangs or asks for patience: every lookup is answered in time, and the provider is spared."""

import asyncio
import random
import time
from contextlib import ExitStack
from itertools import pairwise

import passing_time
import pytest

from symcache_core.errors import ProviderError, ProviderPacingError, ProviderTimeoutError, ProviderUnavailableError
from symcache_core.factory import open_symbol_cache
from symcache_core.models import Outcome
from symcache_core.settings import SymcacheSettings
from symcache_core.testing.cache_harness import DAY, verdict

HOUR = 3600.0
STEP = 10.0
THROTTLE = 30.0
SOFT_TIMEOUT = 2.0
PATIENCE = 20.0
"""Seconds; no lookup is to wait for their end."""


class TimedProvider:
    """A provider that notes when, by the cache's clock, it is asked, and then answers, raises or hangs."""

    def __init__(self, clock):
        self._clock = clock
        self.calls = []
        self.error = None
        self.hangs = False
        self.heeds = True
        self.hanging = 0
        self.over = None

    async def validate(self, symbol, timeframes):
        self.calls.append((self._clock(), symbol))
        await asyncio.sleep(0)
        if self.hangs:
            await self._hang()
        if self.error is not None:
            raise self.error
        return verdict(symbol, *timeframes)

    async def _hang(self):
        self.hanging += 1
        over = self.over = asyncio.Event()
        try:
            await over.wait()
        except asyncio.CancelledError:
            if self.heeds:
                raise
            await over.wait()
        finally:
            self.hanging -= 1

    async def release(self):
        """Let the call that hangs, the last one of them, go on."""
        hanging = self.hanging
        self.over.set()
        while self.hanging == hanging:
            await asyncio.sleep(0)


@pytest.fixture
def provider(clock):
    return TimedProvider(clock)


@pytest.fixture
def open_cache(tmp_path, clock):
    with ExitStack() as opened:

        def open_cache(backend="memory", **settings):
            given = {"jitter": 0, "timeout": HOUR, "retry_throttle": THROTTLE, "soft_timeout": SOFT_TIMEOUT, **settings}
            cache = open_symbol_cache(
                SymcacheSettings(backend=backend, provider="ib", data_dir=tmp_path, **given), clock=clock
            )
            opened.callback(cache.close)
            return cache

        yield open_cache


async def ask(cache, provider, symbol, *timeframes):
    """Look a symbol up; when it waits for a provider that hangs, the soft timeout passes, and not before."""
    lookup = asyncio.ensure_future(cache.get_or_validate(symbol, timeframes or ("1d",), provider.validate))
    await until(lambda: lookup.done() or waits_in_vain(cache, provider))
    if not lookup.done():
        let_pass(SOFT_TIMEOUT)
    return await asyncio.wait_for(lookup, PATIENCE)


def waits_in_vain(cache, provider):
    flights = cache._asking.flights._flights.values()
    return provider.hanging >= len(flights) and any(flight.waiters for flight in flights)


def let_pass(seconds):
    asyncio.get_running_loop().put_forward(seconds)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def settle(cache, provider=None):
    """Wait until nothing is under way, other than what hangs at a provider."""
    await until(lambda: len(cache._asking.flights._flights) <= (provider.hanging if provider else 0))


def make_stale(cache, clock, *symbols):
    for symbol in symbols:
        cache.store(symbol, verdict(symbol, "1d"))
    clock.advance(31 * DAY)


def make_nearly_over(cache, clock, *symbols):
    for symbol in symbols:
        cache.store(symbol, verdict(symbol, "1d"))
    clock.advance(28 * DAY)


# -- an hour without a provider ----------------------------------------------------------------------------------------


class AnHour:
    """Symbols looked up again and again for an hour of simulated time, in which the provider gives no answer."""

    def fill(self, cache, clock, count):
        """Store symbols: a quarter will be stale, an eighth nearly over, the rest fresh."""
        symbols = [f"S{number}" for number in range(count)]
        self.stale, self.ahead = set(symbols[: count // 4]), set(symbols[count // 4 : 3 * count // 8])
        for group, age in ((self.stale, 3 * DAY), (self.ahead, 28 * DAY), (set(symbols[3 * count // 8 :]), 0)):
            for symbol in sorted(group):
                cache.store(symbol, verdict(symbol, "1d"))
            clock.advance(age)
        return symbols

    def samples(self, symbols, size):
        """Everything at the beginning and the end, and some symbols each ten seconds, of which one is stale."""
        chance, stale = random.Random(4), sorted(self.stale)
        yield [stale[0], *symbols]
        for _ in range(round(HOUR / STEP)):
            yield [*chance.sample(symbols, size - 1), chance.choice(stale)]
        yield symbols

    async def live_through(self, cache, clock, provider, samples):
        """Look the samples up; gives the longest that anyone waited, in seconds."""
        longest = 0.0
        for asked in samples:
            for symbol in asked:
                began = time.monotonic()
                await self.look_up(cache, provider, symbol)
                longest = max(longest, time.monotonic() - began)
                await settle(cache, provider)
            clock.advance(STEP)
        return longest

    async def look_up(self, cache, provider, symbol):
        lookup = await ask(cache, provider, symbol)
        assert lookup.outcome is (Outcome.STALE if symbol in self.stale else Outcome.HIT)
        assert lookup.result == verdict(symbol, "1d")
        assert (lookup.error is not None) == (symbol in self.stale)

    def check(self, cache, clock, provider, throttle):
        """Not one call came before its time, and calls came all the same, as long as the last one had ended."""
        times = [when for when, _symbol in provider.calls]
        pauses = [after - before for before, after in pairwise(times)]
        assert min(pauses) >= throttle
        if not provider.hangs:
            assert max(pauses) <= throttle + STEP, "the provider is not even probed"
        assert cache.get_stats().provider_calls == len(times)

    def spend(self, cache, clock, provider, *, count, sample, throttle=THROTTLE):
        async def main():
            longest = await self.live_through(cache, clock, provider, self.samples(symbols, sample))
            await cache._asking.flights.drain(0)
            return longest

        symbols = self.fill(cache, clock, count)
        longest = passing_time.run(main())
        self.check(cache, clock, provider, throttle)
        return longest

    def test_nobody_fails_while_it_is_down_and_one_probe_a_throttle_reaches_it(self, open_cache, clock, provider):
        provider.error = ProviderUnavailableError("down")
        self.spend(open_cache(self.backend), clock, provider, count=1_000, sample=4)

    def test_nobody_waits_for_long_while_it_hangs_and_one_probe_a_throttle_reaches_it(
        self, open_cache, clock, provider
    ):
        provider.hangs = True
        self.spend(open_cache(self.backend), clock, provider, count=200, sample=4)

    def test_while_it_asks_for_patience_it_gets_it(self, open_cache, clock, provider):
        provider.error = ProviderPacingError("slower", retry_after=120)
        self.spend(open_cache(self.backend), clock, provider, count=200, sample=4, throttle=120.0)

    @pytest.mark.soak
    def test_ten_thousand_symbols_live_through_its_failure(self, open_cache, clock, provider):
        provider.error = ProviderUnavailableError("down")
        longest = self.spend(open_cache(self.backend), clock, provider, count=10_000, sample=60)
        assert longest < 2.0, "the soft timeout"

    @pytest.mark.soak
    def test_ten_thousand_symbols_live_through_its_silence(self, open_cache, clock, provider):
        provider.hangs = True
        longest = self.spend(open_cache(self.backend), clock, provider, count=10_000, sample=60)
        assert longest < 2.0, "the soft timeout"


class TestJson(AnHour):
    backend = "json"


class TestMemory(AnHour):
    backend = "memory"


# -- the outage and its end --------------------------------------------------------------------------------------------


def test_after_the_outage_everything_stale_is_asked_about_again(open_cache, clock, provider):
    async def main():
        provider.error = ProviderUnavailableError("down")
        for symbol in symbols:
            assert (await ask(cache, provider, symbol)).outcome is Outcome.STALE
        provider.error = None
        clock.advance(THROTTLE)
        for outcome in (Outcome.MISS, Outcome.HIT):
            assert {(await ask(cache, provider, symbol)).outcome for symbol in symbols} == {outcome}

    cache, symbols = open_cache(), ["A", "B", "C"]
    make_stale(cache, clock, *symbols)
    passing_time.run(main())
    assert len(provider.calls) == 1 + len(symbols)


def test_who_knows_nothing_of_a_symbol_asks_even_then_and_is_told_why_there_is_no_answer(open_cache, clock, provider):
    async def main():
        provider.error = ProviderUnavailableError("down")
        for _ in range(2):
            with pytest.raises(ProviderUnavailableError) as raised:
                await ask(cache, provider, "NEW")
            assert raised.value is provider.error
        assert (await ask(cache, provider, "OLD")).outcome is Outcome.STALE

    cache = open_cache()
    make_stale(cache, clock, "OLD")
    passing_time.run(main())
    assert [symbol for _when, symbol in provider.calls] == ["NEW", "NEW"], "a failure spares whoever can do without"


def test_an_error_about_one_symbol_spares_only_that_one(open_cache, clock, provider):
    async def main():
        provider.error = ProviderError("no verdict about this one")
        for symbol in ("A", "B", "A", "B"):
            assert (await ask(cache, provider, symbol)).outcome is Outcome.STALE
        assert [symbol for _when, symbol in provider.calls] == ["A", "B"]
        clock.advance(THROTTLE)
        provider.error = None
        assert (await ask(cache, provider, "A")).outcome is Outcome.MISS

    cache = open_cache()
    make_stale(cache, clock, "A", "B")
    passing_time.run(main())


def test_when_one_has_waited_in_vain_nobody_else_waits_before_the_throttle(open_cache, clock, provider):
    async def main():
        provider.hangs = True
        for symbol in ("A", "A", "B", "C"):
            lookup = await ask(cache, provider, symbol)
            assert lookup.outcome is Outcome.STALE
            assert isinstance(lookup.error, ProviderTimeoutError)
        assert [symbol for _when, symbol in provider.calls] == ["A"]
        clock.advance(THROTTLE)
        for symbol in ("B", "C"):
            await ask(cache, provider, symbol)
        assert [symbol for _when, symbol in provider.calls] == ["A", "B"]
        await cache._asking.flights.drain(0)

    cache = open_cache()
    make_stale(cache, clock, "A", "B", "C")
    passing_time.run(main())


def test_a_slow_call_goes_on_and_its_answer_ends_the_outage(open_cache, clock, provider):
    async def main():
        provider.hangs = True
        assert (await ask(cache, provider, "A")).outcome is Outcome.STALE
        provider.hangs = False
        await provider.release()
        await settle(cache)
        assert (await ask(cache, provider, "A")).outcome is Outcome.HIT
        assert (await ask(cache, provider, "B")).outcome is Outcome.MISS
        assert cache.explain("A").error is None

    cache = open_cache()
    make_stale(cache, clock, "A", "B")
    passing_time.run(main())
    assert [symbol for _when, symbol in provider.calls] == ["A", "B"]


# -- refreshes that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heeds", [True, False], ids=["heeding its cancellation", "swallowing its cancellation"])
def test_a_refresh_that_hangs_is_cut_and_does_not_hold_the_key(open_cache, clock, provider, heeds):
    async def main():
        provider.hangs = True
        assert (await ask(cache, provider, "A")).outcome is Outcome.HIT
        await until(lambda: provider.hanging)
        let_pass(10)
        await settle(cache)
        assert cache.get_stats().provider_errors == 1
        provider.hangs = False
        clock.advance(THROTTLE)
        assert (await ask(cache, provider, "A")).outcome is Outcome.HIT
        await settle(cache)
        assert (await ask(cache, provider, "A")).age == 0.0, "the key is held by a call that was given up"
        assert provider.hanging == (not heeds)
        if not heeds:
            await provider.release()

    provider.heeds = heeds
    cache = open_cache(timeout=10)
    make_nearly_over(cache, clock, "A")
    passing_time.run(main())
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (ProviderUnavailableError("down"), THROTTLE),
        (ProviderError("no verdict"), THROTTLE),
        (ProviderPacingError("slower", retry_after=120), 120.0),
        (ZeroDivisionError("a bug"), THROTTLE),
    ],
    ids=repr,
)
def test_a_refresh_that_fails_is_tried_again_after_the_throttle(open_cache, clock, provider, error, pause):
    async def hit():
        lookup = await ask(cache, provider, "A")
        assert (lookup.outcome, lookup.error) == (Outcome.HIT, None)
        await settle(cache)

    async def main():
        provider.error = error
        await hit()
        clock.advance(pause - 1)
        await hit()
        assert len(provider.calls) == 1
        clock.advance(1)
        await hit()
        assert len(provider.calls) == 2
        provider.error = None
        clock.advance(pause)
        await hit()
        assert (await ask(cache, provider, "A")).age == 0.0

    cache = open_cache()
    make_nearly_over(cache, clock, "A")
    passing_time.run(main())
    assert cache.get_stats().refreshes == 3


def test_a_hanging_refresh_holds_up_nobody_who_needs_the_answer_by_now(open_cache, clock, provider):
    async def main():
        provider.hangs = True
        assert (await ask(cache, provider, "A")).outcome is Outcome.HIT
        await until(lambda: provider.hanging)
        provider.hangs = False
        clock.advance(3 * DAY)
        lookup = await ask(cache, provider, "A")
        assert (lookup.outcome, lookup.age) == (Outcome.MISS, 0.0)
        clock.advance(1)
        await provider.release()
        await settle(cache)
        assert (await ask(cache, provider, "A")).outcome is Outcome.HIT

    cache = open_cache(soft_timeout=PATIENCE)
    make_nearly_over(cache, clock, "A")
    passing_time.run(main())
    assert len(provider.calls) == 2
