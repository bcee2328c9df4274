"""The command: takes the measures, and writes ``docs/benchmarks.md`` and ``docs/benchmarks.svg``."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .bench import FULL, QUICK, Bench, Scale
from .figures import Figure, Figures
from .loading import load
from .lookups import hit, miss
from .memory import memory
from .opening import opening
from .plot import draw
from .processes import processes
from .report import findings, page
from .server import valkey
from .shelf import Shelf
from .stall import stall
from .stores import store, synced_store

MEASURES: dict[str, tuple[Callable[[Bench], Iterable[Figure]], ...]] = {
    "hit": (hit,),
    "miss": (miss,),
    "store": (store, synced_store),
    "open": (opening,),
    "memory": (memory,),
    "processes": (processes,),
    "stall": (stall,),
    "load": (load,),
}
COMMAND = "python -m benchmarks"
DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Measure, and write the page, or print it if it is not of everything."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Measure symcache beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds; prints, and writes no page")
    parser.add_argument("--only", choices=MEASURES, help="one measure; prints, and writes no page")
    options = parser.parse_args()
    names = [options.only] if options.only else list(MEASURES)
    figures = Figures(_measure(names, QUICK if options.quick else FULL))
    if options.quick or options.only:
        print(findings(figures))
        return
    (DOCS / "benchmarks.md").write_text(page(figures, COMMAND))
    draw(figures, DOCS / "benchmarks.svg")


def _measure(names: Iterable[str], scale: Scale) -> Iterator[Figure]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        valkey() as redis_url,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        bench = Bench(scale, Shelf(Path(folder), time.time(), redis_url), progress)
        for name in names:
            for measure in MEASURES[name]:
                yield from measure(bench)


if __name__ == "__main__":
    main()
