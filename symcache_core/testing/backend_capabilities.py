"""What a storage backend promises about the optional capabilities that it has: batches, updates and more."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from ..protocols import CanBatch, CanBeReadOnly, CanCompact, CanSize, CanUpdate, StorageBackend
from .backend_entries import ENTRIES, KEYS
from .backend_keys import incompressible
from .backend_sharing import SharingPromises, Workers
from .harness import FAR, at_once, begun, raises

OVERTAKING = 1.0
"""Seconds that an update gives others to come in between, if the storage lets them."""


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
        assert dict(found) == {key: store.read(key) for key in KEYS[::2]}, (
            "read_many has to give the entry of each key that has one, under that key, and leave out the others"
        )
        assert {type(entry) for entry in found.values()} == {bytes}, "read_many gives entries as bytes, as read does"
        assert dict(batch.read_many([])) == {}, "read_many of no keys has to give nothing"
        assert dict(batch.read_many(["unknown"])) == {}, "read_many has to leave out a key that has no entry"

    def test_writing_many_equals_writing_each(self, batching: tuple[StorageBackend, CanBatch]) -> None:
        store, batch = batching
        entries = {f"key {kind}": entry for kind, entry in ENTRIES.items()}
        entries |= {key: b'{"n":%d}' % number for number, key in enumerate(KEYS)}
        store.write("kept", b"{}", FAR)
        store.write(KEYS[0], b'{"longer":"than what comes"}', FAR)
        batch.write_many({key: (entry, FAR) for key, entry in entries.items()})
        assert {key: store.read(key) for key in entries} == entries, (
            "write_many has to do to each entry what write does"
        )
        assert sorted(store.keys()) == sorted({"kept", *entries}), (
            "write_many has to write its keys, and leave all others as they are"
        )
        batch.write_many({})
        assert store.read("kept") == b"{}", "a batch of nothing has to leave everything as it is"

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
            assert set(seen) == {entry}, f"update gives change {kind} changed: give it the bytes that were written"
            assert store.read("key") == entry, f"update stores {kind} changed: store the bytes that change gives"
        assert list(store.keys()) == ["key"], "an update of a key that is there lists it once more, or another one"

    def test_an_update_finds_none_where_there_is_no_entry(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        seen: list[bytes | None] = []
        updater.update("key", seen.append)
        assert set(seen) == {None}, "update has to give change None where there is no entry"
        assert list(store.keys()) == [], "update made an entry although change gave None"
        updater.update("key", lambda _old: (b"{}", FAR))
        assert store.read("key") == b"{}", "update has to store what change gives where there was no entry"

    def test_an_update_of_none_leaves_the_entry(self, updating: tuple[StorageBackend, CanUpdate]) -> None:
        store, updater = updating
        store.write("key", b"{}", FAR)
        updater.update("key", lambda _old: None)
        assert store.read("key") == b"{}", "update has to leave the entry as it is when change gives None"

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

        due = "what change raises has to go out of update as it is"
        error = raises(LookupError, lambda: updater.update("key", change), due)
        assert str(error) == "the caller's own", f"{due}, and not as {error}"
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
                others.append(begun(partial(updater.update, "key", overtake)))
            overtaken.wait(OVERTAKING)
            return _one_more(entry)

        def work() -> None:
            for _ in range(rounds):
                updater.update("key", _one_more)

        rounds = self.times(50)
        updater.update("key", change)
        others[0].result()
        assert store.read("key") == b"2", "another thread's update came between the reading and the writing of one"
        at_once(*[work] * 4)
        assert store.read("key") == b"%d" % (2 + 4 * rounds), (
            "updates of threads were lost: read and write in one step that excludes all other writes"
        )

    def test_an_update_of_processes_has_nobody_in_between(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        rounds = self.times(100, least=30)
        for worker in workers:
            worker.begin("add", key="key", count=rounds)
        for _ in range(rounds):
            store.update("key", _one_more)
        for worker in workers:
            worker.outcome()
        assert store.read("key") == b"%d" % (3 * rounds), (
            "updates of processes were lost: read and write under a lock that other processes see"
        )


class UpkeepPromises(SharingPromises):
    """Promises of ``size``, ``read_only`` and ``compact``."""

    def test_the_size_is_in_bytes_and_grows(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSize):
            pytest.skip("the backend has no size")
        before = store.size()
        assert isinstance(before, int), f"a size is a whole number of bytes, and not {before!r}"
        assert before >= 0, "a size is no less than nothing"
        count = self.times(300, least=100)  # enough for storage that grows in large steps
        for number in range(count):
            store.write(f"key{number}", incompressible(4_000, number), FAR)
        grown = store.size() - before
        least = count * 1_000
        assert grown >= least, f"{count} entries of 4,000 bytes each were written, and the size grew by {grown} bytes"

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
        count = self.times(100)
        for number in range(count):
            store.write(f"key{number}", b'{"n":0}', FAR)
            store.write(f"key{number}", b'{"n":%d}' % number, FAR)
        for number in range(count // 2):
            store.delete(f"key{number}")
        last = f"key{count - 1}"
        assert other.read(last) == b'{"n":%d}' % (count - 1), "an entry is gone before anything was compacted"
        store.compact()
        other.write("after", b"{}", FAR)
        expected = {f"key{number}": b'{"n":%d}' % number for number in range(count // 2, count)} | {"after": b"{}"}
        for one in (store, other):
            assert {key: one.read(key) for key in one.keys()} == expected, (
                "compact changed what is there: it drops what is over or superseded, and nothing else"
            )


def _replaced_by(entry: bytes, _old: bytes | None) -> tuple[bytes, float]:
    return entry, FAR


def _one_more(entry: bytes | None) -> tuple[bytes, float]:
    return b"%d" % (int(entry or b"0") + 1), FAR
