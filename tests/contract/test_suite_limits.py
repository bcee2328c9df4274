"""A suite that an author subclasses bounds each case by itself, and writes as much as its scale says."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import FunctionType

import pytest
from reference_backends import MemoryStore, name_of
from unruly_backends import HangsAtItsClosing, HangsInThreads, Loops, WaitsForALock, WaitsInC

from symcache_core.testing import BackendContract
from symcache_core.testing.limits import time_limit
from symcache_core.testing.metering import Written, metered

# They stand on backends of their own: once for each Python is enough.
backend = "memory"

SUITE = """
from symcache_core.testing import BackendContract, limits

limits.LAST_RESORT = 1.0


class TestUnruly(BackendContract):
    backend = "{name}"
    plugins = ("unruly_backends",)
    time_limit = 1.0
"""
CLEARS = "clear_tells_how_many or unknown_key"
THREADS = "many_threads_deletes_an_entry or unknown_key"


def run_suite(folder, store, only):
    (folder / "test_unruly.py").write_text(SUITE.format(name=name_of(store)))
    command = [sys.executable, "-m", "pytest", "-k", only, "-p", "no:cacheprovider", f"--rootdir={folder}", "-rf"]
    environment = {"PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path]), "PATH": ""}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done, time.monotonic() - began


@pytest.mark.parametrize(
    ("store", "only", "call"),
    [
        (Loops, CLEARS, "Loops.clear"),
        (WaitsForALock, CLEARS, "WaitsForALock.clear"),
        (HangsInThreads, THREADS, "HangsInThreads.delete"),
        (HangsAtItsClosing, CLEARS, "HangsAtItsClosing.close"),
    ],
)
def test_a_case_that_hangs_fails_with_the_call_and_the_others_go_on(tmp_path, store, only, call):
    done, took = run_suite(tmp_path, store, only)
    assert f"it has not ended within 1 s: {call} (unruly_backends.py:" in done.stdout, done.stdout
    assert "bound each wait" in done.stdout
    assert done.returncode == 1
    assert took < 30


def test_a_case_that_no_signal_reaches_ends_the_run_and_shows_where(tmp_path):
    done, _ = run_suite(tmp_path, WaitsInC, CLEARS)
    assert done.returncode < 0
    assert "in clear" in done.stderr
    assert "test_clear_tells_how_many_there_were" in done.stderr


def test_a_shorter_limit_of_someone_else_s_is_left_alone():
    def wait():
        with time_limit(60.0):
            time.sleep(10)

    case = FunctionType(wait.__code__, {**globals(), "__name__": "symcache_core.testing.a_case"})
    with pytest.raises(pytest.fail.Exception, match=r"within 0\.05 s"), time_limit(0.05):
        case()


@pytest.mark.parametrize(
    ("scale", "times"), [(1.0, 1_000), (0.1, 100), (0.001, 10), (2.0, 2_000)], ids=["full", "a tenth", "least", "more"]
)
def test_a_scale_says_how_often_something_is_done(scale, times):
    suite = type("Suite", (BackendContract,), {"backend": "memory", "scale": scale})()
    assert suite.times(1_000) == times
    assert suite.times(3) in (3, 6), "what is few already is done no less often"


def test_what_is_written_is_counted_once_by_whichever_method():
    store, written = MemoryStore(MemoryStore.Settings()), Written()
    assert metered(store, written) is store
    store.write("one", b"1234", 0.0)
    store.write_many({"two": (b"12", 0.0), "three": (b"123", 0.0)})
    store.update("one", lambda entry: (entry * 2, 0.0))
    store.update("one", lambda entry: None)
    assert store.read("one") == b"12341234"
    assert written.take() == (4, 17)
    assert written.take() == (0, 0)


def test_a_store_that_cannot_be_metered_is_left_as_it_is():
    class Sealed(MemoryStore):
        def __init_subclass__(cls):
            raise TypeError("final")

    store, written = Sealed(Sealed.Settings()), Written()
    assert type(metered(store, written)) is Sealed
    store.write("key", b"{}", 0.0)
    assert written.take() == (0, 0)
