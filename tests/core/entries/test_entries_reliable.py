"""Entries behind a storage that fails and comes back: no lookup fails, nothing validated is lost, the last one wins."""

import asyncio
import logging
import threading
import time
from contextlib import suppress

import pytest
from answers import Like
from faulty_backend import HangingBackend, LendingBackend
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE
from unlocked_handler import UnlockedHandler

from symcache_core import merging
from symcache_core import policy as rules
from symcache_core.entries import reliable as storage_module
from symcache_core.entries.reliable import ReliableStore
from symcache_core.entries.store import EntryStore
from symcache_core.errors import BackendError, BackendUnavailableError
from symcache_core.lookup.cache import PolicyCache
from symcache_core.models import ProviderAnswer, ValidationResult
from symcache_core.policy import Policy
from symcache_core.testing.cache_harness import HEAD, Provider, verdict

KEY = "ib||AAPL||"
EXACT = Policy(jitter=0.0)
RETRY = 5.0
UNPLUGGED = BackendUnavailableError("unplugged")
LATER_HEAD = "1999-01-22T14:30:00+00:00"


@pytest.fixture
def backend(tmp_path):
    return LendingBackend(tmp_path)


@pytest.fixture
def entries(backend):
    """The entries as somebody else reaches them who shares the storage."""
    return EntryStore(backend, "ib|")


@pytest.fixture
def storage(backend, clock):
    return ReliableStore(EntryStore(backend, "ib|"), EXACT, clock, RETRY)


@pytest.fixture
def answered(clock):
    """Makes of an answer, given now, what a storage merges into an entry."""

    def answered(*timeframes, symbol="AAPL", confirmed=True):
        answer, now = ProviderAnswer(verdict(symbol, *timeframes), confirmed=confirmed), clock()
        return lambda old: merging.merge(old, answer, timeframes, f"ib||{symbol}||", now, EXACT)

    return answered


@pytest.fixture
def keep_elsewhere(entries, answered):
    """Stores an answer as another process does."""
    return lambda *timeframes, **fields: entries.change(KEY, answered(*timeframes, **fields), lambda _info: 4e9)


def keys_of(count):
    return [f"ib||S{number}||" for number in range(count)]


# -- out of reach ------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_found(storage, answered):
    kept = storage.keep(KEY, answered("1d"), None)
    assert storage.find(KEY) == kept
    assert storage.find_many([KEY, "ib||MSFT||"]) == {KEY: kept}
    assert (storage.error, storage.unwritten, storage.count()) == (None, 0, 1)


def test_while_it_is_away_what_this_process_knows_serves(storage, backend, answered):
    known = answered("1d")(None)
    backend.error = UNPLUGGED
    assert storage.find(KEY) is None
    assert storage.find(KEY, known) is known
    assert storage.error == Like(UNPLUGGED)
    kept = storage.keep(KEY, answered("1h"), known)
    assert set(kept.parts) == {"1d", "1h"}
    assert storage.find(KEY, known) is kept, "what was validated in between is newer than what was known before"
    assert storage.unwritten == 1


def test_what_waits_for_it_is_merged_with_what_comes(storage, backend, answered):
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    storage.keep(KEY, answered("1h"), None)
    assert set(storage.find(KEY).parts) == {"1d", "1h"}
    assert storage.unwritten == 1


def test_it_is_left_alone_and_then_tried_by_one(storage, backend, answered, clock):
    backend.error = UNPLUGGED
    storage.find(KEY)
    storage.keep(KEY, answered("1d"), None)
    for _ in range(3):
        backend.uses = 0
        for _ in range(10):
            storage.find(KEY)
            storage.find_many([KEY])
            storage.keep(KEY, answered("1d"), None)
            storage.count()
        assert backend.uses == 0
        clock.advance(RETRY)
        for _ in range(10):
            storage.find(KEY)
        assert backend.uses == 1
        storage.keep(KEY, answered("1d"), None)


