"""``symcache load``: the bars of symbols, from the bar store and the provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .load_output import writer
from .load_progress import LoadProgress
from .options import Symbols
from .output import Columns, Record, span
from .session import Session

if TYPE_CHECKING:
    import pandas as pd

    from ..loading import Loaded

Timeframe = Annotated[
    str,
    typer.Option(
        "--timeframe", "-t", metavar="TF", help="Length of a bar: 1m, 5m, 15m, 30m, 1h, 2h, 3h, 4h, 1d, 1w, 1M."
    ),
]
Mode = Annotated[
    Literal["tail", "backfill", "full", "local"],
    typer.Option(help="Look for bars after those at hand, before them, everywhere, or nowhere: then nobody is asked."),
]
Start = Annotated[str | None, typer.Option(metavar="DATE", help="First date or time (UTC), whatever the mode.")]
End = Annotated[str | None, typer.Option(metavar="DATE", help="Last date or time (UTC), whatever the mode.")]
Concurrency = Annotated[int, typer.Option(metavar="N", min=1, help="How many symbols to load at the same time.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the bars here: a .csv or .parquet file.")]

COLUMNS: Columns = {
    "symbol": lambda bars: bars["symbol"],
    "timeframe": lambda bars: bars["timeframe"],
    "bars": lambda bars: bars["rows"],
    "first": lambda bars: bars["first"],
    "last": lambda bars: bars["last"],
    "provider": lambda bars: bars["provider"],
    "lookup": lambda bars: bars["outcome"],
    "at hand": lambda bars: bars["local"],
    "fetched": lambda bars: bars["fetched"],
    "missing": lambda bars: bars["missing"],
    "took": lambda bars: span(bars["seconds"]),
}


def load(
    session: Session,
    symbols: Symbols,
    timeframe: Timeframe = "1d",
    mode: Mode = "tail",
    start: Start = None,
    end: End = None,
    concurrency: Concurrency = 4,
    out: Out = None,
) -> None:
    """Load bars: what is at hand from disk, what is missing from the provider.

    Several symbols come in the order in which they get done.
    """
    names = list(dict.fromkeys(symbols))
    write = None if out is None else writer(out)
    frames: dict[str, pd.DataFrame] = {}
    records: list[Record] = []

    def each(results: Iterable[Loaded]) -> Iterator[Record]:
        for result in results:
            progress.done(result.symbol)
            with session.reporting(result.symbol):
                if result.bars is None:
                    assert result.error is not None, "there are bars or an error"
                    raise result.error
                if write is not None:
                    frames[result.symbol] = result.bars
                records.append(summary(result.bars))
                yield records[-1]

    with session.open_manager() as manager, LoadProgress(session.output, len(names)) as progress:
        results = manager.load_each(names, timeframe, start, end, mode=mode, concurrency=concurrency, progress=progress)
        with closing(results):
            session.output.show(COLUMNS, each(results))
    if len(names) > 1:
        session.output.note(_in_all(records, len(names)))
    if write is not None and frames:
        write([frames[name] for name in names if name in frames])


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """What was loaded: how much, from when to when, and where it comes from."""
    from ..loading import LoadReport

    return {
        **asdict(LoadReport.of(frame)),
        "rows": len(frame),
        "first": None if frame.empty else _stamp(frame.index[0]),
        "last": None if frame.empty else _stamp(frame.index[-1]),
    }


def _in_all(records: list[Record], symbols: int) -> str:
    local = sum(not record["requests"] for record in records)
    requests = sum(record["requests"] for record in records)
    failed = f", {symbols - len(records)} failed" if len(records) < symbols else ""
    loaded = f"{len(records)} of {symbols} symbols loaded, {local} of them from disk alone"
    return f"{loaded}{failed}; {requests} requests for bars"


def _stamp(moment: pd.Timestamp) -> str:
    return moment.date().isoformat() if moment == moment.normalize() else moment.isoformat()
