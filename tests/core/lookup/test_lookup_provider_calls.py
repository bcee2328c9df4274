"""Calls to a provider end in time, and one that has failed is left alone: as a whole, or about one symbol."""

import asyncio
from types import SimpleNamespace

import pytest
from answers import Like

from symcache_core.errors import (
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from symcache_core.lookup import provider_calls
from symcache_core.lookup.provider_calls import ProviderCalls
from symcache_core.models import Provenance, ProviderAnswer
from symcache_core.policy import Policy
from symcache_core.testing.cache_harness import verdict

OUTAGES = [ProviderUnavailableError, ProviderTimeoutError, ProviderPacingError, ConnectionRefusedError, TimeoutError]
OF_ONE_SYMBOL = [ProviderError, ProviderPermissionError, ZeroDivisionError]
NONE = (None, None)
"""No trouble, and no time until when to spare the provider."""


@pytest.fixture
def tally():
    return SimpleNamespace(provider_calls=0, provider_errors=0)


@pytest.fixture
def open_calls(clock, tally):
    return lambda **policy: ProviderCalls("ib", Policy(**policy), clock, tally)


@pytest.fixture
def calls(open_calls):
    return open_calls()


def ask(calls, provider, key="AAPL"):
    return asyncio.run(calls.ask(key, key, ("1d",), provider.validate))


def fail(calls, provider, error, key="AAPL"):
    provider.error = error
    with pytest.raises(type(error)) as raised:
        ask(calls, provider, key)
    assert raised.value is error, "it goes out unchanged"
    provider.error = None


def test_an_answer_is_counted_and_comes_with_what_is_known_of_its_origin(calls, provider, tally):
    answer = ask(calls, provider)
    assert (answer.result, answer.confirmed) == (verdict("AAPL", "1d"), True)
    assert answer.provenance == Provenance(provider="ib", spelling="AAPL")
    assert (tally.provider_calls, tally.provider_errors) == (1, 0)
    assert calls.last_failure("AAPL") == NONE


@pytest.mark.parametrize("kind", OUTAGES)
def test_an_outage_spares_the_provider_about_every_symbol(calls, provider, clock, tally, kind):
    error = kind("down")
    fail(calls, provider, error)
    assert (tally.provider_calls, tally.provider_errors) == (1, 1)
    for key in ("AAPL", "MSFT"):
        assert calls.throttled(key) == Like(error)
        assert calls.last_failure(key) == (Like(error), clock() + 30)
    clock.advance(30)
    assert calls.last_failure("AAPL") == (Like(error), None), "it is no longer spared, and nothing better is known"
    assert calls.throttled("MSFT") is None, "after the throttle one may ask"
    assert calls.throttled("AAPL") == Like(error), "and only one"


@pytest.mark.parametrize("kind", OF_ONE_SYMBOL)
def test_an_error_about_one_symbol_spares_only_that_one(calls, provider, clock, kind):
    error = kind("no verdict")
    fail(calls, provider, error)
    assert (calls.throttled("AAPL"), calls.last_failure("AAPL")) == (Like(error), (Like(error), clock() + 30))
    assert (calls.throttled("MSFT"), calls.last_failure("MSFT")) == (None, NONE)
    clock.advance(30)
    assert calls.throttled("AAPL") is None


def test_who_is_spared_for_the_whole_does_not_use_up_its_own_symbols_probe(calls, provider, clock):
    fail(calls, provider, ProviderError("only this one"))
    clock.advance(20)
    fail(calls, provider, ProviderUnavailableError("down"), "MSFT")
    clock.advance(15)
    assert isinstance(calls.throttled("AAPL"), ProviderUnavailableError)
    ask(calls, provider, "MSFT")
    assert calls.throttled("AAPL") is None


def test_who_has_waited_in_vain_spares_everyone_the_same_until_an_answer_comes(calls, provider, clock):
    slow = ProviderTimeoutError("slow")
    calls.timed_out(slow)
    assert [calls.throttled(key) for key in ("AAPL", "MSFT")] == [Like(slow), Like(slow)]
    ask(calls, provider)
    assert calls.throttled("MSFT") is None


@pytest.mark.parametrize("kind", [ProviderPacingError, ProviderError])
def test_a_provider_that_says_when_to_come_back_is_not_asked_before(calls, provider, clock, kind):
    fail(calls, provider, kind("slower", retry_after=120))
    clock.advance(119)
    assert calls.throttled("AAPL") is not None
    clock.advance(1)
    assert calls.throttled("AAPL") is None
    fail(calls, provider, kind("slower", retry_after=1))
    clock.advance(29)
    assert calls.throttled("AAPL") is not None, "the throttle is the least"


def test_an_answer_about_any_symbol_ends_an_outage(calls, provider):
    fail(calls, provider, ProviderUnavailableError("down"))
    ask(calls, provider, "MSFT")
    assert (calls.throttled("AAPL"), calls.last_failure("AAPL")) == (None, NONE)


def test_an_answer_about_another_symbol_says_nothing_about_the_one_that_failed(calls, provider):
    error = ProviderError("only this one")
    fail(calls, provider, error)
    ask(calls, provider, "MSFT")
    assert calls.throttled("AAPL") == Like(error)
    ask(calls, provider, "AAPL")
    assert calls.throttled("AAPL") is None


def test_symbols_that_fail_are_remembered_up_to_a_limit(calls, provider, monkeypatch):
    monkeypatch.setattr(provider_calls, "_MOST_KEYS", 2)
    for key in ("A", "B", "C"):
        fail(calls, provider, ProviderError(key), key)
    assert [calls.last_failure(key) != NONE for key in ("A", "B", "C")] == [False, True, True]


def test_a_call_that_hangs_is_cut_and_counts_as_an_outage(open_calls, provider, tally):
    async def main():
        provider.gate = asyncio.Event()
        with pytest.raises(ProviderTimeoutError, match=r"AAPL: no answer within 0.01 s \(setting 'timeout'\)"):
            await calls.ask("AAPL", "AAPL", (), provider.validate)
        await asyncio.sleep(0)

    calls = open_calls(timeout=0.01)
    asyncio.run(main())
    assert provider.cancelled == 1
    assert (tally.provider_calls, tally.provider_errors) == (1, 1)
    assert isinstance(calls.throttled("MSFT"), ProviderTimeoutError)


@pytest.mark.parametrize("end", ["answers late", "fails late"])
def test_a_call_that_does_not_heed_its_cancellation_holds_nobody_up(open_calls, end):
    async def main():
        go, ended = asyncio.Event(), asyncio.Event()

        async def validate(symbol, timeframes):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await go.wait()
            ended.set()
            if end == "fails late":
                raise ProviderUnavailableError("too late for anyone to hear")
            return verdict(symbol)

        with pytest.raises(ProviderTimeoutError):
            await calls.ask("AAPL", "AAPL", (), validate)
        assert not ended.is_set()
        go.set()
        await ended.wait()

    calls = open_calls(timeout=0.01)
    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_cancelled_caller_cancels_its_call_and_nobody_takes_that_for_an_outage(calls, provider, tally):
    async def main():
        provider.gate = asyncio.Event()
        asking = asyncio.create_task(calls.ask("AAPL", "AAPL", (), provider.validate))
        while not provider.calls:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0)

    asyncio.run(main())
    assert provider.cancelled == 1
    assert tally.provider_errors == 0
    assert (calls.throttled("AAPL"), calls.last_failure("AAPL")) == (None, NONE)