def test_one_warning_tells_of_an_outage(storage, backend, clock, caplog):
    backend.error = UNPLUGGED
    for _ in range(5):
        storage.find(KEY)
        clock.advance(RETRY)
    assert caplog.text.count("works without its storage: unplugged") == 1


def test_who_asks_for_a_change_is_told_that_it_was_not_made(storage, backend, answered):
    backend.error = UNPLUGGED
    with pytest.raises(BackendUnavailableError):
        storage.change(KEY, answered("1d"))
    assert storage.unwritten == 0


def test_what_waits_counts_as_there(storage, backend, answered, clock):
    storage.keep(KEY, answered("1d"), None)
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1h"), None)
    storage.keep("ib||MSFT||", answered("1d", symbol="MSFT"), None)
    assert storage.count() == 2
    backend.error = None
    assert sorted(storage.keys()) == [KEY, "ib||MSFT||"]
    assert storage.count() == 2
    assert storage.delete("ib||MSFT||") is True
    assert storage.delete("ib||MSFT||") is False
    assert storage.clear() == 1
    clock.advance(RETRY)
    assert storage.find(KEY) is None
    assert storage.unwritten == 0, "what was dropped came back"


@pytest.mark.parametrize(
    "use", [ReliableStore.clear, lambda storage: storage.delete(KEY), lambda storage: [*storage.keys()]]
)
def test_dropping_and_listing_say_that_they_cannot(storage, backend, use):
    backend.error = UNPLUGGED
    with pytest.raises(BackendUnavailableError):
        use(storage)


def test_only_so_much_waits_and_the_rest_is_said_to_be_lost(storage, backend, answered, monkeypatch, caplog):
    monkeypatch.setattr(storage_module, "MAX_UNWRITTEN", 2)
    backend.error = UNPLUGGED
    for symbol in ("A", "B", "C"):
        assert storage.keep(f"ib||{symbol}||", answered("1d", symbol=symbol), None).validation_result.is_valid
    assert storage.unwritten == 2
    assert "loses ib||C||" in caplog.text
    assert set(storage.keep("ib||A||", answered("1h", symbol="A"), None).parts) == {"1d", "1h"}
    assert storage.find("ib||A||").parts.keys() == {"1d", "1h"}, "what waits already makes way for nobody"
    assert storage.unwritten == 2


# -- back again --------------------------------------------------------------------------------------------------------


def test_the_first_lookup_after_it_has_come_back_writes_what_waits(storage, backend, answered, clock, entries):
    backend.error = UNPLUGGED
    kept = storage.keep(KEY, answered("1d"), None)
    backend.error = None
    assert storage.find("ib||MSFT||") is None
    assert entries.read(KEY) is None, "it is left alone for a while"
    clock.advance(RETRY)
    storage.find("ib||MSFT||")
    assert entries.read(KEY) == kept
    assert (storage.error, storage.unwritten) == (None, 0)


def test_one_lookup_writes_so_many_and_the_next_ones_the_rest(storage, backend, answered, clock, entries):
    backend.error = UNPLUGGED
    for key in keys_of(250):
        storage.keep(key, answered("1d"), None)
    backend.error = None
    clock.advance(RETRY)
    left = []
    for _ in range(3):
        storage.find(KEY)
        left.append(storage.unwritten)
    assert left == [150, 50, 0]
    assert len(entries.read_many(keys_of(250))) == 250


def test_a_batch_is_read_together_with_what_waits(storage, backend, answered, clock):
    storage.keep(KEY, answered("1d"), None)
    backend.error = UNPLUGGED
    for key in [*keys_of(150), KEY]:
        storage.keep(key, answered("1h"), storage.find(KEY))
    assert storage.find_many(keys_of(150)) == {}
    backend.error = None
    clock.advance(RETRY)
    found = storage.find_many([*keys_of(150), KEY])
    assert len(found) == 151
    assert set(found[KEY].parts) == {"1d", "1h"}


