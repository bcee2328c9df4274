"""What a storage backend promises about what it takes: nothing is left over, printed, or changed around it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ..errors import SymcacheError
from ..protocols import CanBatch, CanLock, CanUpdate, StorageBackend
from ..registry import Registry
from .alone import ENDING, Life, live
from .aside import Aside
from .backend_sharing import SharingPromises
from .every_call import every_call
from .harness import FAR, plain

CALLS = 100
"""How often each call is made."""

HELD = 50
"""How many leases are held at once."""

OPENINGS = 50
"""How often a store is opened and closed."""

LEFT_HALF_WAY = 40
"""How many iterators of keys are begun, and not gone through."""

SPARE = 10
"""How many descriptors or threads more are no leak, such as those of a pool."""

SETTLING = 2.0
"""Seconds that what is just ending has for it."""


class ResourcePromises(SharingPromises):
    """Promises of what is left when a call, an object or a process is over."""

    def test_calls_leave_nothing_open(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        calls = list(every_call(store))
        for _what, call in calls:
            call()
        for what, call in calls:
            _leaves_nothing(call, self.times(CALLS, least=30), f"calls of {what}")

    def test_leases_that_are_held_take_no_thread_each(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanLock):
            pytest.skip("the backend has no try_lock")
        before = set(threading.enumerate())
        leases = [store.try_lock(f"ib||S{number}||") for number in range(HELD)]
        more = len(set(threading.enumerate()) - before)
        assert more <= SPARE, (
            f"{HELD} leases that are held at once have started {more} threads: what expires is renewed by one thread "
            "for all, or not at all where a lease ends with its holder"
        )
        for lease in filter(None, leases):
            lease.release()

    def test_objects_that_were_closed_leave_nothing_open(self, tmp_path: Path, opened: ExitStack) -> None:
        def use() -> None:
            store = self.open(tmp_path / "store", opened)
            store.write("key", b"{}", FAR)
            store.read("key")
            next(store.keys(), None)
            if isinstance(store, CanLock):
                store.try_lock("key")
            store.close()

        use()
        _leaves_nothing(use, self.times(OPENINGS, least=20), "objects that were used and closed")

    def test_errors_leave_nothing_open(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        store.write("key", b"{}", FAR)
        for what, call in _failing(store):
            with suppress(Exception):
                call()
            _leaves_nothing(call, self.times(CALLS, least=30), what)
        assert store.read("key") == b"{}", "after calls that failed, what was there before is gone"
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]", "after calls that failed, nothing is written any more"
        store.close()
        for what, call in every_call(store):
            _leaves_nothing(call, SPARE * 2, f"calls of {what} after close()")

    def test_iterators_that_are_left_half_way_keep_nothing_from_others(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        for number in range(LEFT_HALF_WAY):
            store.write(f"left{number}", b"{}", FAR)
        left = [Aside(lambda: _begun(store)).outcome("the first step of keys()") for _ in range(LEFT_HALF_WAY)]
        for what, call in every_call(store):
            try:
                Aside(call).outcome(what)
            except SymcacheError as error:
                raise AssertionError(
                    f"beside {LEFT_HALF_WAY} iterators of keys that are left half-way, {what} raised "
                    f"{type(error).__name__}: {error}. Let an iterator hold no connection, lock or transaction"
                ) from error
        for iterator in left:
            Aside(lambda iterator=iterator: list(iterator)).outcome("an iterator that is gone on with")  # type: ignore[misc]  # bound at once

    def test_a_store_that_cannot_be_opened_leaves_nothing_open(self, tmp_path: Path) -> None:
        occupied = tmp_path / "a file"
        occupied.write_text("not a folder")
        options = plain(self.settings(occupied))
        if not any(str(occupied) in str(value) for value in options.values()):
            pytest.skip("the backend has no option that is a path")

        def fail() -> None:
            Registry(self.plugins).open(self.backend, options, base_dir=tmp_path, data_dir=tmp_path)

        with suppress(SymcacheError):
            fail()
        _leaves_nothing(fail, self.times(OPENINGS, least=20), "openings that were refused")

    # -- the process around ------------------------------------------------------------------------------------------

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def environment(cls) -> dict[str, str]:
        """The environment variables as they were before the first store of this class was opened."""
        return dict(os.environ)

    def test_nothing_is_printed(self, tmp_path: Path, environment: dict[str, str]) -> None:
        life = self._live(tmp_path, environment, closes=True)
        assert life.printed == "", f"the backend printed {life.printed[:300]!r}: log to the logger 'symcache' instead"

    def test_what_is_around_a_store_stays_as_it_was(self, tmp_path: Path, environment: dict[str, str]) -> None:
        life = self._live(tmp_path, environment, closes=True)
        assert life.changed == [], f"importing, opening or using the backend changed {', '.join(life.changed or [])}"

    @pytest.mark.parametrize("closes", [True, False], ids=["a closed store", "an open store and a lease"])
    def test_the_interpreter_ends(self, tmp_path: Path, environment: dict[str, str], closes: bool) -> None:
        life = self._live(tmp_path, environment, closes=closes)
        assert life.status is not None, (
            f"a process that has done with its store was still there {ENDING:g} s later: make threads daemons, and let "
            "nothing wait for them at the end"
        )
        assert life.status == 0, f"a process that has done with its store ended with {life.status}"
        assert life.printed == "", f"a process that ended with its store printed {life.printed[-300:]!r}"

    def _live(self, tmp_path: Path, environment: dict[str, str], *, closes: bool) -> Life:
        life = live(self.address(tmp_path / "store"), tmp_path, environment, closes=closes)
        assert life.changed is not None, f"a process of its own could not use the store: {life.printed[-300:]}"
        return life


def _begun(store: StorageBackend) -> Iterator[str]:
    """An iterator of keys that has given its first one."""
    iterator = store.keys()
    try:
        next(iterator)
    except SymcacheError as error:
        raise AssertionError(
            f"while a few iterators of keys were left half-way, another one raised {type(error).__name__}: {error}. "
            "Let an iterator hold no connection, lock or transaction"
        ) from error
    return iterator


def _failing(store: StorageBackend) -> list[tuple[str, Callable[[], object]]]:
    """Calls that fail, by what the caller does or gives."""

    def change(_entry: bytes | None) -> tuple[bytes, float]:
        raise LookupError("the caller's own")

    calls: list[tuple[str, Callable[[], object]]] = [
        ("writes of a key that is no text", lambda: store.write("\ud800", b"{}", FAR)),
        ("reads of a key that is no text", lambda: store.read("\ud800")),
    ]
    if isinstance(store, CanUpdate):
        calls.append(("updates whose change raises", lambda: store.update("key", change)))
    if isinstance(store, CanBatch):
        calls.append(("batches with a key that is no text", lambda: store.write_many({"\ud800": (b"{}", FAR)})))
    return calls


def _leaves_nothing(call: Callable[[], object], times: int, what: str) -> None:
    """Fail if descriptors or threads grow with calls, whether they raise or not."""
    before = _taken()
    for _ in range(times):
        with suppress(Exception):
            call()
    deadline = time.monotonic() + SETTLING
    while (grown := _grown(before)) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert not grown, f"{times} {what} left {grown} open: close what a call has opened, whatever comes of it"


def _taken() -> tuple[int, set[threading.Thread]]:
    return len(os.listdir("/dev/fd")), set(threading.enumerate())


def _grown(before: tuple[int, set[threading.Thread]]) -> str:
    descriptors, threads = _taken()
    # Threads that are new: others', which were there before, may end meanwhile.
    grown = {"descriptors": descriptors - before[0], "threads": len(threads - before[1])}
    return " and ".join(f"{count} {what}" for what, count in grown.items() if count > SPARE)
