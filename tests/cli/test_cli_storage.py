"""stats, backends and doctor show the storage as it is, the broken parts included, and no secret."""

from __future__ import annotations

import fcntl
import json
import time
from contextlib import closing

import pytest
from site_packages import WORKING

from symcache_core import SymcacheSettings
from symcache_core.factory import open_backend


@pytest.fixture
def broken_plugin(folder, monkeypatch):
    (folder / "broken_backend.py").write_text("raise RuntimeError('left half-written')\n")
    (folder / "symcache.toml").write_text('data_dir = "data"\nplugins = ["broken_backend"]\n')
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("backend", ["memory", "json", "diskcache"])
def test_every_backend_that_comes_with_symcache_works(host, invoke, monkeypatch, backend):
    monkeypatch.setenv("SYMCACHE_BACKEND", backend)
    assert invoke("validate", "JEPI").exit_code == 0
    figures = json.loads(invoke("stats", "--json").stdout)
    assert figures["backend"] == backend
    assert figures["cached_symbols"] == (0 if backend == "memory" else 1)
    assert invoke("doctor").exit_code == 0


def test_an_unknown_backend_is_wrong_configuration_and_the_nearest_is_suggested(run):
    done = run("stats", "--backend", "jsn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'json'" in done.stderr
    assert "diskcache, json, memory" in done.stderr


def test_an_empty_option_is_not_taken_for_none(invoke):
    assert invoke("stats", "--backend", "").exit_code == 2


def test_an_unknown_setting_is_wrong_configuration(invoke, folder):
    (folder / "symcache.toml").write_text("tll = '30d'\n")
    done = invoke("stats")
    assert done.exit_code == 2
    assert "did you mean 'ttl'" in done.stderr


def test_a_common_option_works_before_the_command_and_after_it_and_the_later_one_wins(folder, invoke):
    config = folder / "other.toml"
    config.write_text('backend = "memory"\ndata_dir = "elsewhere"\n')
    before = invoke("--json", "--config", str(config), "--backend", "diskcache", "stats")
    after = invoke("stats", "--json", "--config", str(config), "--backend", "diskcache")
    assert json.loads(before.stdout) == json.loads(after.stdout)
    assert json.loads(after.stdout)["backend"] == "diskcache"
    assert (
        json.loads(invoke("--json", "--backend", "json", "stats", "--backend", "memory").stdout)["backend"] == "memory"
    )
    assert (folder / "elsewhere").is_dir()


def test_stats_tells_what_other_processes_did(host, run, invoke):
    run("validate", "JEPI", "AAPL")
    run("validate", "JEPI")
    totals = json.loads(invoke("stats", "--json").stdout)["totals"]
    assert (totals["misses"], totals["hits"], totals["provider_calls"]) == (2, 1, 2)
    assert totals["hit_ratio"] == 0.3333
    rows = dict(line.split("\t") for line in invoke("stats").stdout.splitlines())
    assert (rows["hits"], rows["hit ratio"], rows["provider"]) == ("1", "0.3333", "replay")


def test_backends_marks_the_chosen_one_and_shows_a_broken_plugin_without_failing(invoke, broken_plugin):
    done = invoke("backends", "--json")
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["backend"] for line in lines if line["chosen"]] == ["json"]
    assert {line["backend"] for line in lines if line["error"] is None} >= {"memory", "json", "diskcache"}
    (broken,) = [line for line in lines if line["error"]]
    assert broken["plugin"] == "broken_backend"
    assert "left half-written" in broken["error"]


def test_backends_tells_what_each_can_do_and_where_it_comes_from_and_opens_none(invoke, site, folder):
    site.install("third", "third_plugin", WORKING.format(name="third").replace("open=MemoryBackend", "open=print"))
    before = sorted(folder.rglob("*"))
    lines = {line["backend"]: line for line in map(json.loads, invoke("backends", "--json").stdout.splitlines())}
    assert {"CanUpdate", "CanLock", "CanSeeOthers", "CanCompact"} <= set(lines["diskcache"]["capabilities"])
    assert (lines["memory"]["persistent"], lines["diskcache"]["persistent"]) == (False, True)
    assert (lines["third"]["source"], lines["third"]["file"], lines["third"]["capabilities"]) == (
        "symcache-third 1.0",
        str(site.folder / "third_plugin.py"),
        None,
    )
    rows = {cells[1]: cells for cells in (line.split("\t") for line in invoke("backends").stdout.splitlines())}
    assert rows["third"][-2:] == ["unknown", str(site.folder / "third_plugin.py")]
    assert {"update", "lock", "see others", "compact"} <= set(rows["diskcache"][-2].split(", "))
    made = [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts and path not in before]
    assert made == []