def test_a_change_is_made_to_what_waits(storage, backend, answered, entries):
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    backend.error = None
    assert set(storage.change(KEY, answered("1h")).parts) == {"1d", "1h"}
    assert set(entries.read(KEY).parts) == {"1d", "1h"}
    assert (storage.error, storage.unwritten) == (None, 0)


def test_who_only_counts_does_not_use_up_the_probe_of_who_looks_up(storage, backend, answered, clock):
    storage.keep(KEY, answered("1d"), None)
    backend.error = UNPLUGGED
    storage.find(KEY)
    backend.error = None
    for _ in range(3):
        clock.advance(RETRY)
        assert storage.count() == 1
        storage.find(KEY)
    assert storage.error is None, "it is back, and whoever looks at the figures keeps everyone from it"


def test_what_it_refuses_again_waits_on(storage, backend, answered, clock, entries):
    backend.write_error = UNPLUGGED
    kept = storage.keep(KEY, answered("1d"), None)
    for _ in range(3):
        clock.advance(RETRY)
        assert storage.find(KEY) == kept
        assert (storage.error, storage.unwritten) == (Like(UNPLUGGED), 1)
    backend.write_error = None
    clock.advance(RETRY)
    assert storage.find(KEY) == kept
    assert (storage.error, storage.unwritten) == (None, 0)
    assert entries.read(KEY) == kept


def test_what_it_holds_serves_while_it_refuses_writes(storage, backend, answered, keep_elsewhere):
    stored = keep_elsewhere("1d")
    backend.write_error = UNPLUGGED
    storage.keep("ib||MSFT||", answered("1d", symbol="MSFT"), None)
    assert storage.error == Like(UNPLUGGED)
    assert storage.find(KEY) == stored, "a full disk can be read"


def test_the_end_writes_all_that_waits(storage, backend, answered, entries):
    backend.error = UNPLUGGED
    for key in keys_of(250):
        storage.keep(key, answered("1d"), None)
    backend.error = None
    storage.settle()
    assert storage.unwritten == 0
    assert len(entries.read_many(keys_of(250))) == 250


def test_the_end_says_what_it_loses(storage, backend, answered, caplog):
    backend.error = UNPLUGGED
    for key in keys_of(3):
        storage.keep(key, answered("1d"), None)
    storage.settle()
    assert "loses 3 validated symbols, not written: unplugged" in caplog.text


def test_an_entry_of_a_newer_schema_is_not_overwritten_late_either(
    storage, backend, answered, clock, entries, monkeypatch
):
    monkeypatch.setattr("symcache_core.entries.codec.SCHEMA_VERSION", 2)
    storage.keep(KEY, answered("1d"), None)
    monkeypatch.undo()
    newer = backend.read(KEY)
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1h"), None)
    backend.error = None
    clock.advance(RETRY)
    storage.find("ib||MSFT||")
    assert storage.unwritten == 0
    assert backend.read(KEY) == newer


def test_what_is_dropped_while_it_is_written_late_stays_dropped(storage, backend, answered, clock, entries):
    dropping = threading.Thread(target=storage.delete, args=[KEY])
    write = backend.write

    def write_slowly(key, entry, keep_until):
        dropping.start()
        dropping.join(0.1)  # for as long as it takes to drop, unless that has to wait
        write(key, entry, keep_until)

    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    backend.error = None
    clock.advance(RETRY)
    backend.write = write_slowly
    storage.find("ib||MSFT||")
    dropping.join()
    assert entries.read(KEY) is None
    assert storage.unwritten == 0


def test_nothing_is_lost_between_threads_while_it_comes_and_goes(storage, backend, answered, clock, entries):
    def validate(name):
        for number in range(40):
            storage.keep(KEY, answered(f"{name}{number}"), None)

    def trouble():
        while any(thread.is_alive() for thread in validating):
            backend.error = None if backend.error else UNPLUGGED
            clock.advance(RETRY)
            storage.find("ib||MSFT||")

    validating = [threading.Thread(target=validate, args=[name]) for name in "abcd"]
    for thread in validating:
        thread.start()
    trouble()
    backend.error = None
    clock.advance(RETRY)
    storage.find("ib||MSFT||")
    assert set(entries.read(KEY).parts) == {f"{name}{number}" for name in "abcd" for number in range(40)}


