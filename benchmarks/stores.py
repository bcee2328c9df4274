"""Measures stores of new entries, one by one, into stores of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter

from .bench import Bench
from .contenders import Opened
from .entries import Entry
from .figures import Figure, median_and_p99

_NAMES = ("symcache json", "json backend", "diskcache", "sqlite", "lmdb", "dict with a deadline")
_SYNCED_NAMES = ("json backend, fsync", "write and fdatasync")


def store(bench: Bench) -> Iterator[Figure]:
    """Store new entries, safe against a kill."""
    for size in bench.scale.sizes:
        yield from _measure(bench, "store", _NAMES, size)


def synced_store(bench: Bench) -> Iterator[Figure]:
    """Store new entries, safe against a loss of power."""
    yield from _measure(bench, "synced store", _SYNCED_NAMES, bench.scale.sizes[0])


def _measure(bench: Bench, measure: str, names: tuple[str, ...], size: int) -> Iterator[Figure]:
    task = bench.begin(f"{measure}, {size:,} entries")
    rounds = bench.scale.rounds
    new = bench.shelf.entries(bench.scale.stores, first=size)
    with ExitStack() as stack:
        opened = {name: stack.enter_context(bench.shelf.opened(name, size)) for name in names}
        batches = {name: (new[number::rounds] for number in range(rounds)) for name in names}
        samples: dict[str, list[float]] = {name: [] for name in names}
        for name in bench.turns(task, names, rounds):
            samples[name].extend(_time_each(opened[name], next(batches[name])))
        for stored in opened.values():
            stored.find(new[-1])
    for name in names:
        yield Figure(measure, name, size, median_and_p99(samples[name]))


def _time_each(opened: Opened, entries: list[Entry]) -> list[float]:
    put, seconds = opened.put, []
    for arguments in [opened.putting(entry) for entry in entries]:
        start = perf_counter()
        put(*arguments)
        seconds.append(perf_counter() - start)
    return seconds
