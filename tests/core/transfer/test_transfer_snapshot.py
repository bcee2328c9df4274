"""Stores that are read while programs are at them: no lock of theirs is lost by that, and no wait goes on for ever."""

import fcntl
import os
import subprocess
import sys
import time
from contextlib import closing

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import LockTimeoutError
from symcache_core.settings import SymcacheSettings
from symcache_core.transfer.sources import entries_in

backend = "diskcache"
FAR = 4102444800.0


def locks_of_this_process():
    listed = subprocess.run(
        [sys.executable, "-c", "print(open('/proc/locks').read())"], capture_output=True, text=True, check=True
    ).stdout
    mine = str(os.getpid())
    return sorted(line.split(":", 1)[1] for line in listed.splitlines() if "POSIX" in line and line.split()[4] == mine)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has which lock")
def test_a_store_that_this_program_has_open_keeps_its_locks_while_it_is_read_by_its_path(tmp_path):
    with closing(DiskBackend(DiskSettings(path=tmp_path / "store"))) as store:
        store.write("key", b"{}", FAR)
        before = locks_of_this_process()
        with entries_in(tmp_path / "store", SymcacheSettings()) as entries:
            assert list(entries.keys) == ["key"]
        assert before
        assert locks_of_this_process() == before
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]"


@pytest.mark.parametrize("kind", ["json", "diskcache"])
def test_a_store_that_is_locked_all_the_time_is_an_error_that_names_its_lock(tmp_path, kind):
    path = tmp_path / "store"
    store = JsonFileBackend(path) if kind == "json" else DiskBackend(DiskSettings(path=path))
    store.write("key", b'{"v":1}', FAR)
    store.close()
    lock = tmp_path / "store.lock" if kind == "json" else path / "symcache.lock"
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        with (
            pytest.raises(LockTimeoutError, match=rf"{lock.name} is locked by"),
            entries_in(path, SymcacheSettings(lock_timeout=0.2)),
        ):
            pass
        assert time.monotonic() - began < 5
