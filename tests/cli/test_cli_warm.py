"""warm fills the cache from lists, says what came of it, and can be interrupted and run again."""

from __future__ import annotations

import gc
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time

import pytest

COMMAND = (sys.executable, "-m", "symcache_core.cli")
LIST = "# mine\nAAPL\nMSFT\nbrk.b\n"


@pytest.fixture
def watchlist(folder):
    (folder / "watchlist.txt").write_text(LIST)
    return "watchlist.txt"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [(("watchlist.txt",), 3), (("@watchlist.txt",), 3), (("AAPL", "@watchlist.txt", "JEPI"), 4)],
    ids=["file", "marked file", "symbols and a file"],
)
def test_a_second_run_finds_everything_there(host, invoke, watchlist, arguments, asked):
    first, second = invoke("warm", *arguments, "--json"), invoke("warm", *arguments, "--json")
    assert first.exit_code == second.exit_code == 0
    was, now = json.loads(first.stdout), json.loads(second.stdout)
    assert (was["provider"], was["asked"], was["valid"]) == ("replay", asked, was["symbols"])
    assert (now["asked"], now["calls_saved"], now["valid"]) == (0, was["symbols"], was["symbols"])
    assert "REPLAY" in first.stderr


def test_what_was_warmed_is_a_hit_with_its_timeframes(host, invoke, watchlist):
    assert invoke("warm", watchlist, "-t", "1d").exit_code == 0
    before = host.requests()
    assert json.loads(invoke("validate", "BRK-B", "-t", "1d", "--json").stdout)["outcome"] == "hit"
    assert host.requests() == before


def test_many_symbols_go_to_the_host_in_few_requests(host, invoke, folder):
    (folder / "many.txt").write_text("".join(f"Q{number}Z\n" for number in range(300)))
    before = host.requests()
    done = invoke("warm", "many.txt", "--json")
    assert json.loads(done.stdout)["asked"] == 300
    assert host.requests() - before < 30


def test_standard_input_is_a_list(host):
    done = subprocess.run(
        [*COMMAND, "warm", "-", "--json"], check=False, capture_output=True, input="AAPL\nIBM\n", text=True, timeout=60
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["valid"] == 2


def test_people_get_a_short_summary_and_pipes_no_progress(host, run, watchlist):
    done = run("warm", watchlist)
    assert done.returncode == 0
    figures = dict(line.split("\t") for line in done.stdout.splitlines())
    assert (figures["symbols"], figures["asked"], figures["valid"], figures["invalid"]) == ("3", "3", "3", "0")
    assert {"already cached", "calls saved", "failed", "symbols a second"} <= figures.keys()
    assert "\r" not in done.stderr
    assert "%" not in done.stderr


def test_a_terminal_sees_how_far_it_is(host, watchlist):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm-256color"}
    subprocess.run(
        [*COMMAND, "warm", watchlist],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment,
        timeout=60,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "100%" in shown
    assert "3/3" in shown
    assert "asked 3" in shown


def test_an_invalid_symbol_ends_in_1_and_is_told_with_what_was_meant(host, invoke):
    done = invoke("warm", "AAPL", "MSFFT")
    assert done.exit_code == 1
    assert "MSFFT: invalid; did you mean MSFT?" in done.stderr
    assert json.loads(invoke("warm", "AAPL", "MSFFT", "--json").stdout)["invalid"] == [
        {"symbol": "MSFFT", "suggested_symbol": "MSFT"}
    ]


def test_without_a_host_it_ends_soon_in_3_and_says_why(invoke, monkeypatch, unused_url):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    done = invoke("warm", "--universe", "us", "--json")
    assert done.exit_code == 3
    assert unused_url in done.stderr
    assert json.loads(done.stdout)["symbols"] < 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to warm"),
        (("--universe", "mars"), "mars"),
        (("none.txt",), "none.txt"),
        (("AAPL", "--budget", "0"), "budget"),
    ],
    ids=["nothing", "unknown universe", "no file", "no budget"],
)
def test_what_cannot_be_meant_is_wrong_usage(invoke, arguments, message):
    done = invoke("warm", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_backend_that_keeps_nothing_is_warned_of(host, invoke):
    done = invoke("warm", "AAPL", "--backend", "memory")
    assert done.exit_code == 0
    assert "warning: the backend 'memory' keeps nothing beyond this command" in done.stderr
    assert "warning" not in invoke("warm", "AAPL").stderr


def test_ctrl_c_ends_at_once_in_130_and_says_that_it_can_go_on(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with subprocess.Popen([*COMMAND, "warm", "--universe", "us"], stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=30)
                took = time.monotonic() - began
    assert process.returncode == 130
    assert "interrupted: what is stored stays, and the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert took < 5, "generous, for a machine that is busy with other tests"


def test_garbage_is_collected_as_before_once_it_is_done(host, invoke):
    usual = gc.get_threshold()
    assert invoke("warm", "JEPI").exit_code == 0
    assert gc.get_threshold() == usual
