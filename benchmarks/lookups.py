"""Measures lookups: of one key that is there and hot, and of one that is not."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from .bench import Bench
from .contenders import Opened
from .entries import Entry
from .figures import Figure, median

_NAMES = (
    "symcache memory",
    "symcache json",
    "symcache diskcache",
    "symcache redis",
    "dict with a deadline",
    "cachebox",
    "cachetools",
    "dogpile.cache",
    "diskcache",
    "cashews",
    "py-key-value",
    "sqlite",
    "lmdb",
    "redis-py",
)
_WARM_UP = 50


def hit(bench: Bench) -> Iterator[Figure]:
    """Look one stored key up again and again; the symbol cache's lookups are complete and counted."""
    yield from _measure(bench, "hit", bench.shelf.entries(bench.scale.held)[bench.scale.held // 2], Opened.find)


def miss(bench: Bench) -> Iterator[Figure]:
    """Look a key up that nobody has stored."""
    yield from _measure(bench, "miss", bench.shelf.entries(bench.scale.held + 1)[-1], Opened.look_up)


def _measure(bench: Bench, measure: str, entry: Entry, try_once: Callable[[Opened, Entry], object]) -> Iterator[Figure]:
    task = bench.begin(f"{measure}, {bench.scale.held:,} entries")
    names = bench.shelf.available(*_NAMES)
    with ExitStack() as stack:
        opened = {name: stack.enter_context(bench.shelf.opened(name, bench.scale.held)) for name in names}
        for store in opened.values():
            try_once(store, entry)
        timers = {name: _timer(opened[name], entry) for name in names}
        numbers = {name: max(1, int(bench.scale.turn / time_call(_WARM_UP))) for name, time_call in timers.items()}
        samples: dict[str, list[float]] = {name: [] for name in names}
        for name in bench.turns(task, names, bench.scale.rounds):
            samples[name].append(timers[name](numbers[name]))
    for name in names:
        yield Figure(measure, name, bench.scale.held, median(samples[name]))


def _timer(opened: Opened, entry: Entry) -> Callable[[int], float]:
    """What calls ``get`` so many times, and gives the mean in seconds."""
    run, get, arguments = opened.run, opened.get, opened.getting(entry)
    if run is None:
        # The call is spelled out for its number of arguments: unpacking them costs as much as the fastest lookups.
        names = ", ".join(f"argument{number}" for number in range(len(arguments)))
        timer = timeit.Timer(f"get({names})", f"get, {names} = subject", globals={"subject": (get, *arguments)})
        return lambda number: timer.timeit(number) / number

    async def repeat(number: int) -> float:
        (key,) = arguments
        start = time.perf_counter()
        for _ in range(number):
            await get(key)
        return (time.perf_counter() - start) / number

    return lambda number: run(repeat(number))
