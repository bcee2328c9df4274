"""What a storage backend promises about what goes on beside an outage: leases, log handlers, and what is known."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ..errors import BackendUnavailableError, SymcacheError
from ..protocols import CanBeReadOnly, CanLock, StorageBackend
from .backend_outage import BACK_WITHIN, OutagePromises, wait_until_back
from .backend_sharing import Workers
from .harness import at_once
from .outage_calls import calls
from .watching import ENDS_WITHIN, Outcome, ending, endings

RELEASES = 24
"""How many leases are released while the storage is away."""

RELEASED_WITHIN = 5.0
"""Seconds within which as many have been let go of, however busy the machine; that waits for nobody."""

FIRST_READS = 4
"""How many reads fail before the storage is known to be away."""

SHORT = 4.0
"""Seconds that an outage lasts which ends no lease that expires by itself only later."""

AT_ONCE = 1.0
"""Seconds within which a lease has ended that ends with its holder's connection."""

LEASE_LIFE = 10.0
"""Seconds within which any lease has ended whose holder has died."""

CONNECTIONS = 8
"""How many calls are made at once, for as many connections to be there that an outage breaks."""


WARMINGS = 10
"""How often they are made, so that as many are needed at least once."""


class OutageBesidePromises(OutagePromises):
    """Promises of what an outage meets, and of what is there after it."""

    def test_a_log_handler_may_use_the_store_in_an_outage(self, remote: StorageBackend) -> None:
        with _handling_by(remote) as handler, self.outage():
            try:
                endings(calls(remote), 2 * ENDS_WITHIN)
            except AssertionError as error:
                raise AssertionError(f"{error}; {handler.describes}") from error

    def test_whether_a_store_is_read_only_is_known_in_an_outage(self, remote: StorageBackend) -> None:
        if not isinstance(remote, CanBeReadOnly):
            pytest.skip("the backend has no read_only")
        with self.outage():
            outcomes = [ending("read", lambda: remote.read("known")), ending("read_only", remote.read_only)]
        assert outcomes[1].error is None, (
            f"while the storage was away {outcomes[1]}: read_only() says what is known, and asks nobody"
        )

    def test_a_release_waits_for_no_storage_that_is_known_to_be_away(self, remote: StorageBackend) -> None:
        if not isinstance(remote, CanLock):
            pytest.skip("the backend has no try_lock")
        leases = [remote.try_lock(f"key{number}") for number in range(RELEASES)]
        with self.outage():
            endings([("read", lambda: remote.read("known"))] * FIRST_READS)
            began = time.monotonic()
            for lease in leases:
                assert lease is not None
                ending("release", lease.release)
                if (took := time.monotonic() - began) > RELEASED_WITHIN:
                    break
        assert took <= RELEASED_WITHIN, (
            f"while the storage was known to be away, {RELEASES} releases were not done within {RELEASED_WITHIN:g} s: "
            "do what needs no I/O, and let the lease expire"
        )

    # -- the story of a short outage ---------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def told_aftermath(cls) -> list[Aftermath]:
        """What came of a short outage, once it is known; it takes a while."""
        return []

    @pytest.fixture
    def aftermath(
        self,
        told_aftermath: list[Aftermath],
        remote: StorageBackend,
        tmp_path: Path,
        closing: ExitStack,
        workers: Workers,
    ) -> Aftermath:
        """What comes of leases that an outage meets."""
        if not told_aftermath:
            told_aftermath.append(self._aftermath(remote, tmp_path / "store", closing, workers))
        return told_aftermath[0]

    def test_a_short_outage_ends_no_lease(self, aftermath: Aftermath) -> None:
        if aftermath.why_not:
            pytest.skip(aftermath.why_not)
        assert not aftermath.is_lost, (
            f"a lease that expires after {aftermath.life:.1f} s was lost in an outage of {SHORT:g} s, and its holder "
            "lives: go on renewing it, whatever came of the last time"
        )

    def test_connections_that_an_outage_broke_are_used_by_nobody(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack
    ) -> None:
        first, last, other = remote, *(self.open(tmp_path / "store", closing) for _ in range(2))
        for store in (first, last):
            for _ in range(WARMINGS):
                at_once(*[partial(store.read, "known")] * CONNECTIONS)
        with self.outage():
            pass
        wait_until_back(other)
        if len(_failed(first)) <= 1:
            return
        # Who was told of an outage may not want to look again for as long.
        time.sleep(BACK_WITHIN)
        failed = _failed(last)
        assert len(failed) <= 1, (
            f"{BACK_WITHIN:g} s after an outage {len(failed)} of {CONNECTIONS} calls failed, one after another, and "
            f"{failed[-1]}. Look whether a connection still stands before you use it, or drop all when one has failed"
        )

    def _aftermath(self, store: StorageBackend, folder: Path, closing: ExitStack, workers: Workers) -> Aftermath:
        aftermath = Aftermath()
        with self._held(store, aftermath, folder, workers):
            other = self.open(folder, closing)
            wait_until_back(other)
            self._look_at_leases(aftermath, other)
        return aftermath

    @contextmanager
    def _held(self, store: StorageBackend, aftermath: Aftermath, folder: Path, workers: Workers) -> Iterator[None]:
        """After a short outage, in which a lease was held, and another one's holder had just died."""
        lease = None
        if not isinstance(store, CanLock):
            aftermath.why_not = "the backend has no try_lock"
        else:
            lease = store.try_lock("held")
            workers[0].ask("open", **self.address(folder))
            workers[0].ask("try_lock", key="of the dead")
            workers[0].kill()
            aftermath.died = time.monotonic()
            while time.monotonic() < aftermath.died + AT_ONCE and not aftermath.why_not:
                if store.try_lock("of the dead") is not None:
                    aftermath.why_not = "leases end with the connection, or too soon for an outage to be shorter"
                time.sleep(0.05)  # a server's expiry passes by the server's own clock
        with self.outage():
            time.sleep(0.0 if aftermath.why_not else SHORT)
        yield
        if lease is not None:
            lease.release()

    def _look_at_leases(self, aftermath: Aftermath, other: StorageBackend) -> None:
        """Wait until the lease of the dead has expired, and look whether the other one has, too."""
        while not aftermath.why_not and aftermath.life is None:
            assert isinstance(other, CanLock)
            if _is_free(other, "of the dead"):
                aftermath.life = time.monotonic() - aftermath.died
            elif time.monotonic() > aftermath.died + LEASE_LIFE:
                aftermath.life = LEASE_LIFE
        if not aftermath.why_not:
            assert aftermath.life is not None
            assert isinstance(other, CanLock)
            time.sleep(AT_ONCE)  # it was renewed for the last time no later than the outage began
            aftermath.is_lost = aftermath.life > SHORT + BACK_WITHIN / 4 and _is_free(other, "held")


