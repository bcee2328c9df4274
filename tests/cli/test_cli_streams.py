"""The commands work where standard streams are closed, as cron and daemons close them."""

from __future__ import annotations

import subprocess
import sys

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