@pytest.fixture
def unplugged_cache(backend, clock):
    """A cache over a storage that has just failed, and was not used since."""
    settings = {"policy": EXACT, "clock": clock, "near_cache_size": 0, "near_cache_age": 5.0, "storage_retry": RETRY}
    with PolicyCache(backend, name="faulty", provider="ib", **settings) as cache:
        backend.error = UNPLUGGED
        assert asyncio.run(cache.get_or_validate("AAPL", (), Provider().validate)).result.is_valid
        backend.uses = 0
        yield cache
        backend.error = None


def test_while_it_is_left_alone_no_lookup_asks_it_for_a_lease_either(unplugged_cache, backend):
    for symbol in ("A", "B", "C"):
        assert asyncio.run(unplugged_cache.get_or_validate(symbol, (), Provider().validate)).result.is_valid
    assert backend.uses == 0, "each of these may be a wait for a server that is silent"


def test_while_it_is_left_alone_it_is_not_asked_for_figures_either(unplugged_cache, backend):
    assert unplugged_cache.get_stats().degraded
    assert backend.uses == 0, "each of these may be a wait for a server that is silent"


# -- the last validation wins ------------------------------------------------------------------------------------------


def test_what_others_validated_before_gives_way_and_keeps_its_timeframes(
    storage, backend, answered, clock, keep_elsewhere, entries
):
    backend.error = UNPLUGGED
    storage.find(KEY)
    backend.error = None
    keep_elsewhere("1h")
    clock.advance(1)
    late = storage.keep(KEY, answered("1d"), None)
    clock.advance(RETRY)
    assert set(storage.find(KEY).parts) == {"1d", "1h"}
    stored = entries.read(KEY)
    assert stored.cached_at == late.cached_at
    assert stored.validation_result.head_timestamps == {"1d": HEAD, "1h": HEAD}


def test_what_others_validated_since_stays_and_gains_the_timeframes(
    storage, backend, answered, clock, keep_elsewhere, entries
):
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    backend.error = None
    clock.advance(1)
    since = keep_elsewhere("1h")
    clock.advance(RETRY)
    storage.find("ib||MSFT||")
    stored = entries.read(KEY)
    assert stored.cached_at == since.cached_at
    assert set(stored.parts) == {"1d", "1h"}


@pytest.mark.parametrize("late", [True, False], ids=["late", "stored"])
def test_an_invalid_symbol_that_is_valid_by_now_is_valid(late, clock):
    negative = ProviderAnswer(ValidationResult(is_valid=False, symbol="AAPL"))
    before = merging.merge(None, negative, (), KEY, clock.now - 60, EXACT)
    since = merging.merge(None, ProviderAnswer(verdict("AAPL", "1d")), ("1d",), KEY, clock.now, EXACT)
    pair = (before, since) if late else (since, before)
    made = merging.reconcile(*pair, clock.now, EXACT)
    assert (made.validation_result, made.cached_at, made.parts) == (
        since.validation_result,
        since.cached_at,
        since.parts,
    )


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_late_negative_does_not_overturn_a_valid_symbol_by_itself(
    storage, backend, clock, keep_elsewhere, entries, confirmed
):
    def contradict(_old):
        answer = ProviderAnswer(ValidationResult(is_valid=False, symbol="AAPL"), confirmed=confirmed)
        return merging.merge(None, answer, (), KEY, clock(), EXACT)

    keep_elsewhere("1d")
    backend.error = UNPLUGGED
    clock.advance(60)
    storage.keep(KEY, contradict, None)
    backend.error = None
    clock.advance(RETRY)
    assert storage.find(KEY).validation_result.is_valid
    stored = entries.read(KEY)
    assert stored.validation_result.is_valid
    assert (stored.suspect_since is not None) == confirmed


