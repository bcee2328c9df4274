"""What a storage backend promises when its process forks: parent and child each get what is theirs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from .backend_leases import LEASE_LIFE
from .backend_sharing import Workers
from .contract import Contract
from .forking import DEEDS
from .worker_process import WorkerProcesses


class ForkPromises(Contract):
    """Promises of an object that a process has open when it forks. The workers fork, and never who runs the tests."""

    @pytest.fixture
    def forking(self, worker_processes: WorkerProcesses) -> Iterator[Workers]:
        """A process that forks, and another one to look at what is stored."""
        if not hasattr(os, "fork"):
            pytest.skip("processes do not fork here")
        pair = worker_processes.pair()
        yield pair
        for worker in pair:
            worker.rest()

    @pytest.mark.parametrize("deed", DEEDS)
    def test_a_forked_child_and_its_parent_do_not_disturb_each_other(
        self, tmp_path: Path, forking: Workers, deed: str
    ) -> None:
        parent, other = forking
        parent.ask("open", **self.address(tmp_path / "store"))
        wrong = parent.ask("fork", deed=deed)
        assert wrong is None, wrong
        if not self.record.persistent:
            return
        other.ask("open", **self.address(tmp_path / "store"))
        stored = set(other.ask("keys"))
        assert {"parent 0", "parent afterwards 0"} <= stored, f"after a child {deed}, what its parent stored is lost"
        assert "works" not in deed or "child 0" in stored, "what a forked child stored is lost"

    def test_a_forked_child_leaves_the_lease_to_its_parent(self, tmp_path: Path, forking: Workers) -> None:
        self.only_if_persistent()
        parent, other = forking
        for worker in forking:
            worker.ask("open", **self.address(tmp_path / "store"))
        if not parent.ask("can_lock"):
            pytest.skip("the backend has no try_lock")
        for deed in DEEDS:
            wrong = parent.ask("fork", deed=deed)
            assert wrong is None, wrong
            assert other.ask("try_lock", key="held") is False, (
                f"a child {deed}, and the lease of its parent was free: a child neither releases nor unlocks what it "
                "has inherited, it only closes its descriptors"
            )
        parent.ask("release")
        assert other.ask("try_lock", key="held") is True, (
            "a lease that was held during a fork is not free once released"
        )

    def test_a_lease_dies_with_its_holder_though_a_forked_child_lives_on(
        self, tmp_path: Path, forking: Workers, opened: ExitStack
    ) -> None:
        self.only_if_persistent()
        parent, other = forking
        for worker in forking:
            worker.ask("open", **self.address(tmp_path / "store"))
        if not parent.ask("can_lock"):
            pytest.skip("the backend has no try_lock")
        parent.ask("try_lock", key="held")
        if not any(path.is_file() for path in tmp_path.rglob("*")):
            pytest.skip("the backend keeps no files in its folder")  # a connection may last as long as a child has it
        opened.callback(_end, parent.ask("fork_idle"))
        parent.kill()
        deadline = time.monotonic() + LEASE_LIFE
        while not (is_free := other.ask("try_lock", key="held")) and time.monotonic() < deadline:
            time.sleep(0.05)  # a server's expiry passes by the server's own clock
        assert is_free, (
            f"{LEASE_LIFE:g} s after kill -9 of its holder a lease is still held, as a forked child lives on: the "
            "child has to close the files of leases that it has inherited, with os.register_at_fork(after_in_child=...)"
        )

    def test_a_forked_child_goes_on_when_its_parent_closes(self, tmp_path: Path, forking: Workers) -> None:
        parent, _other = forking
        parent.ask("open", **self.address(tmp_path / "store"))
        wrong = parent.ask("fork_and_close")
        assert wrong is None, wrong

    def test_a_fork_beside_threads_at_work_hangs_nobody(self, tmp_path: Path, forking: Workers) -> None:
        parent, _other = forking
        parent.ask("open", **self.address(tmp_path / "store"))
        wrong = parent.ask("fork_beside_threads")
        assert wrong is None, wrong


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
