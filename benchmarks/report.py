"""The figures as a page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .figures import Figure, Figures, ratio
from .machine import describe
from .targets import Target, targets

_INTRODUCTION = """\
# Benchmarks

symcache and its peers, measured side by side in one run: they take turns, each round begins with another one, and what
stands here is the median over all rounds. An entry is a line of about 1 KB, like a provider's. Absolute times belong to
the machine they were taken on; the ratios are what counts.

```sh
pip install ".[benchmarks]"
{command}
```

"symcache" is a whole lookup or store through `SymbolCache`, decoded, checked for freshness and counted; "json backend"
is the storage alone, which like its peers takes and gives bytes. Peers run as their documentation sets them up; SQLite
is in WAL mode with `synchronous=NORMAL`, lmdb without sync, so that like the others they survive a kill. All files are
in the system's temporary folder (`TMPDIR`), which should be on a local disk.

![Time of a hit and of a store](benchmarks.svg)
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """How the figures of one measure are shown.

    Args:
        measure: Which.
        title: What is measured, with a place for the size.
        columns: The name of each value, and how to write it.
        references: The contenders that the medians are set against.
    """

    measure: str
    title: str
    columns: Mapping[str, Callable[[float], str]]
    references: Sequence[str] = ()


def seconds(value: float) -> str:
    """A length of time, in three digits of its greatest fitting unit.

    >>> seconds(2.2e-07), seconds(0.0123), seconds(4)
    ('220 ns', '12.3 ms', '4.00 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value * 1e9)} ns"


def _kilobytes(value: float) -> str:
    return f"{value / 1000:.2f} KB"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{_digits(value)}x"


def _digits(value: float) -> str:
    if not value:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


_TIMES = {"median": seconds, "p99": seconds}
_TABLES = (
    _Table("hit", "A hit: one hot key of {size}", {"median": seconds}, ("cachebox", "diskcache")),
    _Table("miss", "A miss: a key that is not among {size}", {"median": seconds}, ("cachebox", "diskcache")),
    _Table("store", "A store of a new entry into {size}", _TIMES, ("diskcache",)),
    _Table("synced store", "A store that survives a loss of power, into {size}", _TIMES, ("write and fdatasync",)),
    _Table("cold open", "Cold open and first hit with {size} entries", {"median": seconds}, ("orjson.loads",)),
    _Table("memory", "Memory for each of {size} entries, all touched once", {"median": _kilobytes}, ("orjson.loads",)),
    _Table(
        "processes",
        "Four processes, {size} stores in all: stores a second, and failures over all rounds",
        {"median": _count, "lost": _count, "refused": _count, "torn": _count},
        ("diskcache FanoutCache",),
    ),
    _Table("stall", "Lateness of an event loop that stores into {size}", _TIMES, ("idle loop",)),
    _Table("load", "A load of {size} daily bars that are all at hand", {"median": seconds}, ("pandas.read_parquet",)),
)


def page(figures: Figures, command: str) -> str:
    """The whole page."""
    return f"{_INTRODUCTION.format(command=command)}\n{findings(figures)}"


def findings(figures: Figures) -> str:
    """The targets, a table for each measure and size, and what they were taken on."""
    tables = [_table(table, figures, size) for table in _TABLES for size in figures.sizes(table.measure)]
    versions = "## Machine and versions\n\n" + _markdown(("what", "which"), describe())
    return "\n".join(["## What they have to show\n\n" + _verdicts(targets(figures)), *tables, versions])


def _verdicts(promises: Iterable[Target]) -> str:
    rows = (
        (
            target.promise,
            f"at {'least' if target.at_least else 'most'} {target.limit:g}{target.unit}",
            "not measured" if target.measured is None else f"{_digits(target.measured)}{target.unit}",
            {True: "yes", False: "no", None: ""}[target.met],
        )
        for target in promises
    )
    return _markdown(("target", "limit", "measured", "met"), rows)


def _table(table: _Table, figures: Figures, size: int) -> str:
    head = ("contender", *table.columns, *(f"of {reference}" for reference in table.references))
    rows = (_row(table, figures, figure) for figure in figures.at(table.measure, size))
    return f"## {table.title.format(size=f'{size:,}')}\n\n" + _markdown(head, rows)


def _row(table: _Table, figures: Figures, figure: Figure) -> Iterator[str]:
    yield figure.contender
    for name, write in table.columns.items():
        yield write(figure.values[name])
    for reference in table.references:
        yield _times(ratio(figure.values["median"], figures.value(table.measure, reference, figure.size, "median")))


def _markdown(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