TIMEFRAMES = ["1m", "1h", "1d", "1w"]
NOW = 1000.0
"""Later than any of these validations."""


@st.composite
def histories(draw):
    """An entry, as some validations one after another made it, each of some timeframes and with or without data."""
    info, now = None, 0.0
    for _ in range(draw(st.integers(1, 4))):
        now += draw(st.integers(1, 50))
        heads = draw(st.dictionaries(st.sampled_from(TIMEFRAMES), st.sampled_from([HEAD, LATER_HEAD, None])))
        result = ValidationResult(is_valid=True, symbol="AAPL", head_timestamps=heads or None)
        info = merging.merge(info, ProviderAnswer(result), tuple(heads), KEY, now, EXACT)
    return info


def asked_last(name, *infos):
    """The one of two entries that was asked for a timeframe last; ``None`` if both were at the same time."""
    asked = [info.parts[name].asked_at if name in info.parts else -1.0 for info in infos]
    return None if asked[0] == asked[1] else infos[asked.index(max(asked))]


@given(histories(), histories())
def test_reconciling_loses_no_timeframe_and_takes_the_later_of_each(stored, late):
    made = merging.reconcile(stored, late, NOW, EXACT)
    assert set(made.parts) == {*stored.parts, *late.parts}
    assert made.cached_at == max(stored.cached_at, late.cached_at)
    for name, part in made.parts.items():
        assert part in (stored.parts.get(name), late.parts.get(name))
        later = asked_last(name, stored, late)
        if later is not None:
            assert part == later.parts[name]
            said, known = made.validation_result.head_timestamps, later.validation_result.head_timestamps
            assert said[name] == known[name], (
                f"the verdict says {said[name]} of {name}, and was last told {known[name]}"
            )


@given(histories(), histories())
def test_it_does_not_matter_which_of_two_came_late(one, other):
    if one.cached_at != other.cached_at and all(asked_last(name, one, other) for name in {*one.parts, *other.parts}):
        assert merging.reconcile(one, other, NOW, EXACT) == merging.reconcile(other, one, NOW, EXACT)


@given(histories(), histories())
def test_a_stamp_from_the_future_wins_over_nobody(stored, late):
    assert merging.reconcile(stored, late, stored.cached_at - rules.CLOCK_TOLERANCE - 1, EXACT) == late


@given(histories())
def test_reconciling_with_nothing_or_itself_changes_nothing(info):
    assert merging.reconcile(None, info, NOW, EXACT) == info
    assert merging.reconcile(info, info, NOW, EXACT) == info


def test_of_a_storage_out_of_reach_nobody_knows_the_size(storage, backend, clock):
    assert storage.size() is None, "a backend need not know it"
    backend.size = lambda: backend.use("size") and 1000
    storage = ReliableStore(EntryStore(backend, "ib|"), EXACT, clock, RETRY)
    assert storage.size() == 1000
    backend.error = UNPLUGGED
    assert storage.size() is None


# -- until when, and what is said --------------------------------------------------------------------------------------


def test_an_entry_is_kept_by_the_clock_of_the_machine_whatever_clock_decides_freshness(
    storage, backend, answered, clock
):
    kept = []
    write = backend.write
    backend.write = lambda key, line, keep_until: (kept.append(keep_until), write(key, line, keep_until))
    clock.now = 1000.0
    storage.keep(KEY, answered("1d"), None)
    assert kept == [pytest.approx(time.time() + EXACT.ttl + EXACT.stale_if_error, abs=60)]


