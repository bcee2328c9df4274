"""The json store beside a process that holds its lock for ever, in the midst of itself, and when it is interrupted."""

import errno
import fcntl
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from symcache_backends.json_file import files, rewriting, shared_files
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_backends.json_file.view import View
from symcache_backends.store_time import MARGIN, StoreTime, see
from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError, LockTimeoutError
from symcache_core.models import Outcome

backend = "json"
FAR = 4102444800.0
DAY = 86400.0
SHORT = 0.2
"""Seconds for which the lock of another is waited for here."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "s.json"


@pytest.fixture
def opened(path):
    stores = []

    def open_one(**options):
        stores.append(JsonFileBackend(path, **{"lock_timeout": SHORT, **options}))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened):
    return opened()


HOLDER = """
import os, signal, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
store = JsonFileBackend(Path(sys.argv[1]))

def change(old):
    print("holding", flush=True)
    if sys.argv[2] == "with a child" and os.fork() == 0:
        signal.pause()
    os.kill(os.getpid(), signal.SIGSTOP)
    return (b'"held"', 4e9)

store.update("held", change)
print("done", flush=True)
"""


@contextmanager
def held(path, how="stopped"):
    """Another process that holds the store's lock, until the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "holding\n"
            os.waitpid(holder.pid, os.WUNTRACED)
            yield holder
        finally:
            os.killpg(holder.pid, signal.SIGCONT if how == "stopped" else signal.SIGKILL)
            if how == "stopped":
                assert holder.stdout.readline() == "done\n"


def test_beside_a_holder_of_the_lock_reading_goes_on_and_writing_ends_in_an_error_that_names_it(store, path):
    store.write("a", b"{}", FAR)
    with held(path) as holder:
        began = time.monotonic()
        assert store.read("a") == b"{}"
        assert (list(store.keys()), store.read_many(["a"])) == (["a"], {"a": b"{}"})
        store.try_lock("a").release()
        assert time.monotonic() - began < SHORT
        for call in (
            lambda: store.write("b", b"{}", FAR),
            lambda: store.update("a", lambda _: None),
            lambda: store.delete("a"),
            store.clear,
            store.compact,
        ):
            with pytest.raises(LockTimeoutError, match=rf"s\.json\.lock .*process {holder.pid}.*'lock_timeout'"):
                call()
        assert store.read("a") == b"{}"
    store.write("b", b"{}", FAR)
    assert {"a", "b"} <= set(store.keys())


def test_a_lock_does_not_outlive_its_holder_in_a_child(store, path):
    store.write("a", b"{}", FAR)
    with held(path, "with a child") as holder:
        holder.kill()
        holder.wait()
        store.write("b", b"{}", FAR)
    assert set(store.keys()) == {"a", "b"}


FORKING = """
import os, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendUnavailableError, LockTimeoutError
store = JsonFileBackend(Path(sys.argv[1]), lock_timeout=0.2)
store.write("a", b"{}", 4e9)
children = []

def change(old):
    children.append(os.fork())
    if not children[0]:
        return (b'"by the child"', 4e9)
    other = JsonFileBackend(Path(sys.argv[1]), lock_timeout=0.2)
    os.waitpid(children[0], 0)
    try:
        other.write("b", b"{}", 4e9)
    except LockTimeoutError:
        print("still held", flush=True)
    return (b'"by the parent"', 4e9)

try:
    store.update("a", change)
except BackendUnavailableError:
    assert not children[0]
    assert store.read("a") == b"{}"
    os._exit(0)
print(store.read("a").decode())
store.write("b", b"{}", 4e9)
"""


