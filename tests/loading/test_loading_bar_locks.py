"""Stopped, killed, orphaned, moved or interrupted: whoever holds a lock on bars holds nobody up for long."""

import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from patience import PATIENCE
from stored_bars import answer_of

from symcache_core import SymcacheSettings
from symcache_core.concurrency.patience import Patience
from symcache_core.errors import BackendUnavailableError, LockTimeoutError
from symcache_core.loading import DataLoadingOrchestrator, DataManager
from symcache_core.loading.bars.listing import drop_series
from symcache_core.loading.bars.locks import Claim, alone
from symcache_core.loading.bars.store import BarStore

ASKED = datetime(2024, 6, 1, 12, tzinfo=UTC)
INTERRUPTED = Path(__file__).with_name("interrupted_child.py")
LOCK_TIMEOUT = 0.2
TIMEOUT = 0.3
pytestmark = pytest.mark.once
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}  # where stored_bars is found
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars", "ib", LOCK_TIMEOUT)


@pytest.fixture
def series(store):
    return store.series("AAPL", "1d")


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


@contextmanager
def holder(program, *arguments):
    """A process that says when it has begun; killed at the end, even if it is stopped."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert process.stdout.readline() == "holding\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process):
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


_LOCK = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("holding", flush=True)
sys.stdin.read()
"""

_CLAIM = """
import sys
from pathlib import Path
from symcache_core.loading.bars.store import BarStore
claim = BarStore(Path(sys.argv[1]), "ib").series(sys.argv[2], "1d").claim()
print("holding", flush=True)
for line in sys.stdin:
    claim.tell()
    print("told", flush=True)
"""


def lock_of(series):
    return series.folder.with_suffix(".lock")


@linux_only
def test_beside_a_stopped_writer_bars_are_read_and_a_save_says_whose_lock_it_is(series, bars):
    series.save(answer_of(bars, ASKED))
    with holder(_LOCK, lock_of(series)) as process:
        stop(process)
        pd.testing.assert_frame_equal(series.read().bars, bars)
        with pytest.raises(LockTimeoutError) as caught:
            series.save(answer_of(bars.tail(1), ASKED))
        said = str(caught.value)
        assert str(lock_of(series)) in said
        assert f"process {process.pid} (" in said
        assert "stopped" in said
        assert f"{LOCK_TIMEOUT:g} s (setting 'lock_timeout')" in said
        process.send_signal(signal.SIGCONT)
        process.communicate()
        series.save(answer_of(bars.tail(1), ASKED))


def test_every_method_that_writes_ends_beside_a_stopped_writer(store, series, bars):
    series.save(answer_of(bars, ASKED))
    calls = [
        lambda: series.take_in(answer_of(bars, ASKED).rows),
        lambda: series.remember(listing="NYSE"),
        lambda: series.begin_renewal("adjusted", ASKED),
        lambda: series.end_renewal(ASKED),
    ]
    with holder(_LOCK, lock_of(series)) as process:
        stop(process)
        for call in calls:
            with pytest.raises(LockTimeoutError):
                call()


def test_a_switch_that_a_stopped_process_is_in_is_not_waited_for_longer(series, bars):
    series.save(answer_of(bars, ASKED))
    series.begin_renewal("adjusted", ASKED)
    series.save(answer_of(bars * 0.5, ASKED))
    state = series.state().with_changes(switching=True, renewing=None)
    series.folder.with_suffix(".json").write_text(state.model_dump_json())
    with holder(_LOCK, lock_of(series)) as process:
        stop(process)
        with pytest.raises(LockTimeoutError):
            series.read()
    assert series.read().state.generation == 2


def test_a_damaged_file_at_the_end_of_a_renewal_is_set_aside(series, bars, caplog):
    series.save(answer_of(bars, ASKED))
    series.begin_renewal("adjusted", ASKED)
    series.save(answer_of(bars * 0.5, ASKED))
    next(series.folder.glob("*.parquet")).write_bytes(b"x")
    series.end_renewal(ASKED)
    pd.testing.assert_frame_equal(series.read().bars, bars * 0.5)
    assert "it is set aside" in caplog.text


