"""The checker of histories finds each planted violation, and passes what could have happened."""

import random
from dataclasses import replace
from itertools import permutations

import pytest
from linearizability import Operation, violations


def history(*told):
    """Operations on one key; each is ``(what, start, end, value or result)``."""
    made = []
    for what, start, end, content in told:
        value = content if what in ("write", "update") else None
        made.append(Operation(what, "k", start, end, value=value, result=None if what == "write" else content))
    return made


RIGHT = {
    "a read sees what was written before it": [("write", 0, 1, "a"), ("read", 2, 3, "a")],
    "a read beside a write sees the old": [("write", 0, 9, "a"), ("read", 2, 3, None)],
    "a read beside a write sees the new": [("write", 0, 9, "a"), ("read", 2, 3, "a")],
    "two writes at once may come in either order": [("write", 0, 9, "a"), ("write", 1, 8, "b"), ("read", 10, 11, "a")],
    "the write of a killed process may have happened": [("write", 0, None, "a"), ("read", 5, 6, "a")],
    "the write of a killed process need not have happened": [("write", 0, None, "a"), ("read", 5, 6, None)],
    "the write of a killed process may happen late": [
        ("write", 0, None, "a"), ("read", 5, 6, None), ("read", 7, 8, "a"),
    ],
    "a delete finds what a killed process wrote": [("write", 0, None, "a"), ("delete", 5, 6, True)],
    "a delete of a killed process": [("write", 0, 1, "a"), ("delete", 2, None, None), ("read", 5, 6, None)],
    "a list may lack what is being written": [("write", 0, 9, "a"), ("present", 1, 2, False)],
    "a clear beside a write": [("write", 0, 9, "a"), ("clear", 1, 8, None), ("read", 10, 11, "a")],
}  # fmt: skip

WRONG = {
    "a lost write": [("write", 0, 1, "a"), ("read", 2, 3, None)],
    "a stale read": [("write", 0, 1, "a"), ("write", 2, 3, "b"), ("read", 4, 5, "a")],
    "a read that goes back": [("write", 0, 9, "a"), ("read", 1, 2, "a"), ("read", 3, 4, None)],
    "a resurrected delete": [
        ("write", 0, 1, "a"), ("delete", 2, 3, True), ("read", 4, 5, None), ("read", 6, 7, "a"),
    ],
    "two deletes that both found it": [("write", 0, 1, "a"), ("delete", 2, 8, True), ("delete", 3, 9, True)],
    "a value that nobody wrote": [("write", 0, 1, "a"), ("read", 2, 3, "b")],
    "a killed process's write that is taken back": [
        ("write", 0, None, "a"), ("read", 2, 3, "a"), ("read", 4, 5, None),
    ],
    "a key that a list lacks": [("write", 0, 1, "a"), ("present", 2, 3, False)],
    "a clear that leaves something": [("write", 0, 1, "a"), ("clear", 2, 3, None), ("present", 4, 5, True)],
}  # fmt: skip


@pytest.mark.parametrize("told", RIGHT.values(), ids=RIGHT)
def test_what_could_have_happened_passes(told):
    assert violations(history(*told)) == []


@pytest.mark.parametrize("told", WRONG.values(), ids=WRONG)
def test_what_cannot_have_happened_is_found(told):
    assert len(violations(history(*told))) == 1


def test_two_updates_of_the_same_value_are_a_lost_update():
    updates = [Operation("update", "k", 0, 9, value=value, result=None) for value in "ab"]
    assert violations(updates) != []
    assert violations([updates[0], replace(updates[1], result="a")]) == []


def test_keys_do_not_mix():
    written = Operation("write", "k", 0, 1, value="a")
    assert violations([written, Operation("read", "other", 2, 3, result="a")]) != []
    assert violations([written, Operation("read", "other", 2, 3, result=None)]) == []


