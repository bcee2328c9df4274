"""``symcache series``: which series of bars are kept, and the end of one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from ..errors import ConfigurationError
from ..symbols import Instrument
from .exits import Status
from .output import Columns, Record
from .session import Session

if TYPE_CHECKING:
    from ..loading.bars.listing import KeptSeries
    from ..loading.bars.names import Bearing

What = Annotated[
    list[str] | None,
    typer.Argument(metavar="SYMBOL|drop ID", help="Only the series that have borne this symbol; or which to drop."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With drop: remove it, and do not only say what would go.")]

COLUMNS: Columns = {
    "series": lambda kept: kept["series"],
    "timeframe": lambda kept: kept["timeframe"],
    "basis": lambda kept: " ".join([kept["basis"], *map(str, (kept["told"] or {}).values())]),
    "names": lambda kept: ", ".join(f"{name['name']} since {name['since'][:10]}" for name in kept["names"]),
    "bars": lambda kept: kept["bars"],
    "first": lambda kept: _short(kept["first"]),
    "last": lambda kept: _short(kept["last"]),
    "size": lambda kept: decimal(kept["size"]),
    "compared": lambda kept: (kept["compared"] or "")[:10],
    "state": lambda kept: kept["state"],
}


def series(session: Session, what: What = None, yes: Yes = False) -> None:
    """List the series of bars that are kept, or drop one; nobody is asked.

    A series is the bars of one instrument, whatever symbols it has borne.
    One with #1, #2, ... at its end is a generation that was replaced when the
    provider had adjusted its prices, one with #0 what 0.1.0 kept.

    drop ID removes all of a series, or one generation of it. Without --yes it
    only says what would go.
    """
    match what or []:
        case ["drop", series_id]:
            _drop(session, series_id, yes=yes)
        case ["drop", *_]:
            raise ConfigurationError("drop takes the id of one series, as `symcache series` shows it")
        case _ if yes:
            raise ConfigurationError("--yes is for `symcache series drop ID`")
        case []:
            _list(session, None)
        case [symbol]:
            _list(session, symbol)
        case _:
            raise ConfigurationError("name one symbol, or say drop and the id of a series")


def _list(session: Session, symbol: str | None) -> None:
    with session.open_manager() as manager:
        kept = manager.series(symbol)
    if symbol is not None and not kept:
        session.output.note(f"{Instrument.parse(symbol)}: no bars are kept")
        session.end_with(Status.NO)
    session.output.show(COLUMNS, map(_record, kept), if_any=("compared", "state"))


def _drop(session: Session, series_id: str, *, yes: bool) -> None:
    with session.open_manager() as manager:
        kept = manager.drop_series(series_id, dry_run=not yes)
    if not kept:
        session.output.note(f"{series_id}: no bars are kept; `symcache series` lists what is")
        session.end_with(Status.NO)
        return
    records = [{**_record(each), "dropped": yes} for each in kept]
    session.output.show(COLUMNS, records, if_any=("compared", "state"))
    amount = f"{sum(each.bars for each in kept)} bars, {decimal(sum(each.size for each in kept))}"
    session.output.note(f"dropped: {amount}" if yes else f"nothing is dropped; with --yes this goes: {amount}")


def _record(kept: KeptSeries) -> Record:
    state = kept.state
    return {
        "series": kept.series,
        "timeframe": kept.timeframe,
        "basis": kept.basis,
        "told": None if state is None or state.basis is None else dict(state.basis),
        "names": [_name(bearing) for bearing in kept.names],
        "bars": kept.bars,
        "first": _iso(kept.first),
        "last": _iso(kept.last),
        "size": kept.size,
        "compared": None if state is None else _iso(state.compared),
        "state": _state(kept),
        "folder": str(kept.folder),
    }


def _name(bearing: Bearing) -> dict[str, Any]:
    return {
        "name": bearing.name,
        "since": bearing.first.isoformat(),
        "last": bearing.last.isoformat(),
        "aside": bearing.aside,
        "bound": bearing.bound,
    }


def _state(kept: KeptSeries) -> str:
    if kept.state is None:
        return "kept by 0.1.0" if kept.series.endswith("#0") else "replaced"
    words = [
        f"renewing since {kept.state.renewing.at:%Y-%m-%d}" if kept.state.renewing else "",
        f"unstable since {kept.state.unstable:%Y-%m-%d}" if kept.state.unstable else "",
        *(f"part of {bearing.bound}" for bearing in kept.names if bearing.bound),
    ]
    return ", ".join(filter(None, words))


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _short(stamp: str | None) -> str:
    return (stamp or "").removesuffix("T00:00:00+00:00")
