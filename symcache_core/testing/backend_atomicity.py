"""What a storage backend promises about calls that meet: none undoes, hides or tears what another has done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from ..errors import BackendUnavailableError
from ..protocols import CanBatch, CanCompact, CanUpdate, StorageBackend
from . import closing
from .aside import Aside
from .backend_sharing import SharingPromises, Workers
from .closing import ENTRY
from .harness import FAR
from .worker_process import WorkerProcess

OVERTAKING = 0.3
"""Seconds that an update gives others to come in between, if the storage lets them."""

BEFORE, NEW = b'{"is":"before"}', b'{"is":"new"}'

NOT_TO_BE_WRITTEN: dict[str, tuple[str, tuple[Any, float]]] = {
    "a key that is no text": ("\ud800", (NEW, FAR)),
    "an entry that is no bytes": ("key", (object(), FAR)),
}
"""What makes a batch fail on every storage."""

_OVER = 50
"""How many entries are over at once."""

_MEETINGS, _ATTEMPTS = 3, 12
"""How often those who write and those who drop are to meet, and how often that is tried at most."""


class _Updating(StorageBackend, CanUpdate, Protocol):
    """Storage with an update."""


class AtomicityPromises(SharingPromises):
    """Promises of calls that others meet half-way."""

    def side(self, store: StorageBackend, tmp_path: Path, opened: ExitStack) -> StorageBackend:
        """Another object on the same store, or the same one where a store has but one."""
        return self.open(tmp_path / "store", opened) if self.record.persistent else store

    # -- update beside others ----------------------------------------------------------------------------------------

    def test_an_update_overwrites_nothing_of_other_threads_unseen(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self._updating(tmp_path, opened)
        _lets_nobody_in(store, BEFORE, lambda key: store.write(key, NEW, FAR), NEW, "another thread's write")
        _lets_nobody_in(store, BEFORE, store.delete, None, "another thread's delete")
        if isinstance(store, CanBatch):
            write_many = store.write_many
            _lets_nobody_in(store, BEFORE, lambda key: write_many({key: (NEW, FAR)}), NEW, "another thread's batch")

    def test_an_update_overwrites_nothing_of_other_objects_unseen(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self._updating(tmp_path, opened)
        other = self.open(tmp_path / "store", opened)
        _lets_nobody_in(store, BEFORE, lambda key: other.write(key, NEW, FAR), NEW, "another object's write")
        _lets_nobody_in(store, BEFORE, other.delete, None, "another object's delete")

    def test_an_update_overwrites_nothing_of_other_processes_unseen(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self._updating(tmp_path, opened)
        workers[0].ask("open", **self.address(tmp_path / "store"))

        def write(key: str) -> None:
            workers[0].ask("write", key=key, entry=NEW.decode())

        _lets_nobody_in(store, BEFORE, write, NEW, "another process's write")
        _lets_nobody_in(store, None, write, NEW, "another process's write of a key that had no entry")

    # -- batches -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("refused", NOT_TO_BE_WRITTEN)
    def test_a_batch_that_fails_leaves_each_entry_whole(self, tmp_path: Path, opened: ExitStack, refused: str) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanBatch):
            pytest.skip("the backend has no read_many and write_many")
        for number in range(10):
            store.write(f"key{number}", BEFORE, FAR)
        batch: dict[str, tuple[bytes, float]] = {f"key{number}": (NEW, FAR) for number in range(10)}
        items = list(batch.items())
        with suppress(Exception):  # which error that is nobody says, of what the types rule out
            store.write_many(dict([*items[:5], NOT_TO_BE_WRITTEN[refused], *items[5:]]))
        other = self.side(store, tmp_path, opened)
        for one in (store, other):
            found = {one.read(key) for key in batch}
            assert found <= {BEFORE, NEW}, "a batch failed, and an entry of it is neither as before nor new"
        written = Aside(lambda: other.write("after", NEW, FAR))
        written.outcome("a write of another object after a batch that failed")
        store.write_many(batch)
        assert {other.read(key) for key in batch} == {NEW}, "after a batch that failed, the next one is not written"

    def test_a_batch_beside_readers_shows_whole_entries(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanBatch):
            pytest.skip("the backend has no read_many and write_many")
        keys = [f"key{number}" for number in range(10)]
        entries = [b'"%b"' % (letter * length) for letter, length in ((b"a", 9_000), (b"b", 2_000))]
        store.write_many(dict.fromkeys(keys, (entries[0], FAR)))
        texts = [entry.decode() for entry in entries]
        workers[0].begin("write_batches", keys=keys, entries=texts, count=40)
        writing = Aside(workers[0].outcome)
        while not writing.has_ended():
            found = store.read_many(keys)
            assert set(found) == set(keys), "an entry that a batch is overwriting was missing: replace it in one step"
            assert set(found.values()) <= set(entries), "an entry was seen that nobody wrote: replace it in one step"
        writing.outcome("a process that writes batches")

    # -- dropping beside writing -------------------------------------------------------------------------------------

    def test_a_delete_beside_writes_says_what_it_took(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        other, stopping, writes, losses = self.side(store, tmp_path, opened), threading.Event(), 0, 0
        answers = list[object]()
        deleting = Aside(lambda: _again_and_again(lambda: other.delete("key"), answers, stopping))
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline and writes < 200:
            writes += 1
            entry = b'{"n":%d}' % writes
            store.write("key", entry, FAR)
            lost_by = time.monotonic() + 0.02  # a delete beside it mostly takes it sooner, and is to be counted
            while (found := store.read("key")) is not None and time.monotonic() < lost_by:
                assert found == entry, "beside a delete an entry is back that was overwritten before"
            losses += found is None
        stopping.set()
        deleting.outcome("a thread that deletes")
        deleted = sum(answer is True for answer in answers)
        store.write("key", NEW, FAR)
        assert store.read("key") == NEW, "a delete that had returned took an entry that was written afterwards"
        assert losses <= deleted, (
            "a delete took an entry that was just being written, and said False: look and drop in one step"
        )
        assert deleted <= writes, "more deletes said True than there were entries: look and drop in one step"

    def test_a_clear_beside_other_processes_counts_what_it_dropped(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        for name, worker in zip("ab", workers, strict=True):
            worker.begin("write_series", prefix=name, count=100)
        writing = [Aside(worker.outcome) for worker in workers]
        cleared = 0
        while any(not writer.has_ended(0.002) for writer in writing):
            cleared += store.clear()
        for writer in writing:
            writer.outcome("a process that writes")
        left = len(list(store.keys()))
        assert cleared + left == 200, (
            f"200 entries were written beside clear(), which said that it dropped {cleared}, and {left} are left: "
            "count and drop in one step"
        )

    def test_compacting_takes_nothing_that_was_just_written(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        other = self.side(store, tmp_path, opened)
        if not isinstance(other, CanCompact):
            pytest.skip("the backend has no compact")
        self._renewed_beside(store, other.compact, "compact")

    def test_reading_what_is_over_takes_nothing_that_was_just_written(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        other = self.side(store, tmp_path, opened)

        def read() -> None:
            for number in range(_OVER):
                other.read(f"key{number}")
            if isinstance(other, CanBatch):
                other.read_many([f"key{number}" for number in range(_OVER)])
            list(other.keys())

        self._renewed_beside(store, read, "a look")

    # -- closing -----------------------------------------------------------------------------------------------------

    # A worker process does it, where it can have the same store: a crash then ends that, and not the suite.

    def test_closing_beside_readers_ends_each_call(
        self, tmp_path: Path, opened: ExitStack, request: pytest.FixtureRequest
    ) -> None:
        for _ in range(5):
            wrong = self._closing("close_beside_readers", tmp_path, opened, request)
            assert wrong is None, wrong

    def test_closing_beside_writers_loses_nothing_acknowledged(
        self, tmp_path: Path, opened: ExitStack, request: pytest.FixtureRequest
    ) -> None:
        self.only_if_persistent()
        count = 0
        for _ in range(5):
            count += self._closing("close_beside_a_writer", tmp_path, opened, request, first=count)
        again = self.open(tmp_path / "store", opened)
        lost = [number for number in range(count) if again.read(f"key{number}") != ENTRY]
        assert lost == [], (
            "a write returned beside close(), and its entry is lost: close() waits for it, or it raises ClosedError"
        )

    def test_closing_beside_an_update_ends_both(
        self, tmp_path: Path, opened: ExitStack, request: pytest.FixtureRequest
    ) -> None:
        self._updating(tmp_path, opened)
        is_done = self._closing("close_beside_an_update", tmp_path, opened, request)
        if is_done and self.record.persistent:
            left = self.open(tmp_path / "store", opened).read("updated")
            assert left == ENTRY, "an update returned beside close(), and its entry is lost"

    def _closing(
        self, how: str, tmp_path: Path, opened: ExitStack, request: pytest.FixtureRequest, **arguments: Any
    ) -> Any:
        """Do what is in :mod:`.closing`."""
        if not self.record.persistent:
            return getattr(closing, how)(self.open(tmp_path / "store", opened), **arguments)
        worker: WorkerProcess = request.getfixturevalue("workers")[0]
        worker.ask("open", **self.address(tmp_path / "store"))
        return worker.ask("close_beside", how=how, **arguments)

    def _updating(self, tmp_path: Path, opened: ExitStack) -> _Updating:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        return store

    def _renewed_beside(self, store: StorageBackend, drop: Callable[[], object], what: str) -> None:
        """Write anew what is over, while it is being dropped: what is new has to stay."""
        met = 0
        for attempt in range(_ATTEMPTS):
            for number in range(_OVER):
                store.write(f"key{number}", BEFORE, time.time() - 60)
            passes, stopping = list[object](), threading.Event()
            dropping = [Aside(partial(_again_and_again, drop, passes, stopping)) for _ in range(2)]
            fresh = b'{"n":%d}' % attempt
            for number in range(_OVER):
                store.write(f"key{number}", fresh, FAR)
            met += bool(passes)  # on a busy machine those who drop may begin only now
            stopping.set()
            for dropper in dropping:
                dropper.outcome(f"{what} beside a writer")
            kept = [store.read(f"key{number}") for number in range(_OVER)]
            assert kept == [fresh] * _OVER, (
                f"{what} dropped what was over, and with it what had just been written anew under the same key: drop "
                "only what is over still, in one step"
            )
            if met == _MEETINGS:
                break


def _lets_nobody_in(
    store: _Updating, before: bytes | None, act: Callable[[str], object], after: bytes | None, what: str
) -> None:
    """Fail if what someone else does in the midst of an update is overwritten by an update that has not seen it."""
    key = what
    if before is not None:
        store.write(key, before, FAR)
    others: list[Aside[object]] = []

    def change(entry: bytes | None) -> tuple[bytes, float]:
        if not others:
            others.append(Aside(lambda: act(key)))
            others[0].has_ended(OVERTAKING)
        return _made_of(entry), FAR

    store.update(key, change)
    try:
        others[0].outcome(what)
    except BackendUnavailableError:  # it did not wait for so long
        after = before
    left = store.read(key)
    assert left != _made_of(before) or before == after, (
        f"{what} came between the reading and the writing of an update, which overwrote it unseen: keep others out "
        "from the one to the other, or write only if nothing has changed, and else call the change again"
    )
    assert left in (after, _made_of(after)), f"after an update beside {what} there is what neither of the two wrote"


def _made_of(entry: bytes | None) -> bytes:
    return b'{"of":%b}' % (entry or b"null")


def _again_and_again(call: Callable[[], object], ended: list[object], stopping: threading.Event) -> None:
    """Call something at least once, and go on until it is enough; notes what each call that has ended gave."""
    while True:
        ended.append(call())
        if stopping.is_set():
            return
