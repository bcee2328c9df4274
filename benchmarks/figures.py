"""What was measured, and questions about it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one measure found of one contender.

    Args:
        measure: Which measure.
        contender: Of whom.
        size: Entries in the store.
        values: What was found, by name: seconds, bytes, or a count.
    """

    measure: str
    contender: str
    size: int
    values: Values


class Figures:
    """All figures of a run."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = list(figures)

    def sizes(self, measure: str) -> list[int]:
        """The sizes that something was measured at, from the least."""
        return sorted({figure.size for figure in self._figures if figure.measure == measure})

    def at(self, measure: str, size: int) -> Iterator[Figure]:
        """The figures of every contender at one size."""
        return (figure for figure in self._figures if (figure.measure, figure.size) == (measure, size))

    def value(self, measure: str, contender: str, size: int, name: str) -> float | None:
        """One value, or ``None`` if it was not measured."""
        for figure in self.at(measure, size):
            if figure.contender == contender:
                return figure.values[name]
        return None


def ratio(value: float | None, to: float | None) -> float | None:
    """How many times another value it is, or ``None`` if either is missing."""
    return None if value is None or not to else value / to


def median(samples: Sequence[float]) -> Values:
    """The median of what was measured."""
    return {"median": statistics.median(samples)}


def median_and_p99(samples: Sequence[float]) -> Values:
    """The median and the 99th percentile of what was measured."""
    return {"median": statistics.median(samples), "p99": statistics.quantiles(samples, n=100)[98]}
