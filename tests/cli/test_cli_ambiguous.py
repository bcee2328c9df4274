"""A symbol that fits several instruments is shown with what to ask for instead, to people and to programs."""

from __future__ import annotations

import json

import pytest
from failing_host import FailingHost

SYMBOL = "FUT:DAX 201303@EUREX"
ALTERNATIVES = [f"{SYMBOL}:EUR,class=FDAX", f"{SYMBOL}:EUR,class=FDXM"]
MESSAGE = f"{SYMBOL} is ambiguous: ask for {' or '.join(ALTERNATIVES)}"


@pytest.fixture(autouse=True)
def _host(monkeypatch):
    with FailingHost(SYMBOL, error=MESSAGE, error_code="ambiguous", alternatives=ALTERNATIVES) as host:
        monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", host.url)
        monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
        yield


@pytest.mark.parametrize("command", ["validate", "load"])
def test_people_read_the_alternatives_in_the_message(invoke, command):
    done = invoke(command, SYMBOL)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [f"error: {SYMBOL}: {MESSAGE}"]


@pytest.mark.parametrize("command", ["validate", "load"])
def test_programs_read_them_as_a_list(invoke, command):
    done = invoke(command, SYMBOL, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {
        "symbol": SYMBOL,
        "error": MESSAGE,
        "error_code": "ambiguous",
        "alternatives": ALTERNATIVES,
    }


def test_warming_says_so_in_its_summary(invoke):
    done = invoke("warm", SYMBOL, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["failed"] == [
        {"symbol": SYMBOL, "error": MESSAGE, "error_code": "ambiguous", "alternatives": ALTERNATIVES}
    ]
    assert MESSAGE in invoke("warm", SYMBOL).stderr


def test_nothing_of_it_is_stored(invoke):
    invoke("validate", SYMBOL)
    done = invoke("why", SYMBOL, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["state"] is None
