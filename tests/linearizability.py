"""Decides whether what several processes saw of a store could have come of one operation after the other.

A history is linearizable if each operation can be given one moment between its start and its end at which it happened,
so that every answer is right. What is linearizable for each key is so as a whole. [Wing and Gong 1993; Lowe 2017]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

State = tuple[str | None, ...]
"""What each store has under the key: most histories are about one store, those of a swung link about two."""

Way = tuple[State, frozenset[int]]
"""How things may stand: a state, and which of the pending operations have happened in it."""

AROUND = 12
"""How many operations before the one that cannot be explained a violation shows."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one key, as its caller saw it.

    ``what`` and ``value`` say what it was:

    - ``write`` of a value, whatever was there; ``update`` to a value, where ``result`` is what it saw;
    - ``read``, whose ``result`` is the value or ``None``;
    - ``delete``, whose ``result`` tells whether anything was there; ``clear``, which looks at nothing;
    - ``present``, whose ``result`` tells whether the key was in a list.

    ``end`` is ``None`` when nobody knows what came of it, as its caller was killed, or had an error: then it may have
    happened at any later moment, or not at all. ``stores`` are those of which it used one. Times are nanoseconds.
    """

    what: str
    key: str
    start: int
    end: int | None
    value: str | None = None
    result: Any = None
    stores: tuple[int, ...] = (0,)
    who: str = ""

    @property
    def looks(self) -> bool:
        """Whether it changes nothing."""
        return self.what in ("read", "present")

    @property
    def is_blind(self) -> bool:
        """Whether it may happen whatever is there: what was there before leaves no trace."""
        return self.what in ("write", "clear") or self.end is None

    def after(self, state: State) -> Iterator[State]:
        """What the stores may have afterwards; nothing if it cannot have happened then."""
        for store in self.stores:
            there = state[store]
            if self.end is not None and not self._agrees(there):
                continue
            if self.looks:
                yield state
            else:
                yield (*state[:store], self.value, *state[store + 1 :])

    def _agrees(self, there: str | None) -> bool:
        match self.what:
            case "read" | "update":
                return there == self.result
            case "delete" | "present":
                return (there is not None) == self.result
            case _:
                return True


def violations(history: Iterable[Operation], *, initial: State = (None,)) -> list[str]:
    """What cannot have come of one operation after the other, a text for each key that shows it.

    Args:
        history: The operations, in any order.
        initial: What each store had, under every key.
    """
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        if not (operation.looks and operation.end is None):
            by_key[operation.key].append(operation)
    found = ((key, _first_unexplained(operations, initial)) for key, operations in sorted(by_key.items()))
    return [_told(by_key[key], operation) for key, operation in found if operation is not None]


def _first_unexplained(operations: list[Operation], initial: State) -> Operation | None:
    """Go through starts and ends in their order, with every way in which things may stand.

    A way is a state, and which of the pending operations have happened in it. An operation is taken to happen as late
    as can be: when it ends, together with those that have to go before it. One that only looks is taken to have
    happened as soon as it is right, which restricts nothing else.
    """
    events = [(each.start, 0, number) for number, each in enumerate(operations)]
    events += [(each.end, 1, number) for number, each in enumerate(operations) if each.end is not None]
    looking: set[int] = set()
    changing: set[int] = set()
    ways: set[Way] = {(initial, frozenset())}
    for _, ends, number in sorted(events):
        pending = looking if operations[number].looks else changing
        if not ends:
            pending.add(number)
            if operations[number].looks:
                ways = {_noticed(operations, {number}, state, done) for state, done in ways}
            continue
        ways = {
            (state, done - {number})
            for way in ways
            for state, done in ([way] if number in way[1] else _ways_to(number, operations, looking, changing, way))
        }
        pending.remove(number)
        if not ways:
            return operations[number]
    return None


def _ways_to(last: int, operations: list[Operation], looking: set[int], changing: set[int], way: Way) -> Iterator[Way]:
    """Every way to stand after an operation, which pending ones may have gone before."""
    # The third tells whether what happened last need never have happened: then something has to see it.
    seen, stack = set(), [(*way, False)]
    while stack:
        state, done, optional = stack.pop()
        for number in changing - done:
            operation = operations[number]
            if optional and operation.is_blind:
                continue
            for after in operation.after(state):
                state_then, done_then = _noticed(operations, looking, after, done | {number})
                then = (state_then, done_then, operation.end is None)
                if last in done_then:
                    yield state_then, done_then
                elif then not in seen:
                    seen.add(then)
                    stack.append(then)


def _noticed(operations: list[Operation], looking: set[int], state: State, done: frozenset[int]) -> Way:
    """The same, with every operation done that only looks and is right now."""
    right = [each for each in looking if each not in done and any(True for _ in operations[each].after(state))]
    return state, done.union(right) if right else done


def _told(operations: list[Operation], unexplained: Operation) -> str:
    assert unexplained.end is not None
    before = sorted((each for each in operations if each.start <= unexplained.end), key=lambda each: each.start)
    # Where what it saw comes from, too, however long ago that was.
    shown = [each for each in before[:-AROUND] if each.value and each.value == unexplained.result] + before[-AROUND:]
    began = shown[0]
    lines = [f"{unexplained.key}: nothing explains {unexplained.what} by {unexplained.who}"]
    for each in shown:
        end = "never" if each.end is None else f"{(each.end - began.start) / 1000:.0f}"
        mark = ">" if each is unexplained else " "
        lines.append(
            f"{mark} {(each.start - began.start) / 1000:.0f} to {end} us: {each.who} {each.what}"
            f" value={each.value!r} result={each.result!r}"
        )
    return "\n".join(lines)
