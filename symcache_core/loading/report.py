"""What came of a load, and how far it is: figures that a frame carries, steps that a callback is told of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """The figures of one load; a frame carries them in its ``attrs``.

    Args:
        symbol: The canonical spelling.
        timeframe: The length of a bar.
        provider: Whose bars these are.
        replay: Whether they are replayed history.
        mode: Where it looked for bars that were not at hand.
        outcome: How the symbol's lookup was answered; ``None`` if there was none.
        verdict_age: How old that answer was (seconds).
        lookup_error: Why the lookup was answered with something old or incomplete, if it was.
        start: The first moment that bars were looked for (ISO 8601, UTC).
        end: The last one.
        clamped_to: Where the start was moved, as there are no bars before it.
        local: Bars in that span that were at hand.
        fetched: Bars that the provider gave.
        requests: How often it was asked for some.
        without_data: Bars that the calendar expects there and the provider does not have.
        missing: Bars that the calendar expects there and the provider was not asked for.
        seconds: How long it took.
    """

    symbol: str
    timeframe: str
    provider: str
    replay: bool
    mode: str
    outcome: str | None = None
    verdict_age: float | None = None
    lookup_error: str | None = None
    start: str | None = None
    end: str | None = None
    clamped_to: str | None = None
    local: int = 0
    fetched: int = 0
    requests: int = 0
    without_data: int = 0
    missing: int = 0
    seconds: float = 0.0

    def attached(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, with these figures in its ``attrs``: plain JSON values, which Parquet keeps."""
        frame.attrs.update(asdict(self))
        return frame

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """The report of a frame that a load gave back.

        Raises:
            KeyError: The frame is another.
        """
        figures: dict[str, Any] = {name: frame.attrs[name] for name in cls.__slots__}
        return cls(**figures)


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
