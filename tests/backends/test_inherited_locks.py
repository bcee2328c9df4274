"""What a forked child inherits locked, by a thread that it does not have, keeps neither it nor others waiting."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from patience import PATIENCE

from symcache_backends import shared_word
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_backends.json_file import JsonSettings, open_json
from symcache_backends.memory import MemoryBackend, MemorySettings

backend = None
FAR = 4e9


def in_a_child(act):
    """Do something in a forked child; whether it came to its end."""
    if (child := os.fork()) == 0:
        signal.alarm(int(PATIENCE / 2))
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def held():
    """Has a thread hold a lock until the test is over."""
    over = threading.Event()

    def hold(lock):
        has_it = threading.Event()

        def work():
            with lock:
                has_it.set()
                over.wait()

        threading.Thread(target=work, daemon=True).start()
        assert has_it.wait(PATIENCE)

    yield hold
    over.set()


def test_a_child_uses_a_memory_that_a_thread_of_its_parent_was_at(held):
    store = MemoryBackend(MemorySettings())
    held(store._lock)
    assert in_a_child(lambda: store.write("key", b"{}", FAR))


def test_a_child_opens_a_store_while_a_thread_of_its_parent_does(held, tmp_path):
    with closing(open_json(JsonSettings(path=tmp_path / "s.json"))):
        held(shared_word._guard._lock)
        assert in_a_child(lambda: open_json(JsonSettings(path=tmp_path / "other.json")).close())


def test_a_closed_folder_is_unlocked_though_a_child_has_a_share_in_its_lock(tmp_path):
    settings = DiskSettings(path=tmp_path / "d", lock_timeout=0.2)
    store = DiskBackend(settings)
    shared = os.dup(store._access._folder.lock.number)
    try:
        store.close()
        with open(tmp_path / "d" / "symcache.lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(shared)


INTERRUPTED = """
import os, sys, threading
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings, forks

def interrupt(frame, event, _argument):
    if event == "call" and frame.f_code is forks._Forks._in_parent.__code__:
        sys.setprofile(None)
        raise KeyboardInterrupt

store = DiskBackend(DiskSettings(path=Path(sys.argv[1])))
store.write("key", b"{}", 4e9)
sys.setprofile(interrupt)
if os.fork() == 0:
    os._exit(0)
found = []
thread = threading.Thread(target=lambda: found.append(store.read("key")), daemon=True)
thread.start()
thread.join(5)
assert found == [b"{}"]
if os.fork() == 0:
    os._exit(0)
store.close()
"""


def test_an_interrupt_just_after_a_fork_keeps_nobody_waiting(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "store")]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
