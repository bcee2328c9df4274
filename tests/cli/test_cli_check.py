"""``backends --check`` says of each promise of the contract whether a backend keeps it, and touches nobody's data."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from symcache_core.cli.check import stores_of
from symcache_core.cli.session import Session

FORGETFUL = """
from pydantic import BaseModel

from symcache_core import Backend, StorePath, hookimpl
from symcache_core.errors import ClosedError


class Settings(BaseModel):
    %s


class Forgetful:
    def __init__(self, settings):
        self.where, self.entries, self.closed = str(getattr(settings, "%s")), {}, False
        assert "configured" not in self.where

    def _check(self):
        if self.closed:
            raise ClosedError("closed")

    def read(self, key):
        self._check()
        return self.entries.get(key)

    def write(self, key, entry, keep_until):
        self._check()
        self.entries[key] = entry

    def delete(self, key):
        self._check()
        self.entries.pop(key, None)

    def keys(self):
        self._check()
        return iter(list(self.entries))

    def clear(self):
        self._check()
        count = len(self.entries)
        self.entries.clear()
        return count

    def close(self):
        self.closed = True


@hookimpl
def symcache_backends():
    yield Backend(name="forgetful", settings=Settings, open=Forgetful, persistent=%s)
"""


@pytest.fixture
def plugin(folder, monkeypatch):
    """Configures a backend that does not say what it deletes, and must not open the store that is configured."""

    def plugin(option, kind, *, persistent=False):
        (folder / "forgetful_backend.py").write_text(FORGETFUL % (f"{option}: {kind}", option, persistent))
        (folder / "symcache.toml").write_text(
            f'plugins = ["forgetful_backend"]\n[backends.forgetful]\n{option} = "configured"\n'
        )
        monkeypatch.delitem(sys.modules, "forgetful_backend", raising=False)
        monkeypatch.syspath_prepend(folder)

    return plugin


def promises(done):
    return {line["case"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_a_backend_that_keeps_every_promise_is_done(run):
    done = run("backends", "--check", "memory", "--json")
    assert done.returncode == 0, done.stderr
    lines = promises(done)
    assert {line["state"] for line in lines.values()} == {"ok", "skipped"}
    assert all(line["reason"] for line in lines.values() if line["state"] == "skipped")
    assert lines["test_two_stores_are_apart"]["promise"] == "two stores are apart"
    assert "memory: " in done.stderr


def test_a_broken_promise_is_told_with_its_reason_and_ends_with_no(invoke, plugin):
    plugin("path", "StorePath")
    done = invoke("backends", "--check", "forgetful")
    assert done.exit_code == 1, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    failed = {promise: why for state, promise, why in rows if state == "failed"}
    assert failed["delete tells whether there was an entry"] == (
        "delete has to give False, and raise nothing, when there was no entry"
    )
    assert ["ok", "an unknown key has no entry", ""] in rows, "it works in a folder of its own"
    assert "forgetful: " in done.stderr


@pytest.mark.parametrize("options", [[], ["--option", "namespace=check"]], ids=["no option", "one store"])
def test_a_backend_without_a_path_is_not_let_loose_on_the_configured_store(invoke, plugin, options):
    plugin("namespace", "str", persistent=True)
    done = invoke("backends", "--check", "forgetful", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--option namespace=check-{store}" in done.stderr


def test_an_option_names_a_new_store_for_each_folder(folder, plugin):
    plugin("namespace", "str", persistent=True)
    session = Session({}, as_json=False, verbosity=0)
    stores = stores_of(session, "forgetful", {"namespace": "check-{store}"})
    names = [stores.of(folder / name)["namespace"] for name in ("one", "two", "one")]
    assert names[0] == names[2] != names[1]
    assert all(re.fullmatch(r"check-\w+", name) for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "jsn"], "did you mean 'json'"),
        (["--check", "memory", "--option", "max_entries"], "--option takes NAME=VALUE"),
        (["--check", "memory", "--scale", "0"], "--scale takes a number above 0"),
        (["--check", "memory", "--time-limit", "inf"], "--time-limit takes a number above 0"),
    ],
    ids=["unknown backend", "no value", "nothing written", "no end"],
)
def test_wrong_usage_is_told(invoke, arguments, message):
    done = invoke("backends", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_without_pytest_it_names_the_extra(invoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    for name in ("contract_process", "contract_suite", "contract_reasons"):
        monkeypatch.delitem(sys.modules, f"symcache_core.cli.{name}", raising=False)
    done = invoke("backends", "--check", "memory")
    assert done.exit_code == 2
    assert "pip install 'symcache[testing]'" in done.stderr


MALFORMED = """
from pydantic import BaseModel

from symcache_core import Backend, hookimpl


class Settings(BaseModel):
    pass


class Malformed:
    async def read(self, key):
        return None

    def close(self):
        pass


@hookimpl
def symcache_backends():
    yield Backend(name="malformed", settings=Settings, open=lambda settings: Malformed(), persistent=False)
"""


def test_what_opens_no_store_is_told_once(invoke, folder, monkeypatch):
    (folder / "malformed_backend.py").write_text(MALFORMED)
    (folder / "symcache.toml").write_text('plugins = ["malformed_backend"]\n')
    monkeypatch.syspath_prepend(folder)
    done = invoke("backends", "--check", "malformed")
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "backend 'malformed': " in line
    assert "read" in line


def test_storage_that_is_away_is_told_once(invoke, unused_url):
    url = unused_url.replace("http", "redis")
    done = invoke("backends", "--check", "redis", "--option", f"url={url}", "--option", "namespace=check-{store}")
    assert (done.exit_code, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


def test_every_promise_is_printed_as_soon_as_it_is_known(folder):
    command = [sys.executable, "-m", "symcache_core.cli", "backends", "--check", "memory", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert re.match(r"memory: \d+ promises are tried in /", process.stderr.readline())
        first = json.loads(process.stdout.readline())
        assert first["case"] == "test_an_unknown_key_has_no_entry"
        assert process.poll() is None, "nothing was printed before the end"
        process.kill()


def test_how_much_was_written_is_told_and_can_be_lowered(invoke):
    def written(*options):
        done = invoke("backends", "--check", "memory", *options)
        assert done.exit_code == 0
        (calls,) = re.findall(r"about ([\d,]+) entries were written, [\d.]+ MB", done.stderr)
        return int(calls.replace(",", ""))

    assert written("--scale", "0.01") * 4 < written()


def test_it_ends_when_the_time_for_all_is_over(invoke):
    done = invoke("backends", "--check", "memory", "--time-limit", "0.01")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "0.01 s for all are over" in done.stderr


@pytest.fixture
def under_way(folder):
    """A check that has begun, with a folder of its own for temporary files."""
    command = [sys.executable, "-m", "symcache_core.cli", "backends", "--check", "json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder)}, **pipes) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_an_interrupt_ends_it_at_once_and_leaves_nothing_behind(under_way, folder):
    began = time.monotonic()
    under_way.send_signal(signal.SIGINT)
    under_way.communicate(timeout=30)
    assert under_way.returncode == 130
    assert time.monotonic() - began < 5
    assert list(folder.glob("symcache-check-*")) == []
    assert processes_in(folder) == []


def test_whoever_kills_it_leaves_no_process_behind(under_way, folder):
    under_way.kill()
    until = time.monotonic() + 20
    while processes_in(folder):
        assert time.monotonic() < until, "the process that tries the contract goes on alone"
        time.sleep(0.05)


def processes_in(folder):
    """The processes that were started with this folder for temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                found.append(process.name)
    return found
