"""What the figures have to show: each target, what was measured, and whether that meets it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .figures import Figures, ratio


@dataclass(frozen=True, slots=True)
class Target:
    """A promise about the figures.

    Args:
        promise: What is promised.
        limit: The most it may be, or the least.
        measured: What it is, or ``None`` if that was not measured.
        unit: What follows the number: ``x`` for a ratio.
        at_least: Whether the limit is the least.
    """

    promise: str
    limit: float
    measured: float | None
    unit: str = "x"
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it is kept, or ``None`` if that was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def targets(figures: Figures) -> Iterator[Target]:
    """Every target."""
    yield from _hits(figures)
    yield from _stores(figures)
    yield from _openings(figures)
    yield from _memory(figures)
    yield from _processes(figures)
    yield from _stall(figures)
    yield from _loads(figures)


def _hits(figures: Figures) -> Iterator[Target]:
    for size in figures.sizes("hit"):
        for backend in ("memory", "json", "diskcache", "redis"):
            hit = figures.value("hit", f"symcache {backend}", size, "median")
            for peer, limit in (("cachebox", 4.0), ("diskcache", 1 / 40)):
                measured = ratio(hit, figures.value("hit", peer, size, "median"))
                yield Target(f"hit, {backend}: against {peer}", limit, measured)


def _stores(figures: Figures) -> Iterator[Target]:
    sizes = figures.sizes("store")
    for size in sizes:
        for contender, name, limit in (
            ("json backend", "median", 0.25),
            ("json backend", "p99", 0.5),
            ("symcache json", "median", 0.6),
        ):
            measured = ratio(
                figures.value("store", contender, size, name), figures.value("store", "diskcache", size, name)
            )
            yield Target(f"store into {size:,}, {contender}, {name}: against diskcache", limit, measured)
    if len(sizes) > 1:
        least, most = (figures.value("store", "json backend", size, "median") for size in (sizes[0], sizes[-1]))
        yield Target(f"store, json backend: into {sizes[-1]:,} against into {sizes[0]:,}", 1.3, ratio(most, least))
    for size in figures.sizes("synced store"):
        synced, raw = (
            figures.value("synced store", contender, size, "median")
            for contender in ("json backend, fsync", "write and fdatasync")
        )
        yield Target("store, json backend, fsync: against write and fdatasync", 1.5, ratio(synced, raw))


def _openings(figures: Figures) -> Iterator[Target]:
    for size in figures.sizes("cold open"):
        ours, parsed = (
            figures.value("cold open", contender, size, "median") for contender in ("json backend", "orjson.loads")
        )
        limit = 0.15 if size >= 100_000 else 0.3
        yield Target(
            f"cold open and first hit with {size:,}, json backend: against orjson.loads", limit, ratio(ours, parsed)
        )


def _memory(figures: Figures) -> Iterator[Target]:
    for size in figures.sizes("memory"):
        ours, parsed = (
            figures.value("memory", contender, size, "median") for contender in ("json backend", "orjson.loads")
        )
        yield Target(f"memory, {size:,} entries touched, json backend: against parsed dicts", 0.4, ratio(ours, parsed))


def _processes(figures: Figures) -> Iterator[Target]:
    for size in figures.sizes("processes"):
        for kind in ("lost", "refused", "torn"):
            failures = figures.value("processes", "json backend", size, kind)
            yield Target(f"four processes, json backend: entries {kind}", 0, failures, unit="")
        ours, theirs = (
            figures.value("processes", contender, size, "median")
            for contender in ("json backend", "diskcache FanoutCache")
        )
        yield Target("four processes, json backend: rate against FanoutCache", 2, ratio(ours, theirs), at_least=True)


def _stall(figures: Figures) -> Iterator[Target]:
    for size in figures.sizes("stall"):
        storing, idle = (figures.value("stall", f"{kind} loop", size, "p99") for kind in ("storing", "idle"))
        late = None if storing is None or idle is None else (storing - idle) * 1e3
        yield Target("event loop that stores: p99 of its stall beyond the idle loop's", 1.0, late, unit=" ms")


def _loads(figures: Figures) -> Iterator[Target]:
    for size in figures.sizes("load"):
        ours, theirs = (
            figures.value("load", contender, size, "median")
            for contender in ("DataManager.load", "pandas.read_parquet")
        )
        yield Target("load of bars at hand: against pandas on the same files", 1.4, ratio(ours, theirs))
