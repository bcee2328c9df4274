"""The diskcache backend: bytes only, whoever wrote the row, and sqlite's errors in our words."""

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError, CorruptStoreError

backend = "diskcache"
FAR = 4102444800.0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "symbols"


@pytest.fixture
def store(folder):
    store = DiskBackend(DiskSettings(path=folder, timeout=0.2))
    yield store
    store.close()


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def plant(folder, **columns):
    """Write into the row of ``AAPL`` what an attacker with access to the folder would."""
    with sqlite3.connect(folder / "cache.db") as database:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        database.execute(f"UPDATE Cache SET {assignments} WHERE key = 'AAPL'", list(columns.values()))
    database.close()


@pytest.mark.parametrize("mode", [4, 3, 7, None])
def test_a_planted_pickle_is_refused_and_never_runs(store, folder, tmp_path, mode):
    store.write("AAPL", b"{}", FAR)
    store.write("MSFT", b"{}", FAR)
    target = tmp_path / "owned"
    plant(folder, mode=mode, value=pickle.dumps(Payload(target)))
    assert store.read("AAPL") is None
    assert not target.exists()
    assert store.read("MSFT") == b"{}"
    store.write("AAPL", b"[]", FAR)
    assert store.read("AAPL") == b"[]"


def test_a_planted_pickled_key_is_refused_and_never_runs(store, folder, tmp_path):
    store.write("AAPL", b"{}", FAR)
    target = tmp_path / "owned"
    plant(folder, key=pickle.dumps(Payload(target)), raw=0)
    assert list(store.keys()) == []
    assert not target.exists()


def test_a_planted_file_name_reads_nothing_outside_the_folder(store, folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    store.write("AAPL", b"{}", FAR)
    plant(folder, mode=2, filename="../secret", value=None)
    assert store.read("AAPL") is None


def test_text_in_place_of_bytes_is_refused(store, folder):
    store.write("AAPL", b"{}", FAR)
    plant(folder, value="{}")
    assert store.read("AAPL") is None


def test_its_files_are_for_their_owner_only(store, folder):
    store.write("AAPL", b"{}", FAR)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "cache.db").stat().st_mode) == 0o600


def test_what_is_over_is_gone(store):
    store.write("AAPL", b"{}", time.time() - 1)
    assert store.read("AAPL") is None


def test_a_locked_database_is_an_error_that_names_the_folder(store, folder):
    with sqlite3.connect(folder / "cache.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BackendUnavailableError, match=r"backends\.diskcache\.path"):
            store.write("AAPL", b"{}", FAR)
        database.execute("ROLLBACK")
    database.close()
    store.write("AAPL", b"{}", FAR)


def test_a_damaged_database_is_left_alone(folder):
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(CorruptStoreError, match="move it away"):
        DiskBackend(DiskSettings(path=folder))
    assert (folder / "cache.db").read_bytes().startswith(b"this is no database")


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BackendUnavailableError, match=r"backends\.diskcache\.path"):
        DiskBackend(DiskSettings(path=tmp_path / "file" / "symbols"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are open")
def test_closing_closes_what_every_thread_has_used(folder):
    store = DiskBackend(DiskSettings(path=folder))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.write(f"k{number}", b"{}", FAR), range(20)))
        assert open_files(folder)
        store.close()
        assert open_files(folder) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are open")
def test_threads_that_have_ended_leave_no_file_open(store, folder):
    store.write("first", b"{}", FAR)
    before = open_files(folder)
    for number in range(20):
        thread = threading.Thread(target=store.write, args=(f"k{number}", b"{}", FAR))
        thread.start()
        thread.join()
    assert open_files(folder) == before
    assert len(list(store.keys())) == 21


def open_files(folder):
    links = Path("/proc/self/fd").iterdir()
    targets = [os.readlink(link) for link in links if link.is_symlink()]
    return sorted(target for target in targets if target.startswith(str(folder)))


CLOSED_IN_USE = """
import sys, threading
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import ClosedError
for run in range(20):
    store = DiskBackend(DiskSettings(path=Path(sys.argv[1])))
    def use():
        try:
            while True:
                store.write("key", b"{}", 4e9)
                store.read("key")
                list(store.keys())
        except ClosedError:
            pass
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    store.close()
    for thread in threads:
        thread.join()
"""


def test_closing_while_other_threads_are_at_work_is_safe(folder):
    run = subprocess.run(
        [sys.executable, "-c", CLOSED_IN_USE, str(folder)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
