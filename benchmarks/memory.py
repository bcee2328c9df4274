"""Measures the memory that a process needs for a store whose entries it has all looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from . import worker
from .bench import Bench
from .figures import Figure, median

_NAMES = ("symcache json", "json backend", "orjson.loads", "diskcache")
_ROUNDS = 3


def memory(bench: Bench) -> Iterator[Figure]:
    """Open a store and look every key up once, in a process of its own."""
    size = bench.scale.touched
    task = bench.begin(f"memory, {size:,} entries")
    samples: dict[str, list[float]] = {name: [] for name in _NAMES}
    with ExitStack() as stack:
        places = {name: stack.enter_context(bench.shelf.place(name, size)) for name in _NAMES}
        for name in bench.turns(task, _NAMES, _ROUNDS):
            process = worker.start("touch_all", name=name, folder=str(places[name].folder), count=size)
            samples[name].append(worker.finish(process)["bytes"])
    for name in _NAMES:
        yield Figure("memory", name, size, median(samples[name]))
