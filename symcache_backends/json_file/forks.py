"""Lets a forked child let go of its parent's files at once: of a lock, too, which would else outlive the parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something that is open in the parent and means nothing to a child."""

    def let_go(self) -> None:
        """Close it, and change nothing of what is the parent's."""
        ...


class _Forks:
    def __init__(self) -> None:
        self._watched: weakref.WeakSet[Inherited] | None = None

    def watch(self, inherited: Inherited) -> None:
        """From now on, let a forked child let go of something, as long as anyone refers to it."""
        if self._watched is None:
            self._watched = weakref.WeakSet()
            os.register_at_fork(after_in_child=self._in_child)
        self._watched.add(inherited)

    def _in_child(self) -> None:
        for inherited in list(self._watched or ()):
            inherited.let_go()


forks = _Forks()
"""One for the process, as a hook of its forks cannot be taken back."""
