"""One caller for each key among the processes and machines that share a storage, as far as it can lock."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ..concurrency.patience import Patience
from ..concurrency.threads import StorageThreads
from ..entries.reach import Reach
from ..errors import BackendError, ClosedError, SymcacheError
from ..protocols import CanLock, CanTellHolder, Lease, LeaseHolder, StorageBackend

log = logging.getLogger("symcache")

T = TypeVar("T")

FIRST_WAIT = 0.005
"""Seconds after which a permit that someone else has is tried for again; longer each time, ..."""

LONGEST_WAIT = 0.05
"""... up to this."""


class Permit:
    """The right to ask a provider about a key; without a lease nobody vouches for it that no other has it too.

    Args:
        lease: The lease, if there is one.
        name: What that is the lease of: the key, or what stands for it beside a holder who does not go on.
    """

    def __init__(self, lease: Lease | None = None, name: str = "") -> None:
        self.lease = lease
        self.name = name
        self.is_over = False


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
        self._telling = backend if isinstance(backend, CanTellHolder) else None
        self._threads = threads
        self._reach = reach
        self._lock = threading.Lock()
        self._permits: dict[str, Permit] = {}
        self._passed_by: dict[str, str] = {}

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
            timeout: Seconds after which whoever has the permit is passed by, if it does not get done, nor gives it to
                another; ``None`` does not wait for it at all.
            remember: What is known without a look at the storage, for when that is silent; waits for it if left out.

        Returns:
            The permit, to be released, and what was found with it in hand; ``None`` for a permit that is needless, or
            not to be had.
        """
        # The core waits, not the backend: locks that block would use up a thread for each waiter until none is left for
        # the holder's own work. Each try looks at the storage, too, as the answer of the one before may be there by
        # now.
        now = asyncio.get_running_loop().time
        name, wait, patience = key, FIRST_WAIT, Patience(timeout or 0.0, now)
        while True:
            # The thread goes on, even if the loop does not.
            tried = await self._threads.attempt(
                partial(self._try, name, look, is_enough),
                lambda: remember is not None and not self._reach.can_read(),
                self._release_unused,
            )
            if tried is None:
                assert remember is not None, "without it, there is always use in waiting"
                found = remember()
                return None if is_enough(found) else Permit(), found
            permit, found, holder = tried[0]
            if permit is not None or timeout is None or is_enough(found):
                return permit, found
            if not self._is_passed_by(name, holder, patience):
                # Each waits for a time of its own, or they would always meet.
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # nothing is kept secret by it
                wait = min(wait * 1.5, LONGEST_WAIT)
            elif holder is None or not timeout:
                return Permit(), found
            else:
                # All who pass that one by want one lease in its place, so that of them, too, one at a time asks.
                name = f"{name}|after {holder.mark}"
                wait, patience = FIRST_WAIT, Patience(timeout, now)

    def release(self, permit: Permit) -> None:
        """Let the next one have it; does not wait for the storage."""
        if permit.lease is None:
            return
        permit.is_over = True
        try:
            self._threads.start(self._release, permit)
        except ClosedError:  # and so is the storage, which has given it back
            self._drop(permit)
        except BackendError:
            pass  # there is no thread: who wants it next in this process takes it over

    def close(self) -> None:
        """Give back, before the storage is closed, what it has not been told of yet; it is left to it if it is away."""
        for permit in list(self._permits.values()):
            if permit.is_over:
                if self._reach.is_well():
                    self._release(permit)
                else:
                    self._drop(permit)

    def abandon(self) -> None:
        """Let go of every lease, in a process that has but inherited its share in them."""
        for permit in self._permits.values():
            if permit.lease is not None:
                with suppress(SymcacheError):
                    permit.lease.release()

    def _is_passed_by(self, name: str, holder: LeaseHolder | None, patience: Patience) -> bool:
        """Whether whoever has a lease is no longer waited for; said once of each holder."""
        if holder is not None and self._passed_by.get(name) == holder.mark:
            return True
        if not patience.is_over(None if holder is None else holder.mark):
            return False
        if holder is not None:
            self._passed_by[name] = holder.mark
        log.warning(
            "symbol cache: %s has the lease of %s and has not got done for %g s (setting 'timeout'); it is passed by",
            *("another process or machine" if holder is None else holder.who, name, patience.timeout),
        )
        return True

    def _try(
        self, name: str, look: Callable[[], T], is_enough: Callable[[T], bool]
    ) -> tuple[Permit | None, T, LeaseHolder | None]:
        permit = self._take(name)
        try:
            found = look()
            if permit is None or not is_enough(found):
                return permit, found, self._holder(name) if permit is None else None
        except BaseException:
            self._release(permit)
            raise
        self._release(permit)
        return None, found, None

    def _holder(self, name: str) -> LeaseHolder | None:
        if self._telling is None:
            return None
        try:
            return self._reach.call(partial(self._telling.lease_holder, name))
        except SymcacheError:
            return None

    def _take(self, name: str) -> Permit | None:
        if self._locking is None or not self._reach.is_well():
            return Permit()
        with self._lock:
            left = self._permits.get(name)
            if left is not None:
                taken_over = self._permits[name] = Permit(left.lease, name)
                return taken_over
        try:
            lease = self._reach.call(partial(self._locking.try_lock, name))
        except BackendError:
            return Permit()
        if lease is None:
            return None
        with self._lock:
            permit = self._permits[name] = Permit(lease, name)
            self._passed_by.pop(name, None)
        return permit

    def _release(self, permit: Permit | None) -> None:
        if permit is None or permit.lease is None or not self._drop(permit):
            return
        with suppress(SymcacheError):  # then it ends by itself
            self._reach.call(permit.lease.release)

    def _drop(self, permit: Permit) -> bool:
        """Have nobody take over a permit any more; False if someone has."""
        with self._lock:
            if self._permits.get(permit.name) is not permit:
                return False
            del self._permits[permit.name]
            return True

    def _release_unused(self, tried: Future[tuple[Permit | None, T, LeaseHolder | None]]) -> None:
        if not tried.cancelled() and tried.exception() is None:
            permit = tried.result()[0]
            if permit is not None:
                self.release(permit)
