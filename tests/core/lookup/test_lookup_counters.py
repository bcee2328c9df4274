"""Lookups are counted and logged, and every process's counts add up in the storage."""

import subprocess
import sys

import pytest
from answers import DAY, NOW, entry, invalid, valid
from faulty_backend import FaultyBackend

from symcache_core.errors import BackendUnavailableError
from symcache_core.lookup.counters import LookupCounters, SharedCounters
from symcache_core.models import CachedSymbolInfo, Counters, Outcome, ValidationResult
from symcache_core.protocols import FOREVER

KEY = "@counters|ib"
UNPLUGGED = BackendUnavailableError("unplugged")


@pytest.fixture
def backend(tmp_path):
    return FaultyBackend(tmp_path)


@pytest.fixture
def open_counters(backend, clock):
    """The counters of one more process."""
    clock.now = NOW
    return lambda: LookupCounters(SharedCounters(backend, "ib", clock), "memory")


@pytest.fixture
def counters(open_counters):
    return open_counters()


@pytest.fixture
def said(caplog):
    """What is logged, line by line."""
    caplog.set_level("INFO", "symcache")
    return lambda: [record.getMessage() for record in caplog.records]


# -- in this process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Outcome.HIT, "hits"),
        (Outcome.PARTIAL, "partials"),
        (Outcome.MISS, "misses"),
        (Outcome.COALESCED, "coalesced"),
        (Outcome.STALE, "stale"),
    ],
)
def test_each_outcome_is_counted_as_what_it_is(counters, outcome, name):
    for _ in range(2):
        counters.answered("AAPL", outcome, entry(valid()), NOW)
    assert counters.current() == Counters(**{name: 2})


def test_a_negative_counts_as_one_besides(counters):
    for _ in range(2):
        counters.answered("AAPL", Outcome.HIT, entry(invalid()), NOW)
    assert counters.current() == Counters(hits=2, negatives=2)


def test_what_nothing_answered_is_a_miss(counters, said):
    for _ in range(2):
        counters.missed("AAPL")
    assert counters.current() == Counters(misses=2)
    assert said() == ["symbol cache miss AAPL backend=memory"] * 2


def test_hot_lookups_count_as_hits(counters):
    counters.fast_hits = lambda: 5
    counters.answered("AAPL", Outcome.HIT, entry(valid()), NOW)
    assert counters.current() == Counters(hits=6)


@pytest.mark.parametrize(
    ("passed", "age", "left"),
    [
        (0, "0s", "30d"),
        (59.9, "59s", "29d"),
        (60, "1m", "29d"),
        (3599, "59m", "29d"),
        (3600, "1h", "29d"),
        (DAY - 1, "23h", "29d"),
        (DAY, "1d", "29d"),
        (30 * DAY - 3601, "29d", "1h"),
        (30 * DAY - 61, "29d", "1m"),
        (30 * DAY - 1, "29d", "1s"),
        (31 * DAY, "31d", "0s"),
        (-30, "0s", "30d"),
    ],
)
def test_an_answer_is_logged_with_its_age_and_what_is_left_of_its_life(counters, said, passed, age, left):
    counters.answered("AAPL", Outcome.HIT, entry(valid()), NOW + passed)
    assert said() == [f"symbol cache hit AAPL age={age} ttl={left} backend=memory"]


# -- over every process ------------------------------------------------------------------------------------------------


def test_what_each_process_has_counted_adds_up_and_is_stored_once(open_counters, backend, clock):
    one, other = open_counters(), open_counters()
    one.missed("AAPL")
    one.flush()
    clock.advance(60)
    one.missed("AAPL")
    other.missed("MSFT")
    for counters in (one, other, one, other):
        counters.flush()
    assert one.totals() == other.totals() == (Counters(misses=3), NOW)
    other.missed("MSFT")
    assert other.totals() == (Counters(misses=4), NOW), "what is not stored yet is counted, too"
    assert one.totals() == (Counters(misses=3), NOW)


