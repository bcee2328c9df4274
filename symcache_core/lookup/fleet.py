"""One caller for each key among the processes and machines that share a storage, as far as it can lock."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ..concurrency.threads import StorageThreads
from ..entries.reach import Reach
from ..errors import BackendError, SymcacheError
from ..protocols import CanLock, Lease, StorageBackend

T = TypeVar("T")

FIRST_WAIT = 0.005
"""Seconds after which a permit that someone else has is tried for again; longer each time, ..."""

LONGEST_WAIT = 0.05
"""... up to this."""


class Permit:
    """The right to ask a provider about a key; without a lease nobody vouches for it that no other has it too."""

    def __init__(self, lease: Lease | None = None) -> None:
        self.lease = lease


class Fleet:
    """Hands out permits to the callers of this process.

    Of one process, single flight lets one caller for a key come here at a time. A flight that ended with its event loop
    leaves its lease behind, and the next one takes it over.

    Args:
        backend: Who lends the leases; one that cannot lock makes everyone a permit at once.
        threads: Which wait for the backend.
        reach: Whether the backend is worth asking; if it is not, everyone asks the provider.
    """

    def __init__(self, backend: StorageBackend, threads: StorageThreads, reach: Reach) -> None:
        self._locking = backend if isinstance(backend, CanLock) else None
        self._threads = threads
        self._reach = reach
        self._lock = threading.Lock()
        self._permits: dict[str, Permit] = {}

    async def acquire(
        self,
        key: str,
        look: Callable[[], T],
        is_enough: Callable[[T], bool],
        timeout: float | None,
        remember: Callable[[], T] | None = None,
    ) -> tuple[Permit | None, T]:
        """Wait for the permit to ask about a key, unless others make it needless.

        Args:
            key: Which.
            look: Looks at the storage; called in a thread, with the permit in hand or in vain.
            is_enough: Whether what was found makes the permit needless.
            timeout: Seconds after which the caller may ask all the same, as whoever has the permit does not get done;
                ``None`` does not wait for it at all.
            remember: What is known without a look at the storage, for when that is silent; waits for it if left out.

        Returns:
            The permit, to be released, and what was found with it in hand; ``None`` for a permit that is needless, or
            not to be had.
        """
        # The core waits, not the backend: locks that block would use up a thread for each waiter until none is left for
        # the holder's own work. Each try looks at the storage, too, as the answer of the one before may be there by
        # now.
        loop = asyncio.get_running_loop()
        deadline, wait = loop.time() + (timeout or 0.0), FIRST_WAIT
        while True:
            # The thread goes on, even if the loop does not.
            tried = await self._threads.attempt(
                partial(self._try, key, look, is_enough),
                lambda: remember is not None and not self._reach.can_read(),
                partial(self._release_unused, key),
            )
            if tried is None:
                assert remember is not None, "without it, there is always use in waiting"
                found = remember()
                return None if is_enough(found) else Permit(), found
            permit, found = tried[0]
            if permit is not None or timeout is None or is_enough(found):
                return permit, found
            if loop.time() >= deadline:
                return Permit(), found
            # Each waits for a time of its own, or they would always meet.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # nothing is kept secret by it
            wait = min(wait * 1.5, LONGEST_WAIT)

    def release(self, key: str, permit: Permit) -> None:
        """Let the next one have it; does not wait for the storage."""
        if permit.lease is not None:
            self._threads.start(self._release, key, permit)

    def abandon(self) -> None:
        """Let go of every lease, in a process that has but inherited its share in them."""
        for permit in self._permits.values():
            if permit.lease is not None:
                with suppress(SymcacheError):
                    permit.lease.release()

    def _try(self, key: str, look: Callable[[], T], is_enough: Callable[[T], bool]) -> tuple[Permit | None, T]:
        permit = self._take(key)
        try:
            found = look()
            if permit is None or not is_enough(found):
                return permit, found
        except BaseException:
            self._release(key, permit)
            raise
        self._release(key, permit)
        return None, found

    def _take(self, key: str) -> Permit | None:
        if self._locking is None or not self._reach.is_well():
            return Permit()
        with self._lock:
            left = self._permits.get(key)
            if left is not None:
                taken_over = self._permits[key] = Permit(left.lease)
                return taken_over
        try:
            lease = self._reach.attend(partial(self._locking.try_lock, key))
        except BackendError:
            return Permit()
        if lease is None:
            return None
        with self._lock:
            permit = self._permits[key] = Permit(lease)
        return permit

    def _release(self, key: str, permit: Permit | None) -> None:
        if permit is None or permit.lease is None:
            return
        with self._lock:
            if self._permits.get(key) is not permit:
                return  # someone took it over
            del self._permits[key]
        with suppress(SymcacheError):  # then it ends by itself
            self._reach.attend(permit.lease.release)

    def _release_unused(self, key: str, tried: Future[tuple[Permit | None, T]]) -> None:
        if not tried.cancelled() and tried.exception() is None:
            self._release(key, tried.result()[0])