def test_all_that_is_said_of_an_outage_is_what_it_was_and_what_it_cost(storage, backend, answered, caplog, monkeypatch):
    monkeypatch.setattr(storage_module, "MAX_UNWRITTEN", 1)
    backend.error = UNPLUGGED
    for symbol in ("A", "B"):
        storage.keep(f"ib||{symbol}||", answered("1d", symbol=symbol), None)
    storage.settle()
    assert [record.getMessage() for record in caplog.records] == [
        "symbol cache works without its storage: unplugged",
        "symbol cache loses ib||B||: 1 entries wait for the storage already",
        "symbol cache loses 1 validated symbols, not written: unplugged",
    ]


@pytest.mark.parametrize(
    "use",
    [
        lambda storage: storage.find(KEY),
        lambda storage: storage.find_many([KEY]),
        ReliableStore.count,
    ],
    ids=["find", "find_many", "count"],
)
def test_whatever_fails_to_reach_it_notes_why(storage, backend, use):
    backend.error = UNPLUGGED
    use(storage)
    assert storage.error == Like(UNPLUGGED)


def test_what_is_cleared_counts_once_wherever_it_was(storage, backend, answered):
    storage.keep(KEY, answered("1d"), None)
    backend.write_error = UNPLUGGED
    storage.keep(KEY, answered("1h"), None)
    for key in keys_of(3):
        storage.keep(key, answered("1d"), None)
    assert storage.clear() == 4
    assert (storage.unwritten, storage.find(KEY), storage.clear()) == (0, None, 0)


def test_nobody_waits_for_a_thread_that_writes_what_was_late(storage, backend, answered, clock):
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    backend.error = None
    clock.advance(RETRY)
    writing, found = threading.Event(), threading.Event()
    write = backend.write

    def write_late(key, line, keep_until):
        writing.set()
        assert found.wait(20), "the other one waits for this write"
        write(key, line, keep_until)

    backend.write = write_late
    late = threading.Thread(target=storage.find, args=["ib||MSFT||"])
    late.start()
    assert writing.wait(20)
    assert storage.find("ib||GOOG||") is None
    found.set()
    late.join()
    assert storage.unwritten == 0


def test_asking_for_a_size_that_a_backend_does_not_know_says_nothing_of_its_health(backend, clock):
    storage = ReliableStore(EntryStore(backend, "ib|"), EXACT, clock, retry=0.0)
    backend.error = UNPLUGGED
    storage.find(KEY)
    assert storage.size() is None
    assert storage.error == Like(UNPLUGGED)


# -- slow, refused, and used by whoever listens to the log ----------------------------------------------------------


@pytest.fixture
def hanging(tmp_path, clock):
    """A storage whose calls hang until they are told to fail, with a waiting entry for each of two keys."""
    backend = HangingBackend(tmp_path)
    backend.error = UNPLUGGED
    storage = ReliableStore(EntryStore(backend, "ib|"), EXACT, clock, RETRY)
    yield storage, backend
    backend.hangs = frozenset()
    backend.fail()


def test_nobody_waits_for_the_late_write_of_another_key(hanging, answered, clock):
    storage, backend = hanging
    storage.keep(KEY, answered("1d"), None)
    backend.error = None
    clock.advance(RETRY)
    backend.hangs = frozenset({"write"})
    late = threading.Thread(target=storage.find, args=["ib||MSFT||"])
    late.start()
    while not backend.hanging:
        late.join(0.001)
    assert storage.find("ib||GOOG||") is None
    assert set(storage.keep_for_later("ib||GOOG||", answered("1d", symbol="GOOG"), None).parts) == {"1d"}
    assert set(storage.keep_for_later(KEY, answered("1h"), None).parts) == {"1d", "1h"}, "nor for that of its own"
    assert storage.delete("ib||GOOG||") is True
    assert storage.count() == 1
    backend.hangs = frozenset()
    backend.fail()
    late.join()
    assert storage.unwritten == 1


