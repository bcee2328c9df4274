"""``symcache load``: the bars of symbols, from the bar store and the provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import ConfigurationError
from .load_notes import happened, notes_on
from .load_output import writer
from .load_progress import LoadProgress
from .options import OptionalSymbols
from .output import Columns, Record, span
from .session import Session

if TYPE_CHECKING:
    import pandas as pd

    from ..loading import DataManager, Loaded

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
Hours = Annotated[
    Literal["regular", "extended"] | None,
    typer.Option("--session", help="Which hours' bars to load, in place of those that the provider usually gives."),
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Compare what is at hand with the provider's bars, too.")]
SeriesId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="In place of symbols: a series that is kept, such as ib:265598; nobody is asked."),
]
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
    "missing": lambda bars: "unknown" if bars["missing"] is None else bars["missing"],
    "took": lambda bars: span(bars["seconds"]),
    "without data": lambda bars: bars["without_data"],
    "provisional": lambda bars: bars["provisional"],
    "revised": lambda bars: bars["revised"],
    "bad": lambda bars: bars["bad"],
    "happened": happened,
}
IF_ANY = ("missing", "without data", "provisional", "revised", "bad", "happened")
"""The columns that a table has only if there is something in them."""


def load(
    session: Session,
    symbols: OptionalSymbols = None,
    timeframe: Timeframe = "1d",
    mode: Mode = "tail",
    start: Start = None,
    end: End = None,
    hours: Hours = None,
    refresh: Refresh = False,
    series: SeriesId = None,
    concurrency: Concurrency = 4,
    out: Out = None,
) -> None:
    """Load bars: what is at hand from disk, what is missing from the provider.

    Several symbols come in the order in which they get done.
    """
    names = list(dict.fromkeys(symbols or ()))
    if bool(names) == bool(series):
        raise ConfigurationError("name symbols, or with --series a series that is kept, and not both")
    if series and refresh:
        raise ConfigurationError("--refresh asks the provider, and with --series nobody is asked: name the symbol")
    write = None if out is None else writer(out)
    asked: dict[str, Any] = {"timeframe": timeframe, "start_date": start, "end_date": end, "session": hours}
    with session.open_manager() as manager:
        if series:
            frames = [manager.load(series=series, **asked)]
            _show(session, map(summary, frames))
        else:
            how = {**asked, "mode": mode, "refresh": refresh, "concurrency": concurrency}
            frames = _load_symbols(session, manager, names, how, keep=write is not None)
    if write is not None and frames:
        write(frames)


def _load_symbols(
    session: Session, manager: DataManager, names: list[str], how: dict[str, Any], *, keep: bool
) -> list[pd.DataFrame]:
    """Load symbols and show what came of each; gives the bars, in the order of the names, if they are to be kept."""
    frames: dict[str, pd.DataFrame] = {}
    progress = LoadProgress(session.output, len(names))

    def each(results: Iterable[Loaded]) -> Iterator[Record]:
        for result in results:
            progress.done(result.symbol)
            with session.reporting(result.symbol):
                if result.bars is None:
                    assert result.error is not None, "there are bars or an error"
                    raise result.error
                if keep:
                    frames[result.symbol] = result.bars
                yield summary(result.bars)
        progress.stop()  # before a table goes to the same terminal

    with progress, closing(manager.load_each(names, progress=progress, **how)) as results:
        records = _show(session, each(results))
    if len(names) > 1:
        session.output.note(_in_all(records, len(names)))
    return [frames[name] for name in names if name in frames]


def _show(session: Session, records: Iterable[Record]) -> list[Record]:
    """Show records, and below them what they cannot tell; gives all of them."""
    shown: list[Record] = []

    def noted() -> Iterator[Record]:
        for record in records:
            shown.append(record)
            yield record

    session.output.show(COLUMNS, noted(), IF_ANY)
    for record in shown:
        for note in notes_on(record):
            session.output.note(note)
    return shown


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
