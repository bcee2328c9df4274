"""What a storage backend promises about the optional capabilities that it has: batches, updates, leases and more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from ..protocols import (
    CanBatch,
    CanBeReadOnly,
    CanCompact,
    CanLock,
    CanSeeOthers,
    CanSize,
    CanTellHolder,
    CanUpdate,
    Lease,
    LeaseHolder,
    StorageBackend,
)
from .backend_entries import ENTRIES, KEYS
from .backend_sharing import SharingPromises, Workers
from .harness import FAR, promptly

T = TypeVar("T")


OVERTAKING = 1.0
"""Seconds that an update gives others to come in between, if the storage lets them."""

LEASE_LIFE = 10.0
"""Seconds within which a lease ends after its holder has died."""


class BatchPromises(SharingPromises):
    """Promises of ``read_many`` and ``write_many``."""

    @pytest.fixture
    def batching(self, tmp_path: Path, opened: ExitStack) -> tuple[StorageBackend, CanBatch]:
        """An empty store, as what it is and as what it can do."""
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanBatch):
            pytest.skip("the backend has no read_many and write_many")
        return store, store

    def test_reading_many_equals_reading_each(self, batching: tuple[StorageBackend, CanBatch]) -> None:
        store, batch = batching
        for number, key in enumerate(KEYS[::2]):
            store.write(key, b'{"n":%d}' % number, FAR)
        found = batch.read_many([*KEYS, KEYS[0]])
        assert dict(found) == {key: store.read(key) for key in KEYS[::2]}, "of the keys, those that have an entry"
        assert {type(entry) for entry in found.values()} == {bytes}
        assert dict(batch.read_many([])) == {}, "of no keys, no entry"
        assert dict(batch.read_many(["unknown"])) == {}, "a key without an entry is left out"

    def test_writing_many_equals_writing_each(self, batching: tuple[StorageBackend, CanBatch]) -> None:
        store, batch = batching
        entries = {f"key {kind}": entry for kind, entry in ENTRIES.items()}
        entries |= {key: b'{"n":%d}' % number for number, key in enumerate(KEYS)}
        store.write("kept", b"{}", FAR)
        store.write(KEYS[0], b'{"longer":"than what comes"}', FAR)
        batch.write_many({key: (entry, FAR) for key, entry in entries.items()})
        assert {key: store.read(key) for key in entries} == entries, "each entry of a batch is written as it is"
        assert sorted(store.keys()) == sorted({"kept", *entries}), "a batch writes its keys and drops no other"
        batch.write_many({})
        assert store.read("kept") == b"{}"

    def test_a_batch_keeps_the_time_of_each_entry(self, batching: tuple[StorageBackend, CanBatch]) -> None:
        store, batch = batching
        store.write("renewed", b"{}", time.time() - 60)
        batch.write_many({"over": (b"{}", time.time() - 60), "renewed": (b"[]", FAR), "far": (b"{}", float("inf"))})
        store.write("single", b"{}", time.time() - 60)
        kept = dict(batch.read_many(["renewed", "far"]))
        assert kept == {"renewed": b"[]", "far": b"{}"}, "an entry of a batch is dropped before its time"
        assert store.read("over") == store.read("single"), "a batch keeps an entry past its time where write drops it"


class UpdatePromises(SharingPromises):
    """Promises of ``update``."""

    @pytest.fixture
    def updating(self, tmp_path: Path, opened: ExitStack) -> tuple[StorageBackend, CanUpdate]:
        """An empty store, as what it is and as what it can do."""
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        return store, store

    def test_an_update_gets_the_entry_and_replaces_it(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        for kind, entry in ENTRIES.items():
            seen: list[bytes | None] = []
            store.write("key", b'{"long":"and more"}', FAR)
            updater.update("key", partial(_replaced_by, entry))
            updater.update("key", seen.append)  # append gives None, and so changes nothing
            assert set(seen) == {entry}, f"an update sees an entry with {kind} changed"
            assert store.read("key") == entry, f"an update stores an entry with {kind} changed"
        assert list(store.keys()) == ["key"]

    def test_an_update_finds_none_where_there_is_no_entry(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        seen: list[bytes | None] = []
        updater.update("key", seen.append)
        assert set(seen) == {None}, "an update of a key without an entry gets None"
        assert list(store.keys()) == [], "an update that changes nothing makes no entry"
        updater.update("key", lambda _old: (b"{}", FAR))
        assert store.read("key") == b"{}", "an update may make the entry"

    def test_an_update_of_none_leaves_the_entry(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        store.write("key", b"{}", FAR)
        updater.update("key", lambda _old: None)
        assert store.read("key") == b"{}", "a change of None leaves the entry as it is"

    def test_an_update_sets_the_time(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        store.write("key", b"{}", time.time() - 60)
        updater.update("key", lambda _old: (b"[]", FAR))
        assert store.read("key") == b"[]", "the time of the entry before still counts"

    def test_an_update_that_raises_changes_nothing(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        store.write("key", b"{}", FAR)

        def change(_old: bytes | None) -> tuple[bytes, float]:
            raise LookupError("the caller's own")

        with pytest.raises(LookupError, match="the caller's own"):
            updater.update("key", change)
        assert store.read("key") == b"{}", "a change that raises leaves the entry as it is"
        updater.update("key", lambda _old: (b"[]", FAR))
        assert store.read("key") == b"[]", "a change that raised blocks the next one"

    def test_an_update_of_threads_has_nobody_in_between(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        overtaken = threading.Event()
        others: list[Future[None]] = []

        def overtake(entry: bytes | None) -> tuple[bytes, float]:
            overtaken.set()
            return _one_more(entry)

        def change(entry: bytes | None) -> tuple[bytes, float]:
            if not others:
                others.append(pool.submit(updater.update, "key", overtake))
            overtaken.wait(OVERTAKING)
            return _one_more(entry)

        def work(_thread: int) -> None:
            for _ in range(50):
                updater.update("key", _one_more)

        with ThreadPoolExecutor(4) as pool:
            updater.update("key", change)
            others[0].result()
            assert store.read("key") == b"2", "another thread's update came between the reading and the writing of one"
            list(pool.map(work, range(4)))
        assert store.read("key") == b"202", "updates of threads were lost"

    def test_an_update_of_processes_has_nobody_in_between(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        for worker in workers:
            worker.begin("add", key="key", count=100)
        for _ in range(100):
            store.update("key", _one_more)
        for worker in workers:
            worker.outcome()
        assert store.read("key") == b"300", "updates of processes were lost"


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
        lease = _take(store, "key")
        assert promptly(lambda: store.try_lock("key")) is None, "the same thread got a lease that is taken"
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(promptly, lambda: store.try_lock("key")).result()
        assert other is None, "another thread got a lease that is taken"
        lease.release()
        _take(store, "key").release()

    def test_one_of_many_threads_gets_the_lease(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        start = threading.Barrier(8)

        def work(_thread: int) -> Lease | None:
            start.wait()
            return store.try_lock("key")

        for _ in range(10):
            with ThreadPoolExecutor(8) as pool:
                leases = [lease for lease in pool.map(work, range(8)) if lease is not None]
            assert len(leases) == 1, f"{len(leases)} of 8 threads got one lease"
            leases[0].release()

    def test_each_key_has_a_lease_of_its_own(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        leases = [_take(store, key) for key in KEYS]
        for lease in leases:
            lease.release()

    def test_a_lease_is_released_from_any_thread(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.locking(tmp_path / "store", opened)
        lease = _take(store, "key")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lease.release).result()
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
        _take(one, "key")
        _take(two, "key")

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

    def test_a_lease_dies_with_its_holder(self, tmp_path: Path, opened: ExitStack, workers: Workers) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanLock):
            pytest.skip("the backend has no try_lock")
        assert workers[0].ask("try_lock", key="key") is True
        workers[0].kill()
        deadline = time.monotonic() + LEASE_LIFE
        while (lease := store.try_lock("key")) is None:
            assert time.monotonic() < deadline, f"{LEASE_LIFE:g} s after kill -9 its lease is still held"
            time.sleep(0.02)  # a server's expiry passes by the server's own clock
        assert workers[1].ask("try_lock", key="key") is False, "two processes inherited one lease"
        lease.release()


class UpkeepPromises(SharingPromises):
    """Promises of ``generation``, ``size`` and ``compact``."""

    def test_the_generation_tells_of_other_objects(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        one = self.open(tmp_path / "store", opened)
        if not isinstance(one, CanSeeOthers):
            pytest.skip("the backend has no generation")
        two = self.open(tmp_path / "store", opened)
        two.write("key", b"{}", FAR)
        self._moves(one, lambda: two.write("key", b"[]", FAR), "write")
        self._moves(one, lambda: two.delete("key"), "delete")
        two.write("key", b"{}", FAR)
        self._moves(one, two.clear, "clear")

    def test_the_generation_tells_of_other_processes(self, tmp_path: Path, opened: ExitStack, workers: Workers) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        first, second = workers
        for _ in range(2):
            self._moves(store, lambda: first.ask("write", key="key", entry="{}"), "write")
        self._moves(store, lambda: second.ask("delete", key="key"), "delete")
        first.ask("write", key="key", entry="{}")
        self._moves(store, lambda: second.ask("clear"), "clear")
        before = first.ask("generation")
        store.write("key", b"{}", FAR)
        assert first.ask("generation") != before, "the generation of another process stands still at this one's write"

    def test_the_generation_stands_still_while_nobody_writes(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        store.write("key", b"{}", FAR)
        before = store.generation()
        assert store.read("key") == b"{}"
        assert store.read("unknown") is None
        assert list(store.keys()) == ["key"]
        assert {store.generation() for _ in range(3)} == {before}, "the generation moves although nobody wrote"

    def test_the_size_is_in_bytes_and_grows(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSize):
            pytest.skip("the backend has no size")
        before = store.size()
        for number in range(300):
            store.write(f"key{number}", b'{"x":"%b"}' % (b"%04d" % number * 1_000), FAR)
        assert isinstance(before, int), "a size is a whole number of bytes"
        assert before >= 0
        assert store.size() - before >= 100_000, "1.2 MB of entries take more room than this, in bytes"

    def test_a_store_that_takes_writes_does_not_say_that_it_takes_none(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanBeReadOnly):
            pytest.skip("the backend has no read_only")
        assert store.read_only() is None, "a store that was just opened takes writes, and read_only() says why not"
        store.write("key", b"{}", FAR)
        assert store.read_only() is None, "read_only() says why nothing is written, and it was written"

    def test_compacting_loses_nothing(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanCompact):
            pytest.skip("the backend has no compact")
        other = self.open(tmp_path / "store", opened) if self.record.persistent else store
        for number in range(100):
            store.write(f"key{number}", b'{"n":0}', FAR)
            store.write(f"key{number}", b'{"n":%d}' % number, FAR)
        for number in range(50):
            store.delete(f"key{number}")
        assert other.read("key99") == b'{"n":99}'
        store.compact()
        other.write("after", b"{}", FAR)
        expected = {f"key{number}": b'{"n":%d}' % number for number in range(50, 100)} | {"after": b"{}"}
        for one in (store, other):
            assert {key: one.read(key) for key in one.keys()} == expected, "compacting changed what is there"

    def _moves(self, store: CanSeeOthers, write: Callable[[], object], what: str) -> None:
        before = store.generation()
        write()
        assert store.generation() != before, f"the generation stands still at someone else's {what}"


def _replaced_by(entry: bytes, _old: bytes | None) -> tuple[bytes, float]:
    return entry, FAR


def _one_more(entry: bytes | None) -> tuple[bytes, float]:
    return b"%d" % (int(entry or b"0") + 1), FAR


def _take(store: CanLock, key: str) -> Lease:
    lease = promptly(lambda: store.try_lock(key))
    assert lease is not None, f"the lease of {key[:40]!r} is free, and was not given"
    return lease
