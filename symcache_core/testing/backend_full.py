"""What a storage backend promises when its storage is full: that passes, and says nothing of the entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..errors import BackendUnavailableError
from ..protocols import CanBatch, CanUpdate, StorageBackend
from .backend_keys import incompressible
from .contract import Contract
from .harness import FAR, plain
from .watching import Outcome, ending

PIECE = 200_000
"""Bytes of each entry that a small store is filled with."""

PIECES = 300
"""How many of them are more than a small store takes."""


class FullPromises(Contract):
    """Promises of a store that takes no more."""

    def small(self, tmp_path: Path) -> Mapping[str, Any] | None:
        """The options of a store that is full after a few megabytes, for a storage that can have a limit.

        Args:
            tmp_path: The folder that it is below, as for ``settings``.
        """
        del tmp_path
        return None

    def test_a_full_store_is_one_that_takes_no_writes_for_now(self, tmp_path: Path, opened: ExitStack) -> None:
        folder = tmp_path / "store"
        options = self.small(folder)
        if options is None:
            pytest.skip("the test class has no small()")
        folder.mkdir()
        store, kept = self.open_with(folder, plain(options), opened), dict[str, bytes]()
        for what, write in _ways_to_write(store):
            outcome = _filled(what, write, kept)
            assert isinstance(outcome.error, BackendUnavailableError), (
                f"the store is full, and {str(outcome)[:200]}: there may be room again, so raise "
                "BackendUnavailableError; a BackendError of no other kind refuses an entry for what it is"
            )
        lost = [key for key, entry in kept.items() if store.read(key) != entry]
        assert lost == [], (
            f"when the store was full, entries that it had taken were lost or changed, such as {lost[:3]}"
        )


def _filled(what: str, write: Callable[[str, bytes], object], kept: dict[str, bytes]) -> Outcome:
    """What comes of the first write that fails, and in ``kept`` what those before have written."""
    for number in range(PIECES):
        key, entry = f"{what} {number}", incompressible(PIECE, number)
        outcome = ending(what, partial(write, key, entry))
        if outcome.error is not None:
            return outcome
        kept[key] = entry
    raise AssertionError(f"small() gives the options of a store that takes {PIECES * PIECE:,} bytes: give it less room")


def _ways_to_write(store: StorageBackend) -> Iterator[tuple[str, Callable[[str, bytes], object]]]:
    yield "write", lambda key, entry: store.write(key, entry, FAR)
    if isinstance(store, CanUpdate):
        yield "update", lambda key, entry: store.update(key, lambda _old: (entry, FAR))
    if isinstance(store, CanBatch):
        yield "write_many", lambda key, entry: store.write_many({key: (entry, FAR)})
