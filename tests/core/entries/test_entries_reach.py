"""What the calls to a storage tell of whether it can be reached, and who may make one."""

import threading
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from answers import Like
from patience import PATIENCE

from symcache_core.entries.reach import Reach
from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError

RETRY = 5.0
SILENT = BackendUnavailableError("silent")


@pytest.fixture
def reach(clock):
    return Reach(clock, RETRY, patience=0.02)


@pytest.fixture
def lenient(clock):
    """One for which nothing takes too long."""
    return Reach(clock, RETRY, PATIENCE)


def fail():
    raise SILENT


def fail_slowly(reach):
    def work():
        threading.Event().wait(2 * reach.patience)
        raise SILENT

    return work


@contextmanager
def under_way(call, *arguments, **keywords):
    """A call that hangs in a thread of its own; it succeeds at the end."""
    begun, go = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go.wait(PATIENCE)

    thread = threading.Thread(target=call, args=(work, *arguments), kwargs=keywords)
    thread.start()
    assert begun.wait(PATIENCE)
    yield go
    go.set()
    thread.join()


def becomes(condition):
    """Whether something becomes true, as it does when a call has been under way for long enough."""
    waiting = threading.Event()
    return any(condition() or waiting.wait(0.001) for _ in range(int(PATIENCE * 1000)))


def test_while_all_is_well_everyone_reads_and_writes_at_the_same_time(lenient):
    with under_way(lenient.read), under_way(lenient.read), under_way(lenient.write), under_way(lenient.write):
        assert lenient.read(lambda: 7) == (7,)
        assert lenient.write(lambda: None) == (None,)
        assert lenient.is_well()


def test_what_cannot_be_read_is_neither_read_nor_written_for_a_while(lenient, clock):
    assert lenient.read(fail) is None
    assert lenient.error == Like(SILENT)
    assert not lenient.can_read()
    assert not lenient.can_write()
    clock.advance(RETRY)
    assert lenient.read(lambda: 7) == (7,)
    assert (lenient.error, lenient.can_write()) == (None, True)


def test_what_is_quickly_refused_to_be_written_is_read_by_everyone(lenient, clock):
    assert lenient.write(fail) is None
    assert not lenient.can_write()
    with under_way(lenient.read):
        assert lenient.can_read()
    clock.advance(RETRY)
    assert lenient.can_write()
    assert lenient.error == Like(SILENT), "only a write tells that it takes them again"


def test_one_probe_at_a_time_however_long_it_takes(lenient, clock):
    lenient.read(fail)
    clock.advance(RETRY)
    with under_way(lenient.read):
        for _ in range(3):
            clock.advance(10 * RETRY)
            assert lenient.read(lambda: 7) is None
            assert lenient.write(lambda: 7) is None
    assert lenient.read(lambda: 7) == (7,)


def test_the_wait_counts_from_the_end_of_a_failure(lenient, clock):
    def fail_late():
        clock.advance(10 * RETRY)
        fail()

    lenient.read(fail)
    clock.advance(RETRY)
    assert lenient.read(fail_late) is None
    clock.advance(RETRY - 0.1)
    assert not lenient.can_read()
    clock.advance(0.2)
    assert lenient.can_read()


def test_a_read_that_is_silent_keeps_everyone_away_until_it_has_ended(reach):
    with under_way(reach.read):
        assert becomes(lambda: not reach.can_read())
        assert not reach.can_write()
        assert not reach.is_well()
        assert reach.error is None
    assert reach.can_read()
    assert reach.is_well()


def test_who_has_waited_long_enough_for_a_call_has_found_out_that_it_is_silent(clock):
    reach = Reach(clock, RETRY, patience=0.2)
    with under_way(reach.read):
        threading.Event().wait(0.11)  # more than half as long: the waiting may have begun before the call
        reach.gave_up()
        assert not reach.can_read()
    assert reach.can_read()


def test_a_write_that_is_silent_keeps_writes_away_and_lets_one_read_at_a_time_find_out(reach):
    with under_way(reach.write):
        assert becomes(lambda: not reach.can_write())
        with under_way(reach.read):
            assert not reach.can_read(), "one is finding out"
        with under_way(reach.read):
            assert reach.can_read(), "a read that began later has succeeded"


def test_a_write_that_failed_slowly_lets_one_read_at_a_time_find_out(reach):
    assert reach.write(fail_slowly(reach)) is None
    with under_way(reach.read):
        assert not reach.can_read()
    with under_way(reach.read):
        assert reach.can_read()


def test_what_lists_everything_may_take_its_time(reach):
    with under_way(reach.read, is_long=True), under_way(reach.call, is_long=True):
        threading.Event().wait(3 * reach.patience)
        assert reach.is_well()
        assert reach.can_read()
        assert reach.can_write()


def test_an_entry_that_is_refused_for_what_it_is_tells_nothing_of_the_storage(lenient, reach):
    def refuse(error):
        raise error

    assert lenient.write(partial(refuse, BackendError("too large"))) is None
    with pytest.raises(ValueError, match="too large"):
        lenient.write(partial(refuse, ValueError("too large")))
    for error in (BackendError("too large"), SILENT, ValueError("too large")):
        with pytest.raises(type(error)):
            lenient.write_regardless(partial(refuse, error))
    assert (lenient.is_well(), lenient.can_write()) == (True, True)


def test_a_write_that_is_asked_for_is_never_turned_away_and_tells_how_it_went(lenient):
    lenient.read(fail)
    with pytest.raises(BackendUnavailableError):
        lenient.write_regardless(fail)
    assert lenient.write_regardless(lambda: 7) == 7
    assert (lenient.error, lenient.can_read(), lenient.can_write()) == (None, True, True)


@pytest.mark.parametrize("call", [Reach.call, Reach.write_regardless])
def test_another_call_counts_against_the_storage_if_it_fails_slowly(reach, call):
    with pytest.raises(BackendUnavailableError):
        call(reach, fail)
    assert reach.is_well()
    with pytest.raises(BackendUnavailableError):
        call(reach, fail_slowly(reach))
    assert reach.error == Like(SILENT)
    assert not reach.can_write()


@pytest.mark.parametrize("call", [Reach.read, Reach.write, Reach.write_regardless, Reach.call])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ClosedError("closed")])
def test_a_call_that_ends_in_another_way_leaves_nothing_behind(reach, call, error):
    def work():
        raise error

    with suppress(KeyboardInterrupt, ClosedError):
        call(reach, work)
    threading.Event().wait(2 * reach.patience)
    assert reach.is_well()
    assert not reach._reads
    assert not reach._writes


def test_an_outage_is_told_of_once_until_it_is_over(lenient, clock, caplog):
    for _ in range(2):
        for _ in range(3):
            lenient.read(fail)
            clock.advance(RETRY)
            lenient.write(fail)
            clock.advance(RETRY)
        lenient.write_regardless(lambda: None)
    assert caplog.text.count("works without its storage: silent") == 2


def test_a_call_that_is_neither_keeps_no_write_from_being_tried_again(lenient, clock):
    assert lenient.write(fail) is None
    clock.advance(RETRY)
    assert lenient.call(lenient.can_write)
