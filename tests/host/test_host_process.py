"""The host service starts with one line, fails with one line, and ends when it is told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from datetime import date

import pytest
from patience import PATIENCE

from symcache_core.errors import ConfigurationError
from symcache_host.command import main, read_settings
from symcache_host.server import listen, url_of


def test_one_line_of_json_says_where_it_is(host):
    assert host.ready == {"url": f"http://127.0.0.1:{host.http.base_url.port}", "gateway": "replay"}
    assert host.http.base_url.port not in (0, 5001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order_and_its_log_says_replay(start, number, tmp_path):
    host = start()
    host.http.get("/")
    host.process.send_signal(number)
    assert host.process.wait(PATIENCE) == 0
    assert host.process.stdout.read() == "", "the ready line was the only one"
    assert "REPLAY" in (tmp_path / "host.log").read_text()


def test_it_ends_when_standard_input_closes_if_told_so(start):
    host = start("--until-stdin-closes")
    host.process.stdin.close()
    assert host.process.wait(PATIENCE) == 0


def test_else_it_lives_on(host):
    host.process.stdin.close()
    assert host.http.get("/health").json()["healthy"]
    assert host.process.poll() is None


def test_a_flag_wins_over_the_environment_and_the_environment_over_a_default(monkeypatch):
    monkeypatch.setenv("SYMCACHE_HOST_AS_OF", "2010-01-01")
    monkeypatch.setenv("SYMCACHE_HOST_LATENCY", "90ms")
    settings = read_settings(["--as-of", "2005-01-31"])
    assert (settings.as_of, settings.latency, settings.gateway) == (date(2005, 1, 31), 0.09, "replay")


def test_settings_of_the_core_in_the_environment_are_none_of_its_own(monkeypatch):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", "embedded")
    monkeypatch.setenv("SYMCACHE_BACKEND", "memory")
    assert read_settings([]).bind == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--gateway", "nonesuch"], "gateway"),
        (["--port", "70000"], "port"),
        (["--latency", "soon"], "no duration"),
        (["--bind", "0.0.0.0"], "token"),
        (["--bind", "::"], "token"),
        (["--bind", ""], "bind"),
        (["--as-of", "never"], "as_of"),
        (["--colour", "red"], "arguments: --colour;"),
        (["red"], "dashes"),
        (["--until-stdin-closes=red"], "--until-stdin-closes"),
        (["--port"], "--port"),
    ],
)
def test_a_wrong_option_is_one_clear_line_and_status_2(capsys, arguments, named):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert named in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tokn", "s3cret"],
        ["--tokn=s3cret"],
        ["--bind", "127.0.0.1", "s3cret"],
        ["-ts3cret"],
        ["--until-stdin-closes=s3cret"],
        ["--until-stdin-closes=s3cret's"],
        ["--token", "s3cret", "--port"],
    ],
    ids=" ".join,
)
def test_a_mistyped_option_does_not_show_what_may_be_the_token(capsys, arguments):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "s3cret" not in err


def test_a_port_that_is_taken_is_one_clear_line_and_status_2(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err == f"symcache_host: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_cache_file_that_cannot_be_used_is_one_clear_line_and_status_3(capsys, tmp_path):
    (tmp_path / "data").write_text("a file where a folder has to be")
    assert main(["--port", "0", "--data-dir", str(tmp_path / "data")]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_extra_is_named():
    blocked = "import sys; sys.modules['fastapi'] = None; from symcache_host.command import main; sys.exit(main([]))"
    ended = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, check=False, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 2
    assert "pip install 'symcache[host]'" in ended.stderr


def test_help_names_every_option(tmp_path):
    command = [sys.executable, "-m", "symcache_host", "--help"]
    shown = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE).stdout
    options = ["bind", "port", "gateway", "latency", "as-of", "token", "data-dir", "until-stdin-closes"]
    assert all(f"--{option}" in shown for option in options)


def test_it_listens_on_ipv6_loopback_too():
    try:
        listener = listen("::1", 0)
    except ConfigurationError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_its_answers_do_not_wait_for_an_acknowledgement():
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP, "else asyncio leaves Nagle's algorithm on"
