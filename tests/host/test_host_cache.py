"""The host service asks its gateway once, across requests, waiting clients and its own restart."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from patience import PATIENCE

REQUEST = {"symbol": "AAPL", "timeframes": ["1d"]}


def test_a_second_ask_costs_no_gateway_call_and_looking_costs_nothing(start):
    host = start()
    assert host.calls == {"requests": 0, "gateway": 0}
    first = host.http.post("/data/validate", json=REQUEST).json()
    assert host.calls == {"requests": 1, "gateway": 1}
    assert host.http.post("/data/validate", json=REQUEST | {"symbol": " aapl"}).json() == first
    host.http.get("/data/head-timestamp", params={"symbol": "AAPL", "timeframe": "1d"})
    assert host.calls == host.calls == {"requests": 3, "gateway": 1}


@contextmanager
def costing(host, **calls):
    """Check what the block costs a host that others have used before."""
    before = host.calls
    yield
    assert {name: count - before[name] for name, count in host.calls.items()} == calls


def test_only_what_is_missing_is_asked_of_the_gateway(host):
    with costing(host, requests=4, gateway=2):
        for _ in range(2):
            host.http.post("/data/validate", json={"symbol": "NVDA", "timeframes": ["1d"]})
            host.http.get("/data/symbol-info/NVDA")


def test_a_negative_is_remembered_too(host):
    with costing(host, requests=3, gateway=1):
        answers = [host.http.get("/data/symbol-info/NOSUCH").json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]


def test_bars_are_always_fetched(host):
    body = {"symbol": "IBM", "timeframe": "1d", "start": "2012-01-01", "end": "2012-02-01"}
    with costing(host, requests=2, gateway=2):
        for _ in range(2):
            assert host.http.post("/data/historical", json=body).json()["rows"] == 21


def test_many_clients_at_once_cost_one_gateway_call(start):
    host = start(SYMCACHE_HOST_LATENCY="300ms")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: host.http.post("/data/validate", json=REQUEST).json(), range(20)))
    assert all(answer["is_valid"] for answer in answers)
    assert host.calls == {"requests": 20, "gateway": 1}


def test_neither_a_restart_nor_kill_9_forgets_anything_and_only_the_owner_can_read_it(start, tmp_path):
    first = start()
    before = first.http.post("/data/validate", json=REQUEST).json()
    first.stop()
    file = tmp_path / "data" / "host_symbol_cache.json"
    assert json.loads(file.read_text())
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir() if path.is_file()} == {0o600}
    second = start()
    assert second.http.post("/data/validate", json=REQUEST).json() == before
    assert second.calls == {"requests": 1, "gateway": 0}
    second.http.get("/data/symbol-info/IBM")
    second.process.kill()
    second.process.wait(PATIENCE)
    third = start()
    third.http.get("/data/symbol-info/IBM")
    assert third.calls == {"requests": 1, "gateway": 0}
