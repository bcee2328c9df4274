"""Plug-ins are found through entry points; a broken one is reported and hurts nobody."""

import re
import subprocess
import sys

import pytest
from site_packages import WORKING

from symcache_core.errors import ConfigurationError, DuplicateBackendError, UnknownBackendError
from symcache_core.plugin import Backend
from symcache_core.registry import Registry

BROKEN = {
    "raises on import": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "exits on import": ("import sys; sys.exit(3)", "SystemExit"),
    "is missing a module": ("import no_such_module_here", "no_such_module_here"),
    "hook raises": (
        "from symcache_core import hookimpl\n@hookimpl\ndef symcache_backends():\n    raise KeyError('x')",
        "KeyError",
    ),
    "hook is mistyped": (
        "from symcache_core import hookimpl\n@hookimpl\ndef symcache_backend():\n    return []",
        "unknown hook 'symcache_backend'",
    ),
    "hook takes an argument": (
        "from symcache_core import hookimpl\n@hookimpl\ndef symcache_backends(extra):\n    return []",
        "extra",
    ),
    "has no hook": ("x = 1", "implements no hook"),
    "gives no backend": (
        "from symcache_core import hookimpl\n@hookimpl\ndef symcache_backends():\n    return ['third']",
        "gives a str, not a Backend",
    ),
    "gives one, not several": (
        WORKING.format(name="third").replace("yield", "return"),
        "its hook gives a Backend: make 'symcache_backends' a plain 'def' that yields backends",
    ),
    "hook is async": (
        WORKING.format(name="third").replace("def symc", "async def symc").replace("yield", "return"),
        "its hook gives a coroutine: make 'symcache_backends' a plain 'def' that yields backends",
    ),
    "hook is an async iterator": (
        WORKING.format(name="third").replace("def symc", "async def symc"),
        "its hook gives a async_generator: make 'symcache_backends' a plain 'def' that yields backends",
    ),
    "gives None": (
        "from symcache_core import hookimpl\n@hookimpl\ndef symcache_backends():\n    return None",
        "gives no backend 'third'",
    ),
    "gives another name": (WORKING.format(name="fourth"), "gives no backend 'third'"),
    "no name": (WORKING.format(name="third").replace('"third"', "3"), "backend name 3: use lower-case letters"),
    "bad name": (WORKING.format(name="Third!"), "use lower-case letters"),
    "is too new": (WORKING.format(name="third").replace("open=", "api=2, open="), "plug-in interface 2"),
}


def test_our_own_backends_come_through_entry_points_like_anyones():
    reports = {report.name: report for report in Registry().reports()}
    assert {"memory", "json", "diskcache"} <= set(reports)
    for name in ("memory", "json", "diskcache"):
        assert reports[name].error is None
        assert [backend.name for backend in reports[name].backends] == [name]
        assert reports[name].source.startswith("symcache ")


def test_a_malformed_backend_hurts_no_other_of_its_module(install):
    working = WORKING.format(name="third")
    malformed = working[working.rindex("    yield") :].replace('"third"', '"fourth", api="one"')
    install("third", "third_plugin", f"{working}\n{malformed}")
    assert Registry().backend("third").name == "third"


def test_a_third_partys_backend_is_there_by_name(install, tmp_path):
    install("third", "third_plugin", WORKING.format(name="third"))
    registry = Registry()
    assert "third" in registry.names()
    store = registry.open("third", {"max_entries": 5}, base_dir=tmp_path, data_dir=tmp_path)
    store.write("key", b"{}", 4e9)
    assert store.read("key") == b"{}"


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_and_hurts_nobody(install, tmp_path, source, message):
    install("third", "third_plugin", source)
    reports = {report.name: report for report in Registry().reports()}
    assert message in reports["third"].error
    assert reports["third"].source == "symcache-third 1.0"
    assert all(report.error is None for name, report in reports.items() if name != "third")
    with pytest.raises(ConfigurationError, match="third"):
        Registry().backend("third")
    sys.modules.pop("third_plugin", None)
    Registry().open("memory", {}, base_dir=tmp_path, data_dir=tmp_path).close()


def test_nobody_shadows_a_backend_that_comes_with_symcache(install, tmp_path):
    install("json", "aaa_plugin", WORKING.format(name="json"), distribution="aaa-json")
    by_source = {report.source: report for report in Registry().reports() if report.name == "json"}
    assert "already provided by symcache" in by_source["aaa-json 1.0"].error
    assert Registry().backend("json").settings.__module__ == "symcache_backends.json_file"


def test_a_claim_on_a_name_of_ours_is_warned_of_once_and_does_no_harm(install, tmp_path, caplog):
    install("memory", "claiming_plugin", "raise RuntimeError('never imported')", distribution="loud-memory")
    for _ in range(2):
        Registry().open("memory", {}, base_dir=tmp_path, data_dir=tmp_path).close()
        Registry().backend("json")
    (record,) = caplog.records
    assert re.fullmatch(r"backend 'memory' of loud-memory 1\.0 is not used: symcache \S+ has one", record.getMessage())
    assert record.levelname == "WARNING"


