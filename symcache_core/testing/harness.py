"""What the suites stand on: opens the backend under test by its name, here and in worker processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from ..plugin import Backend
from ..protocols import StorageBackend
from ..registry import Registry
from .forking import FAR
from .limits import time_limit
from .metering import Written, metered
from .worker_process import WorkerProcess, WorkerProcesses

__all__ = ["FAR", "Harness", "at_once", "begun", "plain", "promptly", "raises"]

T = TypeVar("T")

PROMPTLY = 5.0
"""Seconds within which a call that never blocks has returned, however busy the machine."""


class Harness:
    """A backend in its test harness; both suites extend it."""

    backend: ClassVar[str]
    """The name that configuration chooses the backend by."""

    plugins: ClassVar[tuple[str, ...]] = ()
    """Modules that register it, if it is not installed as a plug-in."""

    scale: ClassVar[float] = 1.0
    """How much is written, in proportion; a slow storage sets less."""

    time_limit: ClassVar[float] = 60.0
    """Seconds that each case may take."""

    written: ClassVar[Written | None] = None
    """Counts what is written, if anyone wants to know."""

    def settings(self, tmp_path: Path) -> Mapping[str, Any]:
        """The options of one store below ``tmp_path``; the same folder gives the same store."""
        del tmp_path
        return {}

    @pytest.fixture(autouse=True)
    def _limited(self) -> Iterator[None]:
        """Bounds a case, with all that is opened and closed for it."""
        with time_limit(self.time_limit):
            yield

    @pytest.fixture
    def opened(self) -> Iterator[ExitStack]:
        """Closes, at the end of a test, whatever it opened."""
        with ExitStack() as stack:
            yield stack

    @pytest.fixture(scope="class")
    @classmethod
    def worker_processes(cls) -> Iterator[WorkerProcesses]:
        """The workers of all tests of a class."""
        with WorkerProcesses() as worker_processes:
            yield worker_processes

    @pytest.fixture
    def workers(self, worker_processes: WorkerProcesses) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
        """Two processes beside this one, for a store that processes can share."""
        self.only_if_persistent()
        pair = worker_processes.pair()
        yield pair
        for worker in pair:
            if self.written is not None and worker.is_idle:
                self.written.add(*worker.ask("written"))
            worker.rest()

    @property
    def record(self) -> Backend:
        """How the backend is registered."""
        return Registry(self.plugins).backend(self.backend)

    def open(self, folder: Path, opened: ExitStack) -> StorageBackend:
        """Open the store of a folder through the registry, as configuration would."""
        folder.mkdir(exist_ok=True)
        return self.open_with(folder, self.settings(folder), opened)

    def open_with(self, folder: Path, options: Mapping[str, Any], opened: ExitStack) -> StorageBackend:
        """Open a store with options of one's own, as if they were configured in a folder."""
        store = Registry(self.plugins).open(self.backend, plain(options), base_dir=folder, data_dir=folder)
        opened.callback(store.close)
        return store if self.written is None else metered(store, self.written)

    def address(self, folder: Path) -> dict[str, Any]:
        """What a worker needs to open the store of a folder."""
        folder.mkdir(exist_ok=True)
        return {
            "backend": self.backend,
            "plugins": list(self.plugins),
            "options": plain(self.settings(folder)),
            "folder": str(folder),
            "is_metered": self.written is not None,
        }

    def times(self, count: int, least: int = 10) -> int:
        """How often to do what is done ``count`` times at full scale.

        Args:
            count: So often at a scale of 1.
            least: What it takes to show anything.
        """
        return max(round(count * self.scale), min(least, count))

    def only_if_persistent(self) -> None:
        """Skip a test that makes no sense for a store that ends with its process."""
        if not self.record.persistent:
            pytest.skip("the backend says that it is not persistent")


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a configuration file would give them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


def at_once(*works: Callable[[], T]) -> list[T]:
    """What each gives of several that begin at the same moment, each in a thread that keeps no interpreter from ending.

    Raises:
        Exception: The first one that one of them raised.
    """
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait()
        return work()

    outcomes = [begun(partial(run, work)) for work in works]
    wait(outcomes)
    return [outcome.result() for outcome in outcomes]


def begun(work: Callable[[], T]) -> Future[T]:
    """What a call will have given, in a thread that keeps no interpreter from ending, even if it never comes back."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whatever it is goes out of the future
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def promptly(call: Callable[[], T]) -> T:
    """What a call gives that never blocks; fails if it has not returned by then."""
    outcome: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001  # whatever it is goes out below
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PROMPTLY)
    assert not thread.is_alive(), f"try_lock blocks: it has not returned within {PROMPTLY:g} s"
    if raised:
        raise raised[0]
    return outcome[0]


def raises(expected: type[Exception], call: Callable[[], object], due: str) -> Exception:
    """The error that a call raises, which has to be of a kind.

    Args:
        expected: The kind.
        call: What has to raise it.
        due: What the author has to do, for a message.
    """
    try:
        gave = call()
    except expected as error:
        return error
    except Exception as error:
        raise AssertionError(f"{due}: it raised {type(error).__name__}: {error}") from error
    raise AssertionError(f"{due}: it gave {str(gave)[:80]!r}, and raised nothing")
