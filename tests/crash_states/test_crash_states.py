"""Wherever a crash stops the json backend, and whatever the disk has kept, the store opens and has what it promised."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from crash_states.file_operations import Disk, Names, Sync, Write, recorded
from crash_states.models import MODELS, crashes
from crash_states.programs import PROGRAMS, calls, entry, stores
from crash_states.promises import History, entries, open_store, opened_after, put_down
from hypothesis import given, settings
from hypothesis import strategies as st
from tracing import traced, why_not

backend = "json"
pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

FSYNC = ("always", "never")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where nothing waits for a disk."""


@dataclass(frozen=True)
class Recording:
    """What was done to a store, from what state."""

    before: Disk
    operations: list
    initial: dict
    kept: list


@cache
def recording(program, fsync):
    """What a program's processes do, each of them after the last has ended or was killed."""
    prepare, processes = PROGRAMS[program]
    with TemporaryDirectory(dir=MEMORY) as folder:
        root = Path(folder)
        kept = prepare(root)
        return recorded_from(root, fsync, processes, kept)


def recorded_from(root, fsync, processes, kept):
    """The recording of processes that begin with what is in a folder, all of which is safe."""
    before = Disk.read(root)
    traces = [traced(process, root, fsync) for process in processes]
    assert [trace.status for trace in traces] == [0] * len(traces)
    operations, after = recorded(traces, root, before)
    assert without_lock(after.tree()) == without_lock(Disk.read(root).tree()), "the recorder has missed something"
    return Recording(before, operations, found_in(before.tree()), kept)


def without_lock(tree):
    """All but what is written by way of memory, which no trace tells."""
    return {path: content for path, content in tree.items() if not path.endswith(b".lock")}


def found_in(tree):
    with TemporaryDirectory(dir=MEMORY) as folder:
        put_down(tree, Path(folder))
        store = open_store(Path(folder), "never")
        found = entries(store)
        store.close()
        return found


def states(recording, model, each):
    return list(crashes(model, recording.before, recording.operations, each=each))


def broken(recording, fsync, model, crashed):
    """What breaks a promise, of these crashes."""
    history = History(recording.initial, recording.operations, acknowledged_is_safe=fsync == "always")
    for crash in crashed:
        with TemporaryDirectory(dir=MEMORY) as folder:
            root = Path(folder)
            try:
                found = opened_after(crash.tree, root, fsync, recording.kept)
                wrong = history.wrong(found, crash.begun, model)
            except Exception as error:
                wrong = repr(error)
        if wrong:
            yield crash, wrong


def sample(recording, model, number):
    """Some of the states, the last one among them."""
    several = states(recording, model, each=6)
    return random.Random(0).sample(several, min(number, len(several))) + several[-1:]


def assert_kept(recording, fsync, model, crashed):
    """The first broken promise fails the test, with what was done last."""
    for crash, wrong in broken(recording, fsync, model, crashed):
        last = recording.operations[max(0, crash.begun - 4) : crash.begun + 1]
        pytest.fail(f"{model}: {wrong}\nafter {crash.begun} operations, the last of which are {last}\n{crash.tree}")


@pytest.mark.parametrize("fsync", FSYNC)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_crash_leaves_what_was_promised(program, fsync):
    made = recording(program, fsync)
    for model in MODELS:
        assert_kept(made, fsync, model, sample(made, model, 10))


@pytest.mark.soak
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fsync", FSYNC)
@pytest.mark.parametrize("program", PROGRAMS)
def test_thousands_of_crashes_leave_what_was_promised(program, fsync, model, record_property):
    made = recording(program, fsync)
    crashed = states(made, model, each=120)
    record_property("states", len(crashed))
    assert_kept(made, fsync, model, crashed)


def crashes_while_recovering(program, fsync, model, number):
    """Crash states of a process that opens, after a crash, what that has left."""
    for crash in sample(recording(program, fsync), model, number):
        with TemporaryDirectory(dir=MEMORY) as folder:
            put_down(crash.tree, Path(folder))
            yield recorded_from(Path(folder), fsync, [stores], [])


@pytest.mark.parametrize("fsync", FSYNC)
@pytest.mark.parametrize("program", ["a first use", "a torn tail", "an adoption", "damaged records"])
def test_a_crash_while_another_is_recovered_from_leaves_what_was_promised(program, fsync):
    for model in MODELS:
        for recovery in crashes_while_recovering(program, fsync, model, 2):
            assert_kept(recovery, fsync, model, sample(recovery, model, 4))


