"""import, export and migrate: every entry accounted for, on a terminal with a bar, and nothing lost to Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import time

import pytest

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache

COMMAND = (sys.executable, "-m", "symcache_core.cli")


def fill(*symbols, provider="ib", backend="json", **options):
    settings = SymcacheSettings(backend=backend, backends={backend: options}, provider=provider)
    with open_symbol_cache(settings) as cache:
        for symbol in symbols:
            cache.store(symbol, ValidationResult(is_valid=True, symbol=symbol))


def reported(done):
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def unversioned(*symbols, age=60.0):
    def entry(symbol):
        return {
            "validation_result": {"is_valid": symbol != "NOPE", "symbol": symbol},
            "cached_at": time.time() - age,
            "ttl_seconds": 2592000,
        }

    return {symbol: entry(symbol) for symbol in symbols}


@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_import_brings_an_unversioned_file_into_the_chosen_backend_and_accounts_for_every_symbol(
    folder, invoke, backend
):
    old = unversioned("AAPL", "MSFT", "NOPE") | unversioned("OLD", age=40 * 86400) | {"BROKEN": {}}
    (folder / "old.json").write_text(json.dumps(old))
    done = invoke("import", "old.json", "--backend", backend, "--json")
    assert done.exit_code == 1, "not everything is there now"
    figures = reported(done)
    assert figures["entries"] == len(old)
    assert (figures["copied"], figures["negatives"]) == (3, 1)
    assert (figures["expired"], figures["unreadable"]) == (1, 1)
    assert [problem["entry"] for problem in figures["problems"]] == ["BROKEN"]
    assert "warning: BROKEN: " in done.stderr
    again = reported(invoke("import", "old.json", "--backend", backend, "--json"))
    assert (again["copied"], again["unchanged"], again["expired"]) == (0, 3, 1)


def test_what_was_imported_is_there_for_the_provider_it_came_from(folder, invoke, monkeypatch):
    (folder / "old.json").write_text(json.dumps(unversioned("AAPL")))
    assert invoke("import", "old.json").exit_code == 0
    assert invoke("get", "AAPL").exit_code == 1, "what a replaying host said is another thing"
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    assert invoke("get", "AAPL").exit_code == 0


def test_the_very_file_that_the_backend_opens_is_already_there(folder, invoke):
    (folder / "data").mkdir()
    path = folder / "data" / "backend_symbol_cache.json"
    path.write_text(json.dumps(unversioned("AAPL", "MSFT")))
    figures = reported(invoke("import", str(path), "--json"))
    assert (figures["unchanged"], figures["copied"]) == (2, 0)


def test_on_request_the_fate_of_each_is_named(folder, invoke):
    (folder / "old.json").write_text(json.dumps(unversioned("AAPL") | unversioned("OLD", age=40 * 86400)))
    done = invoke("import", "old.json", "-vv")
    assert "ib||AAPL||: copied" in done.stderr
    assert "ib||OLD||: expired" in done.stderr


def test_a_dry_run_writes_nothing(folder, invoke):
    (folder / "old.json").write_text(json.dumps(unversioned("AAPL")))
    figures = reported(invoke("import", "old.json", "--dry-run", "--json"))
    assert (figures["dry_run"], figures["copied"]) == (True, 1)
    figures = reported(invoke("import", "old.json", "--json"))
    assert (figures["dry_run"], figures["copied"]) == (False, 1)


@pytest.mark.parametrize("rehearsed", [["--dry-run"], []], ids=["rehearsed", "done"])
def test_a_store_that_is_imported_stays_as_it_is(folder, invoke, run, rehearsed):
    fill("AAPL", path="src.json")
    (folder / "left").mkdir()
    # Of a store whose program was killed before it first closed it, there is a journal alone.
    member = (folder / "src.json").read_text().splitlines()[1]
    (folder / "left" / "src.json.journal").write_text(f"{{{member}}}\n")
    figures = reported(invoke("import", "left/src.json", "--backend", "diskcache", "--json", *rehearsed))
    assert (figures["entries"], figures["copied"]) == (1, 1)
    assert [path.name for path in (folder / "left").iterdir()] == ["src.json.journal"]
    assert (folder / "left" / "src.json.journal").read_text() == f"{{{member}}}\n"


def test_what_export_writes_import_takes_back_byte_for_byte(folder, invoke, run):
    fill("AAPL", "BRK.B", "eur/usd", path="store.json")
    fill("AAPL", provider="replay", path="store.json")
    (folder / "symcache.toml").write_text('[backends.json]\npath = "store.json"\n')
    done = run("export")
    assert done.returncode == 0
    assert "REPLAY data, not live" in done.stderr
    assert "4 entries exported, 0 unreadable" in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["key"] for line in lines] == sorted(line["key"] for line in lines)
    command = [*COMMAND, "import", "-", "--backend", "diskcache", "--json"]
    piped = subprocess.run(command, input=done.stdout, capture_output=True, text=True, check=True, timeout=60)
    figures = reported(piped)
    assert figures["copied"] == 4
    assert run("export", "--backend", "diskcache").stdout == done.stdout


def test_export_writes_the_form_of_a_programs_own_cache_and_says_what_it_cannot(folder, invoke):
    fill("AAPL", "RY@TSE:CAD")
    fill("MSFT", provider="replay")
    done = invoke("export", "old.json", "--form", "unversioned", "--json")
    assert done.exit_code == 0
    assert reported(done) == {
        "from": "json",
        "to": "old.json",
        "exported": 1,
        "unreadable": 0,
        "left_out": {"others": 1, "qualified": 1, "unconfirmed": 0, "expired": 0},
    }
    (entry,) = json.loads((folder / "old.json").read_text()).values()
    assert set(entry) == {"validation_result", "cached_at", "ttl_seconds"}
    assert "qualified" in invoke("export", "old.json", "--form", "unversioned").stdout
    assert reported(invoke("import", "old.json", "--backend", "diskcache", "--json"))["copied"] == 1


@pytest.mark.parametrize("form", ["lines", "unversioned"])
def test_export_never_takes_the_place_of_a_store(folder, invoke, form):
    fill("AAPL")
    done = invoke("export", "data/backend_symbol_cache.json", "--form", form)
    assert done.exit_code == 2
    assert "is a store of the json backend" in done.stderr
    assert "ib||AAPL||" in invoke("export").stdout


def test_an_exported_file_is_whole_and_its_owner_s(folder, invoke):
    fill("AAPL", "MSFT")
    fill("JEPI", provider="replay")
    (folder / "out.jsonl").write_text("before")
    figures = reported(invoke("export", "out.jsonl", "--provider", "ib", "--json"))
    assert figures == {"from": "json", "to": "out.jsonl", "exported": 2, "unreadable": 0}
    assert len((folder / "out.jsonl").read_text().splitlines()) == 2
    assert stat.S_IMODE((folder / "out.jsonl").stat().st_mode) == 0o600
    assert {path.name for path in folder.iterdir()} == {"data", "out.jsonl", "symcache.toml"}


def test_what_waits_where_an_export_is_made_is_neither_written_nor_followed(folder, invoke):
    fill("AAPL")
    (folder / "precious").write_text("mine")
    for name in (f".out.jsonl.{os.getpid()}.part", "out.jsonl"):
        (folder / name).symlink_to(folder / "precious")
    assert invoke("export", "out.jsonl").exit_code == 0
    assert (folder / "precious").read_text() == "mine"
    assert len((folder / "out.jsonl").read_text().splitlines()) == 1


def test_migrate_copies_to_another_backend_and_leaves_the_first_as_it_is(folder, invoke):
    fill("AAPL", "MSFT")
    before = invoke("export").stdout
    done = invoke("migrate", "json", "diskcache")
    assert done.exit_code == 0
    rows = dict(line.split("\t") for line in done.stdout.splitlines())
    assert (rows["from"], rows["to"], rows["entries"], rows["copied"]) == ("json", "diskcache", "2", "2")
    assert invoke("export").stdout == invoke("export", "--backend", "diskcache").stdout == before


def test_options_say_where_the_stores_are_whatever_is_configured(folder, invoke, monkeypatch):
    fill("AAPL", path=str(folder / "elsewhere" / "old.json"))
    monkeypatch.chdir(folder / "elsewhere")
    figures = reported(
        invoke("migrate", "json", "json", "--from", "path=old.json", "--to", "path=new.json", "--json", "--dry-run")
    )
    assert (figures["copied"], figures["dry_run"]) == (1, True)
    assert invoke("migrate", "json", "json", "--from", "path=old.json", "--to", "path=new.json").exit_code == 0
    assert json.loads((folder / "elsewhere" / "new.json").read_text())["entries"].keys() == {"ib||AAPL||"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["migrate", "json", "json"], "say with --to where it is"),
        (["migrate", "json", "memory"], "'memory' keeps nothing"),
        (["migrate", "jsn", "json"], "did you mean 'json'"),
        (["migrate", "json", "diskcache", "--to", "pth=x"], "'backends.diskcache.pth'; did you mean 'path'"),
        (["migrate", "json", "diskcache", "--to", "x"], "--to takes NAME=VALUE"),
        (["import", "nosuch"], "argument 'FILE': nosuch cannot be read"),
        (["import", "symcache.toml"], "argument 'FILE': symcache.toml is neither"),
        (["import", "symcache.toml", "--backend", "memory"], "argument 'FILE'"),
        (["export", "nosuch/out"], "argument 'FILE': nosuch/out cannot be written"),
        (["export", "--backend", "memory"], "'memory' keeps nothing"),
        (["export", "--form", "unversioned"], "name a file for it"),
        (["export", "old.json", "--form", "unversioned", "--provider", "replay"], "replayed"),
        (["export", "nosuch/out", "--form", "unversioned"], "argument 'FILE': nosuch/out cannot be written"),
    ],
)
def test_a_wrong_argument_is_named(invoke, arguments, named):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert named in done.stderr


def test_a_store_out_of_reach_is_status_3(invoke, unused_url):
    done = invoke("migrate", "json", "redis", "--to", f"url={unused_url.replace('http', 'redis')}", "--dry-run")
    assert done.exit_code == 0, "there is nothing to copy"
    fill("AAPL")
    done = invoke("migrate", "json", "redis", "--to", f"url={unused_url.replace('http', 'redis')}")
    assert done.exit_code == 3
    assert "backends.redis.url" in done.stderr


def test_no_secret_of_a_store_is_shown(invoke):
    fill("AAPL")
    done = invoke("-vv", "migrate", "json", "redis", "--to", "url=redis://:hunter2@[", "--to", "password=hunter2")
    assert done.exit_code == 2
    assert "backends.redis" in done.stderr
    assert "hunter2" not in done.output


INTERRUPTING = """
import signal
from symcache_backends.json_file import JsonSettings
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core import Backend, hookimpl

