"""What came of a load, and how far it is: figures that a frame carries, steps that a callback is told of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What came of one load; a frame carries it in its ``attrs``. Times are ISO 8601, UTC.

    Args:
        symbol: The canonical spelling.
        timeframe: The length of a bar.
        provider: Whose bars these are.
        replay: Whether they are replayed history.
        mode: Where it looked for bars that were not at hand.
        outcome: How the symbol's lookup was answered; ``None`` if there was none.
        verdict_age: How old that answer was (seconds).
        lookup_error: Why the lookup was answered with something old or incomplete, if it was.
        series: Which series the bars are of: the provider, and the instrument's permanent id or qualified symbol.
        since: When that series was first seen under this symbol.
        happened: ``renamed`` (the series had another symbol before), ``reused`` (the symbol was another series'),
            ``bound`` (bars of unknown identity turned out to be this series'), ``renewed`` (the provider has adjusted
            its prices, and the history was asked for anew), ``unstable`` (it contradicts what was just renewed, and
            nothing was added), ``uncompared`` (it no longer has the stored bars that new ones had to be compared with).
        others: The other series that bore this symbol, if the dates reach before ``since``; among them the replaced
            generation of this one, if it has bars that the provider no longer has.
        renewing: Whether the history is being asked for anew; until that is done these are the old bars.
        compared: When stored bars were last compared with the provider's.
        basis: What the provider says that the bars are: what they show, how they are adjusted, which hours.
        calendar: By whose hours bars were expected; ``None`` if nobody knows the instrument's.
        start: The first moment that bars were looked for.
        end: The last one.
        clamped_to: Where the start was moved, as there are no bars before it.
        local: Expected bars in that span that were at hand.
        fetched: Bars that the provider gave.
        requests: How often it was asked for some.
        without_data: Expected bars that are proven not to be.
        missing: Expected bars of which nothing is known; ``None`` if nobody can say what there should be.
        provisional: Bars that are not final yet.
        revised: Stored bars that the provider has since changed.
        bad: Rows of the provider that cannot be bars.
        bad_rows: Their times.
        reason: Why there are no bars, if there are none.
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
    series: str = ""
    since: str | None = None
    happened: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    renewing: bool = False
    compared: str | None = None
    basis: dict[str, Any] | None = None
    calendar: str | None = None
    start: str | None = None
    end: str | None = None
    clamped_to: str | None = None
    local: int = 0
    fetched: int = 0
    requests: int = 0
    without_data: int = 0
    missing: int | None = 0
    provisional: int = 0
    revised: int = 0
    bad: int = 0
    bad_rows: list[str] = field(default_factory=list)
    reason: str | None = None
    seconds: float = 0.0

    def attached(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, with these figures in its ``attrs``: plain JSON values, which Parquet keeps."""
        if self.basis and (adjustment := self.basis.get("adjustment")):
            frame.attrs["adjustment"] = adjustment
        frame.attrs.update({name: getattr(self, name) for name in self.__slots__})
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
