"""Health tells the truth about the gateway, the way to it, and the cache in front of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_host.ib.connection import IbConnection
from symcache_host.ib.gateway import IbGateway
from symcache_host.reports import IbStatus
from symcache_host.service import HostService

SHORT = {"healthy", "service", "timestamp", "status"}
NO_IB = {
    "connected": False,
    "client_id": None,
    "since": None,
    "lost": None,
    "farms_down": {},
    "last_reset": None,
    "open_requests": None,
    "waiting": None,
    "messages_left": None,
    "historical_left": None,
    "problem": None,
    "problem_code": None,
    "advice": None,
    "problem_since": None,
    "last_attempt": None,
    "next_attempt": None,
    "taken_client_ids": [],
    "warning": None,
    "last_refusal": None,
    "quiet_until": None,
}


TOLD = ("problem", "advice", "problem_since")


@pytest.fixture
def connected(start, tws):
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    assert host.http.post("/data/validate", json={"symbol": "AAPL"}).json()["success"]
    return host


def test_replay_says_that_it_is_not_interactive_brokers(host):
    short = host.http.get("/health").json()
    assert (set(short), short["healthy"], short["status"]) == (SHORT, True, "healthy")
    assert datetime.fromisoformat(short["timestamp"]).tzinfo == UTC
    long = host.http.get("/health/").json()
    assert set(long) == SHORT | {"ib_status", "connection_info", "gateway", "as_of", "calls", "cache"}
    assert (long["gateway"], long["as_of"]) == ("replay", "2013-03-01T23:59:59.999999+00:00")
    assert long["ib_status"] == NO_IB
    info = long["connection_info"]
    assert (info["gateway"], info["connected"]) == ("replay", True)
    assert "REPLAY" in info["notice"]
    assert set(long["calls"]) == {"requests", "gateway"}


def test_after_the_start_no_history_is_asked_for_and_it_is_said_until_when(start, tws):
    host = start("--gateway", "ib", "--ib-port", str(tws.port), "--ib-quiet-start", "1h")
    assert host.http.post("/data/validate", json={"symbol": "AAPL"}).json()["is_valid"]
    health = host.http.get("/health/").json()
    until = datetime.fromisoformat(health["ib_status"]["quiet_until"])
    assert 3500 < (until - datetime.fromisoformat(health["timestamp"])).total_seconds() <= 3600
    late = host.http.post(
        "/data/validate", json={"symbol": "IBM", "timeframes": ["1d"]}, headers={"X-Symcache-Deadline": "1"}
    )
    assert late.json()["error"] == "no answer before the caller's deadline"
    assert tws.counts()["requests"] == {"details": 2}


def test_the_figures_of_the_cache_are_what_it_did(start):
    host = start()
    assert host.http.get("/health/").json()["cache"] == {"symbols": 0, "hits": 0, "misses": 0, "degraded": False}
    for symbol in ("AAPL", "aapl", "MSFT", "NOSUCH"):
        host.http.post("/data/validate", json={"symbol": symbol})
    assert host.http.get("/health/").json()["cache"] == {"symbols": 3, "hits": 1, "misses": 3, "degraded": False}


def test_the_way_to_interactive_brokers_is_shown_as_it_is(connected, tws):
    def seen():
        return connected.http.get("/health/").json()

    first = seen()
    status = first["ib_status"]
    assert (first["healthy"], first["status"], first["gateway"]) == (True, "healthy", "ib")
    assert (status["connected"], status["client_id"], status["lost"], status["farms_down"]) == (True, 1, None, {})
    assert (status["open_requests"], status["waiting"]) == (0, 0)
    assert 10 < status["messages_left"] <= 48
    assert status["historical_left"] == 50
    assert datetime.fromisoformat(status["since"]) <= datetime.fromisoformat(first["timestamp"])

    tws.do("notice", code=2105, text="HMDS data farm connection is broken:ushmds")
    wait_for(lambda: seen()["ib_status"]["farms_down"] == {"ushmds": 2105})
    assert seen()["healthy"], "requests still reach it"

    tws.do("notice", code=1100, text="Connectivity between IB and TWS has been lost.")
    wait_for(lambda: not seen()["healthy"])
    lost = seen()
    assert (lost["status"], lost["ib_status"]["connected"]) == ("disconnected", False)
    assert "lost" in lost["ib_status"]["lost"]
    assert lost["ib_status"]["problem"].endswith("has been lost. (code 1100)")
    assert lost["ib_status"]["problem_code"] == 1100
    assert "wait" in lost["ib_status"]["advice"]
    assert datetime.fromisoformat(lost["ib_status"]["problem_since"]) <= datetime.fromisoformat(lost["timestamp"])
    assert {name: lost["ib_status"][name] for name in TOLD} == {name: lost["connection_info"][name] for name in TOLD}
    assert connected.http.get("/health").json()["healthy"] is False
    failed = connected.http.post("/data/validate", json={"symbol": "MSFT"}).json()
    assert (failed["success"], failed["error_kind"], failed["error_code"]) == (False, "transient", "1100")

    tws.do("notice", code=1102, text="Connectivity restored - data maintained. All data farms are connected.")
    wait_for(lambda: seen()["healthy"])
    back = seen()["ib_status"]
    assert (back["farms_down"], back["lost"]) == ({}, None)
    assert back["last_reset"] == back["since"]
    assert [back[name] for name in (*TOLD, "problem_code")] == [None] * 4


def test_without_tws_it_is_up_and_says_that_it_is_not_healthy(start, tws):
    tws.do("stop")
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    assert (host.http.get("/health").status_code, host.http.get("/health").json()["healthy"]) == (200, False)
    answer = host.http.post("/data/validate", json={"symbol": "AAPL"}).json()
    assert (answer["success"], answer["is_valid"], answer["error_kind"]) == (False, False, "transient")


def test_why_there_is_no_tws_is_told_until_there_is_one(start, tws, tmp_path):
    tws.do("stop")
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    wait_for(lambda: "refused" in host.http.get("/health/").json()["ib_status"]["problem"])
    told = host.http.get("/health/detailed").json()
    assert "ib_port" in told["ib_status"]["advice"]
    assert told["ib_status"]["last_attempt"] <= told["ib_status"]["next_attempt"]
    assert {name: told["ib_status"][name] for name in TOLD} == {name: told["connection_info"][name] for name in TOLD}
    answer = host.http.post("/data/validate", json={"symbol": "AAPL"}).json()
    assert told["ib_status"]["problem"] in answer["error"]
    tws.do("start")
    assert host.http.post("/health/look").json()["healthy"]
    assert host.http.get("/health/").json()["connection_info"]["problem"] is None
    first, *_rest = [line for line in (tmp_path / "host.log").read_text().splitlines() if "WARNING" in line]
    assert f"no connection to 127.0.0.1:{tws.port}: the connection is refused: start TWS or IB Gateway" in first


@pytest.mark.parametrize("path", ["/health/detailed", "/health/detailed/"])
def test_an_older_monitor_finds_the_detailed_health_under_its_name(host, path):
    by_name, long = (host.http.get(each).json() for each in (path, "/health/"))
    assert by_name | {"timestamp": None} == long | {"timestamp": None}


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/detailed", "/health/detailed/"])
def test_a_monitor_may_ask_for_no_more_than_the_status(host, path):
    answered = host.http.head(path)
    assert (answered.status_code, answered.content) == (200, b"")
    assert answered.headers["content-type"] == "application/json"


def test_a_host_without_a_broker_can_be_told_to_look_too(host):
    look = host.http.post("/health/look").json()
    assert set(look) == SHORT | {"gateway", "findings"}
    (found,) = look["findings"]
    assert (look["gateway"], found["what"], found["state"]) == ("replay", "gateway", "ok")


def test_nothing_that_the_ib_gateway_says_is_left_out():
    gateway = IbGateway(IbConnection("127.0.0.1", 1))
    assert set(gateway.status()) | {"connected"} == set(IbStatus.model_fields)

    async def report():
        cache = open_symbol_cache(SymcacheSettings(backend="memory", provider="ib"))
        service = HostService(gateway, cache)
        try:
            return await service.detailed_health()
        finally:
            await service.aclose()

    assert asyncio.run(report()).ib_status.messages_left == gateway.status()["messages_left"]


def wait_for(happened):
    """Look until it has: what is said to the host's other side arrives when it arrives."""
    for _ in range(1000):
        if happened():
            return
    pytest.fail("it did not happen")
