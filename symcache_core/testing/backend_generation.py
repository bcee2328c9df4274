"""What a storage backend promises about its generation: it moves when others write, and never back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from ..protocols import CanCompact, CanLock, CanSeeOthers, CanSize, CanUpdate, StorageBackend
from .aside import IN_TIME, Aside
from .backend_leases import slow_update
from .backend_sharing import SharingPromises, Workers
from .child import kinds_of_write
from .harness import FAR

WATCHED = 1.1
"""Seconds for which the generation is watched while nobody writes: a clock in whole seconds has moved by then."""

CHANGES = 200
"""How many changes of others there are while no value of the generation may come back."""


class GenerationPromises(SharingPromises):
    """Promises of ``generation``."""

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
        deadline = time.monotonic() + WATCHED
        while True:
            assert {store.generation() for _ in range(3)} == {before}, (
                "the generation moves although nobody wrote: count writes, and let no clock in"
            )
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)  # a generation that has the time in it moves by the clock alone

    def test_the_generation_moves_at_every_kind_of_write(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        for what, write in kinds_of_write(self.open(tmp_path / "store", opened)):
            self._moves(store, write, what)

    def test_the_generation_moves_at_every_kind_of_write_of_a_process(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        for what, _write in kinds_of_write(store):
            self._moves(store, partial(workers[0].ask, "write_by", kind=what), f"{what} in another process")

    def test_the_generation_never_comes_back(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        other = self.open(tmp_path / "store", opened)
        seen = {store.generation(): "the beginning"}
        for number in range(self.times(CHANGES, least=50)):
            what, change = _CHANGES[number % len(_CHANGES)]
            if what == "compact and a write" and isinstance(other, CanCompact):
                other.compact()
            change(other)
            generation = store.generation()
            assert generation not in seen, (
                f"after change {number} of someone else ({what}) the generation is as after {seen[generation]}: what "
                "was read then would be taken for fresh. Count, and never begin anew"
            )
            seen[generation] = f"change {number} ({what})"

    def test_the_generation_stands_still_while_others_look_and_lock(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        other = self.open(tmp_path / "store", opened)
        store.write("key", b"{}", FAR)
        before = store.generation()
        for _ in range(3):
            other.read("key")
            list(other.keys())
            if isinstance(other, CanSize):
                other.size()
            if isinstance(other, CanLock) and (lease := other.try_lock("key")) is not None:
                lease.release()
        assert store.generation() == before, "the generation moves although others have only read, or taken a lease"

    def test_the_generation_waits_for_nobody(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanSeeOthers):
            pytest.skip("the backend has no generation")
        updaters = [store, self.open(tmp_path / "store", opened)] if self.record.persistent else [store]
        for updater in updaters:
            if not isinstance(updater, CanUpdate):
                pytest.skip("the backend has no update, which alone can be made slow")
            with slow_update(updater):
                asking = Aside(store.generation)
                assert asking.has_ended(IN_TIME), (
                    "generation() waits for a call that is slow: take no lock of others, as event loops ask for it"
                )
            asking.outcome("generation()")

    def _moves(self, store: CanSeeOthers, write: Callable[[], object], what: str) -> None:
        before = store.generation()
        write()
        assert store.generation() != before, f"the generation stands still at someone else's {what}"


def _clear(store: StorageBackend) -> None:
    store.write("key", b"{}", FAR)
    store.clear()


_CHANGES: list[tuple[str, Callable[[StorageBackend], object]]] = [
    ("a write", lambda store: store.write("key", b"[1]", FAR)),
    ("a write of the same size", lambda store: store.write("key", b"[2]", FAR)),
    ("a write of what was there before", lambda store: store.write("key", b"[1]", FAR)),
    ("a delete", lambda store: store.delete("key")),
    ("a write of what was deleted", lambda store: store.write("key", b"[1]", FAR)),
    ("compact and a write", lambda store: store.write("key", b"[1]", FAR)),
    ("a clear", _clear),
]
"""Changes that bring a store back to what it was before, again and again."""
