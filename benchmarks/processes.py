"""Measures four processes that store into one place at once: how fast, and what is lost."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from . import worker
from .bench import Bench
from .contenders import CONTENDERS, Place
from .entries import Entry
from .figures import Figure

_NAMES = ("json backend", "diskcache FanoutCache", "diskcache", "sqlite", "lmdb")
_PROCESSES = 4
_STORES = 2_000


def processes(bench: Bench) -> Iterator[Figure]:
    """Store distinct entries from four processes, then look at each."""
    task = bench.begin(f"{_PROCESSES} processes, {_STORES:,} stores")
    runs: dict[str, list[Mapping[str, float]]] = {name: [] for name in _NAMES}
    for name in bench.turns(task, _NAMES, bench.scale.process_rounds):
        with bench.shelf.place(name, 0) as place:
            # Made first: some of the peers cannot be made by several processes at once.
            CONTENDERS[name].open(place).close()
            rate, refused = _store_all(name, place.folder, bench.shelf.since)
            lost, torn = _count_losses(name, place, bench.shelf.entries(_STORES))
        runs[name].append({"rate": rate, "refused": refused, "lost": lost, "torn": torn})
    for name in _NAMES:
        failures = {kind: sum(run[kind] for run in runs[name]) for kind in ("refused", "lost", "torn")}
        rate = statistics.median(run["rate"] for run in runs[name])
        yield Figure("processes", name, _STORES, {"median": rate, **failures})


def _store_all(name: str, folder: Path, since: float) -> tuple[float, float]:
    """Stores a second, from the first one's start to the last one's end; and how many raised or were refused."""
    share = _STORES // _PROCESSES
    task = {"name": name, "folder": str(folder), "count": share, "since": since}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker.start("store_some", first=first, **task)) for first in range(0, _STORES, share)
        ]
        for process in workers:
            worker.wait_until_ready(process)
        for process in workers:
            worker.let_go(process)
        results = [worker.finish(process) for process in workers]
    seconds = max(result["end"] for result in results) - min(result["start"] for result in results)
    return _STORES / seconds, sum(result["refused"] for result in results)


def _count_losses(name: str, place: Place, entries: list[Entry]) -> tuple[int, int]:
    opened = CONTENDERS[name].open(place)
    found = [opened.look_up(entry) for entry in entries]
    opened.close()
    lost = sum(line is None for line in found)
    return lost, sum(line != entry.line for line, entry in zip(found, entries, strict=True)) - lost
