"""One caller for each key among the processes and machines that share a storage, as far as it can lock."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from .errors import BackendError, SymcacheError
from .protocols import CanLock, Lease, StorageBackend
from .threads import StorageThreads

T = TypeVar("T")

FIRST_WAIT = 0.005
"""Seconds after which a turn that someone else has is tried for again; longer each time, ..."""

LONGEST_WAIT = 0.05
"""... up to this."""


class Turn:
    """The right to ask a provider about a key; without a lease nobody vouches for it that no other has it too."""

    def __init__(self, lease: Lease | None = None) -> None:
        self.lease = lease


class Fleet:
    """Whose turn it is, for the callers of this process.

    Of one process, single flight lets one caller for a key come here at a time. A flight that ended with its event loop
    leaves its lease behind, and the next one takes it over.

    Args:
        backend: Who lends the leases; one that cannot lock gives everyone a turn at once.
        threads: Which wait for the backend.
        is_reachable: Whether the backend is worth asking; if it is not, it is everyone for himself.
    """

    def __init__(self, backend: StorageBackend, threads: StorageThreads, is_reachable: Callable[[], bool]) -> None:
        self._locking = backend if isinstance(backend, CanLock) else None
        self._threads = threads
        self._is_reachable = is_reachable
        self._lock = threading.Lock()
        self._turns: dict[str, Turn] = {}

    async def turn(
        self, key: str, look: Callable[[], T], is_enough: Callable[[T], bool], patience: float | None
    ) -> tuple[Turn | None, T]:
        """Wait for a key's turn, unless others make it needless.

        Args:
            key: Whose turn.
            look: Looks at the storage; called in a thread, with the turn in hand or in vain.
            is_enough: Whether what was found makes the turn needless.
            patience: Seconds after which the turn comes all the same, as whoever has it does not get done; ``None``
                does not wait for it at all.

        Returns:
            The turn, to be given back, and what was found with it in hand; ``None`` for a turn that is needless, or not
            to be had.
        """
        loop = asyncio.get_running_loop()
        deadline, wait = loop.time() + (patience or 0.0), FIRST_WAIT
        while True:
            trying = self._threads.run(self._try, key, look, is_enough)
            try:
                turn, found = await trying
            except BaseException:
                # The thread goes on, even if the loop does not.
                trying.outcome.add_done_callback(lambda tried: self._give_back_unused(key, tried))
                raise
            if turn is not None or patience is None or is_enough(found):
                return turn, found
            if loop.time() >= deadline:
                return Turn(), found
            # Each waits for a time of its own, or they would always meet.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # nothing is kept secret by it
            wait = min(wait * 1.5, LONGEST_WAIT)

    def give_back(self, key: str, turn: Turn) -> None:
        """Let the next one have it; does not wait for the storage."""
        if turn.lease is not None:
            self._threads.start(self._give_back, key, turn)

    def abandon(self) -> None:
        """Let go of every lease, in a process that has but inherited its share in them."""
        for turn in self._turns.values():
            if turn.lease is not None:
                with suppress(SymcacheError):
                    turn.lease.release()

    def _try(self, key: str, look: Callable[[], T], is_enough: Callable[[T], bool]) -> tuple[Turn | None, T]:
        turn = self._take(key)
        try:
            found = look()
            if turn is None or not is_enough(found):
                return turn, found
        except BaseException:
            self._give_back(key, turn)
            raise
        self._give_back(key, turn)
        return None, found

    def _take(self, key: str) -> Turn | None:
        if self._locking is None or not self._is_reachable():
            return Turn()
        with self._lock:
            left = self._turns.get(key)
            if left is not None:
                taken_over = self._turns[key] = Turn(left.lease)
                return taken_over
        try:
            lease = self._locking.try_lock(key)
        except BackendError:
            return Turn()
        if lease is None:
            return None
        with self._lock:
            turn = self._turns[key] = Turn(lease)
        return turn

    def _give_back(self, key: str, turn: Turn | None) -> None:
        if turn is None or turn.lease is None:
            return
        with self._lock:
            if self._turns.get(key) is not turn:
                return  # someone took it over
            del self._turns[key]
        with suppress(SymcacheError):  # then it ends by itself
            turn.lease.release()

    def _give_back_unused(self, key: str, tried: Future[tuple[Turn | None, T]]) -> None:
        if not tried.cancelled() and tried.exception() is None:
            self._give_back(key, tried.result()[0])
