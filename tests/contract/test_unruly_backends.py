"""A backend that takes its process down, or never comes back, breaks one promise; all others are tried."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from reference_backends import MemoryStore, name_of
from reference_server import PASSWORD, KeyValueServer, ServerStore
from unruly_backends import (
    CannotBeOpened,
    Crashes,
    Exits,
    HangsAtItsClosing,
    HangsAtItsOpening,
    HangsInThreads,
    KeepsTheInterpreter,
    Leaves,
    LeavesAThread,
    Loops,
    LoopsOn,
    Prints,
    WaitsForALock,
    WaitsInC,
)

from symcache_core.cli import contract_process
from symcache_core.cli.contract_child import Order
from symcache_core.cli.contract_process import ContractProcess, Promises, RefusedError
from symcache_core.cli.contract_suite import FAILED, OK, SKIPPED, CaseResult
from symcache_core.testing import BackendContract

# They stand on backends of their own: once for each Python is enough.
backend = "memory"

CLEARS = "test_clear_tells_how_many_there_were"
THREADS = "test_one_of_many_threads_deletes_an_entry"
BEFORE, AFTER = "test_an_unknown_key_has_no_entry", "test_closing_twice_is_harmless"
NOT_TRIED = {name for name in dir(BackendContract) if name.startswith("test_")} - {CLEARS, THREADS, BEFORE, AFTER}


@pytest.fixture
def process(tmp_path, monkeypatch):
    monkeypatch.setattr(contract_process, "GRACE", 1.0)

    def process(store, time_limit=1.0, for_all=60.0):
        order = Order(
            backend=name_of(store),
            plugins=[store.__module__],
            options={},
            has_path=False,
            folder=str(tmp_path),
            but=sorted(NOT_TRIED),
            time_limit=time_limit,
        )
        return ContractProcess(order, for_all)

    return process


@pytest.fixture
def tried(process):
    def tried(store, **limits):
        return {event.case: event for event in process(store, **limits).run() if isinstance(event, CaseResult)}

    return tried


@pytest.mark.parametrize(
    ("store", "case", "reason"),
    [
        (Crashes, CLEARS, "the process was ended by SIGSEGV in clear (unruly_backends.py:"),
        (Exits, CLEARS, "the process ended with status 7"),
        (Leaves, CLEARS, "Leaves.clear raised SystemExit: 3 (unruly_backends.py:"),
        (Loops, CLEARS, "it has not ended within 1 s: Loops.clear (unruly_backends.py:"),
        (LoopsOn, CLEARS, "it hung for more than 1 s in clear (unruly_backends.py:"),
        (WaitsForALock, CLEARS, "it has not ended within 1 s: WaitsForALock.clear (unruly_backends.py:"),
        (WaitsInC, CLEARS, "it hung for more than 1 s in clear (unruly_backends.py:"),
        (KeepsTheInterpreter, CLEARS, "it hung for more than 1 s in clear (unruly_backends.py:"),
        (HangsInThreads, THREADS, "it has not ended within 1 s: HangsInThreads.delete (unruly_backends.py:"),
        (HangsAtItsClosing, CLEARS, "it has not ended within 1 s: HangsAtItsClosing.close (unruly_backends.py:"),
    ],
    ids=lambda value: name_of(value) if isinstance(value, type) else "",
)
def test_a_promise_that_ends_or_hangs_the_process_has_failed_and_no_other(tried, store, case, reason):
    began = time.monotonic()
    results = tried(store)
    assert results[case].state == FAILED
    assert results[case].reason.startswith(reason), results[case].reason
    assert {name for name, result in results.items() if result.state == OK} == {CLEARS, THREADS, BEFORE, AFTER} - {case}
    assert time.monotonic() - began < 45


def test_what_a_backend_prints_is_told_and_fails_no_promise(tried):
    results = tried(Prints)
    assert {result.state for result in results.values()} == {OK}
    assert results[CLEARS].printed == "clearing\ncleared\nclearing\ncleared"
    assert [case for case, result in results.items() if result.printed] == [CLEARS]


def test_threads_that_are_left_behind_are_told_by_name(tried):
    results = tried(LeavesAThread)
    assert results[CLEARS].threads == ["the clearer"] * 2
    assert [case for case, result in results.items() if result.threads] == [CLEARS]


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (CannotBeOpened, "a first look at backend 'cannot-be-opened': the process was ended by SIGBUS"),
        (HangsAtItsOpening, "a first look at backend 'hangs-at-its-opening': it hung"),
    ],
)
def test_what_cannot_even_be_opened_is_refused_once(process, monkeypatch, store, reason):
    monkeypatch.setattr(contract_process, "START_LIMIT", 3.0)
    with pytest.raises(RefusedError) as raised:
        list(process(store).run())
    assert str(raised.value).startswith(reason)
    assert raised.value.status == 1


def test_promises_for_which_there_is_no_time_are_skipped_and_said_to_be(process):
    trial = process(Loops, time_limit=60.0, for_all=8.0)
    events = list(trial.run())
    (promises,) = [event for event in events if isinstance(event, Promises)]
    results = [event for event in events if isinstance(event, CaseResult)]
    assert [result.case for result in results] == promises.cases
    assert {result.state for result in results if result.case in (CLEARS, THREADS, AFTER)} == {SKIPPED}
    assert trial.is_over


def test_how_much_was_written_is_counted(process):
    trial = process(MemoryStore)
    list(trial.run())
    assert trial.calls > 50
    assert trial.size >= 2 * trial.calls


def test_nothing_is_left_where_no_folder_takes_it_along(process):
    with KeyValueServer() as server:
        trial = process(ServerStore, time_limit=20.0)
        options = {"port": server.port, "password": PASSWORD, "store": "check-{store}"}
        but = [name for name in trial.order.but if name != "test_two_stores_are_apart"]
        trial.order = replace(trial.order, options=options, but=but)
        filled = set()
        for event in trial.run():
            filled |= {name for name, entries in server.stores.items() if entries}
            assert not isinstance(event, CaseResult) or event.state == OK
        assert len(filled) > 2
        assert all(name.startswith("check-") for name in filled)
        assert {name: entries for name, entries in server.stores.items() if entries} == {}