def test_a_provider_that_cancels_itself_has_failed_about_that_symbol(calls):
    async def validate(symbol, timeframes):
        raise asyncio.CancelledError

    with pytest.raises(ProviderError, match="cancelled its own call"):
        asyncio.run(calls.ask("AAPL", "AAPL", (), validate))
    assert calls.throttled("AAPL") is not None
    assert calls.throttled("MSFT") is None


def test_a_provider_that_fails_before_it_gives_anything_to_wait_for_has_failed(calls, tally):
    async def main():
        def validate(symbol, timeframes):
            raise ProviderUnavailableError("not even begun")

        with pytest.raises(ProviderUnavailableError, match="not even begun"):
            await calls.ask("AAPL", "AAPL", (), validate)

    asyncio.run(main())
    assert (tally.provider_calls, tally.provider_errors) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"is_valid": True}, "gave a dict"),
        (None, "gave a NoneType"),
        (ProviderAnswer(verdict("AAPL"), provenance=Provenance(provider="replay")), "'replay'"),
    ],
    ids=["a dict", "nothing", "another provider's"],
)
def test_what_is_no_answer_of_this_provider_is_an_error_about_that_symbol(calls, answer, complaint):
    async def validate(symbol, timeframes):
        return answer

    with pytest.raises(ProviderError, match=complaint):
        asyncio.run(calls.ask("AAPL", "AAPL", (), validate))
    assert calls.throttled("AAPL") is not None
    assert calls.throttled("MSFT") is None


def test_of_two_who_come_at_the_same_moment_after_the_throttle_only_one_may_ask(calls, provider, clock):
    class Overtaken(dict):
        """Lets another one ask in the middle of whoever looks something up."""

        def get(self, key, default=None):
            assert calls._overall.allows()
            return super().get(key, default)

    error = ProviderUnavailableError("down")
    fail(calls, provider, error)
    clock.advance(30)
    calls._by_key = Overtaken()
    assert calls.throttled("AAPL") == Like(error)


def test_an_error_is_logged_with_the_symbol_in_one_line(calls, provider, caplog):
    caplog.set_level("INFO", "symcache")
    fail(calls, provider, ProviderError("no\nverdict"))
    assert caplog.messages == ["symbol cache provider error AAPL: no verdict"]


def test_what_is_no_answer_is_told_in_full(calls):
    foreign = ProviderAnswer(verdict("AAPL"), provenance=Provenance(provider="replay"))
    for answer, complaint in (
        (None, "the provider gave a NoneType; a ValidationResult or a ProviderAnswer is expected"),
        (
            foreign,
            "this cache holds answers of provider 'ib', and this one is of 'replay': change the setting 'provider'",
        ),
    ):
        with pytest.raises(ProviderError) as raised:
            calls.checked(answer)
        assert str(raised.value) == complaint
