"""Databases of other programs at the path: they are refused by name, and nothing in them is changed."""

import shutil
import sqlite3
from contextlib import closing

import diskcache
import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import ConfigurationError

backend = "diskcache"
FAR = 4102444800.0
LONG = b'{"long":"%b"}' % (b"x" * 40_000)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "symbols"
    folder.mkdir()
    return folder


def opened(folder):
    return DiskBackend(DiskSettings(path=folder, lock_timeout=1))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _another_database(folder):
    with closing(sqlite3.connect(folder / "cache.db")) as database:
        database.execute("CREATE TABLE precious (it)")
        database.execute("INSERT INTO precious VALUES (1)")
        database.commit()


def _another_cache_table(folder):
    with closing(sqlite3.connect(folder / "cache.db")) as database:
        database.execute("CREATE TABLE Cache (url, body)")
        database.execute("INSERT INTO Cache VALUES ('https://', 'x')")
        database.commit()


def _diskcache_with(**entries):
    def make(folder):
        with closing(
            diskcache.Cache(str(folder), eviction_policy="least-recently-used", size_limit=12_345_678)
        ) as cache:
            for key, value in entries.items():
                cache[key] = value

    return make


MAKERS = {
    "another database": _another_database,
    "a table of the same name": _another_cache_table,
    "objects": _diskcache_with(mine={"a": 1}),
    "long text": _diskcache_with(mine="x" * 99_999),
    "numbers": _diskcache_with(mine=1),
    "bytes": _diskcache_with(mine=b"\x89PNG"),
    "nothing yet, but settings": _diskcache_with(),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_is_another_programs_is_refused_by_name_and_not_changed(folder, make):
    make(folder)
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"cache\.db is .* set 'backends\.diskcache\.path'"):
            opened(folder)
        assert contents(folder) == before


def test_what_another_program_has_in_use_is_refused_and_not_changed(folder):
    with closing(diskcache.Cache(str(folder))) as cache:
        cache["mine"] = {"a": 1}
        with pytest.raises(ConfigurationError, match="another program's"):
            opened(folder)
        cache["more"] = 2
        assert (cache["mine"], cache["more"]) == ({"a": 1}, 2)


@pytest.mark.parametrize("options", [{}, {"eviction": "least-recently-used", "size_limit": 1 << 20}])
@pytest.mark.parametrize("entries", [0, 3])
def test_a_backup_without_its_lock_file_is_opened(folder, tmp_path, options, entries):
    with closing(DiskBackend(DiskSettings(path=folder, **options))) as store:
        for number in range(entries):
            store.write(f"key{number}", LONG if number else b"{}", FAR)
        shutil.copytree(folder, tmp_path / "backup", ignore=shutil.ignore_patterns("symcache.lock", "*-shm", "leases"))
    with closing(DiskBackend(DiskSettings(path=tmp_path / "backup", **options))) as store:
        assert set(store.keys()) == {f"key{number}" for number in range(entries)}


def test_an_empty_file_at_the_database_is_made_a_database(folder):
    (folder / "cache.db").touch()
    with closing(opened(folder)) as store:
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}"
