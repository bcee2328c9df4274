"""How a load tells how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a load is done.

    Args:
        symbol: As the caller wrote it.
        timeframe: The length of a bar.
        step: How many requests for bars are answered.
        of: How many this load makes in all; zero when every bar is at hand.
        what: What was done last, for people.
    """

    symbol: str
    timeframe: str
    step: int
    of: int
    what: str


class ProgressCallback(Protocol):
    """Is told of each step; called on the loader's own thread, so it should return soon."""

    def __call__(self, progress: Progress, /) -> object:
        """Take note of a step."""
        ...
