"""Entries that a lookup can rely on: behind a circuit breaker, and written later if they cannot be written now.

Catching up, when a storage is back: what could not be written waits in memory, by key. Each successful read writes some
of it, one thread at a time, so that no lookup pays for all of it. An entry leaves the queue only after it was written,
and only if it is still the one that was written, so that a newer answer for the same key cannot slip in between and be
lost. What the storage has got from others in the meantime is not overwritten but reconciled: the later answer wins, for
each timeframe by itself.

Each key has a lock of its own for what must not happen in the middle of such a write. The lock of the queue is held for
as long as it takes to change the queue: while the storage is slow, nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from .. import policy as rules
from ..concurrency.breaker import Breaker
from ..concurrency.locks import KeyLocks
from ..errors import ClosedError
from ..merging import reconcile
from ..models import CachedSymbolInfo
from ..policy import Policy
from ..protocols import Clock
from .reach import Reach
from .store import EntryStore, KeepUntil, Merge

log = logging.getLogger("symcache")

MAX_UNWRITTEN = 100_000
"""How many entries wait at most for the storage to come back."""

LEAST_PATIENCE = 0.1
"""Seconds that a lookup waits for the storage in any case: how little a provider is waited for says nothing of it."""

_AT_ONCE = 100
"""How many of them one lookup writes."""

_LOOK_AFTER = 0.5
"""Seconds spent on refused entries after which the end looks whether the storage is there at all."""

_LONGEST_REFUSALS = 30.0
"""Seconds spent on refused entries, none written in between, after which the end gives the others up, too."""

_REFUSALS = 3
"""So many refused entries in a row are taken for a storage that takes none."""


class ReliableStore:
    """The entries of one provider in a storage that may fail.

    ``reach`` tells whether it can be reached; whoever else uses the same storage goes through it.

    Args:
        entries: Where they are.
        policy: How long answers live, and how long a lookup waits.
        clock: Seconds since the epoch.
        retry: Seconds for which a failed storage is left alone.
    """

    def __init__(self, entries: EntryStore, policy: Policy, clock: Clock, retry: float) -> None:
        self._entries = entries
        self._policy = policy
        self._clock = clock
        self.reach = Reach(clock, retry, max(policy.soft_timeout, LEAST_PATIENCE))
        self._refused = Breaker(clock, retry)
        self._lock = threading.Lock()
        self._keys = KeyLocks()
        self._is_catching_up = False
        self._unwritten: OrderedDict[str, CachedSymbolInfo] = OrderedDict()
        self._has_ended = False

    @property
    def error(self) -> Exception | None:
        """Why the storage is left alone, while it is."""
        return self.reach.error

    @property
    def unwritten(self) -> int:
        """How many entries wait for the storage to come back."""
        return len(self._unwritten)

    def find(self, key: str, known: CachedSymbolInfo | None = None) -> CachedSymbolInfo | None:
        """The entry under a key; writes some of what waits if that can be read; never fails.

        Args:
            key: Where.
            known: What this process remembers, for when the storage is out of reach.
        """
        info = self.read(key, known)
        self.catch_up()
        return info

    def read(self, key: str, known: CachedSymbolInfo | None = None) -> CachedSymbolInfo | None:
        """The entry under a key, as :meth:`find` has it; writes nothing, and never fails."""
        unwritten = self._unwritten.get(key)
        if (answer := self.reach.read(partial(self._entries.read, key))) is None:
            return unwritten or known
        (stored,) = answer
        return stored if unwritten is None else self._reconciled(stored, unwritten)

    def remembered(self, key: str, known: CachedSymbolInfo | None = None) -> CachedSymbolInfo | None:
        """The entry under a key as :meth:`find` has it while the storage is out of reach; does not wait."""
        return self._unwritten.get(key) or known

    def find_many(self, keys: Sequence[str]) -> dict[str, CachedSymbolInfo]:
        """The entries under those of the keys that have one; none while the storage is out of reach."""
        found: dict[str, CachedSymbolInfo] = {}
        # One after the other may take long on a storage that is well; each of them does not.
        for some in [keys] if self._entries.can_batch else ([key] for key in keys):
            if (answer := self.reach.read(partial(self._entries.read_many, some))) is None:
                return {}
            found |= answer[0]
        for key in keys if self._unwritten else ():
            if (unwritten := self._unwritten.get(key)) is not None:
                found[key] = self._reconciled(found.get(key), unwritten)
        self.catch_up()
        return found

    def keep(self, key: str, merge: Merge, known: CachedSymbolInfo | None) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there, now or as soon as it is possible; never fails.

        Args:
            key: Where.
            merge: What to make of the entry that was there.
            known: What this process remembers of it, for when the storage is out of reach.
        """
        try:
            written = self.reach.write(lambda: self._change(key, merge))
        except ClosedError:
            raise
        except Exception as error:  # noqa: BLE001  # what a backend says of one entry is not the caller's fault
            log.warning("symbol cache cannot write %s: %r", key, error)
            written = None
        return self.keep_for_later(key, merge, known) if written is None else written[0]

    def keep_for_later(self, key: str, merge: Merge, known: CachedSymbolInfo | None) -> CachedSymbolInfo:
        """The same as soon as it is possible; does not wait for the storage."""
        while True:
            before = self._unwritten.get(key)
            merged = merge(before or known)
            with self._lock:
                if self._unwritten.get(key) is not before:
                    continue
                has_room = before is not None or len(self._unwritten) < MAX_UNWRITTEN
                if has_room:
                    self._unwritten[key] = merged
                break
        if not has_room:
            log.warning("symbol cache loses %s: %d entries wait for the storage already", key, MAX_UNWRITTEN)
        elif self._has_ended:
            log.warning("symbol cache loses %s, which could not be written before it was closed", key)
        return merged

    def change(self, key: str, merge: Merge) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there.

        Raises:
            BackendError: The storage did not take it, and it is not kept for later.
        """
        return self.reach.write_regardless(lambda: self._change(key, merge), blames=True)

    def delete(self, key: str) -> bool:
        """Drop one entry; tells whether it was there.

        Raises:
            BackendError: The storage did not do it.
        """
        with self._keys.of(key):
            there = self.reach.call(lambda: self._entries.delete(key))
            with self._lock:
                return self._unwritten.pop(key, None) is not None or there

    def keys(self) -> Iterator[str]:
        """The key of every entry.

        Raises:
            BackendError: The storage cannot be read.
        """
        unwritten = set(self._unwritten)
        for key in self.reach.call(self._entries.keys, is_long=True):
            unwritten.discard(key)
            yield key
        yield from unwritten

    def clear(self) -> int:
        """Drop every entry; tells how many there were.

        Raises:
            BackendError: The storage did not do it.
        """
        stored = set(self.reach.call(self._entries.keys, is_long=True))
        dropped: dict[str, CachedSymbolInfo] = {}
        try:
            self._take_from_the_queue(dropped)
            return self.reach.call(self._entries.clear, is_long=True) + len(dropped.keys() - stored)
        except BaseException:  # an interrupt, too, must lose nothing
            for key, info in dropped.items():
                self.keep_for_later(key, partial(self._put_back, info), None)
            raise

    def count(self) -> int:
        """How many entries there are; while the storage is out of reach, how many wait for it."""
        count = self.reach.read(lambda: sum(1 for _ in self.keys()), is_long=True)
        return self.unwritten if count is None else count[0]

    def size(self) -> int | None:
        """How many bytes the storage takes; ``None`` while it is out of reach, or if it does not know."""
        size = None if self._entries.size is None else self.reach.read(self._entries.size, is_long=True)
        return None if size is None else size[0]

    def settle(self) -> bool:
        """Write all that waits, before the end; what the storage still refuses is lost, and said to be.

        Each entry is tried for itself, until the storage turns out to be away: a call is silent, it cannot be read
        either, or it has refused whatever it was given for half a minute.

        Returns:
            Whether the storage can be reached, as far as is known.
        """
        self._has_ended = True
        reasons: dict[str, None] = {}
        is_there, refusals = True, _Refusals(self.reach.patience)
        for key in list(self._unwritten):
            began = time.monotonic()
            try:
                self.reach.write_regardless(partial(self._write_late, key))
            except Exception as error:  # noqa: BLE001  # whatever one entry leads to must not lose the others
                reasons[str(error)] = None
                is_there = refusals.leave_hope(
                    time.monotonic() - began, partial(self.reach.call, partial(self._entries.read, key))
                )
                if not is_there:
                    break
            else:
                refusals = _Refusals(self.reach.patience)
        if reasons:
            why = "; ".join(islice(reasons, _REFUSALS))
            log.warning("symbol cache loses %d validated symbols, not written: %s", self.unwritten, why)
        return is_there

    def catch_up(self) -> None:
        """Write some of what waits, unless another thread is at it."""
        if not self._unwritten or self._is_catching_up:
            return
        if self._refused.open_until() is not None or not (self.reach.can_read() and self.reach.can_write()):
            return
        try:
            # No lock: that two threads are at it by chance does no harm, and one that is held for good would.
            self._is_catching_up = True
            with self._lock:
                keys = list(islice(self._unwritten, _AT_ONCE))
            self._write_some(keys)
        finally:
            self._is_catching_up = False

    def _change(self, key: str, merge: Merge) -> CachedSymbolInfo:
        if key in self._unwritten:
            self._write_late(key)  # first, so that the merge sees what this process learned before
        return self._entries.change(key, merge, self._keep_until())

    def _write_some(self, keys: Iterable[str]) -> None:
        in_a_row, failure = 0, None
        for key in keys:
            began = time.monotonic()
            try:
                self.reach.write_regardless(partial(self._write_late, key))
                in_a_row = 0
            except ClosedError:
                raise
            except Exception as error:  # noqa: BLE001  # whatever one entry leads to must not keep the others back
                self._put_last(key)
                failure, in_a_row = error, in_a_row + 1
                if in_a_row == _REFUSALS or time.monotonic() - began > self.reach.patience:
                    break
        if failure is None:
            self._refused.succeeded()
        else:
            self._refused.failed(failure)

    def _write_late(self, key: str) -> None:
        now, keep_until = self._clock(), self._keep_until()
        with self._keys.of(key):
            late = self._unwritten.get(key)
            if late is None:
                return
            _, spoiled = self._entries.replace(key, lambda stored: self._reconciled(stored, late, now), keep_until)
            with self._lock:
                if self._unwritten.get(key) is late:
                    del self._unwritten[key]
        self._entries.set_aside(key, spoiled)

    def _put_last(self, key: str) -> None:
        """Let the others go first: one entry that is refused must not keep them from being written."""
        with self._lock, suppress(KeyError):
            self._unwritten.move_to_end(key)

    def _take_from_the_queue(self, taken: dict[str, CachedSymbolInfo]) -> None:
        for key in list(self._unwritten):
            with self._keys.of(key), self._lock:
                if (info := self._unwritten.get(key)) is not None:
                    taken[key] = info
                    del self._unwritten[key]

    def _put_back(self, info: CachedSymbolInfo, newer: CachedSymbolInfo | None) -> CachedSymbolInfo:
        return info if newer is None else self._reconciled(info, newer)

    def _reconciled(
        self, stored: CachedSymbolInfo | None, late: CachedSymbolInfo, now: float | None = None
    ) -> CachedSymbolInfo:
        return reconcile(stored, late, self._clock() if now is None else now, self._policy)

    def _keep_until(self) -> KeepUntil:
        # The storage goes by the machine's clock, whatever clock decides freshness here. That one is looked at now, and
        # not while the storage changes an entry: it is a program's own, and may do anything.
        ahead = time.time() - self._clock()
        return lambda info: rules.keep_until(info, self._policy) + ahead


class _Refusals:
    """Entries that were refused in a row, and what they tell of the storage.

    Args:
        patience: Seconds after which a call is silent.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._spent = 0.0
        self._look_at = min(patience, _LOOK_AFTER)

    def leave_hope(self, seconds: float, read: Callable[[], object]) -> bool:
        """Whether the next entry is worth a try.

        Args:
            seconds: How long the last one took to be refused.
            read: Reads something, to see whether the storage is there.
        """
        self._spent += seconds
        if seconds > self._patience or self._spent > _LONGEST_REFUSALS:
            return False
        if self._spent <= self._look_at:
            return True
        self._look_at = self._spent + min(self._patience, _LOOK_AFTER)
        try:
            read()
        except Exception:  # noqa: BLE001  # whatever it is, nothing is read
            return False
        return True
