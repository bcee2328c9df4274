"""The adapter speaks to a host service of ours and to an older one, and says clearly what went wrong."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn
from json_server import JsonServer
from pydantic import SecretStr

from symcache_core import open_symbol_cache
from symcache_core.errors import (
    ClosedError,
    ConfigurationError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from symcache_core.protocols import CanClose, HasAsOf
from symcache_core.providers import IbDataAdapter
from symcache_core.providers.host_client import CONNECTIONS
from symcache_core.settings import SymcacheSettings

START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)
REPLAYED = {"gateway": "replay", "host": "symcache 0.1.0"}
IB = {"provenance": {"gateway": "ib", "host": "symcache 0.1.0"}}


def replaying(url, **options):
    return IbDataAdapter(url, provider="replay", **options)


def test_a_verdict_comes_with_who_gave_it(replay_url, validate):
    answer = validate(replaying(replay_url), "AAPL", "1d", "1h")
    assert (answer.result.is_valid, answer.confirmed, answer.result.symbol) == (True, True, "AAPL")
    assert answer.result.head_timestamps == {"1d": "2000-03-01T00:00:00+00:00", "1h": None}
    assert answer.result.contract_info.details == {"provider": "replay"}
    assert answer.provenance.model_dump() == {
        "provider": "replay",
        "gateway": "replay",
        "adapter": "symcache 0.1.0",
        "host": "symcache 0.1.0",
        "code": None,
        "spelling": "AAPL",
    }


def test_a_permanent_negative_is_confirmed_and_keeps_the_suggestion(replay_url, validate):
    answer = validate(replaying(replay_url), "MSFFT", "1d")
    assert (answer.result.is_valid, answer.confirmed, answer.result.suggested_symbol) == (False, True, "MSFT")


def test_the_canonical_spelling_of_a_class_share_is_understood(replay_url, validate):
    assert validate(replaying(replay_url), "BRK B").result.is_valid


def test_bars_are_a_frame_of_floats_on_a_rising_utc_index(replay_url, fetch):
    frame = fetch(replaying(replay_url), "AAPL", START, END)
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert set(map(str, frame.dtypes)) == {"float64"}
    assert (frame.index.name, str(frame.index.dtype)) == ("timestamp", "datetime64[ns, UTC]")
    assert [stamp.date().isoformat() for stamp in frame.index] == ["2012-12-31", "2013-01-02", "2013-01-03"]
    assert frame.attrs == {
        "provider": "replay",
        "contract": {"symbol": "AAPL", "exchange": "Nasdaq", "currency": "USD"},
        "basis": {"show": "TRADES", "adjustment": "none", "session": "regular"},
    }


def test_a_session_is_passed_on_only_if_one_is_asked_for(serve_with):
    asked = []

    def answer(_path, question):
        asked.append(question.get("session", "usual"))
        basis = {"show": "TRADES", "adjustment": "split", "session": question.get("session", "regular")}
        contract = {"conId": 265598, "comboLegs": [1, 2]}
        return 200, json.dumps({"success": True, "data": "{}", "contract": contract, "basis": basis, **IB}).encode()

    async def main():
        adapter = IbDataAdapter(serve_with(answer))
        wanted = "AAPL", "1d", START, END
        frames = [
            await adapter.fetch_historical_data(*wanted),
            await adapter.fetch_historical_data(*wanted, session="regular"),
            await adapter.fetch_historical_data(*wanted, session="extended"),
        ]
        await adapter.aclose()
        return frames

    frames = asyncio.run(main())
    assert asked == ["usual", "regular", "extended"]
    assert [frame.attrs["basis"]["session"] for frame in frames] == ["regular", "regular", "extended"]
    assert json.loads(json.dumps(frames[0].attrs)) == {
        "provider": "ib",
        "contract": {"conId": 265598, "comboLegs": [1, 2]},
        "basis": {"show": "TRADES", "adjustment": "split", "session": "regular"},
    }


@pytest.mark.parametrize("said", [{"basis": {"show": 1}}, {"basis": "TRADES"}, {"contract": 265598}])
def test_what_is_no_basis_and_no_contract_is_an_error_that_names_the_url(serve, fetch, said):
    url = serve({"success": True, "data": "{}", **said, **IB})
    with pytest.raises(ProviderError, match=url):
        fetch(IbDataAdapter(url), "AAPL", START, END)


def test_no_bars_are_a_frame_of_the_same_shape(replay_url, fetch):
    some, none = fetch(replaying(replay_url), "AAPL", START, END), fetch(replaying(replay_url), "A", START, END)
    assert none.empty
    assert (none.dtypes.equals(some.dtypes), none.index.dtype, none.index.name, none.attrs["basis"]) == (
        True,
        some.index.dtype,
        some.index.name,
        some.attrs["basis"],
    )


def test_replayed_answers_never_pass_for_those_of_interactive_brokers(replay_url, validate, fetch):
    for ask in (
        lambda: validate(IbDataAdapter(replay_url), "AAPL", "1d"),
        lambda: validate(IbDataAdapter(replay_url), "NOPE", "1d"),
        lambda: fetch(IbDataAdapter(replay_url), "AAPL", START, END),
    ):
        with pytest.raises(ProviderError, match=r"'provider' is 'ib'.*host_service_url"):
            ask()


def test_nor_the_other_way_round(older_url, validate, fetch):
    with pytest.raises(ProviderError, match="gateway 'ib'"):
        validate(replaying(older_url), "AAPL", "1d")
    with pytest.raises(ProviderError, match="gateway 'ib'"):
        fetch(replaying(older_url), "AAPL", START, END)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("transient", ProviderUnavailableError),
        ("something new", ProviderUnavailableError),
        ("pacing", ProviderPacingError),
        ("permission", ProviderPermissionError),
        ("permanent", ProviderError),
    ],
)
def test_every_kind_of_failure_is_an_error_of_its_own(serve, validate, pauses, kind, expected):
    failure = {"success": False, "error": "no", "error_kind": kind, "error_code": 162, "retry_after": 7}
    with pytest.raises(ProviderError, match="no") as caught:
        validate(IbDataAdapter(serve(failure), sleep=pauses.sleep), "AAPL")
    assert type(caught.value) is expected
    assert (caught.value.code, caught.value.retry_after) == ("162", 7.0)


@pytest.mark.parametrize("kind", ["transient", "pacing", "permission"])
def test_a_failure_dressed_as_a_negative_is_a_failure(serve, validate, pauses, kind):
    url = serve({"success": True, "is_valid": False, "error_message": "not found", "error_kind": kind})
    with pytest.raises(ProviderError, match="not found"):
        validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")


@pytest.mark.parametrize(
    ("extra", "confirmed"),
    [
        ({}, False),
        ({"error_kind": "permanent"}, True),
        ({"error_kind": "permanent", "confirmed": False}, False),
        ({"confirmed": True}, False),
    ],
)
def test_only_a_permanent_negative_is_confirmed(serve, validate, extra, confirmed):
    url = serve({"success": True, "is_valid": False} | extra)
    assert validate(IbDataAdapter(url), "AAPL").confirmed is confirmed


def test_one_head_timestamp_that_serves_every_timeframe_is_asked_for_once(serve_with):
    asked = []

    def answer(_path, question):
        asked.append(question["timeframes"])
        heads = dict.fromkeys(question["timeframes"], "1980-12-12T14:30:00+00:00")
        verdict = {"success": True, "is_valid": True, "head_timestamps": heads, "one_head_timestamp": True}
        return 200, json.dumps(verdict).encode()

    async def main():
        adapter = IbDataAdapter(serve_with(answer))
        cache = open_symbol_cache(SymcacheSettings(backend="memory", provider="ib"))
        for timeframe in ("1d", "1h", "5m"):
            lookup = await cache.get_or_validate("AAPL", [timeframe], adapter.validate_and_get_metadata)
            assert lookup.result.head_timestamps[timeframe] == "1980-12-12T14:30:00+00:00"
        await cache.aclose()
        await adapter.aclose()

    asyncio.run(main())
    assert asked == [["1d"]]


@pytest.mark.parametrize(
    ("status", "expected", "said"),
    [
        (401, ProviderPermissionError, "host_token"),
        (403, ProviderPermissionError, "host_token"),
        (421, ProviderPermissionError, r"header Host.*'host_token'"),
        (422, ProviderError, "why it does not fit"),
        (404, ProviderError, "host_service_url"),
        (302, ProviderError, "host_service_url"),
        (500, ProviderUnavailableError, "500"),
        (503, ProviderUnavailableError, "503"),
    ],
)
def test_every_status_says_what_to_do(serve, validate, pauses, status, expected, said):
    url = serve({"detail": "why it does not fit"}, status)
    with pytest.raises(ProviderError, match=said) as caught:
        validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")
    assert type(caught.value) is expected
    assert url in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"success": true, "is_valid": "perhaps"}',
        b'{"success": true, "is_valid": true, "provenance": {"gateway": "ib"}, "head_timestamps": {"1d": "long ago"}}',
        b'{"success": true, "is_valid": true, "provenance": {"gateway": "ib"}, "contract_info": 7}',
        b'{"success": true, "provenance": {}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_answer_is_an_error_that_names_the_url(serve, validate, content):
    url = serve(content)
    with pytest.raises(ProviderError, match=url):
        validate(IbDataAdapter(url), "AAPL")


@pytest.mark.parametrize(
    "data",
    [
        "[]",
        "{",
        7,
        json.dumps({"2024-01-02": {"open": 1}}),
        json.dumps({"2024-01-02": {"open": 1, "high": 1, "low": 1, "close": "x", "volume": 1}}),
        json.dumps({"2024-01-02": {"open": 1, "high": 1, "low": 1, "close": [], "volume": 1}}),
        json.dumps({"": {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}}),
        json.dumps({"0001-01-01T00:00:00+14:00": {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}}),
        json.dumps({"the day before": {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}}),
    ],
)
def test_what_are_no_bars_is_an_error_that_names_the_url(serve, fetch, data):
    url = serve({"success": True, "data": data, "rows": 1})
    with pytest.raises(ProviderError, match=url):
        fetch(IbDataAdapter(url), "AAPL", START, END)


@pytest.mark.parametrize("price", [None, math.nan, math.inf])
def test_a_bar_without_a_price_leaves_the_others_as_they_are(serve, fetch, price):
    sent = {day: {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1} for day in ("2012-12-31", "2013-01-02")}
    sent["2013-01-01"] = sent["2012-12-31"] | {"close": price}
    frame = fetch(IbDataAdapter(serve({"success": True, "data": json.dumps(sent), "rows": 3})), "AAPL", START, END)
    assert [day.isoformat()[:10] for day in frame.index] == ["2012-12-31", "2013-01-01", "2013-01-02"]
    assert (frame["close"].iloc[0], frame["close"].iloc[2]) == (1.0, 1.0)
    assert not math.isfinite(frame["close"].iloc[1]), "whoever counts such rows is to see it"


class Moved(JsonServer):
    """A host that has an answer for no one, and knows who has."""

    def answer(self, method, path, question):
        return 307, {}, {"Location": f"{path}/"}


def test_a_host_that_is_elsewhere_is_named_with_the_place(validate):
    with Moved() as moved, pytest.raises(ProviderError, match=r"'/data/validate/'.*307.*host_service_url"):
        validate(IbDataAdapter(moved.url), "AAPL")


def test_a_host_that_is_down_is_named_with_the_option_to_change(validate, pauses):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(ProviderUnavailableError, match=rf"{url}.*host_service_url"):
        validate(IbDataAdapter(url, sleep=pauses.sleep), "AAPL")


def test_a_host_that_is_silent_is_a_timeout(validate):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ProviderTimeoutError, match=rf"{url}.* within 0\.05 s \(setting 'timeout'\)"):
            validate(IbDataAdapter(url, timeout=0.05), "AAPL")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:5001",
        "ftp://x",
        "http://",
        "embedded",
        "http://me:secret@x",
        "http://[",
        "http://x:y",
        "http://x?q",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once_and_not_shown(url):
    with pytest.raises(ConfigurationError, match="host_service_url") as caught:
        IbDataAdapter(url)
    assert "secret" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_refused_at_once_and_not_shown():
    with pytest.raises(ConfigurationError, match="host_token") as caught:
        IbDataAdapter("http://x", token=SecretStr("two\nlines"))
    assert "lines" not in str(caught.value)


def test_replay_has_a_present_of_its_own_that_needs_no_host():
    assert replaying("http://x").as_of() == datetime(2013, 3, 1, 23, 59, 59, 999999, UTC)
    assert replaying("http://x", as_of=START).as_of() == START
    assert abs(IbDataAdapter("http://x").as_of() - datetime.now(UTC)) < timedelta(minutes=1)


def test_it_can_do_what_the_loader_looks_for():
    adapter = IbDataAdapter("http://x")
    assert isinstance(adapter, HasAsOf)
    assert isinstance(adapter, CanClose)


def test_settings_describe_it(replay_url, tmp_path, validate):
    settings = SymcacheSettings(host_service_url=replay_url, provider="replay", data_dir=tmp_path)
    assert validate(IbDataAdapter.from_settings(settings), "IBM").result.is_valid


def test_two_loops_at_once_share_it(replay_url):
    adapter = replaying(replay_url)
    both = threading.Barrier(2, timeout=10)

    async def ask():
        for symbol in ("AAPL", "MSFT", "IBM"):
            both.wait()
            assert (await adapter.validate_and_get_metadata(symbol, ())).result.is_valid
        both.wait()
        await adapter._client._clients[asyncio.get_running_loop()].aclose()

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken
    asyncio.run(adapter.aclose())


def test_an_idle_connection_is_given_up_before_the_host_closes_it_under_a_request():
    assert CONNECTIONS.keepalive_expiry < uvicorn.Config("any").timeout_keep_alive


def test_after_closing_it_is_closed(replay_url, validate):
    adapter = replaying(replay_url)
    validate(adapter, "AAPL")
    with pytest.raises(ClosedError):
        validate(adapter, "AAPL")


def test_bars_may_be_asked_for_to_the_ends_of_time(replay_url, fetch):
    first = datetime.fromisoformat("0001-01-01T00:00:00+14:00")
    last = datetime.fromisoformat("9999-12-31T23:59:59-14:00")
    assert len(fetch(replaying(replay_url), "AAPL", first, last)) == 3270
