"""Backups put in the place of a diskcache folder's files, or over them: one of the two is read, never a mixture."""

import os
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings

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
        if how == "over it":
            subprocess.run(["cp", "-a", backup, folder / name], check=True)
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
