"""``symcache load``: the bars of symbols, from the bar store and the provider."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from .export import writer
from .options import Symbols
from .output import Columns, Output, Record, span
from .session import Session

if TYPE_CHECKING:
    import pandas as pd

    from ..loading import Progress

Timeframe = Annotated[str, typer.Option("--timeframe", "-t", metavar="TF", help="Length of a bar.")]
Mode = Annotated[
    Literal["tail", "backfill", "full"],
    typer.Option(help="Look for bars after those at hand, before them, or everywhere."),
]
Start = Annotated[str | None, typer.Option(metavar="DATE", help="First date or time (UTC), whatever the mode.")]
End = Annotated[str | None, typer.Option(metavar="DATE", help="Last date or time (UTC), whatever the mode.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the bars here: a .csv or .parquet file.")]

COLUMNS: Columns = {
    "symbol": lambda bars: bars["symbol"],
    "timeframe": lambda bars: bars["timeframe"],
    "bars": lambda bars: bars["rows"],
    "first": lambda bars: bars["first"],
    "last": lambda bars: bars["last"],
    "provider": lambda bars: bars["provider"],
    "lookup": lambda bars: bars["outcome"],
    "took": lambda bars: span(bars["seconds"]),
}


def load(
    session: Session,
    symbols: Symbols,
    timeframe: Timeframe = "1d",
    mode: Mode = "tail",
    start: Start = None,
    end: End = None,
    out: Out = None,
) -> None:
    """Load bars: what is at hand from disk, what is missing from the provider."""
    write = None if out is None else writer(out)
    frames: list[pd.DataFrame] = []

    def load_one(symbol: str) -> Record:
        began = time.perf_counter()
        with _progress(session.output, symbol) as progress:
            frame = manager.load(symbol, timeframe, start, end, mode=mode, progress=progress)
        seconds = time.perf_counter() - began
        frames.append(frame)
        return {**summary(frame), "seconds": round(seconds, 6)}

    with session.open_manager() as manager:
        session.output.show(COLUMNS, session.each(symbols, load_one))
    if write is not None and frames:
        write(frames)


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """What was loaded: how much, from when to when, and where it comes from."""
    names = ("symbol", "timeframe", "provider", "replay", "outcome", "clamped_to")
    return {
        **{name: frame.attrs.get(name) for name in names},
        "rows": len(frame),
        "first": None if frame.empty else _stamp(frame.index[0]),
        "last": None if frame.empty else _stamp(frame.index[-1]),
    }


def _stamp(moment: pd.Timestamp) -> str:
    return moment.date().isoformat() if moment == moment.normalize() else moment.isoformat()


@contextmanager
def _progress(output: Output, symbol: str) -> Iterator[Callable[[Progress], None]]:
    # Not as markup, for which a symbol with brackets would pass.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=output.console, transient=True, disable=not output.animated) as bar:
        task = bar.add_task(symbol, total=None)
        yield lambda progress: bar.update(task, completed=progress.step, total=progress.of, description=progress.what)
