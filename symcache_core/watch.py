"""Tells whether others have written to a backend, as well as the backend can."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple, Protocol

from .errors import BackendError
from .protocols import CanBeWatched, CanSeeOthers, StorageBackend


class Word(Protocol):
    """Something whose first item changes when anyone writes."""

    def __getitem__(self, index: int, /) -> int | None:
        """The item; only the first one means anything."""
        ...


class Sight(NamedTuple):
    """What was seen at one moment: a word, the number that stood in it, and the storage's generation."""

    word: Word | None
    seen: int | None
    generation: int | None

    def is_current(self) -> bool:
        """Whether nobody has written since, as far as a look at memory can tell."""
        return self.word is None or self.word[0] == self.seen


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

    def look(self) -> Sight:
        """Take note of how things are; what is read afterwards is at least as new."""
        if self._seeing is None:
            return _NOTHING
        word = None if self._watched is None else self._watched.word()
        # In this order: a write in between shows in the one or the other.
        seen = None if word is None else word[0]
        generation = self.generation()
        return Sight(self, generation, generation) if word is None else Sight(word, seen, generation)


_NOTHING = Sight(None, None, None)