def test_an_answer_that_comes_while_its_predecessor_is_written_late_is_not_lost(
    storage, backend, answered, clock, entries
):
    write = backend.write

    def write_late(key, line, keep_until):
        backend.write = write
        storage.keep_for_later(KEY, answered("1h"), None)
        write(key, line, keep_until)

    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    backend.error = None
    clock.advance(RETRY)
    backend.write = write_late
    storage.find("ib||MSFT||")
    assert set(entries.read(KEY).parts) == {"1d"}
    assert storage.unwritten == 1
    storage.find("ib||MSFT||")
    assert set(entries.read(KEY).parts) == {"1d", "1h"}
    assert storage.unwritten == 0


@pytest.fixture
def refuse(backend, monkeypatch):
    """Makes the storage refuse the entries under some keys."""

    def refuse(*keys):
        write = backend.write

        def refusing(key, line, keep_until):
            if key in keys:
                raise BackendError(f"{key} is too large")
            write(key, line, keep_until)

        monkeypatch.setattr(backend, "write", refusing)

    return refuse


def test_one_entry_that_is_refused_keeps_no_other_from_being_written(storage, backend, answered, clock, refuse):
    keys = keys_of(250)
    backend.error = UNPLUGGED
    for key in keys:
        storage.keep(key, answered("1d"), None)
    backend.error = None
    refuse(keys[0])
    for _ in range(4):
        clock.advance(RETRY)
        storage.find(KEY)
    assert storage.unwritten == 1
    assert storage.reach.can_write()
    uses = backend.uses
    storage.find(KEY)
    assert backend.uses == uses + 1, "each lookup tries what has just been refused"


def test_the_end_tries_each_entry_for_itself(storage, backend, answered, entries, refuse, caplog):
    keys = keys_of(50)
    backend.error = UNPLUGGED
    for key in keys:
        storage.keep(key, answered("1d"), None)
    backend.error = None
    refuse(*keys[10:15])
    assert storage.settle() is True
    assert len(entries.read_many(keys)) == 45
    assert "loses 5 validated symbols, not written: ib||S10|| is too large; ib||S11|| is too large" in caplog.text


@pytest.fixture
def refuse_slowly(backend, monkeypatch):
    """Makes the storage take its time to refuse the entries under some keys; the machine's clock goes on with that."""

    def refuse_slowly(seconds, *keys):
        now, write = [1000.0], backend.write
        monkeypatch.setattr(time, "monotonic", lambda: now[0])

        def refusing(key, line, keep_until):
            if key in keys:
                now[0] += seconds
                raise BackendUnavailableError(f"{key} is refused")
            write(key, line, keep_until)

        monkeypatch.setattr(backend, "write", refusing)

    return refuse_slowly


def test_the_end_tries_each_entry_however_long_the_refusals_of_others_take_together(
    storage, backend, answered, entries, refuse_slowly
):
    keys = keys_of(50)
    backend.error = UNPLUGGED
    for key in keys:
        storage.keep(key, answered("1d"), None)
    backend.error = None
    refuse_slowly(0.3, *keys[:20], *keys[30:45])
    assert storage.settle() is True
    assert set(entries.read_many(keys)) == {*keys[20:30], *keys[45:]}
    assert storage.unwritten == 35


def test_the_end_gives_up_a_storage_that_refuses_all_and_cannot_be_read_either(
    storage, backend, answered, refuse_slowly
):
    keys = keys_of(50)
    backend.error = UNPLUGGED
    for key in keys:
        storage.keep(key, answered("1d"), None)
    backend.error = None
    refuse_slowly(0.3, *keys)
    monotonic = time.monotonic()
    real, reads = backend.read, []

    def read(key):
        reads.append(key)
        if len(reads) == 3:  # the two entries that were to be written were read first
            raise UNPLUGGED
        return real(key)

    backend.read = read
    assert storage.settle() is False
    assert time.monotonic() - monotonic == pytest.approx(0.6)
    assert storage.unwritten == 50


