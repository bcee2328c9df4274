"""What a symbol cache answers, as a dict and a few rules: docs/lookups.md as a program, to compare the cache with."""

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

from answers import Like

from symcache_core.errors import ProviderError
from symcache_core.models import Outcome

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
RETRY_THROTTLE = 30.0
WHOLE_PROVIDER = "*"
COUNTERS = {Outcome.HIT: "hits", Outcome.MISS: "misses", Outcome.PARTIAL: "partials"}


@dataclass(frozen=True)
class Entry:
    """A verdict; ``parts`` has when each timeframe was asked for and until when that holds, ``heads`` what was said."""

    is_valid: bool
    at: float
    until: float
    ask_again_at: float = field(compare=False)
    is_confirmed: bool = True
    repeats: int = 0
    suspect_since: float | None = None
    parts: dict[str, tuple[float, float]] = field(default_factory=dict)
    heads: dict[str, str | None] = field(default_factory=dict)

    def is_fresh(self, now):
        return holds((self.at, self.until), now)

    def serves(self, now):
        is_from_future = now < self.at - MINUTE
        return self.is_fresh(now) or (self.is_confirmed and (is_from_future or now < self.until + 7 * DAY))

    def lacks(self, wanted, now):
        return tuple(name for name in wanted if self.is_valid and not holds(self.parts.get(name), now))

    def answers(self, wanted, now):
        return self.is_fresh(now) and not self.lacks(wanted, now)


def holds(span, now):
    """Whether a moment is within a span; one that begins in the future, by more than clocks differ, is none."""
    return span is not None and span[0] - MINUTE <= now < span[1]


def learned(old, answer, asked, now):
    """The entry that an answer makes of the one that was there."""
    if answer.result.is_valid:
        life = min(30 * DAY, (answer.valid_until or math.inf) - now)
        heads = answer.result.head_timestamps
        untold = dict.fromkeys(asked, (now, now + 5 * MINUTE))
        parts, known = (old.parts, old.heads) if old else ({}, {})
        no_data = {name: DAY if was_told_before(old, name, now) else 10 * MINUTE for name in heads}
        told = {name: (now, now + (life if head else min(life, no_data[name]))) for name, head in heads.items()}
        parts, heads = {**parts, **untold, **told}, {**known, **heads}
        return Entry(True, now, now + life, now + 0.9 * life, parts=parts, heads=heads)
    if old and (doubted := doubt(old, answer.confirmed, asked, now)):
        return doubted
    is_repeated = old and not old.is_valid and old.is_confirmed and answer.confirmed
    repeats = old.repeats + 1 if is_repeated else 0
    life = min(HOUR * 2**repeats, DAY) if answer.confirmed else 5 * MINUTE
    return Entry(False, now, now + life, now + 0.9 * life, answer.confirmed, repeats)


def was_told_before(old, timeframe, now):
    """Whether it was said ten minutes ago or earlier that there is no data of a timeframe."""
    if old is None or old.heads.get(timeframe, "never asked") is not None:
        return False
    return now - old.parts[timeframe][0] >= 10 * MINUTE


def doubt(old, is_confirmed, asked, now):
    """The valid entry that a negative does not overturn yet, to be asked about again soon; None if it is believed."""
    since = old.suspect_since
    is_agreed = is_confirmed and since is not None and now - since >= 10 * MINUTE
    if is_agreed or not old.is_valid or not old.serves(now):
        return None
    if is_confirmed:
        since = min(since or now, now)
    soon = since + 10 * MINUTE if is_confirmed else now + 5 * MINUTE
    parts = dict(old.parts)
    for name in asked:
        asked_at, until = old.parts.get(name, (now, now))
        parts[name] = min(asked_at, now), max(until, soon)
    at = min(old.at, now)  # a verdict from the future is at most new
    return replace(old, at=at, until=soon, ask_again_at=soon, suspect_since=since, parts=parts)


def reconciled(stored, late, now):
    """What the storage has after an outage: the last validation wins, and of each timeframe what was asked last."""
    if stored is None or stored.at > now + MINUTE:
        return late
    older, newer = (stored, late) if stored.at <= late.at else (late, stored)
    if newer is late and not late.is_valid and (doubted := doubt(stored, late.is_confirmed, (), late.at)):
        return doubted
    if not (older.is_valid and newer.is_valid):
        return newer
    earlier = {name for name, part in newer.parts.items() if name in older.parts and part[0] < older.parts[name][0]}
    parts = {**older.parts, **newer.parts, **{name: older.parts[name] for name in earlier}}
    heads = {**older.heads, **newer.heads, **{name: older.heads[name] for name in earlier & older.heads.keys()}}
    return replace(newer, parts=parts, heads=heads)


@dataclass(frozen=True)
class Answer:
    """What the caller of a lookup is told."""

    outcome: Outcome
    entry: Entry
    age: float
    missing: tuple[str, ...] = ()
    error: Exception | None = None