@pytest.mark.soak
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fsync", FSYNC)
@pytest.mark.parametrize("program", PROGRAMS)
def test_crashes_while_many_others_are_recovered_from_leave_what_was_promised(program, fsync, model, record_property):
    seen = 0
    for recovery in crashes_while_recovering(program, fsync, model, 12):
        crashed = sample(recovery, model, 20)
        seen += len(crashed)
        assert_kept(recovery, fsync, model, crashed)
    record_property("states", seen)


def killed(made, fsync, begun):
    """A recording of which the first operations were done, then the process killed, and then another one was run."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        left = Disk.copy(made.before)
        for operation in made.operations[:begun]:
            left.apply(operation)
        put_down(left.tree(), Path(folder))
        more, _after = recorded([traced(stores, Path(folder), fsync)], Path(folder), left)
        return Recording(made.before, made.operations[:begun] + more, made.initial, made.kept)


@pytest.mark.parametrize("fsync", FSYNC)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("program", "moments"),
    [("a first compaction", 4), *(pytest.param(program, 15, marks=pytest.mark.soak) for program in PROGRAMS)],
)
def test_what_a_killed_process_had_not_waited_for_costs_the_next_one_nothing(
    program, fsync, model, moments, record_property
):
    made, seen = recording(program, fsync), 0
    several = range(1, len(made.operations))
    for begun in random.Random(1).sample(several, min(moments, len(several))):
        both = killed(made, fsync, begun)
        crashed = sample(both, model, moments)
        seen += len(crashed)
        assert_kept(both, fsync, model, crashed)
    record_property("states", seen)


keys = st.sampled_from(["k0", "k1", 'a key with "quotes" and \u00e9'])
texts = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=30).map(entry)
steps = st.one_of(
    st.tuples(st.just("write"), keys, texts),
    st.tuples(st.just("update"), keys, texts),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("write_many"), st.dictionaries(keys, texts, max_size=3)),
    st.tuples(st.sampled_from(["compact", "clear"])),
)
processes = st.lists(st.tuples(st.lists(steps, max_size=6), st.booleans()), min_size=1, max_size=3)


def check_any_program(called, fsync, number):
    """Processes that call the store in whatever order, and then close it or are killed."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        root = Path(folder)
        before = Disk.read(root)
        ran = [traced(calls, root, fsync, [*of_one, *[("close",)] * closes]) for of_one, closes in called]
        made = Recording(before, recorded(ran, root, before)[0], {}, [])
    for model in MODELS:
        assert_kept(made, fsync, model, sample(made, model, number))


@settings(max_examples=6)
@given(processes, st.sampled_from(FSYNC))
def test_whatever_is_called_a_crash_leaves_what_was_promised(called, fsync):
    check_any_program(called, fsync, 5)


@pytest.mark.soak
@settings(max_examples=150, derandomize=False)
@given(processes, st.sampled_from(FSYNC))
def test_whatever_is_called_many_crashes_leave_what_was_promised(called, fsync):
    check_any_program(called, fsync, 40)


def test_a_store_that_did_not_wait_for_the_disk_would_be_found_out():
    made = recording("a reopening", "always")
    unsynced = [operation for operation in made.operations if not isinstance(operation, Sync)]
    careless = Recording(made.before, unsynced, made.initial, made.kept)
    assert not list(broken(careless, "always", "ordered", states(careless, "ordered", each=4)))
    for model in ("synced names", "strict"):
        assert list(broken(careless, "always", model, states(careless, model, each=4)))


def test_a_store_that_replaced_a_file_before_it_was_whole_would_be_found_out():
    made = recording("compactions", "never")
    renamed = next(
        place for place, done in enumerate(made.operations) if isinstance(done, Names) and len(done.changes) > 1
    )
    hasty = [*made.operations]
    new = hasty[renamed].changes[0][2]
    written = next(place for place, done in enumerate(hasty) if isinstance(done, Write) and done.file == new)
    hasty.insert(written, hasty.pop(renamed))
    careless = Recording(made.before, hasty, made.initial, made.kept)
    assert list(broken(careless, "never", "ordered", states(careless, "ordered", each=4)))
