"""The command as a whole: its exit statuses, its streams, what it runs, and what it shows."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from importlib.metadata import version

from symcache_core import Outcome
from symcache_core.cli.demo_environment import Answer

COMMAND = (sys.executable, "-m", "symcache_core.cli")


def test_version_is_the_installed_one(run):
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"symcache {version('symcache')}\n")


def test_an_unknown_command_or_option_is_wrong_usage(invoke):
    assert invoke("frobnicate").exit_code == 2
    assert invoke("stats", "--frobnicate").exit_code == 2
    assert invoke("validate").exit_code == 2


def test_help_tells_the_exit_statuses(invoke):
    done = invoke("--help")
    assert done.exit_code == 0
    assert "130" in done.stdout
    assert "interrupted" in done.stdout


def test_without_the_cli_extra_one_line_says_what_to_install():
    program = "import sys; sys.modules['typer'] = None; from symcache_core.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the symcache command needs typer: pip install 'symcache[cli]'\n"


def test_ctrl_c_ends_in_130_without_a_traceback(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with subprocess.Popen([*COMMAND, "validate", "AAPL"], stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_reader_that_has_seen_enough_causes_no_noise(invoke, host):
    invoke("validate", "AAPL", "MSFT", "IBM")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, "list"], check=False, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_terminal_gets_a_table_and_a_pipe_gets_rows(host, invoke, run):
    invoke("validate", "AAPL")
    assert run("list").stdout.startswith("AAPL\tvalid\t")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm-256color"}
    subprocess.run(
        [*COMMAND, "list"], check=False, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, timeout=60
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "symbol" in shown
    assert "AAPL" in shown
    assert "─" in shown
    assert "\t" not in shown


def test_json_is_the_same_on_a_terminal(host, invoke):
    invoke("validate", "AAPL")
    ours, theirs = pty.openpty()
    subprocess.run(
        [*COMMAND, "get", "AAPL", "--json"], check=False, stdout=theirs, stderr=subprocess.DEVNULL, timeout=60
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert json.loads(shown)["symbol"] == "AAPL"


def test_verbose_logs_each_lookup_to_stderr(host, invoke):
    quiet, loud = invoke("validate", "AAPL"), invoke("-v", "validate", "AAPL")
    assert "symbol cache" not in quiet.stderr
    assert "symbol cache hit AAPL" in loud.stderr
    assert loud.stdout.count("\n") == 1


def test_a_traceback_is_shown_only_when_asked_for(invoke):
    assert "Traceback" not in invoke("stats", "--backend", "jsn").stderr
    assert "Traceback" in invoke("-v", "stats", "--backend", "jsn", "-v").stderr


def test_host_runs_the_host_service_with_the_options_it_is_given(folder):
    command = [*COMMAND, "host", "--port", "0", "--until-stdin-closes"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        ready = json.loads(process.stdout.readline())
        process.communicate(timeout=30)
    assert ready["gateway"] == "replay"
    assert process.returncode == 0


def test_the_demo_refuses_a_configuration_that_it_would_not_use(invoke):
    done = invoke("demo", "--backend", "memory")
    assert done.exit_code == 2
    assert "leave out --backend" in done.stderr


def test_the_demo_fails_when_something_is_not_as_expected(invoke, monkeypatch):
    def wrong(environment):
        yield environment.measure("JEPI", lambda: Answer(Outcome.HIT, "made up"), Outcome.MISS, range(1, 2))

    monkeypatch.setattr("symcache_core.cli.demo._steps", wrong)
    done = invoke("demo", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["as_expected"] is False
    assert "error: not as expected: JEPI" in done.stderr


def test_the_demo_keeps_every_promise_and_touches_nothing(run, folder, monkeypatch):
    monkeypatch.setenv("SYMCACHE_BACKEND", "memory")
    monkeypatch.setenv("SYMCACHE_TTL", "1s")
    done = run("demo", "--json")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(step["as_expected"] for step in steps)
    assert {step["provider"] for step in steps} == {"replay"}
    assert "REPLAY" in done.stderr
    assert [entry.name for entry in folder.iterdir()] == ["symcache.toml"]
