"""Whether a storage can be reached, as the calls that were made to it tell.

A storage that fails at once costs nobody anything. One that hangs costs each caller the time until its call fails, and
so it is left alone

- for a while after a call has failed, counted from its end;
- while a call has been under way for longer than anyone is willing to wait (it is *silent*);
- but for one call at a time, until one has succeeded after a failure.

Reading and writing are told apart, since a storage that is full, locked or a replica can be read all the same. What
cannot be read is not written either. What cannot be written is read: if writing has failed slowly or is silent, by one
call at a time, until one that began later than the write has succeeded.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..concurrency.breaker import Breaker
from ..errors import BackendError
from ..protocols import Clock

T = TypeVar("T")

log = logging.getLogger("symcache")

Calls = dict[int, float]
"""Calls that are under way, by number, and since when: seconds of the machine's monotonic clock."""


class Reach:
    """The circuit breaker of one storage.

    Args:
        clock: Seconds since the epoch.
        retry: Seconds for which a storage that failed is left alone.
        patience: Seconds after which a call that is under way counts as silent.
    """

    def __init__(self, clock: Clock, retry: float, patience: float) -> None:
        self.patience = patience
        self._reading = Breaker(clock, retry)
        self._writing = Breaker(clock, retry)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._reads: Calls = {}
        self._writes: Calls = {}
        self._others: Calls = {}
        self._last_slow_write = 0
        self._last_good_read = 0
        self._is_told = False
        self._given_up_before = -math.inf

    @property
    def error(self) -> Exception | None:
        """Why the storage is left alone, while it is."""
        return self._reading.error or self._writing.error

    def failed(self, error: BackendError) -> None:
        """Take note that a call has failed that did not go through here."""
        self._reading.failed(error)
        self._tell(error)

    def gave_up(self) -> None:
        """Take note that somebody has waited for a call for as long as anyone does: it is silent.

        The call itself began a little later than the waiting, however long it took until a thread was free.
        """
        self._given_up_before = time.monotonic() - self.patience / 2

    def is_well(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        now = time.monotonic()
        return self.error is None and not self._is_silent(self._reads, now) and not self._does_not_write(now)

    def can_read(self) -> bool:
        """Whether a read would be made now."""
        with self._lock:
            return self._may_read(time.monotonic())

    def can_write(self) -> bool:
        """Whether a write would be made now."""
        with self._lock:
            return self._may_write(time.monotonic())

    def read(self, work: Callable[[], T], *, is_long: bool = False) -> tuple[T] | None:
        """What comes of reading; ``None`` while the storage is left alone, or if it fails.

        Args:
            work: Reads.
            is_long: Whether it takes its time on a storage that is well, as listing all that there is does.
        """
        number = next(self._numbers)
        try:
            if not self._begin(self._reads, number, self._may_read, is_long=is_long):
                return None
            answer = work()
        except BackendError as error:
            self.failed(error)
            return None
        finally:
            self._reads.pop(number, None)
        self._read_well(number)
        return (answer,)

    def write(self, work: Callable[[], T]) -> tuple[T] | None:
        """What comes of writing; ``None`` while the storage is left alone, or if it fails."""
        with suppress(BackendError):
            return self._write(work, self._may_write)
        return None

    def write_regardless(self, work: Callable[[], T], *, blames: bool = False) -> T:
        """What comes of writing one entry, whether or not the storage is left alone.

        Args:
            work: Writes.
            blames: Whether a quick failure tells of the storage, unless it is of no other kind than
                :class:`.BackendError`; else it may be due to that very entry, and tells nothing.

        Raises:
            BackendError: The storage did not do it.
        """
        outcome = self._write(work, None, blames=blames)
        assert outcome is not None, "it is never turned away"
        return outcome[0]

    def call(self, work: Callable[[], T], *, is_long: bool = False) -> T:
        """What comes of a call that is neither, such as one for a lease, whether or not the storage is left alone.

        It says nothing of reading and writing unless it fails slowly.

        Args:
            work: Makes the call.
            is_long: Whether it takes its time on a storage that is well.

        Raises:
            BackendError: The storage did not do it.
        """
        number, began = next(self._numbers), time.monotonic()
        try:
            self._others[number] = math.inf if is_long else began
            return work()
        except BackendError as error:
            self._write_failed(number, error, began, blames=False)
            raise
        finally:
            self._others.pop(number, None)

    def _write(
        self, work: Callable[[], T], may: Callable[[float], bool] | None, *, blames: bool = True
    ) -> tuple[T] | None:
        number, began = next(self._numbers), time.monotonic()
        try:
            if may is None:
                self._writes[number] = began
            elif not self._begin(self._writes, number, may):
                return None
            outcome = work()
        except BackendError as error:
            self._write_failed(number, error, began, blames=blames)
            raise
        finally:
            self._writes.pop(number, None)
        self._writing.succeeded()
        self._read_well(number)  # an entry is read before it is written
        return (outcome,)

    def _begin(self, calls: Calls, number: int, may: Callable[[float], bool], *, is_long: bool = False) -> bool:
        with self._lock:
            now = time.monotonic()
            if not may(now):
                return False
            calls[number] = math.inf if is_long else now
            return True

    def _may_read(self, now: float) -> bool:
        if self._is_silent(self._reads, now):
            return False
        if self._reading.error is not None:
            return self._reading.open_until() is None and not self._reads
        return not self._reads or not self._is_doubtful(now)

    def _may_write(self, now: float) -> bool:
        if self._is_silent(self._reads, now) or self._does_not_write(now):
            return False
        if self._reading.error is not None and (self._reading.open_until() is not None or self._reads):
            return False
        return self.error is None or (self._writing.open_until() is None and not self._writes)

    def _is_doubtful(self, now: float) -> bool:
        """Whether a write has hung, and it is not known yet that the storage can be read all the same."""
        limit = self._limit(now)
        under_way = [*list(self._writes.items()), *list(self._others.items())]
        silent = [number for number, since in under_way if since < limit]
        return max(self._last_slow_write, *silent, 0) > self._last_good_read

    def _does_not_write(self, now: float) -> bool:
        return self._is_silent(self._writes, now) or self._is_silent(self._others, now)

    def _is_silent(self, calls: Calls, now: float) -> bool:
        return bool(calls) and min(list(calls.values()), default=math.inf) < self._limit(now)

    def _limit(self, now: float) -> float:
        """What began before that is silent."""
        return max(now - self.patience, self._given_up_before)

    def _read_well(self, number: int) -> None:
        self._reading.succeeded()
        with self._lock:
            self._last_good_read = max(self._last_good_read, number)
            if self._is_told and self.error is None:
                self._is_told = False

    def _write_failed(self, number: int, error: BackendError, began: float, *, blames: bool) -> None:
        if time.monotonic() - began > self.patience:
            with self._lock:
                self._last_slow_write = max(self._last_slow_write, number)
        elif not blames or type(error) is BackendError:  # of no other kind: it is due to what was to be written
            return
        if self._reading.error is not None:
            self._reading.failed(error)
        self._writing.failed(error)
        self._tell(error)

    def _tell(self, error: BackendError) -> None:
        with self._lock:
            was_told, self._is_told = self._is_told, True
        if not was_told:
            log.warning("symbol cache works without its storage: %s", error)
