"""Decides whether what several processes saw of a store could have come of one operation after the other.

A history is linearizable if each operation can be given one moment between its start and its end at which it happened,
so that every answer is right. What is linearizable for each key is so as a whole. [Wing and Gong 1993; Lowe 2017]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

State = tuple[str | None, ...]
"""What each store has under the key: most histories are about one store, those of a swung link about two."""

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

    def after(self, state: State) -> Iterator[tuple[int, State]]:
        """In which store it may have happened, and what the stores have then; nothing if it cannot have happened."""
        for store in self.stores:
            there = state[store]
            if self.end is not None and not self._agrees(there):
                continue
            if self.looks:
                yield store, state
            else:
                yield store, (*state[:store], self.value, *state[store + 1 :])

    def _agrees(self, there: str | None) -> bool:
        match self.what:
            case "read" | "update":
                return there == self.result
            case "delete" | "present":
                return (there is not None) == self.result
            case _:
                return True


class Way(NamedTuple):
    """How things may stand.

    ``done`` are those of the pending operations that have happened. ``covered`` are blind ones that may have happened,
    just before another that left no trace of them: whether they have is decided when they end.
    """

    state: State
    done: frozenset[int]
    covered: frozenset[int]

    def without(self, number: int) -> Way:
        """The same when an operation is no longer pending."""
        return Way(self.state, self.done - {number}, self.covered - {number})

    def allows_all_of(self, other: Way, unknown: frozenset[int]) -> bool:
        """Whether whatever may follow upon the other way may follow upon this one, which has the same state."""
        return (
            self.done <= other.done
            and other.done - self.done <= self.covered | unknown
            and other.covered - other.done <= self.covered
        )


class _Register:
    """One key, while the starts and ends of its operations are gone through in their order.

    An operation is taken to happen as late as can be: when it ends, together with those that have to go before it. One
    that only looks is taken to have happened as soon as it is right, which restricts nothing else.
    """

    def __init__(self, operations: list[Operation], initial: State) -> None:
        self._operations = operations
        self._unknown = frozenset(number for number, each in enumerate(operations) if each.end is None)
        self._looking: set[int] = set()
        self._changing: set[int] = set()
        self._ways = {Way(initial, frozenset(), frozenset())}

    def first_unexplained(self) -> Operation | None:
        """The first operation whose answer cannot be right; none if the history is linearizable."""
        events = [(each.start, 0, number) for number, each in enumerate(self._operations)]
        events += [(each.end, 1, number) for number, each in enumerate(self._operations) if each.end is not None]
        for _, ends, number in sorted(events):
            looks = self._operations[number].looks
            if not ends:
                (self._looking if looks else self._changing).add(number)
                if looks:
                    self._ways = {self._noticed(way) for way in self._ways}
                continue
            self._ways = {after.without(number) for way in self._ways for after in self._with(number, way)}
            (self._looking if looks else self._changing).remove(number)
            if not self._ways:
                return self._operations[number]
            self._forget_what_adds_nothing()
        return None

    def _with(self, number: int, way: Way) -> Iterator[Way]:
        """Every way to stand when an operation has happened, which pending ones may have gone before."""
        if number in way.done:
            yield way
            return
        if number in way.covered:
            yield way
        # The second tells in which store something has happened that nothing has seen yet: then it takes something that
        # does, there.
        seen: set[tuple[Way, int | None]] = set()
        stack: list[tuple[Way, int | None]] = [(way, None)]
        while stack:
            before, unseen = stack.pop()
            for each in self._changing - before.done:
                is_blind = self._operations[each].is_blind
                if unseen is not None and is_blind:
                    continue
                for store, after in self._after(each, before):
                    if unseen not in (None, store):
                        continue
                    noticed = self._noticed(after)
                    then = noticed, store if is_blind and noticed is after else None
                    if number in noticed.done:
                        yield noticed
                    elif then not in seen:
                        seen.add(then)
                        stack.append(then)

    def _after(self, number: int, way: Way) -> Iterator[tuple[int, Way]]:
        operation = self._operations[number]
        for store, state in operation.after(way.state):
            covered = way.covered | self._covered_by(number, store, way.done)
            yield store, Way(state, way.done | {number}, covered)

    def _covered_by(self, number: int, store: int, done: frozenset[int]) -> set[int]:
        """Those that may have happened just before an operation, and left no trace."""
        operation = self._operations[number]
        if not operation.is_blind and not (operation.what == "delete" and operation.result):
            return set()
        return {
            each
            for each in self._changing - done - self._unknown - {number}
            if store in self._operations[each].stores
            and (self._operations[each].what == "write" or (operation.is_blind and self._operations[each].is_blind))
        }

    def _noticed(self, way: Way) -> Way:
        """The same, with every operation done that only looks and is right now."""
        right = [
            each
            for each in self._looking
            if each not in way.done and any(True for _ in self._operations[each].after(way.state))
        ]
        return way._replace(done=way.done.union(right)) if right else way

    def _forget_what_adds_nothing(self) -> None:
        alike: dict[State, list[Way]] = defaultdict(list)
        for way in sorted(self._ways, key=lambda way: (len(way.done), -len(way.covered))):
            kept = alike[way.state]
            if not any(other.allows_all_of(way, self._unknown) for other in kept):
                kept.append(way)
        self._ways = {way for kept in alike.values() for way in kept}


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
    found = ((key, _Register(each, initial).first_unexplained()) for key, each in sorted(by_key.items()))
    return [_told(by_key[key], operation) for key, operation in found if operation is not None]


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
