"""Tells whether others have written to a backend, as well as the backend can."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from .errors import BackendError
from .protocols import CanBeWatched, CanSeeOthers, StorageBackend


class Word(Protocol):
    """Something whose first item changes when anyone writes."""

    def __getitem__(self, index: int, /) -> int | None:
        """The item; only the first one means anything."""
        ...


class Watch:
    """What can be seen of others' writes.

    Args:
        backend: Which; for one that cannot tell at all, nothing ever seems to change.
    """

    def __init__(self, backend: StorageBackend) -> None:
        self._seeing = backend if isinstance(backend, CanSeeOthers) else None
        self._watched = backend if isinstance(backend, CanBeWatched) else None
        self._last: int | None = None

    def __getitem__(self, _index: int) -> int | None:
        """Stands in for a word in memory that the backend does not have."""
        return self.generation()

    def generation(self) -> int | None:
        """A number that differs from the last one if others have written in between.

        While the storage cannot be reached it stays as it is: what is near is the best there is.
        """
        if self._seeing is not None:
            with suppress(BackendError):
                self._last = self._seeing.generation()
        return self._last

    def word(self) -> Word | None:
        """Something whose first item changes when anyone writes; ``None`` where nothing can be seen."""
        if self._seeing is None:
            return None
        word = None if self._watched is None else self._watched.word()
        return self if word is None else word
