"""What the suites stand on: opens the backend under test by its name, here and in worker processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from ..plugin import Backend
from ..protocols import StorageBackend
from ..registry import Registry
from .child import FAR
from .worker_process import WorkerProcess, WorkerProcesses

__all__ = ["FAR", "Harness", "plain", "promptly"]

T = TypeVar("T")

PROMPTLY = 5.0
"""Seconds within which a call that never blocks has returned, however busy the machine."""


class Harness:
    """A backend in its test harness; both suites extend it."""

    backend: ClassVar[str]
    """The name that configuration chooses the backend by."""

    plugins: ClassVar[tuple[str, ...]] = ()
    """Modules that register it, if it is not installed as a plug-in."""

    def settings(self, tmp_path: Path) -> Mapping[str, Any]:
        """The options of one store below ``tmp_path``; the same folder gives the same store."""
        del tmp_path
        return {}

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
            worker.rest()

    @property
    def record(self) -> Backend:
        """How the backend is registered."""
        return Registry(self.plugins).backend(self.backend)

    def open(self, folder: Path, opened: ExitStack) -> StorageBackend:
        """Open the store of a folder through the registry, as configuration would."""
        folder.mkdir(exist_ok=True)
        store = Registry(self.plugins).open(
            self.backend, plain(self.settings(folder)), base_dir=folder, data_dir=folder
        )
        opened.callback(store.close)
        return store

    def address(self, folder: Path) -> dict[str, Any]:
        """What a worker needs to open the store of a folder."""
        folder.mkdir(exist_ok=True)
        return {
            "backend": self.backend,
            "plugins": list(self.plugins),
            "options": plain(self.settings(folder)),
            "folder": str(folder),
        }

    def only_if_persistent(self) -> None:
        """Skip a test that makes no sense for a store that ends with its process."""
        if not self.record.persistent:
            pytest.skip("the backend says that it is not persistent")


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a configuration file would give them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


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