def test_of_two_that_claim_a_name_neither_is_taken_and_both_are_named(install, tmp_path):
    install("third", "third_plugin_a", WORKING.format(name="third"), distribution="a-third")
    install("third", "third_plugin_b", WORKING.format(name="third"), distribution="b-third")
    told = "backend 'third' is claimed by third (a-third 1.0) and third (b-third 1.0); remove one"
    with pytest.raises(DuplicateBackendError) as raised:
        Registry().backend("third")
    assert str(raised.value) == told
    assert not {"third_plugin_a", "third_plugin_b"} & set(sys.modules)
    reports = [report for report in Registry().reports() if report.name == "third"]
    assert [(report.source, report.error, report.backends) for report in reports] == [
        ("a-third 1.0", f"DuplicateBackendError: {told}", ()),
        ("b-third 1.0", f"DuplicateBackendError: {told}", ()),
    ]
    Registry().open("memory", {}, base_dir=tmp_path, data_dir=tmp_path).close()


def test_a_claim_stands_even_if_its_plugin_is_broken(install):
    install("third", "third_plugin_a", "raise RuntimeError('no licence')", distribution="a-third")
    install("third", "third_plugin_b", WORKING.format(name="third"), distribution="b-third")
    with pytest.raises(DuplicateBackendError, match=r"a-third 1\.0.* and .*b-third 1\.0"):
        Registry().backend("third")
    by_source = {report.source: report.error for report in Registry().reports()}
    assert by_source["a-third 1.0"] == "RuntimeError: no licence"
    assert "is claimed by" in by_source["b-third 1.0"]


def test_a_claim_of_the_setting_on_an_installed_name_shows_where_both_are_listed(install, tmp_path, monkeypatch):
    install("third", "third_plugin", WORKING.format(name="third"))
    (tmp_path / "my_own_third.py").write_text(WORKING.format(name="third"))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry(["my_own_third"])
    with pytest.raises(DuplicateBackendError) as raised:
        registry.backend("third")
    errors = {report.name: report.error for report in registry.reports()}
    assert errors["third"] == errors["my_own_third"] == f"DuplicateBackendError: {raised.value}"
    assert {error for name, error in errors.items() if "third" not in name} == {None}


def test_a_setting_registers_a_module_without_packaging(tmp_path, monkeypatch):
    (tmp_path / "my_program_backend.py").write_text(WORKING.format(name="mine"))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry(["my_program_backend"])
    assert "mine" in registry.names()
    assert isinstance(registry.backend("mine"), Backend)
    assert [report.source for report in registry.reports() if report.name == "my_program_backend"] == [
        "setting 'plugins'"
    ]


def test_a_setting_cannot_claim_an_installed_name(tmp_path, monkeypatch):
    (tmp_path / "my_other_memory.py").write_text(WORKING.format(name="memory"))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DuplicateBackendError, match="my_other_memory"):
        Registry(["my_other_memory"]).backend("memory")
    Registry(["my_other_memory"]).backend("json")


def test_an_unknown_name_lists_the_installed_ones_and_suggests_the_nearest():
    with pytest.raises(UnknownBackendError, match=r"no backend 'jsn'; installed: diskcache, json, memory.*'json'"):
        Registry().backend("jsn")


def test_a_broken_module_of_the_setting_is_named_when_the_backend_is_not_found():
    with pytest.raises(ConfigurationError, match="no_such_plugin_module"):
        Registry(["no_such_plugin_module"]).backend("mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pth": "x"}, "unknown setting 'backends.json.pth'; did you mean 'path'"),
        ({"fsync": "sometimes"}, "setting 'fsync'"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, options, message):
    with pytest.raises(ConfigurationError, match=message):
        Registry().open("json", options, base_dir=tmp_path, data_dir=tmp_path)


def test_opening_one_backend_imports_no_other(tmp_path):
    code = (
        "import sys; from pathlib import Path; from symcache_core.registry import Registry\n"
        "Registry().open('memory', {}, base_dir=Path('.'), data_dir=Path('.'))\n"
        "print([m for m in ('diskcache', 'symcache_backends.disk', 'symcache_backends.json_file') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_who_claims_a_name_twice_is_told_by_whom_it_is_claimed(tmp_path, monkeypatch):
    (tmp_path / "my_third_memory.py").write_text(WORKING.format(name="memory"))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DuplicateBackendError) as raised:
        Registry(["my_third_memory"]).backend("memory")
    assert re.fullmatch(
        r"backend 'memory' is claimed by memory \(symcache \S+\) and my_third_memory \(setting 'plugins'\); remove one",
        str(raised.value),
    )


def test_a_working_module_of_the_setting_is_not_blamed_for_a_name_that_nobody_has(tmp_path, monkeypatch):
    (tmp_path / "my_working_backend.py").write_text(WORKING.format(name="mine"))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownBackendError, match=r"no backend 'jsn'; installed: .*mine"):
        Registry(["my_working_backend"]).backend("jsn")


