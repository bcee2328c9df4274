"""What may pass is asked again, in one place, within one deadline that travels with the question."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime

import httpx
import pytest

from symcache_core.errors import ProviderError, ProviderPacingError, ProviderTimeoutError, ProviderUnavailableError
from symcache_core.providers import IbDataAdapter
from symcache_core.providers.retrying import ATTEMPTS, JITTER

START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)
ORIGIN = {"gateway": "ib", "host": "symcache"}
VALID = {"success": True, "is_valid": True, "provenance": ORIGIN}
PASSING = {"success": False, "error": "not now", "error_kind": "transient", "provenance": ORIGIN}
PACED = PASSING | {"error_kind": "pacing"}


@pytest.fixture
def series(serve_with):
    """Start a server that gives one answer after the other, and its last one ever after; gives its URL and requests."""

    def start(*answers):
        asked = []

        def answer(path, question, headers):
            asked.append((path, question, headers))
            status, body = answers[min(len(asked), len(answers)) - 1]
            return status, json.dumps(body).encode()

        return serve_with(answer, with_headers=True), asked

    return start


@pytest.mark.parametrize("failure", [(200, PASSING), (200, PACED), (500, {}), (503, {})], ids=str)
def test_a_failure_that_passes_is_not_seen(series, validate, pauses, failure):
    url, asked = series(failure, failure, (200, VALID))
    assert validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL").result.is_valid
    assert len(asked) == ATTEMPTS == 3
    assert 0 <= pauses[0] <= 0.2
    assert 0 <= pauses[1] <= 0.4


def test_a_failure_that_stays_is_seen_after_three_attempts(series, validate, pauses):
    url, asked = series((200, PASSING))
    with pytest.raises(ProviderUnavailableError, match="not now"):
        validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")
    assert len(asked) == ATTEMPTS


@pytest.mark.parametrize(
    "failure",
    [
        (200, PASSING | {"error_kind": "permanent"}),
        (200, PASSING | {"error_kind": "permission"}),
        (200, {"success": "perhaps"}),
        *((status, {}) for status in (302, 400, 401, 403, 404, 413, 421, 422)),
    ],
    ids=str,
)
def test_what_would_only_happen_again_is_asked_once(series, validate, pauses, failure):
    url, asked = series(failure)
    with pytest.raises(ProviderError):
        validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")
    assert (len(asked), pauses) == (1, [])


def test_it_waits_as_long_as_it_is_told_and_a_little_more(series, validate, pauses):
    url, asked = series((200, PACED | {"retry_after": 7}), (200, VALID))
    validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")
    assert len(asked) == 2
    assert 7 <= pauses[0] <= 7 * (1 + JITTER)


def test_callers_who_were_told_the_same_do_not_come_back_at_once(series, validate, pauses):
    url, _asked = series((200, PACED | {"retry_after": 7}))
    for _ in range(3):
        with pytest.raises(ProviderPacingError):
            validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")
    assert len(set(pauses)) == len(pauses)


def test_a_wait_beyond_the_deadline_is_not_begun(series, validate, pauses):
    url, asked = series((200, PACED | {"retry_after": 15}))
    with pytest.raises(ProviderPacingError) as caught:
        validate(IbDataAdapter(url, timeout=14, sleep=pauses.sleep), "AAPL")
    assert (len(asked), pauses, caught.value.retry_after) == (1, [], 15)


def test_all_attempts_share_one_deadline_and_the_host_is_told_what_is_left(series, validate):
    url, asked = series((200, PASSING | {"retry_after": 0.02}), (200, PASSING | {"retry_after": 0.02}), (200, VALID))
    validate(IbDataAdapter(url, timeout=20), "AAPL")
    left = [float(headers["X-Symcache-Deadline"]) for _, _, headers in asked]
    assert 19 >= left[0] > left[1] > left[2] > 10


def test_a_host_that_does_not_answer_has_used_up_the_time_of_all_attempts(validate, pauses):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ProviderTimeoutError):
            validate(IbDataAdapter(url, timeout=0.05, sleep=pauses.sleep), "AAPL")
    assert pauses == []


def test_a_host_that_has_given_up_at_the_deadline_is_not_asked_for_the_rest_of_it(start_host, validate, pauses):
    host = start_host(gateway="replay", latency="1h")
    with pytest.raises((ProviderUnavailableError, ProviderTimeoutError)):  # whose clock is first, the host's or its own
        validate(IbDataAdapter(host, provider="replay", timeout=1, sleep=pauses.sleep), "AAPL")
    health = httpx.get(f"{host}/health/", trust_env=False).json()
    assert (health["calls"]["gateway"], pauses) == (1, [])


def test_a_host_that_nobody_has_started_yet_is_asked_again(validate, pauses):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(ProviderUnavailableError):
        validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")
    assert len(pauses) == ATTEMPTS - 1
    assert sum(pauses) < 1, "whoever has mistyped a URL does not wait"


def test_bars_are_asked_for_once_since_the_loader_asks_again(series, fetch, pauses):
    url, asked = series((200, PASSING))
    with pytest.raises(ProviderUnavailableError):
        fetch(IbDataAdapter(url, sleep=pauses.sleep), "AAPL", START, END)
    assert (len(asked), pauses) == (1, [])


def test_a_batch_is_asked_for_again_as_a_whole(series, validate_many, pauses):
    url, asked = series((200, PASSING), (503, {}), (200, VALID | {"results": {"AAPL": VALID}}))
    answers = validate_many(IbDataAdapter(url, sleep=pauses.sleep), ["AAPL"])
    assert answers["AAPL"].result.is_valid
    assert [path for path, _, _ in asked] == ["/data/validate-batch"] * ATTEMPTS


def test_what_is_asked_one_by_one_in_place_of_a_batch_can_wait_too(series, validate_many):
    url, asked = series((404, {}), (200, VALID))
    validate_many(IbDataAdapter(url), ["AAPL", "IBM"])
    assert {headers["X-Symcache-Priority"] for _, _, headers in asked} == {"warming"}


def test_the_host_is_told_who_asks_and_how_urgently(series):
    url, asked = series((200, VALID | {"results": {"AAPL": VALID}}))

    async def ask(adapter):
        await adapter.validate_and_get_metadata("AAPL", ["1d"])
        await adapter.validate_many(["AAPL"], ["1d"])
        await adapter.fetch_historical_data("AAPL", "1d", START, END)
        await adapter.aclose()

    for _ in range(2):
        asyncio.run(ask(IbDataAdapter(url)))
    told = [headers for _, _, headers in asked]
    assert [each["X-Symcache-Priority"] for each in told] == ["foreground", "warming", "foreground"] * 2
    names = [each["X-Symcache-Client"] for each in told]
    assert names == [names[0]] * 3 + [names[3]] * 3
    assert names[0] != names[3]


@pytest.fixture
def cut_off(start_host):
    """Where a host service of ours is whose gateway finds no Interactive Brokers."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return start_host(gateway="ib", ib_port=port)


def test_the_attempts_of_a_lookup_are_all_there_are(cut_off, validate, pauses):
    with pytest.raises(ProviderUnavailableError, match="Interactive Brokers"):
        validate(IbDataAdapter(cut_off, sleep=pauses.sleep), "AAPL", "1d")
    health = httpx.get(f"{cut_off}/health/", trust_env=False).json()
    assert health["calls"] == {"requests": ATTEMPTS, "gateway": ATTEMPTS}, "the host does not try again by itself"


def test_every_question_to_a_host_without_its_gateway_is_a_failure_that_may_pass(cut_off, fetch, validate_many, pauses):
    adapter = IbDataAdapter(cut_off, sleep=pauses.sleep)
    (failure,) = validate_many(adapter, ["AAPL"]).values()
    assert type(failure) is ProviderUnavailableError
    with pytest.raises(ProviderUnavailableError, match="Interactive Brokers"):
        fetch(IbDataAdapter(cut_off, sleep=pauses.sleep), "AAPL", START, END)
    assert pauses == [], "neither a symbol of a batch nor bars are asked for again here"
