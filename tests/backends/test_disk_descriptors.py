"""A file that SQLite has open is asked by SQLite's descriptor, whose locks stay whatever happens meanwhile."""

import os
import sqlite3
from contextlib import closing

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings, pairing
from symcache_backends.disk.descriptors import asked, close_if_alone, descriptor_of
from symcache_backends.disk.paths import identity_of

backend = "diskcache"
FAR = 4e9


@pytest.fixture
def file(tmp_path):
    """A file with ``first`` in it."""
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


def start_of(number):
    return os.pread(number, 5, 0)


def test_a_file_that_is_not_open_tells_nothing(file):
    there = identity_of(os.stat(file))
    assert descriptor_of(there) == -1
    assert asked(there, start_of) is None


def test_a_number_that_is_closed_meanwhile_or_another_files_tells_nothing(file, tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    numbers = [os.open(file, os.O_RDONLY) for _ in range(3)]

    def ask(number):
        if number == numbers[0]:
            os.close(number)
        if number == numbers[1]:
            os.close(number)
            assert os.open(tmp_path / "other", os.O_RDONLY) == numbers[0]
            assert os.open(tmp_path / "other", os.O_RDONLY) == numbers[1]
        told.append(start_of(number))
        return told[-1]

    told = []
    try:
        assert asked(identity_of(os.stat(file)), ask) == b"first"
        assert told == [b"other", b"first"]
    finally:
        for number in numbers:
            os.close(number)


def test_what_a_file_fails_with_is_raised(file):
    number = os.open(file, os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            asked(identity_of(os.stat(file)), start_of)
    finally:
        os.close(number)


def test_a_descriptor_is_not_closed_beside_another_of_its_file(file):
    one, two = (os.open(file, os.O_RDONLY) for _ in range(2))
    close_if_alone(one)
    assert start_of(one) == b"first"
    os.close(two)
    close_if_alone(one)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one)


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="this system does not tell who has which lock")
def test_a_look_at_how_a_database_begins_drops_no_locks_of_who_connects_meanwhile(tmp_path, monkeypatch):
    def locks():
        with open("/proc/locks") as lines:
            mine = [line for line in lines if f":{inode} " in line and f" {os.getpid()} " in line]
        return [line.partition(": ")[2] for line in mine]  # without its number, which others' locks change

    def connect_meanwhile(*arguments):
        con = really(*arguments)
        others.append(sqlite3.connect(tmp_path / "store" / "cache.db"))
        others[-1].execute("SELECT count(*) FROM Cache").fetchone()
        seen.append(locks())
        return con

    others, seen = [], []
    with closing(DiskBackend(DiskSettings(path=tmp_path / "store"))) as store:
        store.write("key", b"{}", FAR)
        inode = os.stat(tmp_path / "store" / "cache.db").st_ino
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        assert not locks(), "nobody is connected"
        os.utime(tmp_path / "store" / "cache.db")  # as who writes the log back
        really = pairing.connect
        monkeypatch.setattr(pairing, "connect", connect_meanwhile)
        store.write("key", b"[]", FAR)
        assert seen
        assert all(seen)
        assert locks() >= seen[0]
        for other in others:
            other.close()


def test_a_folder_goes_on_after_a_fork_though_the_log_was_written_back_for_it(tmp_path):
    with closing(DiskBackend(DiskSettings(path=tmp_path / "store"))) as store:
        store.write("key", b"{}", FAR)
        before, generation = store._access._folder, store.generation()
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        assert not (tmp_path / "store" / "cache.db-wal").exists()
        assert store.read("key") == b"{}"
        store.write("key", b"[]", FAR)
        assert store._access._folder is before
        assert store.generation() == generation
