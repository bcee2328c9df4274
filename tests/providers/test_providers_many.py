"""The adapter asks about many symbols in few requests, and an older host about one at a time."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager

import httpx
import passing_time
import pytest

from symcache_core.errors import (
    ClosedError,
    InvalidSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from symcache_core.protocols import CanValidateMany
from symcache_core.providers import IbDataAdapter
from symcache_core.providers.ib_data_adapter import AT_ONCE

BATCH = "/data/validate-batch"
VALID = {"success": True, "is_valid": True}


def replaying(url, **options):
    return IbDataAdapter(url, provider="replay", **options)


@contextmanager
def costing(url, **calls):
    """Check what the block costs a host that others use too."""
    before = httpx.get(f"{url}/health/").json()["calls"]
    yield
    after = httpx.get(f"{url}/health/").json()["calls"]
    assert {name: after[name] - before[name] for name in calls} == calls


def of_single_symbols(answer):
    """A host service without the batch endpoint, as a function of what it answers for one symbol."""

    def answered(path, question):
        return (404, b'{"detail": "Not Found"}') if path == BATCH else (200, json.dumps(answer(question)).encode())

    return answered


def test_each_symbol_gets_the_answer_that_it_gets_alone(replay_url, validate, validate_many):
    symbols = ["AAPL", "MSFFT", "brk.b", "BRK B", "AAPL"]
    assert isinstance(replaying(replay_url), CanValidateMany)
    assert validate_many(replaying(replay_url), symbols, "1d", "1h") == {
        symbol: validate(replaying(replay_url), symbol, "1d", "1h") for symbol in symbols
    }


@pytest.mark.parametrize(("count", "requests"), [(0, 0), (1, 1), (500, 1), (501, 2), (1000, 2)])
def test_five_hundred_symbols_go_into_one_request(replay_url, validate_many, count, requests):
    symbols = [f"X{number}" for number in range(count)]
    with costing(replay_url, requests=requests):
        answers = validate_many(replaying(replay_url), symbols)
    assert {symbol: answer.result.symbol for symbol, answer in answers.items()} == dict(
        zip(symbols, symbols, strict=True)
    )


def test_a_symbol_that_the_host_refuses_spoils_no_other_nor_the_next_batch(replay_url, validate_many):
    adapter = replaying(replay_url)
    answers = validate_many(adapter, ["AAPL", "", "MSFT"])
    assert [answers[symbol].result.is_valid for symbol in ("AAPL", "MSFT")] == [True, True]
    assert (type(answers[""]), answers[""].code) == (ProviderError, "422")
    with costing(replay_url, requests=1):
        validate_many(replaying(replay_url), ["AAPL", "MSFT"])


@pytest.mark.parametrize("status", [404, 405])
def test_a_host_without_batches_is_asked_for_one_only_once(serve_with, status):
    paths = []

    def answer(path, _question):
        paths.append(path)
        return (status, b"") if path == BATCH else (200, json.dumps(VALID).encode())

    async def twice(adapter):
        first = await adapter.validate_many(["A", "B"], ["1d"])
        assert [answer.result.is_valid for answer in first.values()] == [True, True]
        assert (await adapter.validate_many(["A", "B"], ["1d"])) == first
        await adapter.aclose()

    asyncio.run(twice(IbDataAdapter(serve_with(answer))))
    assert paths == [BATCH] + ["/data/validate"] * 4


def test_a_host_without_batches_has_only_so_many_requests_at_the_same_time(serve_with, validate_many):
    together = threading.Barrier(AT_ONCE, timeout=10)
    lock, opened, most = threading.Lock(), 0, 0

    def answer(_question):
        nonlocal opened, most
        with lock:
            opened += 1
            most = max(most, opened)
        together.wait()
        with lock:
            opened -= 1
        return VALID

    symbols = [f"A{number}" for number in range(3 * AT_ONCE)]
    answers = validate_many(IbDataAdapter(serve_with(of_single_symbols(answer))), symbols)
    assert answers.keys() == set(symbols)
    assert not any(isinstance(each, ProviderError) for each in answers.values())
    assert most == AT_ONCE


def test_one_deadline_holds_for_all_that_are_asked_one_by_one(serve_with):
    asked, over = [], threading.Event()

    async def main():
        loop = asyncio.get_running_loop()

        def answer(question):
            asked.append(question["symbol"])
            if len(asked) > AT_ONCE:  # the next one after the first answer
                loop.call_soon_threadsafe(loop.put_forward, 3600)
            if question["symbol"] != "A0":
                over.wait(60)
            return VALID

        adapter = IbDataAdapter(serve_with(of_single_symbols(answer)), timeout=3600)
        try:
            return await adapter.validate_many(symbols, [])
        finally:
            over.set()
            await adapter.aclose()

    symbols = [f"A{number}" for number in range(600)]
    answers = passing_time.run(main())
    assert list(answers) == symbols
    assert answers.pop("A0").result.is_valid
    assert {type(each) for each in answers.values()} == {ProviderTimeoutError}
    assert len(set(map(id, answers.values()))) == len(answers), "each has an error of its own"
    assert sorted(asked) == symbols[: AT_ONCE + 1], "what had no turn by then is never asked"


def test_a_failure_of_one_symbol_is_its_own_at_a_host_without_batches_too(serve_with, validate_many, pauses):
    failure = {"success": False, "error": "slowly", "error_kind": "pacing"}
    url = serve_with(of_single_symbols(lambda question: failure if question["symbol"] == "IBM" else VALID))
    answers = validate_many(IbDataAdapter(url, sleep=pauses.sleep), ["AAPL", "IBM", "MSFT"])
    assert isinstance(answers["IBM"], ProviderPacingError)
    assert answers["AAPL"].result.is_valid
    assert answers["MSFT"].result.is_valid


def test_what_is_wrong_with_one_result_is_wrong_with_that_one_alone(serve, validate_many):
    results = {
        "AAPL": VALID,
        "IBM": {"success": False, "error": "slowly", "error_kind": "pacing", "error_code": 100, "retry_after": 7},
        "MSFT": {"success": True, "is_valid": "perhaps"},
        "GOOG": None,
        "EVIL": VALID | {"provenance": {"gateway": "replay"}},
    }
    url = serve({"success": True, "results": results, "error": None})
    answers = validate_many(IbDataAdapter(url), [*results, "LEFTOUT"])
    assert answers["AAPL"].result.is_valid
    assert (type(answers["IBM"]), answers["IBM"].code, answers["IBM"].retry_after) == (ProviderPacingError, "100", 7)
    assert "'replay'" in str(answers["EVIL"])
    for symbol in ("MSFT", "GOOG", "LEFTOUT"):
        assert type(answers[symbol]) is ProviderError
        assert url in str(answers[symbol])
        assert symbol in str(answers[symbol])


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"null", b"[]", b"{}", b'{"success": true, "results": 7}', b"[" * 100_000, b"\xff"]
)
def test_what_is_no_answer_is_an_error_for_every_symbol(serve, validate_many, content):
    url = serve(content)
    answers = validate_many(IbDataAdapter(url), ["AAPL", "IBM"])
    assert [type(answer) for answer in answers.values()] == [ProviderError, ProviderError]
    assert all(url in str(answer) for answer in answers.values())


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (
            {"success": False, "error": "no", "error_kind": "transient", "error_code": "404"},
            200,
            ProviderUnavailableError,
        ),
        ({"success": False, "error": "no", "error_kind": "pacing"}, 200, ProviderPacingError),
        ({}, 503, ProviderUnavailableError),
    ],
)
def test_a_failure_as_a_whole_is_that_of_every_symbol_and_no_reason_to_ask_singly(
    serve_with, validate_many, pauses, content, status, expected
):
    paths = []

    def answer(path, _question):
        paths.append(path)
        return status, json.dumps(content).encode()

    answers = validate_many(IbDataAdapter(serve_with(answer), sleep=pauses.sleep), ["AAPL", "IBM"])
    assert [type(each) for each in answers.values()] == [expected, expected]
    assert set(paths) == {BATCH}


def test_a_host_out_of_reach_or_silent_is_an_error_for_every_symbol(validate_many, pauses):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        silent = validate_many(IbDataAdapter(url, timeout=0.05), ["AAPL", "IBM"])
    gone = validate_many(IbDataAdapter(url, sleep=pauses.sleep), ["AAPL", "IBM"])
    assert {type(error) for error in silent.values()} == {ProviderTimeoutError}
    assert {type(error) for error in gone.values()} == {ProviderUnavailableError}


def test_after_closing_it_is_closed(replay_url, validate_many):
    adapter = replaying(replay_url)
    validate_many(adapter, ["AAPL"])
    with pytest.raises(ClosedError):
        validate_many(adapter, ["AAPL"])


NOT_SENT = [None, float("nan"), b"IBM", ["IBM"], "\ud800", "A" * 10**6]


@pytest.mark.parametrize("bad", NOT_SENT, ids=lambda bad: type(bad).__name__)
def test_what_no_host_takes_for_a_symbol_is_not_sent_and_the_others_are_answered(replay_url, validate_many, bad):
    with costing(replay_url, requests=1):
        answers = validate_many(replaying(replay_url), ["AAPL", bad, "IBM"], "1d")
    assert answers["AAPL"].result.is_valid
    assert answers["IBM"].result.is_valid
    (failed,) = [each for each in answers.values() if isinstance(each, ProviderError)]
    assert "symbol" in str(failed)
    for ask in ("validate_and_get_metadata", "fetch_historical_data"):
        arguments = (bad, ["1d"]) if ask.startswith("validate") else (bad, "1d", None, None)
        with pytest.raises(InvalidSymbolError):
            asyncio.run(getattr(replaying(replay_url), ask)(*arguments))
