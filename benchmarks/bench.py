"""What every measure is given: how much to do, the stores to do it on, and whom to tell how far it is."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.progress import Progress, TaskID

from .shelf import Shelf


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure.

    Args:
        held: Entries in the stores that lookups are measured on.
        rounds: How often each contender has its turn.
        turn: Seconds of one turn at looking up.
        sizes: Entries already there when something is stored.
        stores: Stores of each contender, over all rounds.
        opened_sizes: Entries in the stores that are opened.
        process_rounds: How often each contender has its turn at what starts processes.
        touched: Entries in the stores whose memory is measured.
        stall_rounds: How often the event loop stores its entries.
    """

    held: int
    rounds: int
    turn: float
    sizes: tuple[int, ...]
    stores: int
    opened_sizes: tuple[int, ...]
    process_rounds: int
    touched: int
    stall_rounds: int


FULL = Scale(
    held=1_000,
    rounds=25,
    turn=0.01,
    sizes=(1_000, 10_000, 100_000),
    stores=2_000,
    opened_sizes=(10_000, 100_000),
    process_rounds=7,
    touched=100_000,
    stall_rounds=5,
)
QUICK = Scale(
    held=1_000,
    rounds=5,
    turn=0.005,
    sizes=(1_000, 10_000),
    stores=500,
    opened_sizes=(10_000,),
    process_rounds=3,
    touched=10_000,
    stall_rounds=1,
)


class Bench:
    """The bench that measures are taken on.

    Args:
        scale: How much to measure.
        shelf: The stores.
        progress: Shows how far it is.
    """

    def __init__(self, scale: Scale, shelf: Shelf, progress: Progress) -> None:
        self.scale = scale
        self.shelf = shelf
        self._progress = progress

    def begin(self, title: str) -> TaskID:
        """Say what comes next, before the stores for it are filled."""
        return self._progress.add_task(title, total=None)

    def turns(self, task: TaskID, names: Sequence[str], rounds: int) -> Iterator[str]:
        """Whose turn it is: all of them in each round, each round beginning with another one."""
        self._progress.update(task, total=rounds * len(names))
        # What filled the stores must cost nobody's turn a garbage collection, or a wait for the disk.
        os.sync()
        gc.collect()
        gc.freeze()
        try:
            for number in range(rounds):
                first = number % len(names)
                for name in (*names[first:], *names[:first]):
                    yield name
                    self._progress.advance(task)
        finally:
            gc.unfreeze()