def test_a_child_that_is_forked_in_an_update_leaves_it_to_its_parent(path):
    ended = subprocess.run(
        [sys.executable, "-c", FORKING, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ('still held\n"by the parent"\n', "")


def test_a_store_is_opened_beside_a_holder_of_the_lock_and_takes_writes_when_that_is_over(store, opened, path):
    store.write("a", b"{}", FAR)
    with held(path):
        other = opened()
        assert other.read("a") == b"{}"
        with pytest.raises(LockTimeoutError):
            other.write("b", b"{}", FAR)
    other.write("b", b"{}", FAR)
    assert set(store.keys()) == {"a", "b", "held"}
    assert other.word() is not None


def test_closing_beside_a_holder_of_the_lock_ends_and_lets_go(path, opened):
    store = opened()
    store.write("a", b"{}", FAR)
    with held(path):
        store.close()
        with pytest.raises(ClosedError):
            store.read("a")
    assert opened().read("a") == b"{}"


@pytest.mark.parametrize("did", ["opened it", "written"])
def test_who_closes_does_not_wait_once_more_for_a_lock_that_was_not_to_be_had(store, opened, path, did):
    with held(path):
        if did == "opened it":
            store = opened(lock_timeout=1)
        else:
            store.close()
            store = opened(lock_timeout=1)
            with pytest.raises(LockTimeoutError, match=r"was for 1 s \(setting 'lock_timeout'\)"):
                store.write("b", b"{}", FAR)
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 0.5


def test_who_reads_does_not_wait_with_who_writes_in_the_same_process(opened, path):
    store = opened(lock_timeout=60)
    store.write("a", b"{}", FAR)
    with held(path):
        writing = threading.Thread(target=store.write, args=("b", b"{}", FAR))
        writing.start()
        while not store._files._holds:
            pass
        assert store.read("a") == b"{}"
        assert writing.is_alive()
    writing.join()
    assert store.read("b") == b"{}"


def test_many_threads_wait_for_the_lock_no_longer_than_one(store, path):
    store.write("a", b"{}", FAR)
    ended = []

    def write(number):
        with pytest.raises(LockTimeoutError):
            store.write(f"b{number}", b"{}", FAR)
        ended.append(number)

    with held(path):
        began = time.monotonic()
        threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 40
        assert time.monotonic() - began < 20 * SHORT


def test_lookups_beside_a_holder_of_the_lock_are_answered(path, provider):
    import asyncio

    settings = SymcacheSettings(provider="ib", backends={"json": {"path": path}}, lock_timeout=SHORT)
    with open_symbol_cache(settings) as cache, open_symbol_cache(settings) as other:
        cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL"))
        with held(path), open_symbol_cache(settings) as late:
            for each in (cache, other, late):
                assert asyncio.run(each.get_or_validate("AAPL", (), provider.validate)).outcome is Outcome.HIT
            assert asyncio.run(late.get_or_validate("MSFT", (), provider.validate)).outcome is Outcome.MISS
            assert late.get_stats().degraded


# -- in the midst of itself --------------------------------------------------------------------------------------------


def test_a_change_that_uses_its_own_backend_is_an_error_and_no_deadlock(store):
    for use in (
        lambda: store.write("other", b"{}", FAR),
        lambda: store.read("other"),
        lambda: store.update("key", lambda _: None),
        store.close,
    ):
        with pytest.raises(BackendError, match="by the same thread"):
            store.update("key", lambda _, use=use: use())
    store.write("key", b"{}", FAR)
    assert set(store.keys()) == {"key"}


def test_a_handler_of_what_is_logged_may_use_the_store(path, opened, caplog):
    store = opened()
    store.write("a", b'{"a":1}', FAR)
    store.write("b", b"{}", FAR)
    store.close()
    path.write_bytes(path.read_bytes().replace(b'{"a":1}', b'{"a":2}'))
    store, seen = opened(), []

    def use_it(_record):
        store.write("logged", b"{}", FAR)
        seen.append(store.read("b"))
        return True

    caplog.handler.addFilter(use_it)
    try:
        assert store.read("a") is None
        assert "does not match its checksum" in caplog.text
    finally:
        caplog.handler.removeFilter(use_it)
    assert seen == [b"{}"]


def test_an_adoption_is_logged_when_the_store_can_be_used(path, caplog):
    path.parent.mkdir()
    path.write_text(json.dumps({"BROKEN": {"validation_result": {"is_valid": "maybe"}}}))
    lock, free = path.with_name("s.json.lock"), []

    def look(_record):
        with lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(True)
        return True

    caplog.handler.addFilter(look)
    caplog.set_level(logging.INFO)
    try:
        JsonFileBackend(path).close()
    finally:
        caplog.handler.removeFilter(look)
    assert len(free) == 2


# -- interrupts --------------------------------------------------------------------------------------------------------


# What an interrupt has kept from being closed is closed by the collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("closes", [False, True], ids=["before", "after"])
def test_an_interrupt_while_the_old_files_are_closed_touches_no_file_of_the_program(
    opened, tmp_path, monkeypatch, closes
):
    one, other = opened(), opened()
    for number in range(3):
        one.write(f"k{number}", b"{}", FAR)
    other.compact()
    really = View.close

    def close(self):
        if closes:
            really(self)
        monkeypatch.setattr(View, "close", really)
        raise KeyboardInterrupt

    monkeypatch.setattr(View, "close", close)
    with pytest.raises(KeyboardInterrupt):
        one.write("k3", b"{}", FAR)
    assert one.read("k0") == b"{}"
    precious = tmp_path / "precious.csv"
    precious.write_bytes(b"date,amount\n" * 40)
    handles = [precious.open("r+b", buffering=0) for _ in range(6)]
    one.write("k4", b"{}", FAR)
    for handle in handles:
        handle.close()
    assert precious.read_bytes() == b"date,amount\n" * 40
    assert other.read("k4") == b"{}"


@pytest.mark.parametrize("where", ["take", "_release", "_catch_up_alone"])
def test_an_interrupt_around_the_lock_leaves_it_free_and_others_told(opened, path, monkeypatch, where):
    one, other = opened(), opened()
    one.write("a", b"{}", FAR)
    number = other.word()[0]
    owner = shared_files.Opener if where == "take" else shared_files.SharedFiles
    really = getattr(owner, where)

    def interrupted(self, *arguments):
        monkeypatch.setattr(owner, where, really)
        if where == "take":
            threading.Timer(SHORT / 10, fcntl.flock, (locked, fcntl.LOCK_UN)).start()
        if where != "_release":  # that is interrupted at its very beginning
            really(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, where, interrupted)
    if where == "take":
        with path.with_name("s.json.lock").open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            locked = os.dup(file.fileno())
            with pytest.raises(KeyboardInterrupt):
                one.write("b", b"{}", FAR)
    else:
        with pytest.raises(KeyboardInterrupt):
            one.write("b", b"{}", FAR)
    if where == "_release":
        assert other.word()[0] != number
        assert other.read("b") == b"{}"
    with path.with_name("s.json.lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    one.write("c", b"{}", FAR)
    assert other.read("c") == b"{}"


def test_a_clear_that_is_interrupted_between_its_files_has_cleared_all_or_nothing(opened, path, monkeypatch):
    for interrupted_at in range(1, 4):
        one = opened()
        one.write("deleted", b"{}", FAR)
        one.write("a", b"{}", FAR)
        one.compact()
        one.delete("deleted")
        one.write("b", b"{}", FAR)
        calls = []
        really = files.sync_folder

        def sync_folder(folder, calls=calls, really=really, last=interrupted_at):
            really(folder)
            calls.append(folder)
            if len(calls) == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(files, "sync_folder", sync_folder)
        with pytest.raises(KeyboardInterrupt):
            one.clear()
        monkeypatch.setattr(files, "sync_folder", really)
        for store in (one, opened()):
            assert list(store.keys()) == []
        one.write("c", b"{}", FAR)
        assert opened().read("c") == b"{}"


# -- a close that cannot compact ---------------------------------------------------------------------------------------


def test_a_close_that_cannot_compact_lets_go_and_is_no_error(path, monkeypatch):
    store = JsonFileBackend(path)
    store.write("a", b"{}", FAR)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rewriting, "rewrite", full)
    store.close()
    monkeypatch.undo()
    with closing(JsonFileBackend(path)) as again:
        assert again.read("a") == b"{}"
        assert not again._files._opened.view.in_use_elsewhere()


# -- a clock far ahead -------------------------------------------------------------------------------------------------


class Clock:
    """The machine's: by it files are stamped, too."""

    def __init__(self, folder):
        self.folder = folder
        self.ahead = 0.0

    def time(self):
        return time.time() + self.ahead

    def stamp(self):
        for file in self.folder.iterdir():
            os.utime(file, (self.time(), self.time()))


@pytest.fixture
def machine_clock(monkeypatch, path):
    clock = Clock(path.parent)
    monkeypatch.setattr(rewriting, "time", clock.time)
    return clock


@pytest.mark.parametrize("ahead", [40 * DAY, 400 * DAY])
@pytest.mark.parametrize("files", ["stamped by it", "stamped by a server"])
def test_a_clock_far_ahead_drops_nothing_that_others_need(opened, path, machine_clock, ahead, files):
    store = opened()
    store.write("a", b"{}", time.time() + 3 * DAY)
    store.close()
    machine_clock.ahead = ahead
    for name in ("b", "c", "d"):
        store = opened()
        store.write(name, b"{}", FAR)
        if files == "stamped by it":
            machine_clock.stamp()
        store.compact()
        if files == "stamped by it":
            machine_clock.stamp()
        store.close()
    machine_clock.ahead = 0.0
    assert set(opened().keys()) == {"a", "b", "c", "d"}


def test_of_a_store_that_is_left_alone_for_long_what_is_over_goes_once_it_has_been_written_to_for_a_week(
    opened, machine_clock
):
    store = opened()
    store.write("a", b"{}", time.time() + DAY)
    kept = []
    for day in (*range(20, 27), 27.1):
        machine_clock.ahead = day * DAY
        store.write("b", b"{}", FAR)
        machine_clock.stamp()
        store.compact()
        machine_clock.stamp()
        kept.append("a" in store.keys())
    assert kept == [True] * 7 + [False]


def test_a_store_of_which_it_is_not_known_since_when_it_is_written_drops_nothing_at_first(opened, path):
    store = opened()
    store.write("a", b"{}", time.time() - 30 * DAY)
    beside = path.with_name("s.json.lock")
    beside.write_bytes(beside.read_bytes()[:8])  # as 0.1.0 left it
    store.write("b", b"{}", FAR)
    store.compact()
    assert set(store.keys()) == {"a", "b"}


def test_while_a_store_is_written_to_what_has_been_over_for_a_week_goes_however_long_that_takes():
    began = time.time()
    seen = StoreTime(-math.inf, began)
    for day in range(100):
        seen = seen.after(began + day * DAY)
        assert seen.over_before(began + day * DAY) == began + day * DAY - MARGIN


@pytest.mark.parametrize("leap", [40 * DAY, -40 * DAY])
def test_after_a_leap_of_the_clock_nothing_goes_for_a_week_and_a_leap_back_begins_it_anew(leap):
    began = time.time()
    seen = StoreTime(-math.inf, began)
    for day in range(7):
        seen = seen.after(began + leap + day * DAY)
        assert seen.over_before(began + leap + day * DAY) == -math.inf
    assert seen.after(began + leap + 7 * DAY).over_before(began + leap + 7 * DAY) == began + leap
    assert seen.after(began).after(began + leap + 7 * DAY).over_before(began + leap + 7 * DAY) == -math.inf


@pytest.mark.parametrize("damage", [lambda record: record[:-1], lambda record: bytes(len(record)), lambda _: b""])
def test_a_note_of_the_time_that_is_damaged_is_none(tmp_path, damage):
    file = tmp_path / "note"
    file.write_bytes(b"")
    with file.open("r+b", buffering=0) as opened:
        assert see(opened.fileno(), 0, 1e9, is_new=True).since == -math.inf
        assert see(opened.fileno(), 0, 1e9 + 1).since == -math.inf
        record = damage(file.read_bytes())
        opened.truncate(0)
        opened.write(record)
        assert see(opened.fileno(), 0, 2e9) == StoreTime(2e9, 2e9)


INTERRUPTED = """
import gc, os, random, signal, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
path, count, moments, interrupted, armed = Path(sys.argv[1]), int(sys.argv[2]), random.Random(1), 0, False

def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def files():
    gc.collect()
    there = [f"/dev/fd/{number}" for number in os.listdir("/dev/fd")]
    return [name for file in there if os.path.islink(file) and path.name in (name := os.readlink(file))]

signal.signal(signal.SIGALRM, interrupt)
for _ in range(count):
    store = None
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 2e-3))
        store = JsonFileBackend(path, lock_timeout=5)
        store.write("a", b"{}", 4e9)
        store.close()
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        armed = False
store = None
print(interrupted, files())
"""


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.soak)])
def test_an_interrupt_of_an_open_or_close_leaves_no_file_open_and_warns_of_none(path, count):
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", INTERRUPTED, str(path), str(count)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    interrupted, files = run.stdout.split(maxsplit=1)
    assert (files.strip(), run.stderr) == ("[]", "")
    assert int(interrupted) >= count / 5


def test_what_takes_no_writes_while_it_is_closed_is_closed(path, monkeypatch):
    store = JsonFileBackend(path, lock_timeout=SHORT)
    store.write("a", b"{}", FAR)
    with path.with_name("s.json.lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store.close()
    with pytest.raises(ClosedError):
        store.write("b", b"{}", FAR)
    assert not isinstance(ClosedError("x"), BackendUnavailableError)
