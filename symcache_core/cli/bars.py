"""``symcache bars export``: what is kept of bars, for other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..settings import SymcacheSettings
from .exits import Status
from .load import End, Start, Timeframe, summary
from .load_output import writer
from .session import Session

What = Annotated[str, typer.Argument(metavar="ID|SYMBOL", help="A series, as `symcache series` shows it, or a symbol.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Where to: a .csv or .parquet file.")]


def bars(_context: typer.Context) -> None:
    """Take bars that are kept out of the store."""


def export(
    session: Session, what: What, file: File, timeframe: Timeframe = "1d", start: Start = None, end: End = None
) -> None:
    """Write the bars of a series that are kept to a file; nobody is asked.

    A symbol stands for the series that it was last seen to be. The file
    appears under its name when it is complete.
    """
    write = writer(file, named="argument 'FILE'")
    is_series = _is_series(what, session.settings)
    with session.open_manager() as manager:
        frame = manager.load(
            symbol=None if is_series else what,
            series=what if is_series else None,
            timeframe=timeframe,
            start_date=start,
            end_date=end,
            mode="local",
        )
    about = summary(frame)
    if frame.empty:
        session.output.note(f"{what}: no file is written: {about['reason'] or 'there are no bars'}")
        session.end_with(Status.NO)
        return
    write([frame])
    told = ("symbol", "series", "timeframe", "rows", "first", "last")
    figures = {"bars" if name == "rows" else name: about[name] for name in told} | {"file": str(file)}
    session.output.show_one(figures, figures)


def _is_series(what: str, settings: SymcacheSettings) -> bool:
    """Whether a text begins with a provider of bars; a symbol may have a colon, too."""
    provider, colon, _ = what.partition(":")
    is_known = provider == settings.provider or (
        provider.islower() and os.path.isdir(settings.data_dir / "bars" / provider)
    )
    return bool(colon) and is_known