def test_where_nothing_is_stored_there_is_only_what_this_process_counted(counters):
    counters.missed("AAPL")
    assert counters.totals() == (Counters(misses=1), None)


def test_nothing_new_is_not_stored(counters, backend):
    counters.flush()
    assert backend.read(KEY) is None
    counters.missed("AAPL")
    counters.flush()
    uses = backend.uses
    counters.flush()
    assert backend.uses == uses


def test_sums_that_cannot_be_understood_begin_anew(counters, backend):
    backend.write(KEY, b"{}", 4e9)
    counters.missed("AAPL")
    assert counters.totals() == (Counters(misses=1), None)
    counters.flush()
    assert counters.totals() == (Counters(misses=1), NOW)


def test_counts_that_cannot_be_stored_are_stored_by_the_next_time(counters, backend, said):
    counters.missed("AAPL")
    backend.error = UNPLUGGED
    counters.flush()
    backend.error = None
    counters.missed("AAPL")
    counters.flush()
    assert counters.totals() == (Counters(misses=2), NOW)
    assert "symbol cache counters not stored: unplugged" in said()


def test_sums_that_cannot_be_read_leave_what_this_process_counted(counters, backend, said):
    counters.missed("AAPL")
    backend.error = UNPLUGGED
    assert counters.totals() == (Counters(misses=1), None)
    assert said()[-1] == "symbol cache counters cannot be read: unplugged"


def test_counts_are_stored_once_a_minute_and_when_the_clock_was_set_back(counters, backend, clock):
    due = []
    counters.missed("AAPL")
    for seconds in (0, 59.9, 0.1, 59.9, 0.1, -1):
        clock.advance(seconds)
        uses = backend.uses
        counters.missed("AAPL")
        counters.flush_if_due()
        due.append(backend.uses > uses)
    assert due == [False, False, True, False, True, True]


def test_the_sums_are_kept_for_ever(counters, backend):
    kept = []
    write = backend.write
    backend.write = lambda key, line, keep_until: (kept.append((key, keep_until)), write(key, line, keep_until))
    counters.missed("AAPL")
    counters.flush()
    assert kept == [(KEY, FOREVER)]


@pytest.mark.parametrize("ttl", [float("inf"), float("nan"), 1e300])
def test_a_life_without_measure_can_be_logged(counters, said, ttl):
    info = CachedSymbolInfo(ValidationResult(is_valid=True, symbol="AAPL"), cached_at=0.0, ttl_seconds=ttl)
    counters.answered("AAPL", Outcome.HIT, info, now=1.0)
    assert said()[-1].startswith("symbol cache hit AAPL age=1s")


@pytest.mark.parametrize("where", ["update", "lock"])
def test_an_interrupt_while_counts_are_stored_loses_none(open_counters, backend, where):
    """It comes where the counts are written, or just after the lock was given back with which they were taken."""

    class InterruptedLock:
        def __enter__(self):
            lock.acquire()

        def __exit__(self, *_error):
            lock.release()
            counters._shared._lock = lock
            raise KeyboardInterrupt

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    counters = open_counters()
    counters.tally.misses += 3
    lock, write = counters._shared._lock, backend.write
    if where == "lock":
        counters._shared._lock = InterruptedLock()
    else:
        backend.write = interrupted
    with pytest.raises(KeyboardInterrupt):
        counters.flush()
    backend.write = write
    counters.flush()
    assert open_counters().totals()[0].misses == 3


INTERRUPTED = """
import random, signal, time
from symcache_backends.memory import MemoryBackend, MemorySettings
from symcache_core.lookup.counters import SharedCounters
from symcache_core.models import Counters

moments, interrupted, armed = random.Random(1), 0, False

def interrupt(*_):
    if armed:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
counters = SharedCounters(MemoryBackend(MemorySettings()), "ib", time.time)
for hits in range(1, 3000):
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 60e-6))
        counters.flush(Counters(hits=hits, misses=1))
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        armed = False
print(interrupted)
"""


def test_an_interrupt_while_counts_are_stored_is_itself():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert int(done.stdout) > 300
