"""Settings: keyword over environment over file over defaults, with errors that name the setting."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from symcache_core.errors import ConfigurationError
from symcache_core.plugin import StorePath
from symcache_core.settings import SymcacheSettings, parse_duration


def test_without_any_configuration_the_defaults_work(tmp_path):
    settings = SymcacheSettings()
    assert (settings.backend, settings.provider, settings.host_service_url) == ("json", "replay", "embedded")
    assert (settings.ttl, settings.negative_ttl, settings.negative_ttl_max) == (30 * 86400, 3600, 86400)
    assert settings.data_dir == tmp_path / "data"


def test_a_host_service_of_ones_own_means_interactive_brokers():
    assert SymcacheSettings(host_service_url="http://localhost:5001").provider == "ib"
    assert SymcacheSettings(host_service_url="http://localhost:5001", provider="replay").provider == "replay"


def test_keyword_beats_environment_beats_file(tmp_path, monkeypatch):
    (tmp_path / "symcache.toml").write_text('backend = "diskcache"\nttl = "1d"\nnegative_ttl = "2h"\n')
    monkeypatch.setenv("SYMCACHE_TTL", "2d")
    monkeypatch.setenv("SYMCACHE_BACKEND", "redis")
    settings = SymcacheSettings(backend="memory")
    assert (settings.backend, settings.ttl, settings.negative_ttl) == ("memory", 2 * 86400, 7200)


def test_options_of_a_backend_merge_from_all_sources(tmp_path, monkeypatch):
    (tmp_path / "symcache.toml").write_text('[backends.json]\npath = "from-file.json"\nfsync = "always"\n')
    monkeypatch.setenv("SYMCACHE_BACKENDS__JSON__PATH", "from-environment.json")
    assert SymcacheSettings().backends["json"] == {"path": "from-environment.json", "fsync": "always"}


def test_the_nearest_file_of_the_parents_is_found(tmp_path, monkeypatch):
    (tmp_path / "symcache.toml").write_text('backend = "memory"\ndata_dir = "kept"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    settings = SymcacheSettings()
    assert settings.backend == "memory"
    assert settings.config == tmp_path / "symcache.toml"
    assert settings.data_dir == tmp_path / "kept", "relative to the file, not to the working directory"


def test_a_table_in_pyproject_does_as_well(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.symcache]\nbackend = "memory"\n')
    assert SymcacheSettings().backend == "memory"
    (tmp_path / "symcache.toml").write_text('backend = "diskcache"\n')
    assert SymcacheSettings().backend == "diskcache"


def test_a_file_may_be_named(tmp_path, monkeypatch):
    named = tmp_path / "conf" / "mine.toml"
    named.parent.mkdir()
    named.write_text('backend = "memory"\n')
    assert SymcacheSettings(config=named).backend == "memory"
    monkeypatch.setenv("SYMCACHE_CONFIG", "conf/mine.toml")
    settings = SymcacheSettings()
    assert (settings.backend, settings.base_dir) == ("memory", named.parent)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("backend = ", "not TOML"),
        ('bakend = "json"', "unknown setting 'bakend'; did you mean 'backend'"),
        ('ttl = "soon"', "setting 'ttl': 'soon' is no duration: write 30d, 12h, 90s"),
        ("ttl = -1", "setting 'ttl'"),
        ('provider = "IB!"', "setting 'provider'"),
        ("jitter = 2", "setting 'jitter'"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, content, message):
    path = tmp_path / "symcache.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        SymcacheSettings(config=path)


@pytest.mark.parametrize("content", ["[tool]\nsymcache = 3", "tool = 3"])
def test_a_pyproject_without_a_table_of_ours_is_told_from_one_with_a_mistake(tmp_path, content):
    (tmp_path / "pyproject.toml").write_text(content)
    if "symcache" in content:
        with pytest.raises(ConfigurationError, match="is to be a table"):
            SymcacheSettings()
    else:
        assert SymcacheSettings().backend == "json"


@pytest.mark.parametrize("text", ["one.module, another", "one.module another", '["one.module", "another"]'])
def test_modules_in_the_environment_are_parted_by_commas_or_a_list(monkeypatch, text):
    monkeypatch.setenv("SYMCACHE_PLUGINS", text)
    assert SymcacheSettings().plugins == ("one.module", "another")


def test_a_list_of_modules_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv("SYMCACHE_PLUGINS", "[1, 2]")
    with pytest.raises(ConfigurationError, match="plugins"):
        SymcacheSettings()


def test_a_malformed_table_in_the_environment_is_an_error_without_its_value(monkeypatch):
    monkeypatch.setenv("SYMCACHE_BACKENDS", '{"redis": hunter2')
    with pytest.raises(ConfigurationError) as raised:
        SymcacheSettings()
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 2592000), ("12h", 43200), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5d", 129600), ("60", 60)],
)
def test_durations_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds
    assert SymcacheSettings(ttl=text).ttl == seconds


def test_no_secret_shows(monkeypatch):
    monkeypatch.setenv("SYMCACHE_HOST_TOKEN", "hunter2")
    settings = SymcacheSettings(backends={"redis": {"url": "redis://:hunter2@localhost"}})
    assert settings.host_token.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings)
    with pytest.raises(ConfigurationError) as raised:
        SymcacheSettings(backends="redis://:hunter2@localhost")
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


class Options(BaseModel):
    path: StorePath = Path("{data_dir}/x.json")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "/data/x.json"),
        ({"path": "x.json"}, "/base/x.json"),
        ({"path": "/else/x.json"}, "/else/x.json"),
        ({"path": "{data_dir}/y"}, "/data/y"),
    ],
)
def test_a_store_path_is_relative_to_the_file(given, expected):
    assert Options.model_validate(given, context={"base_dir": "/base", "data_dir": "/data"}).path == Path(expected)


def test_a_store_path_without_a_file_is_relative_to_the_working_directory(tmp_path):
    assert Options(path="x.json").path == tmp_path / "x.json"
    assert Options().path == tmp_path / "data" / "x.json"
    assert Options(path="~/x.json").path == Path(os.path.expanduser("~/x.json"))
