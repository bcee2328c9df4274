"""Who asks the provider, and when what others have found out meanwhile is enough."""

import asyncio
from contextlib import ExitStack

import pytest
from answers import EXACT, Like
from faulty_backend import LendingBackend

from symcache_core.entries.store import EntryStore
from symcache_core.errors import BackendUnavailableError, ProviderError, ProviderTimeoutError
from symcache_core.lookup.cache import PolicyCache
from symcache_core.lookup.known import Question
from symcache_core.merging import merge
from symcache_core.models import Outcome, ProviderAnswer
from symcache_core.policy import Policy
from symcache_core.symbols import Instrument
from symcache_core.testing.cache_harness import DAY, verdict

KEY = "ib||AAPL||"


@pytest.fixture
def backend(tmp_path):
    return LendingBackend(tmp_path)


@pytest.fixture
def open_cache(backend, clock):
    with ExitStack() as opened:

        def open_cache(**rules):
            settings = {"near_cache_size": 100, "near_cache_age": 5.0, "clock": clock}
            cache = PolicyCache(backend, name="lending", provider="ib", policy=Policy(jitter=0.0, **rules), **settings)
            return opened.enter_context(cache)

        yield open_cache


@pytest.fixture
def keep_elsewhere(backend, clock):
    """Stores an answer, given now, as another process does."""

    def keep_elsewhere(*timeframes, symbol="AAPL"):
        answer, now, key = ProviderAnswer(verdict(symbol, *timeframes)), clock(), f"ib||{symbol}||"
        store = EntryStore(backend, "ib|")
        store.change(key, lambda old: merge(old, answer, timeframes, key, now, EXACT), lambda _info: 4e9)

    return keep_elsewhere


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def question(provider):
    def question(*timeframes, symbol="AAPL"):
        return Question(symbol, Instrument.parse(symbol), f"ib||{symbol}||", timeframes, provider.validate)

    return question


@pytest.fixture
def asking(open_cache):
    return open_cache()._asking


# -- when the answer of somebody else is enough ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "calls"),
    [(0, 0), (27 * DAY - 1, 0), (27 * DAY, 1)],
    ids=["just given", "about to be nearly over", "nearly over"],
)
def test_a_refresh_is_needless_until_the_answer_of_another_process_is_nearly_over_too(
    asking, question, provider, keep_elsewhere, clock, passed, calls
):
    async def main():
        keep_elsewhere("1d")
        clock.advance(passed)
        asking.refresh(question("1d"))
        await asking.flights.drain(20)

    asyncio.run(main())
    assert len(provider.calls) == asking.tally.refreshes == calls


@pytest.mark.parametrize(
    ("passed", "is_asked"),
    [(0, False), (27 * DAY, False), (30 * DAY - 1, False), (30 * DAY, True)],
    ids=["just given", "nearly over", "about to be over", "over"],
)
def test_a_question_is_needless_until_the_answer_of_another_process_is_over(
    asking, question, provider, keep_elsewhere, clock, passed, is_asked
):
    keep_elsewhere("1d")
    clock.advance(passed)
    (info, asked), led = asyncio.run(asking.ask(question("1d"), None))
    assert (asked, led, len(provider.calls)) == (is_asked, True, is_asked)
    assert set(info.parts) == {"1d"}
    assert asking.tally.refreshes == 0


@pytest.mark.parametrize(
    ("passed", "wanted", "asked"),
    [
        (0, ("1d", "1h"), ("1h",)),
        (29 * DAY, ("1h", "1d", "5m"), ("1h", "5m")),
        (30 * DAY, ("1d", "1h"), ("1d", "1h")),
        (-61, ("1d", "1h"), ("1d", "1h")),
    ],
    ids=["fresh", "nearly over", "over", "from the future"],
)
def test_while_the_verdict_is_fresh_the_provider_is_asked_for_what_is_lacking(
    asking, question, provider, keep_elsewhere, clock, passed, wanted, asked
):
    keep_elsewhere("1d")
    clock.advance(passed)
    asyncio.run(asking.ask(question(*wanted), None))
    assert provider.calls == [("AAPL", asked)]


def test_a_refresh_asks_for_all_that_is_wanted(asking, question, provider, keep_elsewhere, clock):
    async def main():
        keep_elsewhere("1d", "1h")
        clock.advance(28 * DAY)
        asking.refresh(question("1h", "1d"))
        await asking.flights.drain(20)

    asyncio.run(main())
    assert provider.calls == [("AAPL", ("1h", "1d"))]


# -- who holds up whom -------------------------------------------------------------------------------------------------


def test_each_symbol_is_refreshed_by_itself_and_only_once_at_a_time(asking, question, provider):
    async def main():
        provider.gate = asyncio.Event()
        for symbol in ("AAPL", "MSFT", "AAPL"):
            asking.refresh(question(symbol=symbol))
        await until(lambda: len(provider.calls) == 2)
        provider.gate.set()
        await asking.flights.drain(20)

    asyncio.run(main())
    assert sorted(symbol for symbol, _timeframes in provider.calls) == ["AAPL", "MSFT"]