class Interrupting(JsonFileBackend):
    calls = 0

    def update(self, key, change):
        self.calls += 1
        if self.calls == 3:
            signal.raise_signal(signal.SIGINT)
        super().update(key, change)

@hookimpl
def symcache_backends():
    yield Backend(name="interrupting", settings=JsonSettings, open=lambda settings: Interrupting(settings.path))
"""


def test_ctrl_c_ends_in_130_and_the_next_run_copies_the_rest(folder, run, monkeypatch):
    (folder / "interrupting_backend.py").write_text(INTERRUPTING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SYMCACHE_PLUGINS", "interrupting_backend")
    fill("AAPL", "IBM", "MSFT", "NVDA")
    done = run("migrate", "json", "interrupting", "--to", "path=new.json")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "to run this again copies the rest" in done.stderr
    figures = reported(run("migrate", "json", "json", "--to", "path=new.json", "--json"))
    assert (figures["unchanged"], figures["copied"]) == (2, 2)


def test_a_terminal_shows_a_bar_while_entries_are_copied_and_a_pipe_none(folder, run):
    fill("AAPL", "MSFT")
    assert run("migrate", "json", "diskcache", "--dry-run").stderr == ""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm-256color"}
    done = subprocess.run(
        [*COMMAND, "migrate", "json", "diskcache", "--json"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        text=True,
        timeout=60,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "json to diskcache" in shown
    assert "━" in shown
    assert "2/2" in shown
    assert reported(done)["copied"] == 2
