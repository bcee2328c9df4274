"""What a storage backend promises about a server that answers late, or not to the end."""

from __future__ import annotations

import random

import pytest

from ..errors import SymcacheError
from ..protocols import CanBatch, CanUpdate, StorageBackend
from .backend_outage import OutagePromises, is_unavailable, wait_until_back
from .harness import FAR
from .outage_calls import calls, readings
from .proxy import TcpProxy
from .watching import Calls, Outcome, ending, endings

LARGE = b'{"large":"%b"}' % random.Random(1).randbytes(1 << 17).hex().encode()
"""An entry whose answer is longer than all that may be said before it."""

CUT_AFTER = 1 << 16
"""Bytes that a connection gives before it is cut: more than a greeting takes, and less than the entry."""


class DisturbancePromises(OutagePromises):
    """Promises of a store whose server is reached through the ``proxy`` of the test class."""

    @pytest.fixture
    def way(self) -> TcpProxy:
        """What the server is disturbed by."""
        if self.proxy is None:
            pytest.skip("the test class has no proxy")
        return self.proxy

    def test_a_server_that_is_silent_keeps_no_call(self, way: TcpProxy, remote: StorageBackend) -> None:
        with way.silent():
            outcomes = endings(calls(remote))
        _are_ours(outcomes, "the server was silent")
        _are_no_miss(outcomes, readings(remote), "the server was silent")
        wait_until_back(remote)

    def test_half_an_answer_is_no_entry(self, way: TcpProxy, remote: StorageBackend) -> None:
        remote.write("large", LARGE, FAR)
        for after in (CUT_AFTER, CUT_AFTER + 1):
            with way.cutting(after):
                outcomes = [ending(*call) for call in _readings_of_a_large_entry(remote)]
            for outcome in outcomes:
                assert is_unavailable(outcome), (
                    f"an answer was cut in the middle, and {str(outcome)[:80]}: compare what has come "
                    "with the length that was announced, and raise BackendUnavailableError"
                )
            wait_until_back(remote)
            assert remote.read("large") == LARGE, "after an answer was cut, an entry is another"


def _readings_of_a_large_entry(store: StorageBackend) -> Calls:
    calls: Calls = [("read of a large entry", lambda: store.read("large"))]
    if isinstance(store, CanBatch):
        calls.append(("read_many of a large entry", lambda: store.read_many(["large"])))
    if isinstance(store, CanUpdate):
        calls.append(("update of a large entry", lambda: store.update("large", lambda _entry: None)))
    return calls


def _are_ours(outcomes: list[Outcome], when: str) -> None:
    for outcome in outcomes:
        assert outcome.error is None or isinstance(outcome.error, SymcacheError), (
            f"while {when} {outcome}: of the driver's errors none comes out; turn it into BackendUnavailableError"
        )


def _are_no_miss(outcomes: list[Outcome], readings: Calls, when: str) -> None:
    names = {name for name, _ in readings}
    for outcome in outcomes:
        assert outcome.name not in names or is_unavailable(outcome), (
            f"while {when} {outcome}: a miss or an old value would be believed; raise BackendUnavailableError"
        )
