"""load brings bars from disk, fetches only what is missing, and says what it did."""

from __future__ import annotations

import json
from dataclasses import asdict

import pandas as pd
import pytest

from symcache_core.cli.load_notes import happened, notes_on
from symcache_core.loading import LoadReport

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


def test_a_series_is_read_by_its_id_asking_nobody(host, invoke, folder, monkeypatch, unused_url):
    loaded = json.loads(invoke("load", "AAPL", "--start", "2013-02-01", "--json").stdout)
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    done = invoke("load", "--series", loaded["series"], "--end", "2013-02-05", "--out", "bars.csv", "--json")
    assert done.exit_code == 0
    bars = json.loads(done.stdout)
    assert (bars["symbol"], bars["rows"], bars["last"], bars["requests"]) == ("AAPL", 3, "2013-02-05", 0)
    assert (bars["series"], bars["since"]) == (loaded["series"], loaded["since"])
    assert len(pd.read_csv(folder / "bars.csv")) == 3


@pytest.mark.parametrize(
    "arguments",
    [(), ("AAPL", "--series", "replay:AAPL@:USD"), ("--series", "replay:AAPL@:USD", "--refresh")],
    ids=["neither", "both", "refresh"],
)
def test_a_load_is_of_symbols_or_of_a_series(host, invoke, arguments):
    before = host.requests()
    done = invoke("load", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--series" in done.stderr
    assert host.requests() == before


def test_a_series_of_which_nothing_is_kept_is_wrong_usage(host, invoke):
    done = invoke("load", "--series", "replay:NOSUCHSYM@:USD")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing is kept of it" in done.stderr


def test_zero_rows_have_a_reason_and_are_no_failure(host, invoke):
    done = invoke("load", "AAPL", "--start", "2013-02-02", "--end", "2013-02-03")
    assert done.exit_code == 0
    assert done.stdout.split("\t")[:3] == ["AAPL", "1d", "0"]
    assert "AAPL 1d: no bars: no 1d bars of AAPL are expected in these dates" in done.stderr


def test_refresh_asks_for_what_is_at_hand_too(host, invoke):
    arguments = ("load", "AAPL", "--start", "2013-02-01", "--end", "2013-02-05", "--json")
    invoke(*arguments)
    assert json.loads(invoke(*arguments).stdout)["requests"] == 0
    assert json.loads(invoke(*arguments, "--refresh").stdout)["requests"] > 0


def test_what_has_happened_to_a_series_is_said_in_sentences():
    report = {
        **asdict(LoadReport(symbol="META", timeframe="1d", provider="ib", replay=False, mode="tail")),
        "series": "ib:107113386",
        "since": "2022-06-09T00:00:00+00:00",
        "happened": ["renamed", "reused", "renewed", "unstable", "uncompared", "bound"],
        "others": ["ib:490489223"],
        "renewing": True,
        "bad": 7,
        "bad_rows": [f"2022-06-{day:02}T00:00:00+00:00" for day in range(1, 8)],
        "rows": 5,
    }
    said = list(notes_on(report))
    assert all(line.startswith("META 1d: ") for line in said)
    text = "\n".join(said)
    assert "it has been seen under this one since 2022-06-09" in text
    assert "symcache load --series ib:490489223 -t 1d reads it" in text
    assert "symcache series META lists the old one" in text
    for word in ("being asked for anew", "nothing was added", "no longer has", "turned out to be"):
        assert word in text
    assert "2022-06-05" in text
    assert "2022-06-06" not in text
    assert "and 2 more" in text
    assert happened(report).startswith("renamed, reused, ")
    assert happened(report).endswith("renewing, others: ib:490489223")
    assert list(notes_on({**report, "happened": [], "others": [], "renewing": False, "bad": 0})) == []


def test_when_the_provider_fails_the_error_says_how_many_bars_are_at_hand(host, invoke, monkeypatch, unused_url):
    invoke("load", "AAPL", "--start", "2013-02-01", "--end", "2013-02-05")
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    done = invoke("load", "AAPL", "--start", "2013-02-01", "--end", "2013-02-15")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "3 bars are at hand: load them with mode 'local'" in done.stderr
