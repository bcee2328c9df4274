"""The commands work where standard streams are closed, as cron and daemons close them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CLOSED = ["2>&-", ">&-", "<&- >&- 2>&-"]


def run(folder, redirections, *command):
    quoted = " ".join(f"'{part}'" for part in (sys.executable, "-m", *command))
    shell = ["sh", "-c", f"{quoted} {redirections}"]
    return subprocess.run(shell, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("redirections", CLOSED)
def test_a_command_says_on_what_is_open_what_it_always_says(folder, redirections):
    ended = run(folder, redirections, "symcache_core.cli", "validate", "AAPL", "NOSUCHSYM")
    assert ended.returncode == 1
    is_open = ">&-" not in redirections.replace("2>&-", "")
    assert [line.split("\t")[1] for line in ended.stdout.splitlines()] == ["valid", "invalid"] * is_open


@pytest.mark.parametrize("redirections", CLOSED)
def test_a_host_service_says_what_is_wrong_or_nothing_but_never_fails_for_want_of_a_stream(folder, redirections):
    ended = run(folder, redirections, "symcache_host", "--bind", "192.0.2.1")
    assert ended.returncode == 2


def test_nothing_is_written_into_a_file_that_took_the_place_of_a_closed_stream(folder):
    assert run(folder, ">&- 2>&-", "symcache_core.cli", "validate", "AAPL").returncode == 0
    stored = (folder / "data" / "backend_symbol_cache.json").read_text(encoding="utf-8")
    assert "REPLAY" not in stored


@pytest.fixture(autouse=True, params=["gathered", "at once"])
def _buffering(request, monkeypatch):
    """Python gathers what it writes to a file or a pipe, and may fail only at its end, unless it is told not to."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    if request.param == "at once":
        monkeypatch.setenv("PYTHONUNBUFFERED", "1")


def piped(folder, pipeline):
    """The statuses of the parts of a pipeline, and what came out of it."""
    script = f"symcache() {{ '{sys.executable}' -m symcache_core.cli \"$@\"; }}; {pipeline}; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    *said, status = ended.stdout.splitlines()
    return int(status), said, ended.stderr


@pytest.mark.parametrize("command", ["stats", "backends", "list", "export -", "--version", "stats --json"])
def test_a_reader_that_has_had_enough_is_no_failure(folder, command):
    status, _said, errors = piped(folder, f"symcache {command} | true")
    assert status == 0
    assert "rror" not in errors


def test_what_came_before_the_reader_had_enough_still_counts(folder):
    status, said, errors = piped(folder, "symcache validate NOSUCHSYM $(seq 3000 | sed s/^/A/) | head -1")
    assert (status, len(said)) == (1, 1)
    assert "Traceback" not in errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("where", ["2>/dev/full", "2> >(true)", "2>&-"])
def test_messages_that_nobody_can_have_stop_no_command(folder, where):
    assert piped(folder, f"symcache validate AAPL {where}")[0] == 0
    status, said, _errors = piped(folder, f"symcache validate AAPL NOSUCHSYM {where}")
    assert (status, len(said)) == (1, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", ["stats", "--help", "--version"])
def test_output_that_cannot_be_written_is_an_error_in_a_line(folder, command):
    status, _said, errors = piped(folder, f"symcache {command} >/dev/full")
    assert status == 3
    assert errors.splitlines()[-1] == "error: standard output: No space left on device"
    assert "Traceback" not in errors
