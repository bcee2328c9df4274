"""``symcache import``, ``export`` and ``migrate``: entries on their way, every one accounted for."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from ..errors import ConfigurationError
from ..files import replacing
from ..models import REPLAY
from ..paths import absolute_setting
from ..symbols import key_prefix
from ..transfer import (
    Fate,
    Found,
    LeftOut,
    Report,
    StoredEntries,
    Unreadable,
    copy,
    entries_in,
    export_unversioned,
    open_store,
    store_at,
    write_line,
)
from .exits import Status
from .session import Session

if TYPE_CHECKING:
    from ..protocols import StorageBackend

STDOUT = Path("-")

FATE_NAMES = {
    Fate.COPIED: "copied",
    Fate.MERGED: "put together with the one there",
    Fate.UNCHANGED: "already there",
    Fate.KEPT: "kept the one there",
    Fate.EXPIRED: "expired, left out",
    Fate.UNREADABLE: "unreadable, left out",
    Fate.UNVERIFIED: "not found when read back",
}
"""What each fate is called in a table."""


class ExportForm(StrEnum):
    """How entries are written."""

    LINES = "lines"
    UNVERSIONED = "unversioned"


LEFT_OUT_NAMES = {
    LeftOut.OTHERS: "another provider's",
    LeftOut.QUALIFIED: "qualified",
    LeftOut.UNCONFIRMED: "unconfirmed",
    LeftOut.EXPIRED: "expired",
}
"""What each reason to leave an entry out is called in a table."""

Source = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="An export, a store's file or folder, what an unversioned cache wrote; - for standard input.",
    ),
]
Target = Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - for standard output.")]
From = Annotated[str, typer.Argument(metavar="FROM", help="The backend that has the entries.")]
To = Annotated[str, typer.Argument(metavar="TO", help="The backend to copy them to.")]
FromOption = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="NAME=VALUE", help="An option of FROM, such as path=old.json; repeatable."),
]
ToOption = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="NAME=VALUE", help="An option of TO, such as path=new.json; repeatable."),
]
Whose = Annotated[
    str | None, typer.Option("--provider", metavar="NAME", help="Whose answers an unversioned file holds, if not ib's.")
]
Form = Annotated[
    ExportForm,
    typer.Option("--form", help="lines, which import takes back; or unversioned, as a program's own cache had it."),
]
Only = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Only the answers of this provider.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write no entry; show what would become of each.")]


def import_(session: Session, file: Source, provider: Whose = None, dry_run: DryRun = False) -> None:
    """Bring the entries of a file into the cache.

    FILE is what export wrote, a store of the json or diskcache backend, or
    the file of an unversioned cache: backend_symbol_cache.json, or a host's
    symbol_discovery_cache.json. It stays as it is. An entry that is newer
    in the cache is kept, and a negative never replaces a valid one. Of two
    valid ones the newer gets what only the other knows of timeframes. Expired
    ones are left out. Run it again after an interruption.
    """
    settings = session.settings
    with (
        entries_in(file, settings, provider=provider) as found,
        closing(open_store(settings, settings.backend)) as store,
    ):
        _copy(session, found, store, source=str(file), target=settings.backend, dry_run=dry_run)


def export(session: Session, file: Target = STDOUT, provider: Only = None, form: Form = ExportForm.LINES) -> None:
    """Write every entry of the cache as JSON Lines, which import takes back.

    One line for each: {"symcache": 1, "key": ..., "entry": ...}, sorted by
    key, expired ones included. A file appears under its name when it is
    complete.

    With --form unversioned, write what a program reads that had a cache of
    its own: {"AAPL": {"validation_result": ..., "cached_at": ...,
    "ttl_seconds": ...}}. It cannot say everything; what it would say wrongly
    is left out and counted.
    """
    if file != STDOUT and (backend := store_at(file)) is not None:
        raise ConfigurationError(f"argument 'FILE': {file} is a store of the {backend} backend; name another file")
    if form is ExportForm.UNVERSIONED:
        _export_unversioned(session, file, provider)
        return
    settings = session.settings
    with closing(open_store(settings, settings.backend)) as store, _sink(file) as sink:
        found = StoredEntries(store, provider)
        if any(key.startswith(key_prefix(REPLAY)) for key in found.keys):
            session.output.note_replay()
        exported = unreadable = 0
        for each in _with_progress(session, found, "exporting", shown=file != STDOUT):
            if isinstance(each, Unreadable):
                unreadable += 1
                _warn(session, each.name, each.why)
            else:
                exported += 1
                sink.write(write_line(each))
    figures = {"from": settings.backend, "to": str(file), "exported": exported, "unreadable": unreadable}
    if file == STDOUT:
        session.output.note(f"{exported} entries exported, {unreadable} unreadable")
    else:
        session.output.show_one(figures, figures)


def _export_unversioned(session: Session, file: Path, provider: str | None) -> None:
    if file == STDOUT:
        raise ConfigurationError("argument 'FILE': the unversioned form is one document; name a file for it")
    settings = session.settings
    done = export_unversioned(file, settings, now=time.time(), provider=provider)
    for each in done.unreadable:
        _warn(session, each.name, each.why)
    about = {"from": settings.backend, "to": str(file), "exported": done.exported, "unreadable": len(done.unreadable)}
    left_out = {why.value: done.left_out[why] for why in LeftOut}
    named = {f"left out: {LEFT_OUT_NAMES[why]}": done.left_out[why] for why in LeftOut}
    session.output.show_one({**about, "left_out": left_out}, {**about, **named})


def migrate(
    session: Session,
    source: From,
    target: To,
    source_options: FromOption = None,
    target_options: ToOption = None,
    dry_run: DryRun = False,
) -> None:
    """Copy every entry from one backend to another, byte for byte, and read it back.

    The options of both come from the configuration, or from --from and --to.
    FROM keeps what it has. An entry that is newer in TO is kept, and a negative
    never replaces a valid one. Of two valid ones the newer gets what only the
    other knows of timeframes. Expired ones are left out, and so are counters:
    each store counts its own. Run it again after an interruption.
    """
    settings = session.settings
    from_options, to_options = _options("--from", source_options), _options("--to", target_options)
    if source == target and from_options == to_options:
        raise ConfigurationError("FROM and TO are the same store: name another backend, or say with --to where it is")
    with ExitStack() as opened:
        stores = [
            opened.enter_context(closing(open_store(settings, name, options)))
            for name, options in ((source, from_options), (target, to_options))
        ]
        _copy(session, StoredEntries(stores[0]), stores[1], source=source, target=target, dry_run=dry_run)


def _copy(
    session: Session, found: Collection[Found], store: StorageBackend, *, source: str, target: str, dry_run: bool
) -> None:
    began = time.perf_counter()
    entries = _with_progress(session, found, f"{source} to {target}", shown=True)
    try:
        report = copy(entries, store, policy=session.settings.policy, now=time.time(), dry_run=dry_run)
    except KeyboardInterrupt:
        session.output.note("interrupted: what was copied is whole, and to run this again copies the rest")
        raise
    seconds = round(time.perf_counter() - began, 3)
    for problem in report.problems:
        _warn(session, problem.name, problem.why, worst=problem.fate is Fate.UNVERIFIED)
    about = {"from": source, "to": target, "dry_run": dry_run, "entries": len(found)}
    session.output.show_one(
        {**about, **_record(report), "seconds": seconds}, {**about, **dict(_figures(report)), "seconds": seconds}
    )


def _record(report: Report) -> dict[str, Any]:
    return {
        **{fate.value: report.counts[fate] for fate in Fate},
        "negatives": report.negatives,
        "problems": [{"entry": problem.name, "why": problem.why} for problem in report.problems],
    }


def _figures(report: Report) -> Iterator[tuple[str, object]]:
    for fate, name in FATE_NAMES.items():
        yield name, report.counts[fate]
        if fate is Fate.COPIED:
            yield "negatives among these", report.negatives


def _warn(session: Session, name: str, why: str, *, worst: bool = False) -> None:
    session.output.warn(f"{name}: {why}")
    session.end_with(Status.UNAVAILABLE if worst else Status.NO)


def _with_progress(session: Session, found: Collection[Found], doing: str, *, shown: bool) -> Iterable[Found]:
    """The entries, with a bar that shows how many have been taken."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with session.output.progress(*columns, shown=shown) as bar:
        yield from bar.track(found, total=len(found), description=doing)


def _options(flag: str, given: Iterable[str] | None) -> dict[str, str]:
    return dict(_option(flag, option) for option in given or ())


def _option(flag: str, option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigurationError(f"{flag} takes NAME=VALUE")
    # What is typed is relative to where it is typed, not to the configuration file.
    return name, str(absolute_setting(name, Path(value), Path())) if name == "path" else value


@contextmanager
def _sink(file: Path) -> Iterator[BinaryIO]:
    if file == STDOUT:
        yield sys.stdout.buffer
        return
    try:
        with replacing(file) as opened:
            yield opened
    except OSError as error:
        raise ConfigurationError(f"argument 'FILE': {file} cannot be written: {error.strerror or error}") from None
