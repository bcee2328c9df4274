"""series lists what is kept of bars and drops one, and bars export writes one to a file, asking nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from symcache_core.loading.bars.answer import Answer
from symcache_core.loading.bars.frames import COLUMNS
from symcache_core.loading.bars.rows import Rows
from symcache_core.loading.bars.store import BarStore

NOW = datetime(2026, 3, 2, tzinfo=UTC)
META, FUND = "107113386", "490489223"


def answer(days, close=100.0):
    stamps = pd.date_range("2026-01-05", periods=days, freq="D").to_numpy().astype("datetime64[ns]")
    return Answer(
        rows=Rows.of_bars(stamps, [np.full(days, close) for _ in COLUMNS]),
        absent=np.empty(0, "datetime64[ns]"),
        proven=np.empty(0, bool),
        asked=NOW,
        first=datetime(2026, 1, 1, tzinfo=UTC),
        last=datetime(2026, 2, 1, tzinfo=UTC),
        final_until=np.datetime64("2026-02-01", "ns"),
        basis={"show": "TRADES", "adjustment": "split", "session": "regular"},
    )


@pytest.fixture
def store(folder, monkeypatch):
    """Bars of a fund that was META until the company took the symbol, whose history was renewed once."""
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    store = BarStore(folder / "data" / "bars", "ib")
    store.names.saw(FUND, "META", datetime(2021, 6, 30, tzinfo=UTC), FUND)
    store.names.saw(META, "FB", datetime(2012, 5, 18, tzinfo=UTC), META)
    store.names.saw(META, "META", datetime(2022, 6, 9, tzinfo=UTC), META)
    store.series(FUND, "1d").save(answer(3))
    company = store.series(META, "1d")
    company.save(answer(5))
    assert company.begin_renewal("an adjustment", NOW)
    company.save(answer(5, close=50.0))
    company.end_renewal(NOW)
    store.series(META, "1h").save(answer(2))
    return store


def listed(invoke, *arguments):
    done = invoke("series", *arguments, "--json")
    return {(kept["series"], kept["timeframe"]): kept for kept in map(json.loads, done.stdout.splitlines())}


def test_series_lists_what_is_kept_with_its_names_and_what_was_replaced(store, invoke):
    kept = listed(invoke)
    assert set(kept) == {(f"ib:{META}", "1d"), (f"ib:{META}", "1h"), (f"ib:{META}#1", "1d"), (f"ib:{FUND}", "1d")}
    company = kept[f"ib:{META}", "1d"]
    assert [(name["name"], name["since"][:10]) for name in company["names"]] == [
        ("FB", "2012-05-18"),
        ("META", "2022-06-09"),
    ]
    assert (company["bars"], company["first"][:10], company["last"][:10]) == (5, "2026-01-05", "2026-01-09")
    assert company["told"] == {"show": "TRADES", "adjustment": "split", "session": "regular"}
    assert company["size"] > 0
    assert (kept[f"ib:{META}#1", "1d"]["state"], kept[f"ib:{META}#1", "1d"]["bars"]) == ("replaced", 5)


def test_series_of_a_symbol_are_all_that_have_borne_it(store, invoke):
    assert {series for series, _ in listed(invoke, "fb")} == {f"ib:{META}", f"ib:{META}#1"}
    assert {series for series, _ in listed(invoke, "META")} == {f"ib:{META}", f"ib:{META}#1", f"ib:{FUND}"}
    unknown = invoke("series", "KO")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "KO: no bars are kept" in unknown.stderr


def test_series_in_rows_names_the_symbols_and_since_when(store, invoke):
    rows = [line.split("\t") for line in invoke("series", "FB").stdout.splitlines()]
    assert rows[0][:6] == [f"ib:{META}", "1d", "usual TRADES split regular", rows[0][3], "5", "2026-01-05"]
    assert rows[0][3] == "FB since 2012-05-18, META since 2022-06-09"


def test_a_drop_is_a_dry_run_unless_told(store, invoke):
    done = invoke("series", "drop", f"ib:{META}")
    assert done.exit_code == 0
    assert "nothing is dropped; with --yes this goes: 12 bars, " in done.stderr
    assert len(listed(invoke)) == 4
    done = invoke("series", "drop", f"ib:{META}", "--yes")
    assert done.exit_code == 0
    assert "dropped: 12 bars, " in done.stderr
    assert set(listed(invoke)) == {(f"ib:{FUND}", "1d")}
    assert store.names.borne_by(META) == []
    assert store.names.borne_by(FUND) != []


def test_a_generation_is_dropped_alone(store, invoke):
    invoke("series", "drop", f"ib:{META}#1", "--yes")
    assert set(listed(invoke)) == {(f"ib:{META}", "1d"), (f"ib:{META}", "1h"), (f"ib:{FUND}", "1d")}
    assert len(store.names.borne_by(META)) == 2


def test_a_series_is_not_dropped_while_it_is_loaded(store, invoke):
    claim = store.series(META, "1h").claim()
    done = invoke("series", "drop", f"ib:{META}", "--yes")
    assert done.exit_code == 3
    assert "1h bars are being loaded" in done.stderr
    claim.release()
    assert len(listed(invoke)) == 4
    assert invoke("series", "drop", f"ib:{META}", "--yes").exit_code == 0


@pytest.mark.parametrize("series", ["ib:1", f"ib:{FUND}#1", f"ib:{META}#0"])
def test_to_drop_what_is_not_kept_is_answered_with_no(store, invoke, series):
    done = invoke("series", "drop", series, "--yes")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{series}: no bars are kept" in done.stderr
    assert len(listed(invoke)) == 4


@pytest.mark.parametrize("arguments", [("drop",), ("drop", "ib:1", "ib:2"), ("META", "--yes"), ("META", "FB")])
def test_what_cannot_be_meant_is_wrong_usage_and_drops_nothing(store, invoke, arguments):
    assert invoke("series", *arguments).exit_code == 2
    assert len(listed(invoke)) == 4


def test_a_series_of_another_provider_is_wrong_usage(store, invoke):
    done = invoke("series", "drop", f"replay:{META}")
    assert done.exit_code == 2
    assert "the setting 'provider'" in done.stderr


@pytest.mark.parametrize(
    ("what", "close"),
    [(f"ib:{META}", 50.0), (f"ib:{META}#1", 100.0), ("META", 50.0), ("fb", 50.0)],
    ids=["series", "generation", "symbol", "former symbol"],
)
@pytest.mark.parametrize(("name", "read"), [("bars.csv", pd.read_csv), ("bars.parquet", pd.read_parquet)])
def test_export_writes_what_is_kept_asking_nobody(
    store, invoke, folder, monkeypatch, unused_url, what, close, name, read
):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    done = invoke("bars", "export", what, name, "--start", "2026-01-06", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert (told["bars"], told["first"], told["file"]) == (4, "2026-01-06", name)
    bars = read(folder / name)
    assert list(bars["close"]) == [close] * 4
    assert set(bars["provider"]) == {"ib"}


def test_export_of_another_timeframe(store, invoke, folder):
    assert invoke("bars", "export", f"ib:{META}", "bars.csv", "-t", "1h").exit_code == 0
    assert len(pd.read_csv(folder / "bars.csv")) == 2


def test_export_writes_no_empty_file(store, invoke, folder):
    for what in ("KO", f"ib:{FUND}"):
        done = invoke("bars", "export", what, "bars.csv", "--start", "2026-02-01")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "no file is written" in done.stderr
    assert not (folder / "bars.csv").exists()


def test_export_to_what_cannot_be_written_is_wrong_usage(store, invoke):
    done = invoke("bars", "export", "META", "bars.xlsx")
    assert done.exit_code == 2
    assert "argument 'FILE': 'bars.xlsx' ends in neither" in done.stderr