def test_a_refresh_that_hangs_holds_up_nobody_who_lacks_something(asking, question, provider, backend):
    async def main():
        gate = provider.gate = asyncio.Event()
        asking.refresh(question("1d"))
        await until(lambda: provider.calls)
        assert backend.held == {f"{KEY}|refresh"}
        provider.gate = None
        (info, asked), _led = await asking.ask(question("1h"), None)
        assert (set(info.parts), asked) == ({"1h"}, True)
        gate.set()
        await asking.flights.drain(20)

    asyncio.run(main())


def test_a_refresh_that_another_process_is_at_is_left_to_it(asking, question, provider, backend):
    async def main():
        lease = backend.try_lock(f"{KEY}|refresh")
        asking.refresh(question("1d"))
        assert asking.flights.waiting() == 1
        await until(lambda: not asking.flights.waiting())
        lease.release()

    asyncio.run(main())
    assert provider.calls == []


def test_who_asks_waits_for_another_process_that_is_at_it_and_takes_its_answer(
    asking, question, provider, backend, keep_elsewhere
):
    async def main():
        lease = backend.try_lock(KEY)
        waiting = asyncio.ensure_future(asking.ask(question("1d"), None))
        await until(lambda: backend.reads > 1)
        keep_elsewhere("1d")
        lease.release()
        return await waiting

    (_info, asked), _led = asyncio.run(main())
    assert (asked, provider.calls) == (False, [])


def test_a_lookup_that_finds_the_answer_of_another_process_in_the_end_is_a_hit(
    open_cache, provider, backend, keep_elsewhere
):
    async def main():
        lease = backend.try_lock(KEY)
        waiting = asyncio.ensure_future(open_cache().get_or_validate("AAPL", ("1d",), provider.validate))
        await until(lambda: backend.reads > 1)
        keep_elsewhere("1d")
        lease.release()
        return await waiting

    assert asyncio.run(main()).outcome is Outcome.HIT
    assert provider.calls == []


def test_who_has_waited_for_the_whole_time_of_a_call_asks_all_the_same(open_cache, question, provider, backend):
    async def main():
        lease = backend.try_lock(KEY)
        await open_cache(timeout=0.05)._asking.ask(question("1d"), None)
        lease.release()

    asyncio.run(main())
    assert len(provider.calls) == 1


@pytest.mark.parametrize("outcome", ["an answer", "an error", "a cancellation"])
def test_a_lease_is_given_back_whatever_comes_of_the_question(asking, question, provider, backend, outcome):
    async def main():
        provider.error = ProviderError("ambiguous") if outcome == "an error" else None
        provider.gate = asyncio.Event()
        waiting = asyncio.ensure_future(asking.ask(question("1d"), None))
        await until(lambda: provider.calls)
        assert backend.held == {KEY}
        if outcome == "a cancellation":
            waiting.cancel()
        provider.gate.set()
        await asyncio.wait({waiting})
        await until(lambda: not backend.held)

    asyncio.run(main())


def test_who_gives_up_waiting_says_so_and_throttles_the_provider(asking, question, provider):
    async def main():
        provider.gate = asyncio.Event()
        with pytest.raises(ProviderTimeoutError) as raised:
            await asking.ask(question("1d"), 0.01)
        assert str(raised.value) == "AAPL: no outcome within 0.01 s (setting 'soft_timeout')"
        assert asking.calls.throttled("ib||MSFT||") == Like(raised.value)
        provider.gate.set()
        await asking.flights.drain(20)

    asyncio.run(main())


def test_whoever_comes_while_it_is_asked_shares_the_answer(asking, question, provider):
    async def main():
        return await asyncio.gather(*(asking.ask(question("1d"), None) for _ in range(3)))

    answers = asyncio.run(main())
    assert [led for _found, led in answers] == [True, False, False]
    assert len({id(info) for (info, _asked), _led in answers}) == len(provider.calls) == 1


# -- what is near afterwards -------------------------------------------------------------------------------------------


def test_an_answer_is_near_under_the_spelling_of_the_caller(asking, provider):
    question = Question("aapl", Instrument.parse("aapl"), KEY, ("1d",), provider.validate)
    (info, _asked), _led = asyncio.run(asking.ask(question, None))
    assert list(asking.known.near.slots) == ["aapl"]
    assert asking.known.near.slots["aapl"].info == info
    assert provider.calls == [("AAPL", ("1d",))]


def test_what_another_process_has_found_out_is_near_under_the_spelling_of_the_caller_too(
    asking, provider, keep_elsewhere
):
    keep_elsewhere("1d")
    question = Question("aapl", Instrument.parse("aapl"), KEY, ("1d",), provider.validate)
    asyncio.run(asking.ask(question, None))
    assert list(asking.known.near.slots) == ["aapl"]
    assert provider.calls == []


def test_while_the_storage_is_away_an_answer_is_merged_with_what_was_known(asking, question, backend):
    asyncio.run(asking.ask(question("1d"), None))
    backend.error = BackendUnavailableError("unplugged")
    (info, _asked), _led = asyncio.run(asking.ask(question("1h"), None))
    assert set(info.parts) == {"1d", "1h"}
    backend.error = None
