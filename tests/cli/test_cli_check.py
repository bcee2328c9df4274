"""``backends --check`` says of each promise of the contract whether a backend keeps it, and touches nobody's data."""

from __future__ import annotations

import json
import re
import sys

import pytest

from symcache_core.cli.check import Stores
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
    assert failed["delete tells whether there was an entry"] == "delete says False when there was nothing"
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
    stores = Stores(session, "forgetful", {"namespace": "check-{store}"})
    names = [stores.options(folder / name)["namespace"] for name in ("one", "two", "one")]
    assert names[0] == names[2] != names[1]
    assert all(re.fullmatch(r"check-\w+", name) for name in names)
    stores.empty()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "jsn"], "did you mean 'json'"),
        (["--check", "memory", "--option", "max_entries"], "--option takes NAME=VALUE"),
    ],
    ids=["unknown backend", "no value"],
)
def test_wrong_usage_is_told(invoke, arguments, message):
    done = invoke("backends", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_without_pytest_it_names_the_extra(invoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    monkeypatch.delitem(sys.modules, "symcache_core.cli.contract_suite", raising=False)
    done = invoke("backends", "--check", "memory")
    assert done.exit_code == 2
    assert "pip install 'symcache[testing]'" in done.stderr
