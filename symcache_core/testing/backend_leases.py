"""What a storage backend promises about leases: one holder each, for as long as that one lives and keeps it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from ..protocols import CanCompact, CanLock, CanTellHolder, CanUpdate, Lease, LeaseHolder, StorageBackend
from .aside import IN_TIME, Aside
from .backend_entries import KEYS
from .backend_sharing import SharingPromises, Workers
from .harness import FAR, at_once, promptly

CLOSED_WITHIN = 2.0
"""Seconds within which a server has seen that a store was closed."""

LEASE_LIFE = 10.0
"""Seconds within which a lease ends after its holder has died."""

REFUSALS, REFUSED_WITHIN = 20, 6.0
"""How often a lease is refused, and the seconds within which that is done, however busy the machine."""

MANY = 300
"""How many leases are held at once."""


class LeasePromises(SharingPromises):
    """Promises of ``try_lock``."""

    def locking(self, folder: Path, opened: ExitStack) -> CanLock:
        """The store of a folder, as what it can do."""
        store = self.open(folder, opened)
        if not isinstance(store, CanLock):
            pytest.skip("the backend has no try_lock")
        return store

    def test_a_lease_has_one_holder(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        lease, again = promptly(lambda: (store.try_lock("key"), store.try_lock("key")))
        assert lease is not None, "the lease of 'key' is free, and was not given"
        assert again is None, "the same thread got a lease that is taken"
        (other,) = at_once(lambda: promptly(lambda: store.try_lock("key")))
        assert other is None, "another thread got a lease that is taken"
        lease.release()
        _take(store, "key").release()

    def test_one_of_many_threads_gets_the_lease(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        for _ in range(10):
            leases = [lease for lease in at_once(*[lambda: store.try_lock("key")] * 8) if lease is not None]
            assert len(leases) == 1, f"{len(leases)} of 8 threads got one lease"
            leases[0].release()

    def test_a_lease_that_is_taken_is_refused_at_once(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        lease, refused = _take(store, "key"), 0
        deadline = time.monotonic() + REFUSED_WITHIN
        while refused < REFUSALS and time.monotonic() < deadline:
            assert promptly(lambda: store.try_lock("key")) is None, "a lease that is taken was given again"
            refused += 1
        lease.release()
        assert refused == REFUSALS, (
            f"in {REFUSED_WITHIN:g} s a lease that is taken was refused {refused} times: give None at once, and leave "
            "it to the caller to wait"
        )

    def test_each_key_has_a_lease_of_its_own(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        leases = [_take(store, key) for key in KEYS]
        for lease in leases:
            lease.release()

    def test_a_lease_is_released_from_any_thread(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        lease = _take(store, "key")
        at_once(lease.release)
        _take(store, "key").release()

    def test_releasing_twice_frees_no_other_lease(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        first = _take(store, "key")
        first.release()
        first.release()
        second = _take(store, "key")
        first.release()
        assert promptly(lambda: store.try_lock("key")) is None, "an old lease's release freed the new holder's"
        second.release()

    def test_a_lease_is_no_entry(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanLock):
            pytest.skip("the backend has no try_lock")
        lease = _take(store, "key")
        assert list(store.keys()) == [], "a lease is listed among the keys"
        assert store.clear() == 0, "a lease is counted among the entries"
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}", "a key can be written while its lease is taken"
        lease.release()
        assert store.read("key") == b"{}", "releasing a lease dropped the entry"

    def test_each_holder_of_a_lease_has_a_mark_of_its_own(self, tmp_path: Path, opened: ExitStack) -> None:
        store, holders = self.locking(tmp_path, opened), list[LeaseHolder | None]()
        if not isinstance(store, CanTellHolder):
            pytest.skip("the backend has no lease_holder")
        for _ in range(3):
            lease = _take(store, "key")
            holders += [store.lease_holder("key"), store.lease_holder("key")]
            lease.release()
        marks = [None if holder is None else holder.mark for holder in holders]
        assert marks[::2] == marks[1::2], "a holder's mark changes while it has the lease"
        assert len(set(marks) - {None}) == 3, "two holders of a lease, one after the other, cannot be told apart"

    def test_a_lease_excludes_other_objects(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        one, two = (self.locking(tmp_path / "store", opened) for _ in range(2))
        lease = _take(one, "key")
        assert promptly(lambda: two.try_lock("key")) is None, "another object on the same store got the lease"
        _take(two, "other").release()
        lease.release()
        _take(two, "key").release()

    def test_a_lease_of_one_store_is_none_of_another(self, tmp_path: Path, opened: ExitStack) -> None:
        one, two = (self.locking(tmp_path / name, opened) for name in ("one", "two"))
        leases = [_take(store, "key") for store in (one, two)]
        for lease in leases:
            lease.release()

    def test_a_lease_excludes_other_processes(self, tmp_path: Path, opened: ExitStack, workers: Workers) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanLock):
            pytest.skip("the backend has no try_lock")
        lease = _take(store, "key")
        assert workers[0].ask("try_lock", key="key") is False, "another process got a lease that is taken"
        lease.release()
        assert workers[0].ask("try_lock", key="key") is True, "another process does not get a free lease"
        assert workers[1].ask("try_lock", key="key") is False, "another process got a lease that is taken"
        assert promptly(lambda: store.try_lock("key")) is None, "this process got a lease that another holds"
        workers[0].ask("release")
        _take(store, "key").release()

    # -- how long ----------------------------------------------------------------------------------------------------

    def test_a_lease_dies_with_its_holder(self, fates: Fates) -> None:
        assert fates.life is not None, (
            f"{LEASE_LIFE:g} s after kill -9 its lease is still held: let the system or the server end it"
        )
        assert fates.heirs == 1, "two processes inherited one lease"

    def test_a_lease_lasts_as_long_as_its_holder_lives(self, fates: Fates) -> None:
        assert fates.lost == [], (
            f"a lease was lost while its holder had it: {'; '.join(fates.lost)}. Renew what expires until it is "
            "released, whatever else goes on"
        )

    def test_a_holder_keeps_its_mark_as_long_as_it_has_the_lease(self, fates: Fates) -> None:
        if not fates.marks:
            pytest.skip("the backend has no lease_holder")
        assert fates.marks[0] == fates.marks[-1], (
            "a holder got another mark while it had the lease: a waiter would take it for the next one, and wait anew; "
            "make the mark of what stays the same when a lease is renewed"
        )

    def test_a_late_release_frees_nobody_elses_lease(self, fates: Fates) -> None:
        assert not fates.was_freed_late, (
            "a holder whose lease had expired released it, and freed that of the next holder: release only what still "
            "bears the mark of its own"
        )

    def test_no_use_of_the_store_ends_a_lease(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanLock):
            pytest.skip("the backend has no try_lock")
        store.write("key", b"{}", FAR)
        lease = _take(store, "key")
        for what, use in self._uses(store, tmp_path / "store", opened):
            use()
            assert promptly(lambda: store.try_lock("key")) is None, f"{what} ended a lease that somebody holds"
            if self.record.persistent:
                newcomer = self.open(tmp_path / "store", opened)
                assert isinstance(newcomer, CanLock)
                assert promptly(lambda newcomer=newcomer: newcomer.try_lock("key")) is None, (  # type: ignore[misc]  # bound at once
                    f"after {what} an object that was opened since got a lease that somebody holds: leave the files of "
                    "leases where they are"
                )
                newcomer.close()
        lease.release()
        _take(store, "key").release()

    def test_close_gives_back_the_leases_that_are_held(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        store, other = self.open(tmp_path / "store", opened), self.locking(tmp_path / "store", opened)
        assert isinstance(store, CanLock)
        lease = _take(store, "key")
        store.close()
        inherited = _until_free(other, "key", CLOSED_WITHIN)
        assert inherited, "a lease is still held after its object was closed: release what is held, then close"
        lease.release()
        assert promptly(lambda: other.try_lock("key")) is None, (
            "a lease that close() had given back was released once more, and freed that of the next holder"
        )
        inherited[1].release()

    def test_hundreds_of_leases_are_to_be_had_at_once(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        keys = [f"ib||S{number}||" for number in range(MANY)]
        leases = {key: lease for key in keys if (lease := store.try_lock(key)) is not None}
        assert len(leases) == MANY, (
            f"of {MANY} free leases, {len(leases)} were to be had at once: a pool, slots by a hash, or one lease for "
            "several keys are too few"
        )
        refused = [store.try_lock(key) for key in keys[::10]]
        assert set(refused) == {None}, "beside hundreds of leases, one that is held was given again"
        for lease in leases.values():
            lease.release()
        for key in keys[::10]:
            _take(store, key).release()

    def test_a_lease_is_answered_for_beside_a_slow_call(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update, which alone can be made slow")
        others = [self.open(tmp_path / "store", opened)] if self.record.persistent else []
        for updater in (store, *others):
            assert isinstance(updater, CanUpdate)
            taken = _take(store, "taken")
            with slow_update(updater):
                asking = Aside(lambda: (store.try_lock("taken"), store.try_lock("free")))
                assert asking.has_ended(IN_TIME), (
                    "try_lock waits for a call that is slow: take no lock that others hold"
                )
                refused, free = asking.outcome("try_lock")
                releasing = Aside(taken.release)
                assert releasing.has_ended(IN_TIME), (
                    "release waits for a call that is slow: take no lock that others hold"
                )
            assert refused is None, "a lease that is taken was given again beside a slow call"
            assert free is not None, "a free lease is not to be had beside a slow call"
            free.release()

    # -- the story of a few leases -----------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def told_fates(cls) -> list[Fates]:
        """What has been seen of leases, once it has; it takes a while, and several promises are about it."""
        return []

    @pytest.fixture
    def fates(self, told_fates: list[Fates], tmp_path: Path, opened: ExitStack, workers: Workers) -> Fates:
        """What becomes of leases whose holders live, die, or come back late."""
        if not told_fates:
            store = self.shared(tmp_path / "store", opened, workers)
            if not isinstance(store, CanLock):
                pytest.skip("the backend has no try_lock")
            told_fates.append(self._watch(store, tmp_path / "store", opened, workers))
        return told_fates[0]

    def _watch(self, store: CanLock, folder: Path, opened: ExitStack, workers: Workers) -> Fates:
        dying, late = workers
        fates, began, lease = Fates(), time.monotonic(), _take(store, "held")
        fates.look_at_mark(store, "held")
        other = self._locking_beside(folder, opened)
        other.close()
        if late.ask("try_lock", key="inherited") is not True or late.ask("release_in_child") is not None:
            fates.lost.append("one that was free was not given to another process")
        if store.try_lock("inherited") is not None:
            fates.lost.append("a forked child released what it had inherited, or closed its store, or ended")
        late.ask("try_lock", key="late")
        dying.ask("try_lock", key="of the dead")
        dying.kill()
        late.pause()
        try:
            inherited = _until_free(store, "of the dead", LEASE_LIFE)
            fates.life = None if inherited is None else inherited[0]
            heir = self._locking_beside(folder, opened)
            fates.heirs = 1 + (heir.try_lock("of the dead") is not None)
            # What expires has, after its holder's death, been held for no longer than this without being renewed.
            life = LEASE_LIFE if fates.life is None else fates.life
            overtaken = _until_free(store, "late", min(life / 2 + 0.3, LEASE_LIFE))
        finally:
            late.go_on()
        late.ask("release")
        fates.was_freed_late = overtaken is not None and heir.try_lock("late") is not None
        time.sleep(max(began + min(1.5 * life + 1.0, LEASE_LIFE + 2.0) - time.monotonic(), 0.0))
        fates.look_at_mark(store, "held")
        if heir.try_lock("held") is not None:
            held = time.monotonic() - began
            fates.lost.append(f"one that a living process has had for {held:.1f} s, beside another object's close")
        lease.release()
        return fates

    def _locking_beside(self, folder: Path, opened: ExitStack) -> _Locking:
        """Another object that has had a lease."""
        other = self.open(folder, opened)
        assert isinstance(other, CanLock)
        _take(other, "taken by another object").release()
        return other

    def _uses(
        self, store: StorageBackend, folder: Path, opened: ExitStack
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "a write of its key", lambda: store.write("key", b"[]", FAR)
        yield "a write of its key that is over", lambda: store.write("key", b"[]", time.time() - 60)
        yield "a look at its key", lambda: (store.read("key"), list(store.keys()))
        if isinstance(store, CanUpdate):
            yield "an update of its key", lambda: store.update("key", lambda _entry: (b"{}", FAR))
        yield "a delete of its key", lambda: store.delete("key")
        if isinstance(store, CanCompact):
            yield "compact()", store.compact
        yield "clear()", store.clear
        if self.record.persistent:
            yield "the close of another object", lambda: self._locking_beside(folder, opened).close()
            yield "compact() or clear() of another object", lambda: _empty(self._locking_beside(folder, opened))


class _Locking(StorageBackend, CanLock, Protocol):
    """Storage with leases."""


@dataclass
class Fates:
    """What has been seen of leases.

    Args:
        life: Seconds for which a lease was held after its holder had been killed; ``None`` if it still was.
        heirs: How many got it afterwards.
        lost: Which were lost although their holders lived, in words.
        was_freed_late: Whether a holder that came late freed someone else's.
        marks: Those of one holder, now and then, if the backend tells them.
    """

    life: float | None = None
    heirs: int = 0
    lost: list[str] = field(default_factory=list)
    was_freed_late: bool = False
    marks: list[str | None] = field(default_factory=list)

    def look_at_mark(self, store: CanLock, key: str) -> None:
        """Look at the mark of who has a lease."""
        if isinstance(store, CanTellHolder):
            holder = store.lease_holder(key)
            self.marks.append(None if holder is None else holder.mark)


@contextmanager
def slow_update(store: CanUpdate) -> Iterator[None]:
    """Something is done while an update is at work in another thread."""
    is_changing, may_go_on = threading.Event(), threading.Event()

    def change(_entry: bytes | None) -> None:
        is_changing.set()
        may_go_on.wait(2 * IN_TIME)

    updating = Aside(lambda: store.update("slow", change))
    assert is_changing.wait(IN_TIME), "update does not call the change"
    try:
        yield
    finally:
        may_go_on.set()
        updating.outcome("an update")


def _until_free(store: CanLock, key: str, within: float) -> tuple[float, Lease] | None:
    """Take a lease as soon as it is free; gives after how many seconds that was, and the lease."""
    began = time.monotonic()
    while (lease := store.try_lock(key)) is None:
        if time.monotonic() > began + within:
            return None
        time.sleep(0.02)  # a server's expiry passes by the server's own clock
    return time.monotonic() - began, lease


def _empty(store: StorageBackend) -> None:
    if isinstance(store, CanCompact):
        store.compact()
    store.clear()


def _take(store: CanLock, key: str) -> Lease:
    lease = promptly(lambda: store.try_lock(key))
    assert lease is not None, f"the lease of {key[:40]!r} is free, and was not given"
    return lease
