"""A host as there were before, over HTTP, through the whole load and the command: all is right, or clearly wrong."""

import csv
import gzip
import json
import math
import subprocess
import sys
import threading
from importlib.resources import files

import pytest
from older_host import OlderHost
from patience import PATIENCE

from symcache_core import SymcacheSettings
from symcache_core.errors import (
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    SymbolNotFoundError,
)
from symcache_core.loading import DataManager, LoadReport

SPAN = {"start_date": "2012-01-03", "end_date": "2012-03-30"}
SESSIONS = 62
FIGURES = ("open", "high", "low", "close", "volume")
MINUTE = 60


def _recorded():
    text = gzip.decompress((files("symcache_host") / "data" / "daily_bars.csv.gz").read_bytes()).decode()
    return {
        f"{day}T00:00:00.000Z": dict(zip(FIGURES, map(float, figures), strict=True))
        for symbol, day, *figures in csv.reader(text.splitlines())
        if symbol == "AAPL" and "2012-01-03" <= day <= "2012-03-30"
    }


APPLE = _recorded()
CLOSES = [bar["close"] for bar in APPLE.values()]


@pytest.fixture
def older():
    with OlderHost(APPLE) as host:
        yield host


@pytest.fixture
def manager(older, tmp_path, clock):
    with manager_of(older, tmp_path, clock) as manager:
        yield manager


def manager_of(host, folder, clock, **settings):
    settings = SymcacheSettings(backend="memory", data_dir=folder, host_service_url=host.url, **settings)
    return DataManager(settings, clock=clock)


def table(bars):
    return {"success": True, "data": json.dumps(bars), "error": None, "rows": len(bars)}


def bars(host, answer):
    host.wrong["/data/historical"] = answer


def verdicts(host, answer):
    host.wrong["/data/validate"] = answer