def test_metadata_that_cannot_be_read_shows_in_backends_and_in_doctor(host, invoke, site):
    for name in ("torn", "third"):
        site.install(name, f"{name}_plugin", WORKING.format(name=name))
    (site.folder / "symcache_torn-1.0.dist-info" / "entry_points.txt").write_bytes(b"[symcache]\n\xff\n")
    (site.folder / "symcache_third-1.0.dist-info" / "METADATA").unlink()
    lines = {line["plugin"]: line for line in map(json.loads, invoke("backends", "--json").stdout.splitlines())}
    assert lines["symcache-torn"]["error"].startswith("entry_points.txt cannot be read: UnicodeDecodeError")
    assert lines["third"]["source"] == "symcache_third-1.0.dist-info without a readable METADATA"
    assert lines["third"]["error"] is None
    done = invoke("doctor")
    assert done.exit_code == 0
    assert "warn\tplug-in symcache-torn\tentry_points.txt cannot be read" in done.stdout
    assert "warn\tplug-in third\tsymcache_third-1.0.dist-info without a readable METADATA" in done.stdout


def test_two_claims_on_a_name_show_in_backends_and_in_doctor_and_hurt_no_other(host, invoke, site):
    for distribution in ("a-third", "b-third"):
        module = distribution.replace("-", "_")
        site.install("third", module, WORKING.format(name="third"), distribution=distribution)
    lines = [json.loads(line) for line in invoke("backends", "--json").stdout.splitlines()]
    told = "backend 'third' is claimed by third (a-third 1.0) and third (b-third 1.0); remove one"
    assert [line["error"] for line in lines if line["plugin"] == "third"] == [f"DuplicateBackendError: {told}"] * 2
    done = invoke("doctor")
    assert (done.exit_code, done.stdout.count(told)) == (0, 2)
    done = invoke("stats", "--backend", "third")
    assert (done.exit_code, done.stderr) == (2, f"error: {told}\n")


def test_a_broken_plugin_hurts_no_other(host, invoke, broken_plugin):
    assert invoke("validate", "JEPI").exit_code == 0
    done = invoke("doctor")
    assert done.exit_code == 0
    assert "warn\tplug-in broken_backend\tRuntimeError: left half-written" in done.stdout


def test_backends_warns_when_the_chosen_one_is_not_among_them(invoke):
    done = invoke("backends", "--backend", "jsn")
    assert done.exit_code == 0
    assert "warning: the chosen backend 'jsn'" in done.stderr


def test_doctor_is_content_with_the_defaults(invoke, folder):
    done = invoke("doctor", "--json")
    assert done.exit_code == 0
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert {check["state"] for check in checks} == {"ok"}
    assert str(folder / "symcache.toml") in [check["detail"] for check in checks]


def test_doctor_says_that_a_host_is_out_of_reach_and_shows_no_secret(invoke, monkeypatch, unused_url):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    monkeypatch.setenv("SYMCACHE_HOST_TOKEN", "t0ken")
    done = invoke("doctor", "-vv")
    assert done.exit_code == 3
    assert f"fail\tprovider ib\t{unused_url} (host_service_url)" in done.stdout
    assert "t0ken" not in done.output


def test_doctor_refuses_a_password_in_a_url_without_showing_it(invoke, monkeypatch, unused_url):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url.replace("://", "://me:hunter2@"))
    done = invoke("doctor", "-vv")
    assert done.exit_code == 2
    assert "fail\tprovider ib\tsetting 'host_service_url'" in done.stdout
    assert "hunter2" not in done.output


def test_doctor_knows_a_host_that_serves_another_gateway(host, invoke, monkeypatch):
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    done = invoke("doctor")
    assert done.exit_code == 2
    assert "serves gateway 'replay'" in done.stdout


def test_doctor_knows_a_data_folder_that_cannot_be_made(invoke, folder):
    (folder / "file").touch()
    (folder / "symcache.toml").write_text('data_dir = "file/data"\nbackend = "memory"\n')
    done = invoke("doctor")
    assert done.exit_code == 3
    assert "fail\tdata folder" in done.stdout


def test_doctor_still_reports_when_the_configuration_is_wrong(invoke, folder):
    (folder / "symcache.toml").write_text("backend = 7\n")
    done = invoke("doctor")
    assert done.exit_code == 2
    assert "ok\tsymcache" in done.stdout
    assert "fail\tconfiguration" in done.stdout


def test_doctor_leaves_nothing_in_the_storage(host, invoke):
    invoke("doctor")
    assert invoke("list").stdout == ""
    assert json.loads(invoke("stats", "--json").stdout)["cached_symbols"] == 0


