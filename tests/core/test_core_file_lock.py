"""Waiting for a file that another process has locked: it ends, and says who has it."""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from symcache_core.errors import BackendUnavailableError, LockTimeoutError
from symcache_core.file_lock import holder, take

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")

HOLD = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("holding", flush=True)
"""


def opened(path):
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def holding(path, then):
    with subprocess.Popen([sys.executable, "-c", HOLD + then, str(path)], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_lock_that_nobody_has_is_taken_at_once(tmp_path):
    descriptor = opened(tmp_path / "file")
    take(descriptor, tmp_path / "file", 0.001)
    with pytest.raises(BlockingIOError):
        fcntl.flock(opened(tmp_path / "file"), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_is_given_back_in_time_is_taken(tmp_path):
    descriptor = opened(tmp_path / "file")
    with holding(tmp_path / "file", "time.sleep(0.2)"):
        take(descriptor, tmp_path / "file", 60)


@linux_only
def test_a_stopped_holder_is_named_with_the_setting(tmp_path):
    path = tmp_path / "file"
    descriptor = opened(path)
    with holding(path, "time.sleep(600)") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        with pytest.raises(LockTimeoutError) as caught:
            take(descriptor, path, 0.05)
        assert isinstance(caught.value, BackendUnavailableError)
        assert str(path) in str(caught.value)
        assert f"process {process.pid} (" in str(caught.value)
        assert "stopped" in str(caught.value)
        assert "0.05 s (setting 'lock_timeout')" in str(caught.value)


@linux_only
def test_a_lock_that_a_child_has_inherited_is_said_to_be(tmp_path):
    path = tmp_path / "file"
    descriptor = opened(path)
    inherit = "os.fork() or (print(os.getpid(), flush=True), time.sleep(600))"
    with holding(path, inherit) as process:
        child = int(process.stdout.readline())
        process.wait()
        try:
            with pytest.raises(LockTimeoutError, match=f"a child of process {process.pid}, which has ended"):
                take(descriptor, path, 0.05)
        finally:
            os.kill(child, signal.SIGKILL)


@linux_only
def test_a_lock_of_this_very_process_is_said_to_be(tmp_path):
    first, second = opened(tmp_path / "file"), opened(tmp_path / "file")
    take(first, tmp_path / "file", 1)
    assert holder(second) == "this process"


def test_a_shared_lock_is_had_by_several(tmp_path):
    path = tmp_path / "file"
    for _ in range(2):
        take(opened(path), path, 0.01, shared=True)
    with pytest.raises(LockTimeoutError):
        take(opened(path), path, 0.01)


def test_who_has_waited_before_waits_for_the_rest_and_the_error_names_the_setting(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with holding(path, "time.sleep(600)"):
        for left in (0.05, -1.0):
            with pytest.raises(LockTimeoutError, match=r"no time is left of 600 s \(setting 'lock_timeout'\)"):
                take(opened(path), path, 600, left=left)
