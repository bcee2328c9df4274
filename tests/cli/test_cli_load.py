"""load brings bars from disk, fetches only what is missing, and says what it did."""

from __future__ import annotations

import json

import pandas as pd
import pytest

# exchange_calendars still reads Series.values as pandas 3.0 gave them.
pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


def test_a_second_load_makes_no_host_call(host, invoke, run):
    arguments = ("load", "AAPL", "--mode", "full", "--json")
    first = invoke(*arguments)
    asked = host.requests()
    second = run(*arguments)
    assert host.requests() == asked
    assert first.exit_code == second.returncode == 0
    was, now = json.loads(first.stdout), json.loads(second.stdout)
    assert (was["rows"], was["first"], was["last"]) == (3270, "2000-03-01", "2013-03-01")
    assert (now["rows"], now["first"], now["last"]) == (3270, "2000-03-01", "2013-03-01")
    assert (was["outcome"], now["outcome"]) == ("miss", "hit")
    assert now["provider"] == "replay"
    assert now["replay"] is True
    assert "REPLAY" in first.stderr
    assert "REPLAY" in second.stderr


def test_dates_on_the_command_line_bound_the_bars(host, invoke):
    done = invoke("load", "MSFT", "--start", "2013-02-01", "--end", "2013-02-05", "--json")
    assert done.exit_code == 0
    bars = json.loads(done.stdout)
    assert (bars["rows"], bars["first"], bars["last"]) == (3, "2013-02-01", "2013-02-05")


@pytest.mark.parametrize(("name", "read"), [("bars.csv", pd.read_csv), ("bars.parquet", pd.read_parquet)])
def test_out_writes_the_bars_of_every_symbol_and_whose_they_are(host, invoke, folder, name, read):
    done = invoke("load", "AAPL", "MSFT", "--start", "2013-02-01", "--end", "2013-02-05", "--out", name)
    assert done.exit_code == 0
    bars = read(folder / name)
    assert list(bars.columns) == ["symbol", "provider", "timestamp", "open", "high", "low", "close", "volume"]
    assert list(bars["symbol"]) == ["AAPL"] * 3 + ["MSFT"] * 3
    assert set(bars["provider"]) == {"replay"}
    assert [entry.name for entry in folder.iterdir() if "part" in entry.name] == []


def test_a_file_that_cannot_be_written_is_wrong_usage_and_costs_no_host_call(host, invoke):
    before = host.requests()
    done = invoke("load", "AAPL", "--out", "bars.xlsx")
    assert done.exit_code == 2
    assert "--out" in done.stderr
    assert ".parquet" in done.stderr
    assert host.requests() == before


def test_what_could_be_loaded_is_written_though_another_symbol_failed(host, invoke, folder):
    done = invoke("load", "NOSUCHSYM", "AAPL", "--start", "2013-02-01", "--out", "bars.csv")
    assert done.exit_code == 1
    assert "error: NOSUCHSYM" in done.stderr
    assert set(pd.read_csv(folder / "bars.csv")["symbol"]) == {"AAPL"}


@pytest.mark.parametrize(
    "arguments", [("--start", "someday"), ("--start", "2013-02-05", "--end", "2013-02-01"), ("--mode", "sideways")]
)
def test_what_cannot_be_meant_is_wrong_usage(host, invoke, arguments):
    assert invoke("load", "AAPL", *arguments).exit_code == 2


def test_without_a_host_and_with_nothing_cached_the_error_names_the_url_and_the_setting(
    invoke, monkeypatch, unused_url
):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    done = invoke("load", "AAPL")
    assert (done.exit_code, done.stdout) == (3, "")
    assert unused_url in done.stderr
    assert "host_service_url" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_host_what_is_at_hand_still_loads(host, invoke, monkeypatch, unused_url):
    invoke("load", "AAPL", "--start", "2013-02-01")
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    done = invoke("load", "AAPL", "--start", "2013-02-01", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["last"] == "2013-03-01"