def test_every_broken_module_of_the_setting_is_named_when_the_backend_is_not_found():
    with pytest.raises(ConfigurationError) as raised:
        Registry(["no_such_one", "no_such_other"]).backend("mine")
    assert str(raised.value) == (
        "plug-in 'no_such_one' (setting 'plugins'): ModuleNotFoundError: No module named 'no_such_one'; "
        "plug-in 'no_such_other' (setting 'plugins'): ModuleNotFoundError: No module named 'no_such_other'"
    )


def test_of_an_installed_backend_that_is_broken_only_its_own_plugin_is_named(install):
    install("third", "third_plugin", "raise RuntimeError('no licence')")
    with pytest.raises(ConfigurationError) as raised:
        Registry(["no_such_one"]).backend("third")
    assert str(raised.value) == "plug-in 'third' (symcache-third 1.0): RuntimeError: no licence"


def test_a_name_that_is_near_none_is_not_taken_for_another():
    with pytest.raises(UnknownBackendError) as raised:
        Registry().backend("zzz")
    assert re.fullmatch("setting 'backend': no backend 'zzz'; installed: [a-z]+(, [a-z]+)*", str(raised.value))


def test_after_a_refused_plugin_the_others_are_still_reported(install):
    install("third", "third_plugin_c", WORKING.format(name="third"), distribution="a-third")
    install("third", "third_plugin_d", WORKING.format(name="third"), distribution="b-third")
    install("zoo", "zoo_plugin", WORKING.format(name="zoo"))
    reports = Registry().reports()
    assert [(report.name, report.error is None) for report in reports][-3:] == [
        ("third", False),
        ("third", False),
        ("zoo", True),
    ]


@pytest.mark.parametrize(
    ("path", "expected"), [("sub/s.json", "base/sub/s.json"), ("{data_dir}/s.json", "data/s.json")]
)
def test_a_path_is_relative_to_the_base_and_may_name_the_data_folder(tmp_path, path, expected):
    store = Registry().open("json", {"path": path}, base_dir=tmp_path / "base", data_dir=tmp_path / "data")
    store.write("key", b"{}", 4e9)
    store.close()
    assert (tmp_path / expected).exists()


NESTED = """
from pydantic import BaseModel
from symcache_core import Backend, hookimpl

class Inner(BaseModel, extra="forbid"):
    path: str = ""

class Settings(BaseModel):
    at: Inner = Inner()

def fail(settings):
    raise ZeroDivisionError("a slip")

@hookimpl
def symcache_backends():
    yield Backend(name="third", settings=Settings, open=fail)
"""


def test_a_wrong_option_within_an_option_is_named_too(install, tmp_path):
    install("third", "nested_plugin", NESTED)
    with pytest.raises(ConfigurationError) as raised:
        Registry().open("third", {"at": {"zzz": 1}}, base_dir=tmp_path, data_dir=tmp_path)
    assert str(raised.value) == "backends.third: unknown setting 'at.zzz'; known: at"


def test_a_backend_that_fails_to_open_in_a_way_of_its_own_is_at_fault(install, tmp_path):
    install("third", "failing_plugin", NESTED)
    with pytest.raises(ConfigurationError) as raised:
        Registry().open("third", {}, base_dir=tmp_path, data_dir=tmp_path)
    assert str(raised.value) == (
        "plug-in 'third' (symcache-third 1.0): backend 'third' failed to open with ZeroDivisionError; "
        "this is a fault in the backend"
    )
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


TWICE = WORKING.format(name="third") + '    yield Backend(name="third", settings=MemorySettings, open=MemoryBackend)\n'


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (
            "x = 1",
            "ConfigurationError: it implements no hook: decorate a function 'symcache_backends' with @hookimpl",
        ),
        (TWICE, "DuplicateBackendError: its hook gives backend 'third' twice"),
        (BROKEN["hook takes an argument"][0], "PluginValidationError: Plugin 'third' for hook 'symcache_backends'"),
    ],
    ids=["no hook", "twice", "an argument"],
)
def test_what_a_plugin_does_wrong_is_said_under_its_own_name(install, source, error):
    install("third", "third_plugin", source)
    reports = {report.name: report for report in Registry().reports()}
    assert reports["third"].error.startswith(error)
    assert reports["third"].backends == ()


def test_where_a_plugin_is_shows_whether_it_works_or_not(site, install):
    install("third", "third_plugin", WORKING.format(name="third"))
    install("zoo", "zoo_plugin", "raise RuntimeError('no licence')")
    files = {report.name: report.file for report in Registry().reports()}
    assert files["third"] == str(site.folder / "third_plugin.py")
    assert files["zoo"] == str(site.folder / "zoo_plugin.py")
    assert files["memory"].endswith("memory.py")


def test_an_error_of_a_plugin_is_one_line_whatever_its_text_does(install):
    source = "class Odd(Exception):\n    def __str__(self):\n        raise KeyError\nraise Odd"
    install("odd", "odd_plugin", source)
    install("third", "third_plugin", "raise RuntimeError('first\\n\\n  second')")
    errors = {report.name: report.error for report in Registry().reports()}
    assert (errors["odd"], errors["third"]) == ("Odd", "RuntimeError: first second")