def test_of_many_symbols_the_one_that_is_locked_is_reported_and_the_others_are_loaded(market, tmp_path):
    market.provider = "ib"
    settings = SymcacheSettings(backend="memory", data_dir=tmp_path, lock_timeout=LOCK_TIMEOUT)
    locked = BarStore(tmp_path / "bars", "ib").series("IBM", "1d")
    lock_of(locked).parent.mkdir(parents=True)
    with holder(_LOCK, lock_of(locked)) as process, DataManager(settings, external_provider=market) as manager:
        stop(process)
        many = manager.load_many(["AAPL", "IBM", "MSFT"], mode="full")
    assert list(many.frames) == ["AAPL", "MSFT"]
    assert list(many.report.failed) == ["IBM"]
    assert "setting 'lock_timeout'" in many.report.failed["IBM"]


def test_of_many_names_that_cannot_be_written_only_the_first_is_waited_for(tmp_path):
    store = BarStore(tmp_path, "ib", 1.0)
    store.names.saw("AAPL", "AAPL", ASKED)
    with holder(_LOCK, store.folder / "names.lock") as process:
        stop(process)
        began = time.monotonic()
        for number in range(20):
            with pytest.raises(LockTimeoutError):
                store.names.saw(f"S{number}", f"S{number}", ASKED)
        assert time.monotonic() - began < 10, "nobody waits twenty times"
    assert [bearing.name for bearing in store.names.all()] == ["AAPL"]


class Time:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_holder_is_waited_for_as_long_as_it_goes_on():
    now = Time()
    patience = Patience(10, now)
    for step in range(100):
        now.now = 9.0 * step
        assert not patience.is_over(step)
    now.now += 9
    assert not patience.is_over(99)
    now.now += 1
    assert patience.is_over(99)
    assert not patience.is_over("somebody else")


def test_what_cannot_be_seen_is_no_progress():
    now = Time()
    patience = Patience(10, now)
    for seconds in (3, 6, 9):
        now.now = seconds
        assert not patience.is_over(None)
    now.now = 10
    assert patience.is_over(None)


def test_a_pause_that_a_holder_has_announced_is_waited_for():
    now = Time()
    patience = Patience(10, now)
    assert not patience.is_over("pausing", quiet=30)
    now.now = 39
    assert not patience.is_over("pausing", quiet=30)
    now.now = 40
    assert patience.is_over("pausing", quiet=30)


@pytest.mark.parametrize("end", ["stopped", "hung"])
def test_the_claim_of_one_that_does_not_go_on_is_taken_over_once_and_that_is_said(store, series, caplog, end):
    now = Time()
    with holder(_CLAIM, store.folder.parent, "AAPL") as process:
        if end == "stopped":
            stop(process)
        patience, others = Patience(TIMEOUT, now), Patience(TIMEOUT, now)
        assert [series.claim(patience), series.claim(others)] == [None, None]
        now.now = TIMEOUT
        claim = series.claim(patience)
        assert claim is not None
        assert series.claim(others) is None, "two have it"
        [record] = caplog.records
        said = record.getMessage()
        assert record.levelno == logging.WARNING
        assert "usual.claim" in said
        assert f"{TIMEOUT:g} s (setting 'timeout')" in said
        if sys.platform == "linux":
            assert f"process {process.pid} (" in said
            assert ("stopped" in said) == (end == "stopped")
        process.send_signal(signal.SIGCONT)
        process.communicate()
        assert series.claim(others) is None, "its end is not that of who has taken it over"
        claim.release()
        series.claim().release()


def test_a_claim_whose_holder_tells_that_it_goes_on_is_waited_for(store, series):
    now = Time()
    with holder(_CLAIM, store.folder.parent, "AAPL") as process:
        patience = Patience(TIMEOUT, now)
        assert series.claim(patience) is None
        for _ in range(10):
            now.now += TIMEOUT
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "told\n"
            assert series.claim(patience) is None


