"""What a storage backend promises about storage that is out of reach for a while, such as a server that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..errors import BackendUnavailableError, ClosedError, SymcacheError
from ..protocols import CanLock, CanSeeOthers, StorageBackend
from .contract import Contract
from .harness import FAR, plain
from .outage_calls import calls, locking, readings, writings
from .proxy import TcpProxy
from .watching import (
    ENDS_WITHIN,
    Calls,
    Outcome,
    ending,
    endings,
    hides,
    left_open,
    secrets_of,
    settled,
    shown_by,
    told,
    watched,
)

BACK_WITHIN = 10.0
"""Seconds after which a store works again whose storage is back, and leases are free whose release was not heard."""

_WRITTEN = ("write", "write_many")
"""The calls that leave an entry of their own name."""

THREADS = 6
"""How many are at work when an outage begins."""


class OutagePromises(Contract):
    """Promises of a store whose storage goes away and comes back; the test class says with ``outage`` how."""

    proxy: TcpProxy | None = None
    """Stands between the store and its server, if there is one."""

    def outage(self) -> AbstractContextManager[object]:
        """What the storage is out of reach in, for every object and process; nothing that it holds is lost."""
        if self.proxy is None:
            pytest.skip("the test class has no outage()")
        return self.proxy.away()

    @pytest.fixture
    def closing(self) -> Iterator[ExitStack]:
        """Closes, at the end of a test, whatever it opened; who never closes is left to itself."""
        stack = ExitStack()
        yield stack
        outcome = ending("close", stack.close)
        assert outcome.error is None, f"{outcome}; closing a store whose storage was away raises nothing"

    @pytest.fixture
    def remote(self, tmp_path: Path, closing: ExitStack) -> StorageBackend:
        """A store that can go away and has the entry ``known``."""
        if type(self).outage is OutagePromises.outage:
            self.outage()
        self.only_if_persistent()
        store = self.open(tmp_path / "store", closing)
        store.write("known", b'{"known":1}', FAR)
        assert store.read("known") == b'{"known":1}'
        return store

    # -- in it -------------------------------------------------------------------------------------------------------

    def test_an_outage_is_no_miss(self, remote: StorageBackend) -> None:
        with self.outage():
            outcomes = endings(readings(remote))
        for outcome in outcomes:
            assert is_unavailable(outcome), (
                f"while the storage was away {outcome}: a miss or an old value would be believed; raise "
                "BackendUnavailableError"
            )

    def test_what_is_acknowledged_in_an_outage_is_there_after_it(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack
    ) -> None:
        with self.outage():
            outcomes = endings(writings(remote))
        wait_until_back(remote)
        again = self.open(tmp_path / "store", closing)
        for outcome in outcomes:
            kept = outcome.name in _WRITTEN and outcome.error is None and again.read(outcome.name) == b"{}"
            assert kept or is_unavailable(outcome), (
                f"while the storage was away {outcome}, and it was not done: raise BackendUnavailableError"
            )

    def test_every_call_in_an_outage_ends_promptly_and_with_our_errors(self, remote: StorageBackend) -> None:
        with self.outage():
            outcomes = endings(calls(remote))
        for outcome in outcomes:
            error = outcome.error
            assert error is None or isinstance(error, SymcacheError), (
                f"while the storage was away {outcome}: of the driver's errors none comes out; turn it into "
                "BackendUnavailableError"
            )
            assert not isinstance(error, ClosedError), (
                f"while the storage was away {outcome}: ClosedError is for use after close; storage that may come "
                "back is a BackendUnavailableError"
            )
            assert error is None or str(error).strip(), f"{outcome.name} raised an error that says nothing"

    def test_an_outage_gives_no_lease_that_is_none(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack
    ) -> None:
        if not isinstance(remote, CanLock):
            pytest.skip("the backend has no try_lock")
        lease, late = remote.try_lock("held"), remote.try_lock("late")
        assert lease is not None
        assert late is not None
        with self.outage():
            outcomes = [ending("release", lease.release)]
            new = ending("try_lock", lambda: remote.try_lock("new"))
            outcomes += [ending("release", lease.release)]
        assert new.error is not None or new.value is not None, (
            "while the storage was away try_lock gave None, as if somebody had the lease: raise BackendUnavailableError"
        )
        assert new.error is None or is_unavailable(new), f"while the storage was away {new}"
        for outcome in outcomes:
            assert outcome.error is None, f"while the storage was away {outcome}; release raises nothing"
        wait_until_back(remote)
        other = self.open(tmp_path / "store", closing)
        assert isinstance(other, CanLock)
        if new.error is None:
            assert other.try_lock("new") is None, (
                "a lease that try_lock gave while the storage was away keeps no one out"
            )
        late.release()
        for key in ("held", "late"):
            taken = _taken(other, key)
            lease.release()
            late.release()
            assert remote.try_lock(key) is None, "a release after an outage freed the lease of the next holder"
            taken.release()

    def test_closing_in_an_outage_is_prompt(self, remote: StorageBackend) -> None:
        if isinstance(remote, CanLock):
            remote.try_lock("held")
        with self.outage():
            overtaken, outcome = endings([("read", lambda: remote.read("known")), ("close", remote.close)])
            assert outcome.error is None, f"while the storage was away {outcome}; close raises nothing"
            used = ending("read of a closed store", lambda: remote.read("known"))
        assert isinstance(used.error, ClosedError), f"{used}, where a ClosedError is due"
        assert isinstance(overtaken.error, BackendUnavailableError | ClosedError), (
            f"while the storage was away, and beside close, {overtaken}"
        )

    def test_opening_in_an_outage_makes_no_other_store(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack
    ) -> None:
        with self.outage():
            opening = ending("open", lambda: self.open(tmp_path / "store", closing))
            assert opening.error is None or is_unavailable(opening), (
                f"while the storage was away {opening}: open raises BackendUnavailableError, or goes on"
            )
            if opening.error is None:
                reading = ending("read", lambda: opening.value.read("known"))
                assert is_unavailable(reading), f"of a store that was opened while its storage was away {reading}"
        wait_until_back(remote)
        if opening.error is None:
            wait_until_back(opening.value)
        assert self.open(tmp_path / "store", closing).read("known") == b'{"known":1}'

    def test_no_secret_shows_in_an_outage(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack, capfd: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "store"
        settings = self.record.settings.model_validate(
            plain(self.settings(folder)), context={"base_dir": folder, "data_dir": folder}
        )
        if not (secrets := secrets_of(settings)):
            pytest.skip("the test's settings have no secret")
        with watched() as shown, self.outage():
            outcomes = endings([*calls(remote), ("open", lambda: self.open(folder, closing))])
            outcomes.append(ending("close", remote.close))
        for outcome in outcomes:
            if outcome.error is not None:
                hides(secrets, [shown_by(outcome.error)], f"what {outcome.name} raises, or in its cause")
        hides(secrets, shown, "a log record or a warning")
        hides(secrets, capfd.readouterr(), "what is printed")

    # -- after it ----------------------------------------------------------------------------------------------------

    def test_after_an_outage_the_same_object_goes_on(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack
    ) -> None:
        for number in range(2):
            with self.outage():
                endings(_one_of_each(remote))
            wait_until_back(remote)
            for name, call in calls(remote):
                if name != "clear":
                    outcome = ending(name, call)
                    assert outcome.error is None, f"after an outage {outcome}, though a read has just succeeded"
            entry = b'{"n":%d}' % number
            remote.write("known", entry, FAR)
            assert remote.read("known") == entry, "after an outage a write is lost"
            assert self.open(tmp_path / "store", closing).read("known") == entry, "it is not there for others"
            remote.write("known", b'{"known":1}', FAR)

    def test_threads_at_work_when_an_outage_begins_lose_nothing(self, remote: StorageBackend) -> None:
        stop = threading.Event()
        workers = [_Worker(remote, f"worker{number}", stop) for number in range(THREADS)]
        try:
            for worker in workers:
                worker.thread.start()
            _wait_for(lambda: _each(workers, lambda worker: worker.acknowledged >= 5), "threads that write get nowhere")
            with self.outage():
                _wait_for(
                    lambda: _each(workers, lambda worker: worker.errors > 0),
                    "a call that was under way when the storage went away has not ended",
                )
            before = {worker.key: worker.acknowledged for worker in workers}
            _wait_for(
                lambda: _each(workers, lambda worker: worker.acknowledged > before[worker.key]),
                "the storage is back, and a thread still cannot write",
            )
        finally:
            stop.set()
        for worker in workers:
            worker.thread.join(ENDS_WITHIN)
            assert not worker.thread.is_alive(), "a call has not ended"
            assert worker.wrong == [], f"around the beginning of an outage {worker.wrong[0]}"

    def test_outages_leave_nothing_open(self, remote: StorageBackend) -> None:
        before = None
        for number in range(6):
            with self.outage():
                endings(_one_of_each(remote))
            wait_until_back(remote)
            for _name, call in locking(remote):
                _suppressed(call)()
            if number == 1:
                before = left_open()
        assert before is not None
        # Each of the four that followed would leave at least one.
        after = settled((before[0] + 3, before[1] + 3))
        assert after[0] - before[0] < 4, f"four outages left {after[0] - before[0]} threads running"
        assert after[1] - before[1] < 4, f"four outages left {after[1] - before[1]} descriptors open"

    def test_after_an_outage_the_generation_tells_of_others(
        self, remote: StorageBackend, tmp_path: Path, closing: ExitStack
    ) -> None:
        if not isinstance(remote, CanSeeOthers):
            pytest.skip("the backend has no generation")
        before = remote.generation()
        with self.outage():
            pass
        other = self.open(tmp_path / "store", closing)
        wait_until_back(other)
        other.write("key", b"{}", FAR)
        first = ending("generation", remote.generation)
        assert first.error is not None or first.value != before, "after an outage the generation misses a write"
        wait_until_back(remote)
        last = remote.generation()
        other.write("key", b"[]", FAR)
        assert remote.generation() != last, "after an outage the generation stands still at someone else's write"


def _one_of_each(store: StorageBackend) -> Calls:
    """A call that reads, one that writes, and one that takes a lease, if the store has leases."""
    return [*readings(store)[:1], *writings(store)[:1], *locking(store)]


def is_unavailable(outcome: Outcome) -> bool:
    """Whether a call said that the storage is out of reach."""
    return isinstance(outcome.error, BackendUnavailableError)


# -- waiting -----------------------------------------------------------------------------------------------------------


def wait_until_back(store: StorageBackend) -> None:
    """Wait for the entry ``known`` of a store whose storage is back; fails if that takes too long."""
    deadline = time.monotonic() + BACK_WITHIN
    while (outcome := ending("read", lambda: store.read("known"))).error is not None:
        assert is_unavailable(outcome), f"after an outage {outcome}"
        assert time.monotonic() < deadline, (
            f"the storage has been back for {BACK_WITHIN:g} s, and {outcome}: let go of a connection that failed, and "
            "make a new one"
        )
        time.sleep(0.02)  # who fails at once would be asked thousands of times
    assert outcome.value == b'{"known":1}', f"after an outage an entry from before it is another: {outcome}"


def _wait_for(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + ENDS_WITHIN
    while not done():
        assert time.monotonic() < deadline, f"{what}, for {ENDS_WITHIN:g} s"
        time.sleep(0.01)  # threads do what is waited for


def _each(workers: Sequence[_Worker], done: Callable[[_Worker], bool]) -> bool:
    """Whether there is nothing more to wait for."""
    return all(map(done, workers)) or any(worker.wrong for worker in workers)


def _taken(store: CanLock, key: str) -> Any:
    deadline = time.monotonic() + BACK_WITHIN
    while (lease := store.try_lock(key)) is None:
        assert time.monotonic() < deadline, (
            f"a lease that was released in an outage is still held {BACK_WITHIN:g} s after it: do not renew it further"
        )
        time.sleep(0.02)  # a server's expiry passes by the server's own clock
    return lease


def _suppressed(call: Callable[[], object]) -> Callable[[], None]:
    def suppressed() -> None:
        try:
            call()
        except SymcacheError:
            pass

    return suppressed


@dataclass(slots=True)
class _Worker:
    """Writes higher and higher numbers under a key of its own, and reads each back."""

    store: StorageBackend
    key: str
    stop: threading.Event
    acknowledged: int = 0
    errors: int = 0
    wrong: list[str] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        number, unsure = 0, set[bytes | None]()
        while not self.stop.is_set() and not self.wrong:
            number += 1
            entry = b"%d" % number
            try:
                unsure.add(entry)
                self.store.write(self.key, entry, FAR)
                unsure.discard(entry)
                self.acknowledged = number
                read = self.store.read(self.key)
                # What was cut off may have been done, and late.
                if read != entry and read not in unsure:
                    self.wrong.append(f"{entry!r} was acknowledged, and read gave {read!r}")
            except BackendUnavailableError:
                self.errors += 1
                time.sleep(0.01)  # who fails at once leaves the others a turn
            except Exception as error:  # noqa: BLE001  # whatever it is, it is none of those that are due
                self.wrong.append(f"a call raised {told(error)}")