@pytest.mark.parametrize(("backend", "freed"), [("json", 100_000), ("diskcache", 0)])  # which frees as it writes
def test_compact_drops_what_is_over_and_says_how_much_that_was(invoke, folder, monkeypatch, backend, freed):
    monkeypatch.setenv("SYMCACHE_BACKEND", backend)
    store = open_backend(SymcacheSettings())
    store.write("kept", json.dumps({"entry": "x"}).encode(), time.time() + 3600)
    a_week_and_more_ago = time.time() - 8 * 86400
    for number in range(200):
        store.write(f"over{number}", json.dumps({"entry": "x" * 500}).encode(), a_week_and_more_ago)
    figures = json.loads(invoke("compact", "--json").stdout)
    assert (figures["backend"], figures["compacted"]) == (backend, True)
    assert figures["before"] - figures["after"] >= freed
    assert list(store.keys()) == ["kept"]
    store.close()
    rows = dict(line.split("\t") for line in invoke("compact").stdout.splitlines())
    assert rows["compacted"] == "yes"
    assert rows["before"].endswith(("bytes", "kB"))


def test_a_backend_that_cannot_compact_says_so_and_that_is_no_error(invoke, monkeypatch):
    done = invoke("compact", "--json", "--backend", "memory")
    assert (done.exit_code, json.loads(done.stdout)["compacted"]) == (0, False)
    assert "'memory' has nothing to compact" in done.stderr


@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_compacting_a_storage_that_takes_no_files_is_unavailable(invoke, folder, backend):
    (folder / "data").write_text("in the way")
    done = invoke("compact", "--backend", backend)
    assert (done.exit_code, done.stdout) == (3, "")


@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_stats_says_why_a_store_takes_no_writes(invoke, folder, monkeypatch, backend):
    monkeypatch.setenv("SYMCACHE_BACKENDS", json.dumps({backend: {"path": str(folder / "store"), "lock_timeout": 0.1}}))
    assert invoke("validate", "AAPL", "--backend", backend).exit_code == 0
    place = "store.lock" if backend == "json" else "store/symcache.lock"
    with open(folder / place, "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        figures = json.loads(invoke("stats", "--json", "--backend", backend).stdout)
        assert figures["degraded"]
        assert "'lock_timeout'" in figures["trouble"]
        rows = dict(line.split("\t") for line in invoke("stats", "--backend", backend).stdout.splitlines())
        assert "'lock_timeout'" in rows["storage"]


@pytest.fixture
def server_away(monkeypatch, unused_url):
    monkeypatch.setenv("SYMCACHE_BACKEND", "redis")
    monkeypatch.setenv("SYMCACHE_BACKENDS__REDIS__URL", unused_url.replace("http:", "redis:"))


def test_a_server_out_of_reach_is_unavailable_even_if_it_would_have_nothing_to_compact(server_away, invoke):
    done = invoke("compact")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "nothing to compact" not in done.stderr


def test_stats_without_the_storage_tells_no_size_and_does_not_fail(server_away, invoke):
    done = invoke("stats", "--json")
    figures = json.loads(done.stdout)
    assert (done.exit_code, figures["degraded"], figures["size"]) == (0, True, None)
    rows = dict(line.split("\t") for line in invoke("stats").stdout.splitlines())
    assert rows["size"] == ""
    assert rows["storage"] == figures["trouble"]
    assert "refused" in rows["storage"]


@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_stats_tells_how_much_room_the_storage_takes(host, invoke, monkeypatch, backend):
    monkeypatch.setenv("SYMCACHE_BACKEND", backend)
    invoke("validate", "JEPI")
    assert json.loads(invoke("stats", "--json").stdout)["size"] > 500
    assert dict(line.split("\t") for line in invoke("stats").stdout.splitlines())["size"].endswith("kB")
    assert json.loads(invoke("stats", "--json", "--backend", "memory").stdout)["size"] is None


@pytest.mark.parametrize(("since", "shown"), [("1e300", "after the year 9999"), ("-1e300", "before the year 1")])
def test_stats_shows_counts_that_are_said_to_be_of_any_age(invoke, monkeypatch, since, shown):
    monkeypatch.setenv("SYMCACHE_BACKEND", "json")
    with closing(open_backend(SymcacheSettings())) as store:
        store.write("@counters|replay", f'{{"since":{since},"counters":{{"hits":1}}}}'.encode(), 2e12)
    done = invoke("stats")
    assert done.exit_code == 0
    assert dict(line.split("\t") for line in done.stdout.splitlines())["counted since"] == shown