def test_of_two_stores_an_operation_may_have_used_either_but_not_a_third():
    written = [
        Operation("write", "k", 0, 1, value="a", stores=(0,)),
        Operation("write", "k", 2, 3, value="b", stores=(1,)),
    ]
    for value in "ab":
        read = Operation("read", "k", 4, 5, result=value, stores=(0, 1))
        assert violations([*written, read], initial=(None, None)) == []
    read = Operation("read", "k", 4, 5, result="a", stores=(1,))
    assert violations([*written, read], initial=(None, None)) != []


@pytest.mark.parametrize("stores", [1, 2])
def test_it_agrees_with_trying_every_order_of_small_histories(stores):
    chance, agreed = random.Random(13), {True: 0, False: 0}
    for _ in range(3000):
        operations = [some_operation(chance, stores) for _ in range(chance.randint(2, 5))]
        initial = (None,) * stores
        expected = any(is_possible(order, initial) for order in orders(operations))
        assert (violations(operations, initial=initial) == []) is expected, operations
        agreed[expected] += 1
    assert min(agreed.values()) > 500


def some_operation(chance, stores):
    start = chance.randrange(20)
    end = None if chance.random() < 0.15 else start + chance.randrange(1, 12)
    what = chance.choice(["write", "write", "update", "read", "read", "delete", "clear", "present"])
    value = chance.choice("abc") if what in ("write", "update") else None
    result = None
    if end is not None and what in ("read", "update"):
        result = chance.choice([None, *"abc"])
    elif end is not None and what in ("delete", "present"):
        result = chance.random() < 0.5
    used = tuple(sorted(chance.sample(range(stores), chance.randint(1, stores))))
    return Operation(what, "k", start, end, value=value, result=result, stores=used)


def orders(operations):
    """Every order, of all that are known to have happened and any of the others, that keeps who ended before whom."""
    known = [each for each in operations if each.end is not None]
    others = [each for each in operations if each.end is None and not each.looks]
    for chosen in range(1 << len(others)):
        happened = known + [each for number, each in enumerate(others) if chosen >> number & 1]
        for order in permutations(happened):
            if not any(
                later.end is not None and later.end < earlier.start
                for number, earlier in enumerate(order)
                for later in order[number + 1 :]
            ):
                yield order


def is_possible(order, initial):
    states = {initial}
    for operation in order:
        states = {after for state in states for _, after in operation.after(state)}
    return bool(states)


def test_a_long_history_of_a_real_register_passes_and_one_changed_answer_fails():
    chance = random.Random(5)
    made = register_history(chance, operations=2000, workers=8)
    assert violations(made) == []
    reads = [number for number, each in enumerate(made) if each.what == "read" and each.end is not None]
    for number in chance.sample(reads, 10):
        changed = [*made]
        changed[number] = replace(made[number], result=f"never {number}")
        assert violations(changed) != []
    stale = [number for number in reads if made[number].result is not None][-1]
    first = next(each.value for each in made if each.what == "write" and each.key == made[stale].key)
    assert violations([*made[:stale], replace(made[stale], result=first), *made[stale + 1 :]]) != []


def register_history(chance, operations, workers):
    """What workers would see of a store that does one operation after the other, some of them killed on the way."""
    stored, made, free_at, now = {}, [], [0] * workers, 0
    for number in range(operations):
        worker = min(range(workers), key=free_at.__getitem__)
        now = max(now + 1, free_at[worker])
        key, what = chance.choice("abcd"), chance.choice(["write", "read", "read", "delete", "update"])
        start, end = max(free_at[worker], now - chance.randrange(1, 30)), now + chance.randrange(1, 30)
        killed = chance.random() < 0.01
        happens, result = not killed or chance.random() < 0.5, None
        value = f"v{number}" if what in ("write", "update") else None
        if what in ("read", "update"):
            result = stored.get(key)
        elif what == "delete":
            result = stored.get(key) is not None
        if happens and what != "read":
            stored[key] = value
        free_at[worker] = end + 1
        made.append(
            Operation(what, key, start, None if killed else end, value=value, result=None if killed else result)
        )
    return made
