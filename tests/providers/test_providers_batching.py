"""Single questions travel together, and whoever asks one notices nothing of it but the speed."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import suppress

import httpx
import pytest

from symcache_core.errors import ProviderError, ProviderPacingError, ProviderUnavailableError
from symcache_core.lookup import batching
from symcache_core.lookup.batching import AT_ONCE, LINGER, BatchedValidation
from symcache_core.models import ProviderAnswer, ValidationResult
from symcache_core.providers import IbDataAdapter


class Provider:
    """Answers when it is let, and remembers what it was asked."""

    def __init__(self, **answers):
        self.asked, self.cancelled = [], 0
        self._answers = answers
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def validate_many(self, symbols, timeframes):
        self.asked.append((list(symbols), timeframes))
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {symbol: self._answers.get(symbol, valid(symbol)) for symbol in symbols if symbol != "LEFTOUT"}


class FailingProvider:
    """Has no answer for anyone."""

    async def validate_many(self, symbols, timeframes):
        raise ProviderUnavailableError("the market is closed")


def valid(symbol):
    return ProviderAnswer(ValidationResult(is_valid=True, symbol=symbol))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def only_full_ones_leave(monkeypatch):
    monkeypatch.setattr(batching, "LINGER", 3600.0)


def test_a_thousand_callers_cost_a_real_host_five_requests(replay_url):
    async def ask():
        adapter = IbDataAdapter(replay_url, provider="replay")
        batched = BatchedValidation(adapter)
        symbols = ["AAPL", "NOSUCH", *(f"Y{number}" for number in range(998))]
        answers = await asyncio.gather(*(batched.validate(symbol, ["1d"]) for symbol in symbols))
        await adapter.aclose()
        assert [answer.result.symbol for answer in answers] == symbols
        assert [answer.result.is_valid for answer in answers[:2]] == [True, False]

    before = httpx.get(f"{replay_url}/health/").json()["calls"]["requests"]
    asyncio.run(ask())
    assert httpx.get(f"{replay_url}/health/").json()["calls"]["requests"] - before == 5


@pytest.mark.usefixtures("only_full_ones_leave")
def test_a_full_batch_leaves_at_once_and_the_next_caller_opens_another():
    async def ask():
        provider = Provider()
        batched = BatchedValidation(provider, size=2)
        third = None
        async with asyncio.timeout(10):
            first = asyncio.ensure_future(batched.validate("A", ["1d"]))
            again = asyncio.ensure_future(batched.validate("A", ["1d"]))
            second = asyncio.ensure_future(batched.validate("B", ["1d"]))
            third = asyncio.ensure_future(batched.validate("C", ["1d"]))
            assert [(await each).result.symbol for each in (first, again, second)] == ["A", "A", "B"]
        assert provider.asked == [(["A", "B"], ("1d",))]
        third.cancel()

    asyncio.run(ask())


def test_a_lone_caller_does_not_wait_for_company():
    async def ask():
        return await BatchedValidation(Provider()).validate("A", ["1d"])

    assert asyncio.run(ask()).result.symbol == "A"


def test_other_timeframes_are_another_question():
    async def ask():
        provider = Provider()
        batched = BatchedValidation(provider)
        questions = [("A", ["1d"]), ("B", ["1h"]), ("C", ("1d",)), ("D", [])]
        await asyncio.gather(*(batched.validate(*question) for question in questions))
        assert provider.asked == [(["A", "C"], ("1d",)), (["B"], ("1h",)), (["D"], ())]

    asyncio.run(ask())


def test_each_caller_gets_its_own_answer_or_error():
    async def ask():
        batched = BatchedValidation(Provider(IBM=ProviderPacingError("slowly", retry_after=7)))
        symbols = ["AAPL", "IBM", "LEFTOUT", "MSFT"]
        return await asyncio.gather(*(batched.validate(symbol, ()) for symbol in symbols), return_exceptions=True)

    apple, ibm, left_out, microsoft = asyncio.run(ask())
    assert (apple, microsoft) == (valid("AAPL"), valid("MSFT"))
    assert (type(ibm), ibm.retry_after) == (ProviderPacingError, 7)
    assert type(left_out) is ProviderError
    assert "LEFTOUT" in str(left_out)


def test_a_failure_as_a_whole_reaches_every_caller():
    async def ask():
        batched = BatchedValidation(FailingProvider())
        return await asyncio.gather(*(batched.validate(symbol, ()) for symbol in "AB"), return_exceptions=True)

    assert [type(error) for error in asyncio.run(ask())] == [ProviderUnavailableError] * 2


def test_an_error_that_many_share_does_not_gather_what_each_makes_of_it():
    error = ProviderUnavailableError("no answer")
    symbols = [f"A{number}" for number in range(100)]

    async def ask():
        batched = BatchedValidation(Provider(**dict.fromkeys(symbols, error)))
        return await asyncio.gather(*(batched.validate(symbol, ()) for symbol in symbols), return_exceptions=True)

    assert all(each is error for each in asyncio.run(ask()))
    assert len(traceback.extract_tb(error.__traceback__)) < 10


def test_cancelling_one_caller_does_not_touch_the_others():
    async def ask():
        provider = Provider()
        provider.may_answer.clear()
        batched = BatchedValidation(provider)
        callers = [asyncio.ensure_future(batched.validate(symbol, ())) for symbol in "ABC"]
        await until(lambda: provider.asked)
        callers[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
        provider.may_answer.set()
        assert [(await caller).result.symbol for caller in callers[1:]] == ["B", "C"]
        assert (len(provider.asked), provider.cancelled) == (1, 0)

    asyncio.run(ask())


def test_when_the_last_caller_has_left_the_question_is_cancelled():
    async def ask():
        provider = Provider()
        provider.may_answer.clear()
        batched = BatchedValidation(provider)
        callers = [asyncio.ensure_future(batched.validate(symbol, ())) for symbol in "ABB"]
        await until(lambda: provider.asked)
        for caller in callers[:2]:
            caller.cancel()
        await asyncio.wait(callers[:2])
        assert provider.cancelled == 0
        callers[2].cancel()
        await asyncio.wait(callers)
        await until(lambda: provider.cancelled)

    asyncio.run(ask())


def test_nobody_is_asked_about_whoever_left_before():
    async def ask():
        provider = Provider()
        batched = BatchedValidation(provider)
        callers = [asyncio.ensure_future(batched.validate(symbol, ())) for symbol in "ABC"]
        await asyncio.sleep(0)
        callers[1].cancel()
        await asyncio.wait(callers)
        assert provider.asked == [(["A", "C"], ())]

    asyncio.run(ask())


@pytest.mark.usefixtures("only_full_ones_leave")
def test_a_batch_that_all_have_left_is_not_joined_by_the_next_caller():
    async def ask():
        provider = Provider()
        batched = BatchedValidation(provider, size=2)
        left = asyncio.ensure_future(batched.validate("A", ()))
        await asyncio.sleep(0)
        left.cancel()
        with suppress(asyncio.CancelledError):
            await left
        async with asyncio.timeout(10):
            await asyncio.gather(batched.validate("B", ()), batched.validate("C", ()))
        assert provider.asked == [(["B", "C"], ())]

    asyncio.run(ask())


def test_while_the_provider_is_busy_the_next_question_gathers_more():
    async def ask():
        provider = Provider()
        provider.may_answer.clear()
        batched = BatchedValidation(provider, size=50)
        callers = []
        for number in range(AT_ONCE):
            callers.append(asyncio.ensure_future(batched.validate(f"A{number}", ())))
            await until(lambda: len(provider.asked) == len(callers))
        for number in range(60):
            callers.append(asyncio.ensure_future(batched.validate(f"B{number}", ())))
            await asyncio.sleep(LINGER / 30)
        assert len(provider.asked) == AT_ONCE
        provider.may_answer.set()
        await asyncio.gather(*callers)
        assert [len(symbols) for symbols, _timeframes in provider.asked] == [1] * AT_ONCE + [50, 10]

    asyncio.run(ask())


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size"):
        BatchedValidation(Provider(), size=0)


def test_a_question_has_two_hundred_symbols_if_nothing_else_is_said():
    async def ask():
        provider = Provider()
        batched = BatchedValidation(provider)
        await asyncio.gather(*(batched.validate(f"A{number}", ()) for number in range(201)))
        assert [len(symbols) for symbols, _timeframes in provider.asked] == [200, 1]

    asyncio.run(ask())


def test_a_question_may_be_about_one_symbol():
    async def ask():
        provider = Provider()
        batched = BatchedValidation(provider, size=1)
        await asyncio.gather(*(batched.validate(symbol, ()) for symbol in "AB"))
        assert provider.asked == [(["A"], ()), (["B"], ())]

    asyncio.run(ask())


def test_what_is_wrong_with_a_question_is_said():
    with pytest.raises(ValueError, match=r"^size is 0: at least 1 symbol has to go into a question$"):
        BatchedValidation(Provider(), size=0)
    with pytest.raises(ProviderError, match=r"^the provider was asked about LEFTOUT among others, and left it out$"):
        asyncio.run(_ask_about("LEFTOUT"))


async def _ask_about(symbol):
    return await BatchedValidation(Provider()).validate(symbol, ())