class Model:
    """A symbol cache, alone in a world that says what time it is, what works, and what the provider answers."""

    def __init__(self, world):
        self.world = world
        self.stored = {}
        self.calls = []
        self.open()

    def open(self):
        self.unwritten, self.near = {}, {}
        self.has_failed_to_write = False
        self.throttles = {}  # by symbol or the provider as a whole: the error, since when, and for how long
        self.counts = Counter()

    def store(self, symbol, answer):
        self.near.pop(symbol, None)
        self.has_failed_to_write = bool(self.world.storage_error)
        self._reach_storage()
        self.stored[symbol] = learned(self.stored.get(symbol), answer, (), self.world.now)
        return self.stored[symbol]

    def forget(self, symbol):
        self.near.pop(symbol, None)
        self._reach_storage()
        return self.stored.pop(symbol, None) is not None

    def clear(self):
        self.near.clear()
        self._reach_storage()
        count = len(self.stored)
        self.stored.clear()
        return count

    def write_what_waits(self):
        for symbol, late in self.unwritten.items():
            self.stored[symbol] = reconciled(self.stored.get(symbol), late, self.world.now)
            self.has_failed_to_write = False
        self.unwritten.clear()

    def get_stats(self):
        error, late = self.world.storage_error, len(self.unwritten)
        return self.counts, late if error else len(self.stored), bool(error or self.has_failed_to_write), late, 0

    def get(self, symbol, wanted):
        entry = self._find(symbol)
        if entry and entry.answers(wanted, self.world.now):
            return self._told(Outcome.HIT, entry, wanted).entry
        self.counts["misses"] += 1
        return None

    def look_up(self, symbol, wanted, meanwhile, leaves=False):
        """One lookup; while the provider is asked the world changes, or the caller leaves: then there is no answer."""
        entry, now = self._find(symbol), self.world.now
        if entry and entry.answers(wanted, now):
            answer = self._told(Outcome.HIT, entry, wanted)
            if now >= entry.ask_again_at and not self._spared(symbol):
                self.counts["refreshes"] += 1
                with suppress(Exception):
                    self._ask(symbol, wanted, entry, meanwhile)
            return answer
        fallback = entry if entry and entry.serves(now) else None
        if fallback and (error := self._spared(symbol)):
            return self._told(Outcome.STALE, fallback, wanted, error)
        asked = entry.lacks(wanted, now) if entry and entry.is_fresh(now) else wanted
        try:
            entry = self._ask(symbol, asked, entry, None if leaves else meanwhile)
        except Exception as error:
            if not fallback:
                self.counts["misses"] += 1
                raise
            return self._told(Outcome.STALE, fallback, wanted, error)
        return entry and self._told(Outcome.MISS, entry, wanted)

    def look_up_together(self, symbol, wanted, count):
        """So many at the same time; one of them asks for all."""
        try:
            first = self.look_up(symbol, wanted, lambda world: None)
        except Exception as error:
            self.counts["misses"] += count - 1
            return [error] * count
        outcome = Outcome.COALESCED if first.outcome is Outcome.MISS else first.outcome
        others = [self._told(outcome, first.entry, wanted, first.error) for _ in range(count - 1)]
        return [first, *(replace(other, age=first.age) for other in others)]

    def _told(self, outcome, entry, wanted, error=None):
        now = self.world.now
        missing = tuple(name for name in wanted if entry.is_valid and name not in entry.parts)
        if missing and entry.is_fresh(now):
            outcome = Outcome.PARTIAL
        self.counts[COUNTERS.get(outcome, outcome.value)] += 1
        self.counts["negatives"] += not entry.is_valid
        return Answer(outcome, entry, max(0.0, now - entry.at), missing, error and Like(error))

    def _reach_storage(self):
        if self.world.storage_error:
            raise self.world.storage_error

    def _find(self, symbol):
        late = self.unwritten.get(symbol) or self.near.get(symbol)
        entry = late if self.world.storage_error else self.stored.get(symbol)
        if entry:
            self.near[symbol] = entry
        return entry

    def _spared(self, symbol):
        """Why the provider is not to be asked; of those who could do without it, one in a while is to."""
        now, held = self.world.now, {name: self.throttles.get(name) for name in (WHOLE_PROVIDER, symbol)}
        for error, since, wait in filter(None, held.values()):
            if 0 <= now - since < wait:
                return error
        self.throttles |= {name: (throttle[0], now, throttle[2]) for name, throttle in held.items() if throttle}
        return None

    def _ask(self, symbol, asked, known, meanwhile):
        self.calls.append((symbol, asked))
        self.counts["provider_calls"] += 1
        if meanwhile is None:
            return None
        meanwhile(self.world)
        try:
            answer = self.world.answer(symbol, asked)
        except Exception as error:
            self.counts["provider_errors"] += 1
            is_outage = isinstance(error, ProviderError)
            wait = max(RETRY_THROTTLE, (error.retry_after or 0.0) if is_outage else 0.0)
            self.throttles[WHOLE_PROVIDER if is_outage else symbol] = error, self.world.now, wait
            raise
        self.throttles.pop(symbol, None)
        self.throttles.pop(WHOLE_PROVIDER, None)
        if self.world.storage_error:
            entry = learned(self.unwritten.get(symbol, known), answer, asked, self.world.now)
            self.unwritten[symbol], self.has_failed_to_write = entry, True
        else:
            entry = self.stored[symbol] = learned(self.stored.get(symbol), answer, asked, self.world.now)
            self.has_failed_to_write = False
        self.near[symbol] = entry
        return entry
