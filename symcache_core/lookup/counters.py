"""Counts and logs what lookups do, and keeps the sums in the storage so that every process's figures add up."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

from pydantic import BaseModel, ValidationError

from ..entries.reach import Reach
from ..entries.store import update_of
from ..errors import BackendError
from ..models import CachedSymbolInfo, Counters, Outcome
from ..protocols import FOREVER, Clock, StorageBackend

log = logging.getLogger("symcache")

FLUSH_EVERY = 60.0
"""Seconds after which counts are added to the stored sums."""


_COUNTER = dict(zip(Outcome, ("hits", "partials", "misses", "coalesced", "stale"), strict=True))


class LookupCounters:
    """What one cache has counted in this process.

    ``tally`` has the running counts, one attribute for each field of :class:`~symcache_core.models.Counters`. A plain
    ``tally.hits += 1`` suffices between threads: CPython changes threads only at calls and loops.

    Args:
        shared: The sums over every process.
        name: What the backend is called in the log.
    """

    def __init__(self, shared: SharedCounters, name: str) -> None:
        self.tally = SimpleNamespace(**dict.fromkeys(Counters.model_fields, 0))
        self.fast_hits: Callable[[], int] = int
        self._shared = shared
        self._name = name

    def answered(self, symbol: str, outcome: Outcome, info: CachedSymbolInfo, now: float) -> None:
        """Count and log a lookup that an entry has answered."""
        vars(self.tally)[_COUNTER[outcome]] += 1
        if not info.validation_result.is_valid:
            self.tally.negatives += 1
        if log.isEnabledFor(logging.INFO):
            age, left = now - info.cached_at, info.cached_at + info.ttl_seconds - now
            log.info(
                "symbol cache %s %s age=%s ttl=%s backend=%s",
                outcome,
                symbol.strip(),  # a line end around it would begin a new line of the log
                _span(age),
                _span(left),
                self._name,
            )

    def missed(self, symbol: str) -> None:
        """Count and log a lookup that nothing has answered."""
        self.tally.misses += 1
        log.info("symbol cache miss %s backend=%s", symbol.strip(), self._name)

    def current(self) -> Counters:
        """The counts so far."""
        return Counters(**{**vars(self.tally), "hits": self.tally.hits + self.fast_hits()})

    def totals(self) -> tuple[Counters, float | None]:
        """The sums over every process, and since when they are kept."""
        return self._shared.totals(self.current())

    def flush(self) -> None:
        """Add the counts to the stored sums; if that fails, the next time includes them."""
        try:
            self._shared.flush(self.current())
        except BackendError as error:
            log.warning("symbol cache counters not stored: %s", error)

    def flush_if_due(self) -> None:
        """The same, unless it was done within the last minute."""
        if self._shared.is_due():
            self.flush()


class _Record(BaseModel):
    since: float
    counters: Counters


class SharedCounters:
    """The sums over every process, stored beside the entries of one provider.

    Args:
        backend: Where.
        provider: Whose lookups are counted.
        clock: Seconds since the epoch.
        reach: Takes note when the storage is slow to fail, if given.
    """

    def __init__(self, backend: StorageBackend, provider: str, clock: Clock, reach: Reach | None = None) -> None:
        self._backend = backend
        self._reach = reach
        self._update = update_of(backend)
        self._key = f"@counters|{provider}"
        self._clock = clock
        self._flushed = Counters()
        self._lock = threading.Lock()
        self._looked_at = clock()

    def is_due(self) -> bool:
        """Whether counts have waited long enough to be stored."""
        return not 0 <= self._clock() - self._looked_at < FLUSH_EVERY  # nor if the clock was set back

    def flush(self, counters: Counters) -> None:
        """Add what has been counted since the last time to the stored sums.

        Args:
            counters: This process's counts from its start.

        Raises:
            BackendError: They could not be stored; the next flush includes them.
        """
        # The clock is read before anything waits: the next ones are not to wait with it.
        self._looked_at = now = self._clock()
        # Taken before they are stored, so that nobody else stores them, too, and nothing is done under the lock.
        news = Counters()

        def add(line: bytes | None) -> tuple[bytes, float]:
            record = _parse(line) or _Record(since=now, counters=Counters())
            total = _Record(since=record.since, counters=record.counters + news)
            # Not by model_dump_json, which makes an error of its own of an interrupt while a ratio is worked out.
            return json.dumps(total.model_dump(mode="json"), separators=(",", ":")).encode(), FOREVER

        update = partial(self._update, self._key, add)
        try:
            with self._lock:
                news, self._flushed = _difference(counters, self._flushed), counters
            if not any(news.model_dump(exclude={"hit_ratio"}).values()):
                return
            if self._reach is None:
                update()
            else:
                self._reach.call(update)
        except BaseException:
            with self._lock:
                self._flushed = _difference(self._flushed, news)
            raise

    def totals(self, counters: Counters) -> tuple[Counters, float | None]:
        """The sums over every process, this one's newest counts included, and since when they are kept."""
        record = _parse(self._stored())
        news = _difference(counters, self._flushed)
        return (news, None) if record is None else (record.counters + news, record.since)

    def _stored(self) -> bytes | None:
        if self._reach is not None:
            answer = self._reach.read(partial(self._backend.read, self._key))
            return None if answer is None else answer[0]
        try:
            return self._backend.read(self._key)
        except BackendError as error:
            log.warning("symbol cache counters cannot be read: %s", error)
            return None


def _difference(new: Counters, old: Counters) -> Counters:
    return Counters(**{name: getattr(new, name) - getattr(old, name) for name in Counters.model_fields})


def _parse(line: bytes | None) -> _Record | None:
    try:
        return None if line is None else _Record.model_validate_json(line)
    except ValidationError:
        return None


def _span(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
