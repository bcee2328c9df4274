"""Measures how long a fresh process takes to open a store and answer its first lookup, the files being in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from . import worker
from .bench import Bench
from .figures import Figure, median

_NAMES = ("symcache json", "json backend", "orjson.loads", "diskcache", "sqlite", "lmdb")


def opening(bench: Bench) -> Iterator[Figure]:
    """Open a store and look one key up."""
    for size in bench.scale.opened_sizes:
        task = bench.begin(f"cold open, {size:,} entries")
        samples: dict[str, list[float]] = {name: [] for name in _NAMES}
        with ExitStack() as stack:
            places = {name: stack.enter_context(bench.shelf.place(name, size)) for name in _NAMES}
            for name in bench.turns(task, _NAMES, bench.scale.process_rounds):
                process = worker.start("open_and_get", name=name, folder=str(places[name].folder), number=size // 2)
                samples[name].append(worker.finish(process)["seconds"])
        for name in _NAMES:
            yield Figure("cold open", name, size, median(samples[name]))
