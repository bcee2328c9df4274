"""Puts entries into a store, one by one and each whole, so that an interruption loses nothing.

What is there stays if it is newer, or if it is a valid verdict that still serves and the other one is a negative: that
a valid symbol has become invalid is for its provider to say, twice. Of two valid verdicts the newer one gets the
timeframes that only the older one knows.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..entries import codec
from ..entries.items import Found, Item, Unreadable, understood
from ..entries.store import Change, EntryStore, update_of
from ..errors import CorruptEntryError, NewerSchemaError
from ..merging import settle
from ..policy import Freshness, Policy, freshness, keep_until
from ..protocols import StorageBackend
from .stores import lines_of

log = logging.getLogger("symcache")


class Fate(StrEnum):
    """What became of an entry."""

    COPIED = "copied"
    MERGED = "merged"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"
    UNVERIFIED = "unverified"


_PUT = (Fate.COPIED, Fate.MERGED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry, and why if that needs a word."""

    name: str
    fate: Fate
    why: str = ""
    is_negative: bool = False


@dataclass(slots=True)
class Report:
    """What became of many entries.

    Args:
        counts: How many met each fate; together they are all.
        negatives: How many of those copied say that a symbol is invalid.
        problems: What was not understood where it came from, or not found where it was put.
    """

    counts: Counter[Fate] = field(default_factory=Counter)
    negatives: int = 0
    problems: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count what became of one more."""
        self.counts[outcome.fate] += 1
        self.negatives += outcome.fate is Fate.COPIED and outcome.is_negative
        if outcome.why:
            self.problems.append(outcome)

    def take_back(self, outcome: Outcome, why: str) -> None:
        """Count as lost what was counted as put there."""
        self.counts[outcome.fate] -= 1
        self.negatives -= outcome.fate is Fate.COPIED and outcome.is_negative
        self.add(replace(outcome, fate=Fate.UNVERIFIED, why=why))


def copy(found: Iterable[Found], store: StorageBackend, *, policy: Policy, now: float, dry_run: bool = False) -> Report:
    """Put entries into a store, then read back what was put there.

    Args:
        found: Which; what is no entry is reported and goes nowhere.
        store: Where.
        policy: By which an entry is over and serves nothing any more; such ones are counted and left out.
        now: Seconds since the epoch.
        dry_run: Write nothing, and report what would become of each.

    Raises:
        BackendError: A store failed; what was copied until then is there.
    """
    copier, report = _Copier(store, policy, now, dry_run), Report()
    for each in found:
        outcome = copier.put(each)
        log.debug("%s: %s", outcome.name, outcome.fate)
        report.add(outcome)
    for outcome, why in copier.lost():
        report.take_back(outcome, why)
    return report


@dataclass(frozen=True, slots=True)
class _Copier:
    store: StorageBackend
    policy: Policy
    now: float
    dry_run: bool
    planned: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, tuple[bytes, Outcome]] = field(default_factory=dict)

    def put(self, found: Found) -> Outcome:
        """Put one entry into the store, unless there is a reason not to."""
        if isinstance(found, Unreadable):
            return Outcome(found.name, Fate.UNREADABLE, found.why)
        is_negative = not found.info.validation_result.is_valid
        if freshness(found.info, self.now, self.policy) is Freshness.EXPIRED:
            return Outcome(found.key, Fate.EXPIRED, is_negative=is_negative)
        fate, line = self._put(found)
        outcome = Outcome(found.key, fate, is_negative=is_negative)
        if fate in _PUT and not self.dry_run:
            self.written[found.key] = _digest(line), outcome
        return outcome

    def lost(self) -> Iterator[tuple[Outcome, str]]:
        """Those of the entries put there that cannot be read back, byte for byte or newer, and why."""
        for key, line in lines_of(self.store, self.written):
            digest, outcome = self.written[key]
            if line is None:
                yield outcome, "nothing was there when it was read back"
            elif _digest(line) != digest and not self._is_newer(key, line):
                yield outcome, "something else was there when it was read back"

    def _is_newer(self, key: str, line: bytes) -> bool:
        """Whether somebody has stored a new answer since this began."""
        found = understood(key, line)
        return isinstance(found, Item) and found.info.cached_at >= self.now

    def _put(self, item: Item) -> tuple[Fate, bytes]:
        # The store may call it more than once, whenever somebody was faster; only the last time counts.
        settled, spoiled = (Fate.KEPT, item), False

        def change(there: bytes | None) -> tuple[bytes, float] | None:
            nonlocal settled, spoiled
            try:
                settled, spoiled = self._settled(item, there), False
            except CorruptEntryError:
                settled, spoiled = (Fate.COPIED, item), True
            if settled[0] not in _PUT or (spoiled and not self.dry_run):
                return None
            return self._dated(settled[1])

        self._update(item.key, change)
        if spoiled and not self.dry_run:
            self._replace_spoiled(item)
        fate, kept = settled
        return fate, kept.line

    def _replace_spoiled(self, item: Item) -> None:
        # First by the door of lookups, who keep the bytes of what they replace and cannot understand; then as it is.
        made = EntryStore(self.store, "").change(
            item.key, lambda known: known or item.info, lambda info: keep_until(info, self.policy)
        )
        line = codec.encode(item.key, made)
        self._update(item.key, lambda there: self._dated(item) if made is item.info and there == line else None)

    def _dated(self, item: Item) -> tuple[bytes, float]:
        return item.line, keep_until(item.info, self.policy)

    def _settled(self, item: Item, there: bytes | None) -> tuple[Fate, Item]:
        """What becomes of an entry where something is already, and what is to be there then if it is put there."""
        if there is None:
            return Fate.COPIED, item
        if there == item.line:
            return Fate.UNCHANGED, item
        try:
            known = codec.decode(item.key, there)
        except NewerSchemaError:
            return Fate.KEPT, item
        kept = settle(known, item.info, self.now, self.policy)
        if kept is known:
            return Fate.KEPT, item
        return (Fate.COPIED, item) if kept is item.info else (Fate.MERGED, Item.made(item.key, kept))

    def _update(self, key: str, change: Change) -> None:
        if self.dry_run:
            changed = change(self.planned.get(key) or self.store.read(key))
            if changed is not None:
                self.planned[key] = changed[0]
        else:
            update_of(self.store)(key, change)


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
