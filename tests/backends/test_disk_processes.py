"""Processes that share a diskcache folder: forked, stopped, opening and closing at once."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError, LockTimeoutError

backend = "diskcache"
FAR = 4102444800.0

PROGRAM = """
import os, signal, sys, threading, time
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
folder = Path(sys.argv[1])
FAR = 4102444800.0

def opened(timeout=10):
    return DiskBackend(DiskSettings(path=folder, lock_timeout=timeout))

def forked(act):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return child

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(folder, program, *arguments):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + program, str(folder), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@contextmanager
def running(folder, program):
    command = [sys.executable, "-c", PROGRAM + program, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "symbols"


def keys(folder):
    store = DiskBackend(DiskSettings(path=folder))
    try:
        return set(store.keys())
    finally:
        store.close()


def test_a_child_stores_on_after_its_parent_has_closed_and_another_process_has_come_and_gone(folder):
    run(
        folder,
        """
store = opened()
store.write("parent", b"{}", FAR)
to_child, to_parent = os.pipe(), os.pipe()

def act():
    store.write("child 1", b"{}", FAR)
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    store.write("child 2", b"{}", FAR)
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    store.write("child 3", b"{}", FAR)
    store.close()

child = forked(act)
os.read(to_parent[0], 1)
store.close()
os.write(to_child[1], b".")
os.read(to_parent[0], 1)
other = opened()
assert set(other.keys()) == {"parent", "child 1", "child 2"}, set(other.keys())
other.write("other", b"{}", FAR)
other.close()
os.write(to_child[1], b".")
assert ended(child) == 0
""",
    )
    assert keys(folder) == {"parent", "child 1", "child 2", "child 3", "other"}


def test_a_fork_beside_an_update_blocks_nobody_and_loses_nothing(folder):
    run(
        folder,
        """
store = opened()
inside, go = threading.Event(), threading.Event()

def change(entry):
    inside.set()
    go.wait()
    return b'{"updated":1}', FAR

thread = threading.Thread(target=store.update, args=("updated", change))
thread.start()
inside.wait()
child = forked(lambda: store.write("child", b"{}", FAR))
go.set()
thread.join()
began = time.monotonic()
store.write("parent", b"{}", FAR)
assert ended(child) == 0
assert time.monotonic() - began < 5
assert store.read("updated") == b'{"updated":1}'
assert set(store.keys()) == {"updated", "child", "parent"}, set(store.keys())
store.close()
""",
    )
    assert keys(folder) == {"updated", "child", "parent"}


def test_a_fork_within_an_update_ends_it_in_the_child_only(folder):
    output = run(
        folder,
        """
from symcache_core.errors import BackendUnavailableError
store = opened()
children = []

def change(entry):
    def act():
        pass
    child = os.fork()
    children.append(child)
    return b"{}", FAR

try:
    store.update("key", change)
except BackendUnavailableError as error:
    print("child:", error, flush=True)
    store.write("child", b"{}", FAR)
    store.close()
    os._exit(0)
assert children[0] and ended(children[0]) == 0
assert set(store.keys()) == {"key", "child"}
store.close()
""",
    )
    assert "forked in an update" in output


def test_a_child_that_has_inherited_a_locked_folder_does_not_keep_it_locked(folder):
    run(
        folder,
        """
store = opened(timeout=2)
inside = threading.Event()
here, there = os.pipe()

def main():
    def change(entry):
        inside.set()
        time.sleep(600)
    threading.Thread(target=store.update, args=("key", change), daemon=True).start()
    inside.wait()
    os.write(there, b"%d " % forked(lambda: time.sleep(600)))
    os.kill(os.getpid(), signal.SIGKILL)

parent = forked(main)
assert ended(parent) == -signal.SIGKILL
grandchild = int(os.read(here, 20))
try:
    store.write("other", b"{}", FAR)
finally:
    os.kill(grandchild, signal.SIGKILL)
store.close()
""",
    )
    assert keys(folder) == {"other"}


def test_forks_beside_threads_that_store_lose_nothing(folder):
    run(
        folder,
        """
store = opened()
stop = threading.Event()
stored = [0] * 3

def keep_storing(number):
    while not stop.is_set():
        store.write(f"parent {number} {stored[number]}", b"{}", FAR)
        stored[number] += 1
        store.read("parent 0 0")

threads = [threading.Thread(target=keep_storing, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()

def act(name):
    for number in range(5):
        store.write(f"child {name} {number}", b"{}", FAR)
        assert store.read(f"child {name} {number}") == b"{}"

children = [forked(lambda: act(name)) for name in range(20)]
assert [ended(child) for child in children] == [0] * 20
stop.set()
for thread in threads:
    thread.join()
there = set(store.keys())
wanted = {f"parent {number} {count}" for number in range(3) for count in range(stored[number])}
wanted |= {f"child {name} {number}" for name in range(20) for number in range(5)}
assert there == wanted, (len(there), len(wanted), wanted - there)
store.close()
""",
    )


def test_a_daemon_goes_on_with_what_its_parent_had_open(folder):
    run(
        folder,
        """
store = opened()
store.write("parent", b"{}", FAR)
ready, done = os.pipe()

def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)
    store.write("daemon", b"{}", FAR)
    store.close()
    os.write(done, b".")

forked(daemon)
assert os.read(ready, 1) == b"."
assert set(store.keys()) == {"parent", "daemon"}
store.close()
""",
    )


def test_opening_never_fails_while_others_open_and_close(folder):
    DiskBackend(DiskSettings(path=folder)).close()
    program = """
for number in range(25):
    store = opened()
    store.write(f"{os.getpid()} {number}", b"{}", FAR)
    store.close()
"""
    command = [sys.executable, "-c", PROGRAM + program, str(folder)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    assert [child.communicate()[1] for child in children] == [""] * 6
    assert len(keys(folder)) == 150


STOPPED = """
store = opened()
def change(entry):
    print("holding", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
store.update("key", change)
"""


def test_beside_a_stopped_holder_every_call_ends_and_what_is_stored_is_read(folder):
    store = DiskBackend(DiskSettings(path=folder, lock_timeout=0.3))
    store.write("before", b"{}", FAR)
    with running(folder, STOPPED) as holder:
        holder.stdout.readline()
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        began = time.monotonic()
        assert store.read("before") == b"{}"
        assert list(store.keys()) == ["before"]
        for call in (
            lambda: store.write("key", b"{}", FAR),
            lambda: store.update("key", lambda _: (b"{}", FAR)),
            lambda: store.delete("before"),
            store.clear,
        ):
            with pytest.raises(
                LockTimeoutError, match=rf"symcache\.lock.*process {holder.pid} .*stopped.*lock_timeout"
            ):
                call()
        other = DiskBackend(DiskSettings(path=folder, lock_timeout=0.3))
        assert other.read("before") == b"{}"
        with pytest.raises(LockTimeoutError, match="lock_timeout"):
            other.write("key", b"{}", FAR)
        store.close()
        assert time.monotonic() - began < 10
        holder.send_signal(signal.SIGCONT)
        holder.wait()
    other.write("key", b"[]", FAR)
    assert other.read("key") == b"[]"
    other.close()


def test_the_older_name_of_the_timeout_is_understood(folder):
    assert DiskSettings(path=folder, timeout=3).patience == 3
    assert DiskSettings(path=folder, timeout=3, lock_timeout=7).patience == 3
    assert DiskSettings(path=folder, lock_timeout=7).patience == 7


def test_a_new_store_cannot_be_made_while_another_process_has_the_folder_locked(folder):
    folder.mkdir()
    program = """
import fcntl
descriptor = os.open(folder / "symcache.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("holding", flush=True)
time.sleep(600)
"""
    with running(folder, program) as holder:
        holder.stdout.readline()
        with pytest.raises(BackendUnavailableError, match=f"process {holder.pid}"):
            DiskBackend(DiskSettings(path=folder, lock_timeout=0.2))
