"""Backups put in the place of a diskcache folder's files, or over them: one of the two is read, never a mixture."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendError

backend = "diskcache"
FAR = 4102444800.0
FILES = ("cache.db", "symcache.lock")

KILLED = """
import os, signal, sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
store = DiskBackend(DiskSettings(path=Path(sys.argv[1])))
for number in range(200):
    store.write(f"key{number}", b'{"state":2}', 4102444800.0)
store.write("late", b"{}", 4102444800.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def opened(folder):
    return DiskBackend(DiskSettings(path=folder, lock_timeout=2))


def states(store):
    return {store.read(key) for key in store.keys()}


@pytest.fixture
def folder(tmp_path):
    """A closed store that has changed since its backup of an hour ago."""
    folder = tmp_path / "symbols"
    with closing(opened(folder)) as store:
        for number in range(200):
            store.write(f"key{number}", b'{"state":1}', FAR)
    for name in FILES:
        found = (folder / name).stat()
        os.utime(folder / name, ns=(found.st_atime_ns, found.st_mtime_ns - 3_600_000_000_000))
    shutil.copytree(folder, tmp_path / "backup")
    with closing(opened(folder)) as store:
        for number in range(200):
            store.write(f"key{number}", b'{"state":2}', FAR)
    return folder


def restore(folder, how, names):
    for name in names:
        backup = folder.parent / "backup" / name
        if how in ("over it", "over it, as of now"):
            subprocess.run(["cp", *(["-a"] if how == "over it" else []), backup, folder / name], check=True)
        else:
            shutil.copy2(backup, folder / f"{name}.new")
            (folder / f"{name}.new").rename(folder / name)


@pytest.mark.parametrize("names", [FILES, FILES[:1]], ids=["all files", "the database"])
@pytest.mark.parametrize("how", ["over it", "in its place"])
def test_a_backup_that_is_restored_under_two_programs_is_what_both_read(folder, how, names):
    with closing(opened(folder)) as one, closing(opened(folder)) as other:
        for number in range(200):
            one.write(f"key{number}", b'{"state":2}', FAR)
        one.write("late", b"{}", FAR)
        assert states(other) == {b'{"state":2}', b"{}"}
        restore(folder, how, names)
        for store in (other, one):
            assert states(store) == {b'{"state":1}'}
        one.write("after", b"[]", FAR)
        other.write("after", b"[1]", FAR)
        assert one.read("after") == other.read("after") == b"[1]"
        assert "late" not in set(one.keys())
    with closing(opened(folder)) as store:
        assert states(store) == {b'{"state":1}', b"[1]"}


@pytest.mark.parametrize("names", [FILES, FILES[:1]], ids=["all files", "the database"])
@pytest.mark.parametrize("how", ["over it", "in its place"])
def test_a_backup_that_is_restored_after_a_program_was_killed_is_what_is_read(folder, how, names, caplog):
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert (folder / "cache.db-wal").stat().st_size > 0
    restore(folder, how, names)
    with closing(opened(folder)) as store:
        assert states(store) == {b'{"state":1}'}
        store.write("after", b"[]", FAR)
    assert "cache.db-wal was that of another database" in caplog.text


def test_closing_a_store_over_which_a_backup_was_restored_leaves_the_backup_whole(folder):
    store = opened(folder)
    for number in range(200):
        store.write(f"key{number}", b'{"state":2}', FAR)
    restore(folder, "over it", FILES)
    store.close()
    with closing(opened(folder)) as again:
        assert states(again) == {b'{"state":1}'}


@pytest.mark.parametrize("what", ["nothing", "chmod", "touch"])
def test_the_log_of_a_killed_program_is_kept(folder, what):
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    if what == "chmod":
        (folder / "cache.db").chmod(0o640)
    elif what == "touch":
        (folder / "cache.db").touch()
    with closing(opened(folder)) as store:
        assert states(store) == {b'{"state":2}', b"{}"}


def test_a_whole_folder_that_is_copied_with_its_log_is_what_it_was(folder):
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    copied = folder.with_name("copied")
    subprocess.run(["cp", "-a", folder, copied], check=True)
    with closing(opened(copied)) as store:
        assert states(store) == {b'{"state":2}', b"{}"}


LONG = b'{"x":"%b"}' % (b"1" * 3000)


@pytest.fixture
def grown(tmp_path):
    """A closed store that has a backup, and has grown since."""
    folder = tmp_path / "symbols"
    with closing(opened(folder)) as store:
        for number in range(20):
            store.write(f"key{number}", LONG, FAR)
    shutil.copytree(folder, tmp_path / "backup")
    return folder


GROWING = """
import os, signal, sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
store = DiskBackend(DiskSettings(path=Path(sys.argv[1])))
for number in range(20, 600):
    store.write(f"key{number}", b'{"x":"%b"}' % (b"1" * 3000), 4102444800.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("names", [FILES, FILES[:1]], ids=["all files", "the database"])
def test_a_backup_that_is_copied_without_its_times_after_a_program_was_killed_is_what_is_read(grown, names, caplog):
    subprocess.run([sys.executable, "-c", GROWING, str(grown)], check=False)
    log = (grown / "cache.db-wal").read_bytes()
    restore(grown, "over it, as of now", names)
    with closing(opened(grown)) as store:
        assert set(store.keys()) == {f"key{number}" for number in range(20)}
        store.write("after", b"[]", FAR)
    assert "it is set aside as cache.db-wal.aside" in caplog.text
    assert (grown / "cache.db-wal.aside").read_bytes() == log
    with closing(opened(grown)) as store:
        assert len(set(store.keys())) == 21


@pytest.mark.parametrize("names", [FILES, FILES[:1]], ids=["all files", "the database"])
def test_a_backup_that_is_copied_without_its_times_under_two_programs_is_what_both_read(grown, names):
    with closing(opened(grown)) as one, closing(opened(grown)) as other:
        for number in range(20, 600):
            (one, other)[number % 2].write(f"key{number}", LONG, FAR)
        restore(grown, "over it, as of now", names)
        for store in (other, one):
            assert set(store.keys()) == {f"key{number}" for number in range(20)}
        one.write("after", b"[]", FAR)
        assert other.read("after") == b"[]"
    with closing(opened(grown)) as store:
        assert len(set(store.keys())) == 21


def test_what_another_program_writes_over_a_database_in_use_is_left_as_it_is(grown):
    store = opened(grown)
    for number in range(20, 100):
        store.write(f"key{number}", LONG, FAR)
    (grown / "cache.db").write_bytes(b"foreign text\n" * 900)
    with pytest.raises(BackendError):
        store.read("key1")
    with pytest.raises(BackendError):
        store.write("key1", b"{}", FAR)
    store.close()
    assert (grown / "cache.db").read_bytes() == b"foreign text\n" * 900


def test_what_others_write_back_to_the_database_is_never_taken_for_a_backup(grown, caplog):
    with closing(opened(grown)) as one, closing(opened(grown)) as other:
        for number in range(20, 900):
            (one, other)[number // 40 % 2].write(f"key{number}", LONG, FAR)
            if number % 7 == 0:
                assert (other, one)[number // 40 % 2].read(f"key{number}") == LONG
        with closing(sqlite3.connect(grown / "cache.db")) as another:
            another.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            another.execute("UPDATE Cache SET access_count = 1")
            another.commit()
            another.execute("VACUUM")
        assert len(set(one.keys())) == len(set(other.keys())) == 900
        one.write("after", b"[]", FAR)
        assert other.read("after") == b"[]"
    assert caplog.text == ""