@dataclass
class Aftermath:
    """What came of a short outage.

    Args:
        why_not: Why nothing can be said of leases.
        died: When a holder died, by the monotonic clock.
        life: Seconds after which its lease ended.
        is_lost: Whether a lease was lost whose holder lives.
    """

    why_not: str = ""
    died: float = 0.0
    life: float | None = None
    is_lost: bool = False


def _is_free(store: CanLock, key: str) -> bool:
    lease = ending("try_lock", lambda: store.try_lock(key))
    assert lease.error is None or isinstance(lease.error, BackendUnavailableError), f"after an outage {lease}"
    return lease.value is not None


def _failed(store: StorageBackend) -> list[Outcome]:
    """The calls that fail of as many as there were connections, one after another."""
    outcomes = [ending("read", lambda: store.read("known")) for _ in range(CONNECTIONS)]
    return [outcome for outcome in outcomes if outcome.error is not None]


class _Handler(logging.Handler):
    """Reads from a store for the first record of each thread, as one may that keeps what is logged."""

    describes = (
        "a handler of the logger 'symcache' used the store meanwhile, and waits for a lock that whoever logs holds: "
        "log with no lock held"
    )

    def __init__(self, store: StorageBackend) -> None:
        super().__init__(logging.DEBUG)
        self._store, self._handled = store, threading.local()

    def handle(self, record: logging.LogRecord) -> bool:
        """Read, with no lock of the handler's own, which would be held for long."""
        if not getattr(self._handled, "once", False):
            self._handled.once = True
            with suppress(SymcacheError):
                self._store.read("known")
        return True


@contextmanager
def _handling_by(store: StorageBackend) -> Iterator[_Handler]:
    logger, handler = logging.getLogger("symcache"), _Handler(store)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
