"""A symbol that the provider cannot be asked about is wrong usage, with what to ask for instead."""

from __future__ import annotations

import json

import pytest
from failing_host import FailingHost

SYMBOL = "OPT:AAPL"
MESSAGE = f"{SYMBOL}: options are not kept: ask for what they are on, such as AAPL"


@pytest.fixture(autouse=True)
def _host(monkeypatch):
    with FailingHost(SYMBOL, error=MESSAGE, error_code="invalid_symbol") as host:
        monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", host.url)
        monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
        yield


@pytest.mark.parametrize("command", ["validate", "load", "warm"])
def test_the_exit_status_is_that_of_wrong_usage(invoke, command):
    done = invoke(command, SYMBOL)
    assert done.exit_code == 2
    assert MESSAGE in done.stderr


def test_warming_lists_it_with_its_code(invoke):
    failed = json.loads(invoke("warm", SYMBOL, "--json").stdout)["failed"]
    assert failed == [{"symbol": SYMBOL, "error": MESSAGE, "error_code": "invalid_symbol"}]