def test_the_end_gives_up_a_storage_that_has_refused_all_for_half_a_minute(storage, backend, answered, refuse_slowly):
    keys = keys_of(200)
    backend.error = UNPLUGGED
    for key in keys:
        storage.keep(key, answered("1d"), None)
    backend.error = None
    refuse_slowly(0.4, *keys)
    monotonic = time.monotonic()
    assert storage.settle() is False
    assert time.monotonic() - monotonic == pytest.approx(30, abs=0.5)


@pytest.mark.parametrize("error", [BackendError("too large"), ValueError("too large")])
def test_an_entry_that_is_refused_for_what_it_is_is_kept_and_costs_nobody_else_anything(
    storage, backend, answered, clock, entries, monkeypatch, error
):
    def refusing(key, line, keep_until):
        if key == KEY:
            raise error
        write(key, line, keep_until)

    write = backend.write
    monkeypatch.setattr(backend, "write", refusing)
    kept = storage.keep(KEY, answered("1d"), None)
    assert storage.find(KEY) == kept
    storage.keep("ib||MSFT||", answered("1d", symbol="MSFT"), None)
    assert entries.read("ib||MSFT||") is not None, "it was not even tried"
    with pytest.raises(type(error)):
        storage.change(KEY, answered("1h"))
    clock.advance(RETRY)
    backend.error = UNPLUGGED
    storage.keep("ib||IBM||", answered("1d", symbol="IBM"), None)
    backend.error = None
    clock.advance(RETRY)
    for _ in range(2):
        storage.find("ib||MSFT||")
        clock.advance(RETRY)
    assert entries.read("ib||IBM||") is not None
    assert storage.unwritten == 1
    storage.settle()


def test_what_comes_after_the_end_is_said_to_be_lost(storage, backend, answered, caplog):
    storage.settle()
    backend.error = UNPLUGGED
    storage.keep(KEY, answered("1d"), None)
    assert f"loses {KEY}, which could not be written before it was closed" in caplog.text


@pytest.mark.parametrize("trouble", ["unplugged", "full", "damaged", "too much"])
def test_a_logging_handler_may_use_the_storage(storage, backend, answered, clock, monkeypatch, trouble):
    monkeypatch.setattr(storage_module, "MAX_UNWRITTEN", 1)
    said = []

    class Handler(UnlockedHandler):
        def emit(self, record):
            said.append(record.getMessage())
            # In a thread of its own, so that a lock which may be taken twice is not good enough.
            other = threading.Thread(target=use, daemon=True)
            other.start()
            other.join(PATIENCE)
            assert not other.is_alive(), "it waits for whoever logs"
            use()

    def use():
        if len(said) > 3:
            return
        for key in (KEY, "ib||MSFT||"):
            storage.find(key)
            storage.keep(key, answered("1h"), None)
            with suppress(BackendError):
                storage.delete(key)
        storage.count()

    handler = Handler(logging.WARNING)
    logging.getLogger("symcache").addHandler(handler)
    try:
        backend.error = UNPLUGGED
        storage.keep(KEY, answered("1d"), None)
        if trouble == "full":
            backend.error, backend.write_error = None, UNPLUGGED
        if trouble == "too much":
            storage.keep("ib||GOOG||", answered("1d"), None)
        if trouble == "damaged":
            backend.error = None
            backend.write(KEY, b"{}", 4e9)
        clock.advance(RETRY)
        storage.find("ib||GOOG||")
        storage.settle()
    finally:
        logging.getLogger("symcache").removeHandler(handler)
    assert said


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("broken")])
def test_a_clear_that_ends_in_any_way_before_its_end_loses_nothing_that_waits(storage, backend, answered, error):
    def interrupted(_key):
        raise error

    storage.keep(KEY, answered("1d"), None)
    backend.error = UNPLUGGED
    for key in keys_of(5):
        storage.keep(key, answered("1d"), None)
    backend.error = None
    backend.delete = interrupted
    with pytest.raises((KeyboardInterrupt, ValueError)):
        storage.clear()
    assert storage.unwritten == 5
