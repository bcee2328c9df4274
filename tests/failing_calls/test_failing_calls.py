"""Whichever system call fails: an error of ours or no matter, no hang, no death, and nothing stored is lost."""

import random
from collections import Counter
from contextlib import closing
from tempfile import TemporaryDirectory

import pytest
from failing_calls.attempts import (
    BACKEND_OPERATIONS,
    CACHE_OPERATIONS,
    NEW,
    attempt,
    attempt_cached,
    entries,
    open_backend,
    operation,
)
from failing_calls.failures import MEMORY, failures, prepared, run
from tracing import why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


def fails(function, backend, name, failure):
    """Attempt an operation; gives how it and what follows ended, and what is wrong with that, if anything is."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        prepared(backend, folder)
        with closing(open_backend(backend, folder)) as store:
            before = entries(store)
        ran = run(function, backend, name, folder, failure)
        assert any(call.injected for call in ran.calls), f"{failure} did not happen"
        ended = [note for _place, note in ran.notes() if "ended" in note]
        outcomes = [note["ended"] for note in ended]
        if ran.status is None:
            return "hung", f"hangs after {outcomes}"
        if ran.status != 0:
            return "died", f"status {ran.status} after {outcomes}"
        wrong = [note for note in ended if not note["is_ours"]]
        try:
            with closing(open_backend(backend, folder)) as store:
                found = entries(store)
                store.write("again", NEW, 4e9)
        except Exception as error:
            return outcomes[0], f"cannot be opened after {outcomes}: {error!r}"
        wrong += lost(function, name, outcomes, before, found)
        return outcomes[0], wrong and f"{outcomes}: {wrong}"


def lost(function, name, outcomes, before, found):
    """What is not there and should be, or the other way about."""
    if function is attempt_cached:
        gone = {"ib||AAPL||"} if name == "forget" else set()
        kept = {key: entry for key, entry in before.items() if key not in gone}
        return [f"{key} is lost" for key in kept if found.get(key) != kept[key]]
    changes = operation(name)[1]
    before = before if name == "open" else before | {"before": NEW}
    wrong = []
    for key in {*before, *changes, *found} - {"after"}:
        allowed = {changes.get(key, before.get(key))} | (set() if outcomes[0] == "done" else {before.get(key)})
        if found.get(key) not in allowed:
            wrong.append(f"{key} is {found.get(key)}")
    stored_after = name != "close" and len(outcomes) > 1 and outcomes[-2] == "done"
    return wrong + (["after is lost"] if stored_after and found.get("after") != NEW else [])


def check(function, backend, name, number=None):
    """Fail each call in each way, or some of them; gives how often it ended in which way."""
    several = failures(function, backend, name)
    if number is not None and number < len(several):
        several = random.Random(0).sample(several, number)
    outcomes, wrong = Counter(), []
    for failure in several:
        outcome, fault = fails(function, backend, name, failure)
        outcomes[outcome] += 1
        if fault:
            wrong.append(f"{failure.inject}: {fault}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(several)}:", *wrong])
    return outcomes


class FailingCalls:
    @pytest.mark.parametrize("name", [*BACKEND_OPERATIONS, "open"])
    def test_a_call_that_fails_is_an_error_of_ours_and_loses_nothing(self, name):
        check(attempt, self.backend, name, 3)

    @pytest.mark.parametrize("name", [*CACHE_OPERATIONS, "open"])
    def test_a_call_that_fails_under_the_cache_does_too(self, name):
        check(attempt_cached, self.backend, name, 2)

    @pytest.mark.soak
    @pytest.mark.parametrize("name", [*BACKEND_OPERATIONS, "open"])
    def test_every_call_that_fails_is_an_error_of_ours_and_loses_nothing(self, name, record_property):
        record_property("outcomes", dict(check(attempt, self.backend, name)))

    @pytest.mark.soak
    @pytest.mark.parametrize("name", [*CACHE_OPERATIONS, "open"])
    def test_every_call_that_fails_under_the_cache_does_too(self, name, record_property):
        record_property("outcomes", dict(check(attempt_cached, self.backend, name)))


class TestJson(FailingCalls):
    backend = "json"


class TestDiskcache(FailingCalls):
    backend = "diskcache"


def test_a_write_that_only_seems_to_be_done_would_be_found_out():
    with pytest.raises(AssertionError, match="k0 is"):
        check(attempt, "json", "careless write")
