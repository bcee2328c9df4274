"""What the command prints: data to standard output, everything else to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, date, datetime
from typing import Any

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table
from rich.text import Text

from ..errors import AmbiguousSymbolError

Record = Mapping[str, Any]
"""One result, as ``--json`` shows it."""

Columns = Mapping[str, Callable[[Record], object]]
"""The titles of a table, and how each cell comes out of a record."""


_NOTHING = ("", "0")
_UNBOUNDED = 10_000
_AGES = 1e12  # seconds; a figure of more digits tells nobody anything


class Output:
    """Prints records as JSON Lines, as a table on a terminal, or else as tab-separated rows.

    Args:
        as_json: One JSON object a line, whatever standard output is.
        animated: Whether to show on a terminal that work goes on.
    """

    def __init__(self, *, as_json: bool, animated: bool) -> None:
        self.as_json = as_json
        self.animated = animated and sys.stderr.isatty()
        self.console = Console(stderr=True, highlight=False)

    @property
    def streams_to_terminal(self) -> bool:
        """Whether records go to a terminal one by one, where nothing may move meanwhile."""
        return self.as_json and sys.stdout.isatty()

    def show(self, columns: Columns, records: Iterable[Record], if_any: Collection[str] = ()) -> None:
        """Print records, each as soon as it is there; only a table waits for the last, to find its widths.

        Args:
            columns: What to print of each.
            records: What to print.
            if_any: The columns that a table leaves out if all that they would show is nothing or zero.
        """
        if self.as_json:
            for record in records:
                typer.echo(_json(record))
        elif sys.stdout.isatty():
            rows = [_cells(columns, record) for record in records]
            if rows:
                _print_table(list(columns), rows, if_any)
        else:
            for record in records:
                typer.echo("\t".join(_cells(columns, record)))

    def show_one(self, record: Record, figures: Mapping[str, object]) -> None:
        """Print one record: itself in JSON, else its figures below each other."""
        records = [record] if self.as_json else [{"figure": name, "value": value} for name, value in figures.items()]
        self.show({"figure": lambda line: line["figure"], "value": lambda line: line["value"]}, records)

    def note(self, text: str) -> None:
        """Tell the user something that is not data."""
        self.console.print(Text(plain(text)), soft_wrap=True)

    def note_replay(self, as_of: date | None = None) -> None:
        """Say that data is replayed, so that nobody takes it for the market's.

        Args:
            as_of: The replay's present.
        """
        self.note("REPLAY data, not live" if as_of is None else f"REPLAY data, as of {as_of.isoformat()}, not live")

    def spinner(self, text: str) -> AbstractContextManager[object]:
        """Show on a terminal what is going on, while the block runs."""
        return self.console.status(Text(text)) if self.animated else nullcontext()

    def progress(self, *columns: ProgressColumn, shown: bool = True) -> Progress:
        """Bars that show on a terminal how far something is, and leave nothing behind.

        Args:
            columns: What each bar shows.
            shown: Whether to show any.
        """
        # Not redirected, for what goes to standard output is data, and may not even go to this terminal.
        return Progress(
            *columns,
            console=self.console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not (shown and self.animated),
        )

    def log(self, lines: str) -> None:
        """Print what was logged, above whatever moves."""
        self.console.print(Text(lines), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Tell the user that something is not as it should be."""
        self._labelled("warning", "yellow", text)

    def error(self, text: str) -> None:
        """Tell the user what failed."""
        self._labelled("error", "bold red", text)

    def _labelled(self, label: str, style: str, text: str) -> None:
        self.console.print(Text.assemble((f"{label}:", style), " ", plain(text)), soft_wrap=True)


def failure_record(subject: str | None, error: Exception) -> Record:
    """What programs are told of a failure: its code, if it has one, and what else to ask for, if there is."""
    record = {"symbol": subject, "error": str(error)}
    if (code := getattr(error, "code", None)) is not None:
        record["error_code"] = code
    return {**record, "alternatives": list(error.alternatives)} if isinstance(error, AmbiguousSymbolError) else record


def plain(value: object) -> str:
    """A value as one line of printable text, so that no provider's text can steer a terminal or break a row."""
    if value is None:
        return ""
    return "".join(char if char.isprintable() else " " for char in str(value))


def span(seconds: float | None) -> str:
    """A length of time in its greatest fitting unit.

    >>> span(93600), span(0.25), span(0.000012), span(1e300), span(None)
    ('1d', '250ms', '12us', '1e+295d', '')
    """
    if seconds is None:
        return ""
    if not math.isfinite(seconds) or abs(seconds) >= _AGES:
        return "for ever" if math.isinf(seconds) else "unknown" if math.isnan(seconds) else f"{seconds / 86400:.0e}d"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1), ("ms", 1e-3)):
        if abs(seconds) >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1e6:.0f}us"


def instant(stamp: float) -> str:
    """A moment in UTC, of whatever figure.

    >>> instant(0), instant(1e300), instant(-1e300), instant(float("nan"))
    ('1970-01-01 00:00:00 UTC', 'after the year 9999', 'before the year 1', 'no moment')
    """
    if math.isnan(stamp):
        return "no moment"
    try:
        return datetime.fromtimestamp(stamp, UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")
    except (OverflowError, ValueError, OSError):
        return "after the year 9999" if stamp > 0 else "before the year 1"


def _json(record: Record) -> str:
    """A record as JSON, which knows no infinity: what has no figure there is null."""
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(record), allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _cells(columns: Columns, record: Record) -> list[str]:
    return [plain(cell(record)) for cell in columns.values()]


def _print_table(titles: list[str], rows: list[list[str]], if_any: Collection[str]) -> None:
    shown = [
        number
        for number, title in enumerate(titles)
        if title not in if_any or any(row[number] not in _NOTHING for row in rows)
    ]
    titles, rows = [titles[number] for number in shown], [[row[number] for number in shown] for row in rows]
    console, table = Console(highlight=False), _filled(Table(), titles, rows)
    if console.measure(table, options=console.options.update(width=_UNBOUNDED)).maximum > console.width:
        table = _narrow(titles, rows, console.width)
    console.print(table)


def _narrow(titles: list[str], rows: list[list[str]], width: int) -> Table:
    """A table that wastes no width; its titles are folded before what stands below them."""
    table = _filled(Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False), titles, rows)
    longest = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    if sum(longest) + len(longest) - 1 <= width:
        for column, title, cells in zip(table.columns, titles, longest, strict=True):
            column.no_wrap = cells >= cell_len(title)
    return table


def _filled(table: Table, titles: list[str], rows: list[list[str]]) -> Table:
    for title in titles:
        table.add_column(title, overflow="fold")  # an abbreviated figure would be a wrong one
    for row in rows:
        table.add_row(*map(Text, row))
    return table
