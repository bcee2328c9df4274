"""What a storage backend promises while another process that uses it stands still: every wait has an end."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from ..errors import BackendUnavailableError
from ..protocols import CanUpdate, StorageBackend
from .backend_sharing import SharingPromises, Workers
from .harness import FAR, plain
from .outage_calls import writings
from .watching import endings

LOCK_TIMEOUT = 0.5
"""Seconds for which a lock is waited for, where that is an option."""


class WaitingPromises(SharingPromises):
    """Promises of calls that wait for somebody who does not go on."""

    def test_a_process_that_was_stopped_in_an_update_keeps_nobody_waiting_for_ever(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        folder, stopping = tmp_path / "store", workers[0]
        store = self._impatient(folder, opened)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update, which alone can be made slow")
        stopping.ask("open", **self.address(folder))
        # Each call has an object of its own, so that none waits for another one of these.
        calls = [writings(self._impatient(folder, opened))[number] for number in range(len(writings(store)))]
        stopping.begin("stop_in_update", key="stopped")
        try:
            stopping.acknowledged()
            outcomes = endings(calls)
        finally:
            stopping.go_on()
        for outcome in outcomes:
            assert outcome.error is None or isinstance(outcome.error, BackendUnavailableError), (
                f"another process was stopped in an update, and {outcome}: a lock that others hold is "
                "BackendUnavailableError"
            )
        stopping.outcome()
        assert store.read("stopped") == b'{"stopped":1}', "what a process that was stopped has updated is lost"
        store.write("after", b"{}", FAR)
        assert store.read("after") == b"{}", "after a process that was stopped has gone on, nothing is written"

    def _impatient(self, folder: Path, opened: ExitStack) -> StorageBackend:
        """The store of a folder, with a short ``lock_timeout`` where the test class gives none."""
        folder.mkdir(exist_ok=True)
        options = plain(self.settings(folder))
        if "lock_timeout" in self.record.settings.model_fields:
            options.setdefault("lock_timeout", LOCK_TIMEOUT)
        return self.open_with(folder, options, opened)