_OLD_CLAIM = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("holding", flush=True)
sys.stdin.read()
"""


def test_a_process_of_an_earlier_version_goes_on_as_long_as_it_saves(store, series, bars):
    now = Time()
    series.save(answer_of(bars.head(1), ASKED))
    with holder(_OLD_CLAIM, series.folder.with_suffix(".claim")):
        patience = Patience(TIMEOUT, now)
        assert series.claim(patience) is None
        for at in range(1, 10):
            series.save(answer_of(bars.iloc[[at]], ASKED))
            now.now += TIMEOUT
            assert series.claim(patience) is None
        now.now += TIMEOUT
        series.claim(patience).release()


_ORPHANED = """
import os, subprocess, sys
from pathlib import Path
from symcache_core.loading.bars.store import BarStore
claim = BarStore(Path(sys.argv[1]), "ib").series("AAPL", "1d").claim()
descriptor = claim._file.fileno()
os.set_inheritable(descriptor, True)
subprocess.Popen(["sleep", "10"], stdout=subprocess.DEVNULL, pass_fds=[descriptor])
print("holding", flush=True)
os._exit(0)  # an end in good order gives the claim back
"""


def test_a_claim_that_a_child_has_inherited_is_passed_by(store, series, caplog):
    now = Time()
    with holder(_ORPHANED, store.folder.parent) as process:
        process.wait()
        patience = Patience(TIMEOUT, now)
        assert series.claim(patience) is None
        now.now = TIMEOUT
        series.claim(patience).release()
        if sys.platform == "linux":
            assert f"a child of process {process.pid}, which has ended" in caplog.text


def test_a_claim_that_has_been_passed_by_tells_nobody_anything_any_more(series):
    now = Time()
    patience = Patience(TIMEOUT, now)
    first = series.claim()
    assert series.claim(patience) is None
    now.now = TIMEOUT
    second = series.claim(patience)
    before = series.folder.with_suffix(".claim").read_bytes()
    first.tell()
    assert series.folder.with_suffix(".claim").read_bytes() == before
    with pytest.raises(BackendUnavailableError, match="moved or replaced"):
        first.check()
    first.release()
    assert series.claim() is None
    second.release()
    second.tell()
    series.claim().release()


def load(loader, timeout=TIMEOUT, **options):
    orchestrator = DataLoadingOrchestrator(
        loader.symbol_cache,
        loader.market,
        loader.store,
        lambda: loader.now,
        clock=lambda: loader.clock,
        timeout=timeout,
    )
    return asyncio.run(asyncio.wait_for(orchestrator.load_with_fallback("AAPL", **options), PATIENCE))


def test_a_load_beside_a_stopped_one_begins_after_the_timeout(loader, market, source, caplog):
    with holder(_CLAIM, loader.store.folder.parent, "AAPL") as process:
        stop(process)
        began = time.monotonic()
        pd.testing.assert_frame_equal(load(loader, mode="full"), source["AAPL"])
        assert time.monotonic() - began >= TIMEOUT
    assert "has not gone on for 0.3 s (setting 'timeout')" in caplog.text
    assert len(caplog.records) == 1


def test_of_several_loads_beside_a_stopped_one_one_fetches(loader, market, source):
    async def main():
        orchestrators = [
            DataLoadingOrchestrator(
                loader.symbol_cache,
                market,
                loader.store,
                lambda: loader.now,
                clock=lambda: loader.clock,
                timeout=TIMEOUT,
            )
            for _ in range(3)
        ]
        loads = (each.load_with_fallback("AAPL", mode="full") for each in orchestrators)
        return await asyncio.wait_for(asyncio.gather(*loads), PATIENCE)

    with holder(_CLAIM, loader.store.folder.parent, "AAPL") as process:
        stop(process)
        for frame in asyncio.run(main()):
            pd.testing.assert_frame_equal(frame, source["AAPL"])
    stamps = market.sessions_asked("AAPL")
    assert len(stamps) < 1.1 * len(source["AAPL"]), "everything was asked for twice"


def test_a_load_that_goes_on_is_waited_for_however_long_it_takes(loader, market, source):
    """The other one makes a request each tenth of a second, for longer than the timeout, and they bring nothing."""
    series = loader.store.series("AAPL", "1d")
    claim, done = series.claim(), threading.Event()

    def go_on():
        for _ in range(20):
            time.sleep(TIMEOUT / 5)
            claim.tell()
        done.set()
        claim.release()

    other = threading.Thread(target=go_on)
    other.start()
    load(loader, mode="full")
    assert done.is_set(), "it was passed by"
    other.join()


def test_a_load_tells_of_each_request_and_each_pause(loader, market, monkeypatch):
    told = []
    monkeypatch.setattr(Claim, "tell", lambda _claim, quiet=0.0: told.append(quiet))
    market.trouble = lambda call, _start: TimeoutError("slow") if call == 1 else None
    loader.load("AAPL", mode="full")
    assert len(told) >= 2 * len(market.asked) - 1


def test_series_that_are_being_loaded_are_not_dropped_nor_are_others_that_have_taken_their_place(store, series, bars):
    series.save(answer_of(bars, ASKED))
    claim = series.claim()
    with pytest.raises(BackendUnavailableError, match="are being loaded"):
        drop_series(store, "ib:AAPL")
    claim.release()
    drop_series(store, "ib:AAPL")
    assert not series.exists()


def test_a_folder_that_is_moved_in_the_middle_of_a_save_leaves_the_one_in_its_place_alone(series, bars, monkeypatch):
    series.save(answer_of(bars, ASKED))
    home = series.folder.parent
    fsync = os.fsync

    def move(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        fsync(descriptor)
        home.rename(home.with_name("moved"))
        (home / "usual").mkdir(parents=True)
        (home / "usual" / "2000s.parquet").write_bytes(b"another's")
        (home / "usual.json").write_bytes(b"another's")

    monkeypatch.setattr(os, "fsync", move)
    with pytest.raises(BackendUnavailableError, match="moved or replaced"):
        series.save(answer_of(bars.tail(1).assign(volume=1.0), ASKED))
    assert (home / "usual" / "2000s.parquet").read_bytes() == b"another's"
    assert (home / "usual.json").read_bytes() == b"another's"
    assert sorted(path.name for path in home.iterdir()) == ["usual", "usual.json"]


def test_a_moved_folder_of_names_leaves_those_in_its_place_alone(store, monkeypatch):
    store.names.saw("AAPL", "AAPL", ASKED)
    home = store.folder
    flock = fcntl.flock

    def move(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        flock(descriptor, operation)
        home.rename(home.with_name("moved"))
        home.mkdir()
        (home / "names.jsonl").write_bytes(b"another's")

    monkeypatch.setattr(fcntl, "flock", move)
    store.names.saw("MSFT", "MSFT", ASKED)
    assert (home / "names.jsonl").read_bytes().startswith(b"another's\n"), "it is added to, under its own lock"
    assert b"MSFT" not in (home.with_name("moved") / "names.jsonl").read_bytes()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


@dataclass
class Odd:
    """Something that is no regular file."""

    name: str
    make: object


ODD = [Odd("FIFO", os.mkfifo), Odd("folder", os.mkdir), Odd("socket", make_socket)]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
@pytest.mark.parametrize("name", ["usual/2000s.parquet", "usual.json", "usual.lock", "usual.claim", "usual.tmp"])
def test_what_is_no_regular_file_is_refused_without_a_wait(series, bars, odd, name, monkeypatch):
    series.save(answer_of(bars, ASKED))
    home = series.folder.parent
    (home / name).unlink(missing_ok=True)
    monkeypatch.chdir(home)
    odd.make(home / name)
    if name == "usual.claim":
        with pytest.raises(BackendUnavailableError, match="cannot be written"):
            series.claim()
    elif name != "usual.tmp":
        with pytest.raises(BackendUnavailableError, match=r"cannot be (read|written)"):
            series.save(answer_of(bars.tail(1).assign(volume=1.0), ASKED))
        assert (home / name).exists(), "it was replaced"
    elif odd.name == "folder":
        with pytest.raises(BackendUnavailableError, match="cannot be written"):
            series.save(answer_of(bars.tail(1).assign(volume=1.0), ASKED))
    else:
        series.save(answer_of(bars.tail(1).assign(volume=1.0), ASKED))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
@pytest.mark.parametrize("name", ["names.jsonl", "names.lock"])
def test_names_in_what_is_no_regular_file_are_refused_without_a_wait(store, odd, name, monkeypatch):
    store.folder.mkdir(parents=True)
    monkeypatch.chdir(store.folder)
    odd.make(store.folder / name)
    with pytest.raises(BackendUnavailableError):
        store.names.saw("AAPL", "AAPL", ASKED)


def test_a_leftover_link_in_place_of_the_temporary_file_has_nobody_write_behind_it(series, bars, tmp_path):
    series.save(answer_of(bars, ASKED))
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    series.folder.with_suffix(".tmp").symlink_to(precious)
    series.save(answer_of(bars.tail(1).assign(volume=1.0), ASKED))
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["data", "data/bars", "ib/AAPL/1d/usual", "ib/AAPL/1d/usual/2000s.parquet"])
def test_a_symlink_stays_one_and_what_is_behind_it_is_written(tmp_path, bars, name):
    root = tmp_path / "data" / "bars"
    series = BarStore(root, "ib").series("AAPL", "1d")
    series.save(answer_of(bars.head(10), ASKED))
    link = tmp_path / name if name.startswith("data") else root / name
    behind = tmp_path / "elsewhere"
    link.rename(behind)
    link.symlink_to(behind)
    series.save(answer_of(bars, ASKED))
    assert link.is_symlink()
    link.unlink()
    behind.rename(link)
    pd.testing.assert_frame_equal(series.read().bars, bars)


def test_a_file_of_names_behind_a_symlink_stays_there(store, tmp_path):
    store.names.saw("AAPL", "AAPL", ASKED)
    path, behind = store.folder / "names.jsonl", tmp_path / "names-elsewhere"
    path.rename(behind)
    path.symlink_to(behind)
    store.names.saw("MSFT", "MSFT", ASKED)
    store.names.forget("AAPL")
    assert path.is_symlink()
    assert b"MSFT" in behind.read_bytes()
    assert b"AAPL" not in behind.read_bytes()


_READ_ONLY = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from stored_bars import answer_of
from symcache_core.errors import BackendUnavailableError
from symcache_core.loading.bars.store import BarStore
if not os.getuid():
    os.setuid(65534)  # root may write anywhere
series = BarStore(Path(sys.argv[1]), "ib").series("AAPL", "1d")
bars = series.read().bars
print("holding", len(bars), flush=True)
for act in (lambda: series.save(answer_of(bars, datetime.now(UTC))), series.claim):
    try:
        act()
    except BackendUnavailableError as error:
        print(error, flush=True)
"""