def symcache(host, folder, *arguments, **environment):
    """The command, as an operator types it."""
    return subprocess.run(
        [sys.executable, "-m", "symcache_core.cli", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "SYMCACHE_HOST_SERVICE_URL": host.url, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )


def test_its_bars_and_its_verdict_are_right(older, manager):
    frame = manager.load("AAPL", "1d", **SPAN)
    report = LoadReport.of(frame)
    assert (frame["close"].tolist(), report.missing, report.fetched) == (CLOSES, 0, SESSIONS)
    requests = len(older.asked)
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES
    assert len(older.asked) == requests, "nothing is asked for twice"


ODD = {
    "out of order": dict(reversed(APPLE.items())),
    "without an offset": {stamp.removesuffix("Z"): bar for stamp, bar in APPLE.items()},
    "of another offset": {stamp.replace("00:00:00.000Z", "02:00:00+02:00"): bar for stamp, bar in APPLE.items()},
    "of days": {stamp[:10]: bar for stamp, bar in APPLE.items()},
    "with more columns": {stamp: bar | {"average": 1.0, "barCount": 7} for stamp, bar in APPLE.items()},
    "without volumes": {stamp: bar | {"volume": None} for stamp, bar in APPLE.items()},
    "twice, in two spellings": {stamp.removesuffix("Z"): bar for stamp, bar in APPLE.items()} | APPLE,
}


@pytest.mark.parametrize("told", ODD.values(), ids=ODD.keys())
def test_however_it_writes_its_bars_they_are_read_right(older, manager, told):
    bars(older, (200, table(told)))
    frame = manager.load("AAPL", "1d", **SPAN)
    assert (frame["close"].tolist(), LoadReport.of(frame).missing) == (CLOSES, 0)
    assert frame.index.is_monotonic_increasing


def test_the_last_of_two_rows_of_one_moment_is_the_bar(older, manager):
    once = json.dumps(APPLE)
    wrong = json.dumps({stamp: bar | {"close": bar["close"] + 1} for stamp, bar in APPLE.items()})
    bars(older, (200, table({}) | {"data": f"{wrong[:-1]}, {once[1:]}", "rows": 2 * SESSIONS}))
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES


@pytest.mark.parametrize("price", [None, math.nan])
def test_a_row_without_a_price_costs_no_other_and_is_told(older, manager, price):
    place = 10
    stamp = list(APPLE)[place]
    bars(older, (200, table(APPLE | {stamp: APPLE[stamp] | {"close": price}})))
    frame = manager.load("AAPL", "1d", **SPAN)
    report = LoadReport.of(frame)
    assert frame["close"].tolist() == CLOSES[:place] + CLOSES[place + 1 :]
    assert [moment[:10] for moment in report.bad_rows] == [stamp[:10]]
    requests = len(older.asked)
    manager.load("AAPL", "1d", **SPAN)
    assert len(older.asked) == requests, "it is remembered"


WRONG = {
    "status 500": ((500, b"Internal Server Error"), ProviderUnavailableError, "failed with status 500"),
    "status 500 with a reason": ((500, {"detail": "boom"}), ProviderUnavailableError, "failed with status 500"),
    "status 502 of a proxy": ((502, b"<html>Bad Gateway</html>"), ProviderUnavailableError, "failed with status 502"),
    "a page": ((200, b"<html>Log in</html>"), ProviderError, "does host_service_url name a host service"),
    "nothing": ((200, b""), ProviderError, "does host_service_url name a host service"),
    "another service": ((200, [1, 2]), ProviderError, "does host_service_url name a host service"),
    "half an answer": (
        (200, b'{"success": true, "da', {"Content-Length": "5000"}),
        ProviderUnavailableError,
        "without sending complete message body",
    ),
    "an answer that is cut": ((200, b'{"success": true, "da'), ProviderError, "does host_service_url name"),
    "another place": ((307, b"", {"Location": "https://elsewhere/"}), ProviderError, "elsewhere.*host_service_url"),
    "no such route": ((404, {"detail": "Not Found"}), ProviderError, "host_service_url"),
    "a failure": ((200, {"success": False, "error": "IB Gateway lost"}), ProviderUnavailableError, "IB Gateway lost"),
    "a failure without a reason": ((200, {"success": False}), ProviderUnavailableError, "gave no reason"),
}
each_wrong = pytest.mark.parametrize(("answer", "kind", "said"), WRONG.values(), ids=WRONG.keys())


@each_wrong
def test_a_verdict_that_goes_wrong_is_an_error_and_nothing_is_known_of_the_symbol(older, manager, answer, kind, said):
    verdicts(older, answer)
    with pytest.raises(kind, match=said) as caught:
        manager.load("AAPL", "1d", **SPAN)
    assert not isinstance(caught.value, SymbolNotFoundError)
    assert manager.symbol_cache.peek("AAPL") is None
    older.wrong.clear()
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES


@each_wrong
def test_bars_that_go_wrong_are_an_error_and_none_is_missing_afterwards(older, manager, answer, kind, said):
    bars(older, answer)
    with pytest.raises(kind, match=said):
        manager.load("AAPL", "1d", **SPAN)
    assert manager.validate("AAPL").result.is_valid
    older.wrong.clear()
    frame = manager.load("AAPL", "1d", **SPAN)
    assert (frame["close"].tolist(), LoadReport.of(frame).missing) == (CLOSES, 0)


def test_no_data_that_it_calls_a_failure_is_no_bars_and_proves_nothing(older, manager, clock):
    older.mistakes = 1
    frame = manager.load("AAPL", "1d", **SPAN)
    assert frame.empty
    assert LoadReport.of(frame).missing == SESSIONS
    assert "proves nothing" in LoadReport.of(frame).reason
    clock.advance(11 * MINUTE)
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES


def test_without_its_gateway_what_it_calls_unknown_is_unconfirmed_and_soon_asked_again(older, manager, clock):
    older.connected = False
    with pytest.raises(SymbolNotFoundError, match=r"^Symbol AAPL not found \(unconfirmed: .* out of reach .*\)$"):
        manager.load("AAPL", "1d", **SPAN)
    assert not manager.symbol_cache.peek("AAPL").confirmed
    older.connected = True
    clock.advance(6 * MINUTE)
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES
    older.connected = False
    clock.advance(31 * 24 * 60 * MINUTE)
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES, "what was valid stays so"


def test_the_command_says_that_it_is_unconfirmed(older, tmp_path):
    older.connected = False
    for arguments in (["validate", "AAPL"], ["load", "AAPL"]):
        ended = symcache(older, tmp_path, *arguments)
        assert ended.returncode == 1
        assert "not found" in ended.stdout + ended.stderr
        assert "unconfirmed" in ended.stderr


@pytest.fixture
def trying(older):
    """It tries to reach its gateway for longer than anybody waits."""
    older.tries = threading.Event()
    yield older
    older.tries.set()


def test_while_it_tries_for_longer_than_anybody_waits_the_error_names_the_setting(trying, tmp_path, clock):
    with manager_of(trying, tmp_path, clock, timeout=0.3) as manager:
        for ask in (lambda: manager.validate("AAPL", ["1d"]), lambda: manager.load("AAPL", "1d", **SPAN)):
            with pytest.raises(ProviderTimeoutError, match=r"within 0\.3 s \(setting 'timeout'\)"):
                ask()
        assert manager.symbol_cache.peek("AAPL") is None
        assert len(trying.asked) == 2, "it is not asked again: it tries itself"
        trying.tries.set()
    with manager_of(trying, tmp_path, clock) as manager:
        assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES


def test_so_does_the_command(trying, tmp_path):
    for arguments in (["validate", "AAPL"], ["load", "AAPL"]):
        ended = symcache(trying, tmp_path, *arguments, SYMCACHE_TIMEOUT="0.3")
        assert ended.returncode == 3
        assert ended.stdout == ""
        assert "within 0.3 s (setting 'timeout')" in ended.stderr
    assert symcache(trying, tmp_path, "get", "AAPL").returncode == 1, "nothing is stored"


@pytest.mark.parametrize("timeframe", ["3h", "1M"])
def test_a_timeframe_that_it_refuses_is_an_error_that_names_both(older, manager, timeframe):
    older.knows = {"1h", "1d"}
    for ask in (lambda: manager.load("AAPL", timeframe, **SPAN), lambda: manager.validate("AAPL", [timeframe])):
        with pytest.raises(ProviderError, match=rf"{older.url}.*{timeframe}") as caught:
            ask()
        assert not caught.value.passes
    assert manager.symbol_cache.peek("AAPL") is None
    assert manager.load("AAPL", "1d", **SPAN)["close"].tolist() == CLOSES


@pytest.mark.parametrize("timeframe", ["3h", "1M"])
@pytest.mark.parametrize("words", ["Unsupported timeframe: {}", "Timeframe {} is not supported", "invalid timeframe"])
def test_so_is_one_at_which_it_fails_and_it_is_not_tried_again(older, manager, timeframe, words):
    bars(older, (200, {"success": False, "data": None, "error": words.format(timeframe), "rows": 0}))
    with pytest.raises(ProviderError, match=rf"{older.url}.*{timeframe}") as caught:
        manager.load("AAPL", timeframe, "2012-03-01", "2012-03-09")
    assert not caught.value.passes
    assert older.asked.count("/data/historical") == 1
