"""On a terminal, what a load prints stands whole below its progress bars."""

from __future__ import annotations

import json
import sys

import pytest
from terminal import run_on_terminal, screen

LOAD = (sys.executable, "-m", "symcache_core.cli", "load", "--start", "2012-06-01")
# Four of them have bars, the others are known and have none, and one is no symbol at all.
MANY = ("AAPL", "MSFT", "IBM", "GOOG", "KO", "SPY", "CSCO", "INTC", "AMZN", "ORCL", "GE", "NOSUCHSYM")
SLOW = {"SYMCACHE_HOST_LATENCY": "0.1"}


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("symbols", [("AAPL",), MANY], ids=["one", "twelve"])
def test_every_row_of_a_load_stands_whole_below_its_progress_bars(columns, symbols):
    status, written = run_on_terminal([*LOAD, *symbols], columns, SLOW)
    assert status == (1 if "NOSUCHSYM" in symbols else 0)
    assert "━━" in written, "no progress was shown"
    shown = screen(written, columns)
    rows = [line.strip(" │").replace("│", " ").split() for line in shown]
    for symbol in symbols:
        of_symbol = [row for row in rows if row[:2] == [symbol, "1d"]]
        if symbol == "NOSUCHSYM":
            assert f"error: {symbol}" in "\n".join(shown)
        elif symbol in MANY[:4]:
            assert [row[2:6] for row in of_symbol] == [["187", "2012-06-01", "2013-03-01", "replay"]]
        else:
            assert [row[2:4] for row in of_symbol] == [["0", "replay"]]
    assert any(line.strip(" ┃").startswith("symbol ") for line in shown), "the table begins in another line"
    assert not any("symbols " in line and "━" in line for line in shown), "a progress bar was left behind"
    assert max(map(len, shown)) <= columns


def test_rows_go_to_a_file_though_progress_is_shown_on_the_terminal(folder):
    with (folder / "rows").open("wb") as rows:
        status, written = run_on_terminal([*LOAD, *MANY[:4]], 80, SLOW, stdout=rows.fileno())
    assert status == 0
    assert "━━" in written, "no progress was shown"
    assert sorted(line.split("\t")[0] for line in (folder / "rows").read_text().splitlines()) == sorted(MANY[:4])
    assert "REPLAY" in written
    assert "2013-03-01\treplay" not in written


def test_json_lines_on_a_terminal_are_torn_by_no_progress_bar():
    status, written = run_on_terminal([*LOAD, *MANY[:4], "--json"], 200, SLOW)
    assert status == 0
    found = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert {bars["symbol"] for bars in found} == set(MANY[:4])
    assert "\x1b[2K" not in written


def test_a_warning_stands_whole_though_progress_is_shown(folder):
    first, _ = run_on_terminal([*LOAD, "AAPL"], 200, {})
    (path,) = folder.glob("data/bars/replay/**/2010s.parquet")
    path.write_bytes(b"not parquet at all")
    status, written = run_on_terminal([*LOAD, "AAPL", "MSFT"], 200, SLOW)
    assert (first, status) == (0, 0)
    shown = "".join(screen(written, 200)).replace(" ", "")
    assert f"livewarning:barfile{path}" in shown, "it begins in a progress bar's line"
    assert "itissetasideas2010s.parquet.corruptanditsbarsarefetchedagain" in shown


@pytest.mark.parametrize("columns", [80, pytest.param(200, marks=pytest.mark.soak)])
def test_every_promise_of_a_check_is_a_line_that_stands_whole(columns):
    command = (sys.executable, "-m", "symcache_core.cli", "backends", "--check", "memory", "--scale", "0.01")
    status, written = run_on_terminal(command, columns, {})
    assert status == 0
    assert "━" in written, "no progress was shown"
    shown = "\n".join(line.rstrip() for line in screen(written, columns))
    assert "ok      an unknown key has no entry\nok      " in shown
    assert "memory: " in shown
    assert "━" not in shown, "a progress bar was left behind"