def test_in_a_folder_that_may_only_be_read_bars_are_read_and_storing_says_so(tmp_path, bars):
    BarStore(tmp_path, "ib").series("AAPL", "1d").save(answer_of(bars, ASKED))
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    tmp_path.chmod(0o555)
    try:
        # What leads there may be its owner's alone; a process that is there already needs none of it.
        command = [sys.executable, "-W", "ignore", "-c", _READ_ONLY, "."]
        said = subprocess.check_output(command, cwd=tmp_path, text=True, env=ENVIRONMENT, timeout=PATIENCE)
    finally:
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    lines = said.splitlines()
    assert lines[0] == f"holding {len(bars)}"
    assert len(lines) == 3
    assert all("cannot be written: Permission denied" in line for line in lines[1:])


def test_a_child_that_is_forked_in_the_middle_holds_no_lock_when_its_parent_dies(store, series, tmp_path):
    path = tmp_path / "lock"
    with holder(_FORKED, path, store.folder.parent) as process:
        process.stdout.readline()
        process.kill()
        process.wait()
        assert alone(path, 0.0, lambda _check: True)
        series.claim().release()


_FORKED = """
import os, sys, threading, time
from pathlib import Path
from symcache_core.loading.bars.locks import alone
from symcache_core.loading.bars.store import BarStore
claim = BarStore(Path(sys.argv[2]), "ib").series("AAPL", "1d").claim()
locked = threading.Event()
hold = lambda _check: (locked.set(), time.sleep(600))
threading.Thread(target=lambda: alone(Path(sys.argv[1]), 1, hold), daemon=True).start()
locked.wait()
child = os.fork()
if not child:
    null = os.open(os.devnull, os.O_RDWR)
    os.write(1, b"holding\\nforked\\n")
    for number in range(3):
        os.dup2(null, number)
    time.sleep(600)
time.sleep(600)
"""


def interrupted(what, folder, count):
    """Have a process be interrupted so often at random moments; gives what it says of that."""
    command = [sys.executable, "-W", "ignore", INTERRUPTED, what, str(folder), str(count)]
    return json.loads(subprocess.check_output(command, text=True, env=ENVIRONMENT, timeout=PATIENCE * 10))


@pytest.mark.parametrize("what", ["lock", "claim", "save", "drop"])
@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.soak)])
def test_an_interrupt_at_any_moment_leaves_no_lock_held_and_loses_nothing(tmp_path, bars, what, count):
    BarStore(tmp_path, "source").series("AAPL", "1d").save(answer_of(bars, ASKED))
    said = interrupted(what, tmp_path, count)
    assert said["held"] == []
    assert said["lost"] == 0
    assert said["descriptors"] <= 0
    assert said["interrupted"] >= count / 5, "too few came in the middle"
