"""Health tells the truth about the gateway, the way to it, and the cache in front of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from tws.process import TwsProcess

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
}


@pytest.fixture
def tws():
    with TwsProcess() as running:
        yield running


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
    assert connected.http.get("/health").json()["healthy"] is False
    failed = connected.http.post("/data/validate", json={"symbol": "MSFT"}).json()
    assert (failed["success"], failed["error_kind"], failed["error_code"]) == (False, "transient", "1100")

    tws.do("notice", code=1102, text="Connectivity restored - data maintained. All data farms are connected.")
    wait_for(lambda: seen()["healthy"])
    back = seen()["ib_status"]
    assert (back["farms_down"], back["lost"]) == ({}, None)
    assert back["last_reset"] == back["since"]


def test_without_tws_it_is_up_and_says_that_it_is_not_healthy(start, tws):
    tws.do("stop")
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    assert (host.http.get("/health").status_code, host.http.get("/health").json()["healthy"]) == (200, False)
    answer = host.http.post("/data/validate", json={"symbol": "AAPL"}).json()
    assert (answer["success"], answer["is_valid"], answer["error_kind"]) == (False, False, "transient")


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
