"""Who waits in one process for a file store: no longer than its setting says, and nobody who only reads."""

import fcntl
import os
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace

import pytest
from patience import PATIENCE

import symcache_core.file_lock
from symcache_backends.disk import DiskBackend, DiskSettings, access, database, folder
from symcache_backends.json_file import JsonSettings, open_json
from symcache_core.errors import ClosedError, LockTimeoutError

backend = None
FAR = 4e9


def open_disk(path, lock_timeout):
    return DiskBackend(DiskSettings(path=path, lock_timeout=lock_timeout))


def open_file(path, lock_timeout):
    return open_json(JsonSettings(path=path, lock_timeout=lock_timeout))


@pytest.fixture(params=[open_disk, open_file], ids=["diskcache", "json"])
def opened(request, tmp_path):
    """Opens the store, each time anew."""
    return lambda lock_timeout=0.2: request.param(tmp_path / "store", lock_timeout)


@pytest.fixture
def update():
    """Has a thread update a key of a store, and holds it in the midst of that; gives what lets it go on."""
    going_on = []

    def begin(store):
        inside, go, outcome = threading.Event(), threading.Event(), []

        def change(_entry):
            inside.set()
            go.wait(PATIENCE)
            return b'{"updated":1}', FAR

        def work():
            try:
                outcome.append(store.update("key", change))
            except Exception as error:
                outcome.append(error)

        def go_on():
            go.set()
            thread.join(PATIENCE)
            return outcome[0]

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert inside.wait(PATIENCE)
        going_on.append(go)
        return go_on

    yield begin
    for go in going_on:
        go.set()


def test_nobody_who_reads_waits_for_what_an_update_calls(opened, update):
    with closing(opened()) as store, closing(opened()) as other:
        store.write("a", b"{}", FAR)
        go_on = update(store)
        assert store.read("a") == b"{}"
        assert store.read("key") is None
        assert list(store.keys()) == ["a"]
        assert other.read_many(["a", "key"]) == {"a": b"{}"}
        assert go_on() is None
        assert store.read("key") == other.read("key") == b'{"updated":1}'


def test_threads_wait_for_each_other_no_longer_than_for_another_process(opened, update):
    with closing(opened()) as store:
        go_on = update(store)
        for call in (lambda: store.write("b", b"{}", FAR), lambda: store.delete("a"), store.clear, store.compact):
            with pytest.raises(LockTimeoutError, match=r"another thread.*0\.2 s \(setting 'lock_timeout'\)"):
                call()
        assert go_on() is None
        store.write("b", b"{}", FAR)
        assert set(store.keys()) == {"key", "b"}


def test_who_closes_does_not_wait_for_ever_for_an_update_whose_end_is_told(opened, update):
    store = opened()
    go_on = update(store)
    store.close()
    with pytest.raises(ClosedError):
        store.read("key")
    outcome = go_on()
    assert outcome is None or isinstance(outcome, ClosedError)
    with pytest.raises(ClosedError):
        store.write("key", b"{}", FAR)
    with closing(opened()) as again:
        assert (again.read("key") is None) is isinstance(outcome, ClosedError)
        again.write("b", b"{}", FAR)


def test_who_closes_waits_for_an_update_that_soon_ends_though_others_wait_as_well(opened, update):
    def write():
        with suppress(ClosedError):  # it may have been closed first
            store.write("b", b"{}", FAR)

    store = opened(PATIENCE)
    go_on = update(store)
    others = [threading.Thread(target=call) for call in (write, store.close)]
    for other in others:
        other.start()
    assert go_on() is None
    for other in others:
        other.join(PATIENCE)
        assert not other.is_alive()
    with closing(opened()) as again:
        assert again.read("key") == b'{"updated":1}'


def test_what_an_update_calls_may_move_the_store_and_is_called_again(opened, tmp_path):
    def change(entry):
        seen.append(entry)
        if len(seen) == 1:
            (tmp_path / "aside").mkdir()
            for file in tmp_path.glob("store*"):
                file.rename(tmp_path / "aside" / file.name)
            with closing(opened()) as other:
                other.write("key", b"[2]", FAR)
        return b"[3]", FAR

    seen = []
    with closing(opened()) as store:
        store.write("key", b"[1]", FAR)
        store.update("key", change)
        assert store.read("key") == b"[3]"
    assert seen == [b"[1]", b"[2]"]


@pytest.fixture
def clock(monkeypatch):
    """A clock by which no time passes but what is slept; ``due`` is called when that is over."""
    clock = SimpleNamespace(now=0.0, due=(float("inf"), None))

    def sleep(seconds):
        clock.now += seconds
        moment, act = clock.due
        if clock.now >= moment:
            clock.due = (float("inf"), None)
            act()

    fake = SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep, time=lambda: 1e9, time_ns=lambda: 10**18)
    for module in (symcache_core.file_lock, access, database, folder):
        monkeypatch.setattr(module, "time", fake)
    monkeypatch.setattr(database, "_BUSY_WAIT", 0.0)
    return clock


@contextmanager
def held(path):
    """Have the lock of a diskcache folder held, and its database; gives what unlocks the folder."""
    descriptor = os.open(path / "symcache.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as other:
        other.execute("DELETE FROM Settings WHERE key = 'size_limit'")  # so that who opens it has to write
        other.execute("BEGIN IMMEDIATE")
        yield lambda: fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def test_a_write_waits_for_the_folder_and_its_database_as_long_as_for_one_of_them(tmp_path, clock):
    with closing(open_disk(tmp_path / "store", 10)) as store, held(tmp_path / "store") as unlock:
        clock.due = (9.0, unlock)
        with pytest.raises(LockTimeoutError, match="'lock_timeout'"):
            store.write("key", b"{}" * 40_000, FAR)
        assert 10 <= clock.now < 10.2


def test_so_does_who_opens_it_and_finds_what_can_be_read(tmp_path, clock):
    with closing(open_disk(tmp_path / "store", 10)) as store:
        store.write("key", b"{}", FAR)
    with held(tmp_path / "store") as unlock:
        clock.due = (9.0, unlock)
        with closing(open_disk(tmp_path / "store", 10)) as store:
            assert 10 <= clock.now < 10.2
            assert store.read("key") == b"{}"
            assert "'lock_timeout'" in store.read_only()


def test_a_database_that_is_locked_for_reading_too_is_not_read_past_the_lock(tmp_path, clock):
    with closing(open_disk(tmp_path / "store", 10)) as store:
        store.write("key", b"{}", FAR)
    with closing(sqlite3.connect(tmp_path / "store" / "cache.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE Settings SET value = value")
        with pytest.raises(LockTimeoutError, match="'lock_timeout'"):
            open_disk(tmp_path / "store", 10)
        assert 10 <= clock.now < 10.2
