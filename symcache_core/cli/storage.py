"""``symcache stats``, ``clear``, ``compact`` and ``backends``: the storage beneath the cache."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

import typer
from rich.filesize import decimal

from ..conformance import capabilities_of
from ..errors import ConfigurationError
from ..factory import open_backend
from ..models import Counters
from ..protocols import CanCompact, CanSize, StorageBackend
from ..registry import PluginReport, Registry
from .check import Extent, check
from .doctor import PROBE_KEY
from .output import Columns, Record, instant
from .session import Session

BACKENDS: Columns = {
    "chosen": lambda line: "*" if line["chosen"] else "",
    "backend": lambda line: line["backend"],
    "keeps": lambda line: {True: "on disk or a server", False: "in memory", None: ""}[line["persistent"]],
    "plug-in": lambda line: line["plugin"],
    "from": lambda line: line["source"],
    "state": lambda line: line["error"] or "ok",
    "can": lambda line: _abilities(line["capabilities"]) if line["backend"] else "",
    "file": lambda line: line["file"],
}


def stats(session: Session) -> None:
    """Show what the cache holds, and how the lookups of every process ended."""
    with session.open_cache() as cache:
        figures = cache.get_stats()
    since = None if figures.since is None else instant(figures.since)
    lines = {
        "backend": figures.backend,
        "provider": figures.provider,
        "storage": (figures.trouble or "out of reach") if figures.degraded else "ok",
        "size": _shown(figures.size),
        "cached symbols": figures.cached_symbols,
        "counted since": since or "nothing counted yet",
        **{name.replace("_", " "): getattr(figures.totals, name) for name in Counters.model_fields},
        "hit ratio": figures.totals.hit_ratio,
    }
    session.output.show_one(figures.model_dump(mode="json"), lines)


def compact(session: Session) -> None:
    """Drop what is expired or superseded from the storage; it may be in use meanwhile."""
    name = session.settings.backend
    with closing(open_backend(session.settings)) as store:
        before, done = _size(store), isinstance(store, CanCompact)
        if isinstance(store, CanCompact):
            with session.output.spinner(f"compacting {name}"):
                store.compact()
        else:
            store.read(PROBE_KEY)  # one that is out of reach is not to pass for one with nothing to do
            session.output.note(f"the backend {name!r} has nothing to compact")
        after = _size(store)
    session.output.show_one(
        {"backend": name, "compacted": done, "before": before, "after": after},
        {"backend": name, "compacted": "yes" if done else "no", "before": _shown(before), "after": _shown(after)},
    )


def _size(store: StorageBackend) -> int | None:
    return store.size() if isinstance(store, CanSize) else None


def _shown(size: int | None) -> str:
    return "" if size is None else decimal(size)


def clear(
    session: Session, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Drop every symbol of the configured provider from the cache."""
    settings = session.settings
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("nobody to ask for confirmation: say --yes")
        typer.confirm(
            f"Drop every symbol of provider {settings.provider!r} from {settings.backend!r}?", abort=True, err=True
        )
    with session.open_cache() as cache:
        dropped = cache.clear()
    session.output.show_one({"dropped": dropped}, {"dropped": dropped})


def backends(
    session: Session,
    checked: Annotated[
        str | None, typer.Option("--check", metavar="NAME", help="Try the contract on this backend instead.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="An option of the stores to try it on; may be repeated."),
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", metavar="FACTOR", help="How much a check writes, in proportion.")
    ] = Extent.scale,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", help="How long a check may take; each promise, a tenth.")
    ] = Extent.time_limit,
) -> None:
    """List the storage backends and the plug-ins they come from, broken ones included; mark the chosen one.

    No storage is opened. What a backend can do besides keeping entries is
    unknown where its plug-in does not say which class it opens.

    With --check, one line for each promise of the contract as it is tried:
    ok, failed or skipped, and why. It is tried in a process of its own; a
    promise that ends or hangs it has failed, and the others are tried all
    the same. The backend works in a temporary folder, or where
    --option says; {store} in a value stands for a name that is new for
    each store.
    """
    if checked is not None:
        check(session, checked, options or [], Extent(scale, time_limit))
        return
    chosen = session.settings.backend
    lines = [line for report in Registry(session.settings.plugins).reports() for line in _lines(report, chosen)]
    session.output.show(BACKENDS, lines)
    if not any(line["chosen"] for line in lines):
        session.output.warn(f"the chosen backend {chosen!r} is none of these, or its plug-in is broken")


def _lines(report: PluginReport, chosen: str) -> Iterator[Record]:
    plugin = {"plugin": report.name, "source": report.source, "error": report.error, "file": report.file}
    for backend in report.backends:
        yield {
            "backend": backend.name,
            "chosen": backend.name == chosen,
            "persistent": backend.persistent,
            "capabilities": capabilities_of(backend),
            **plugin,
        }
    if not report.backends:
        yield {"backend": None, "chosen": False, "persistent": None, "capabilities": None, **plugin}


def _abilities(capabilities: list[str] | None) -> str:
    """Capabilities in words: ``CanSeeOthers`` is "see others"."""
    if capabilities is None:
        return "unknown"
    return ", ".join(re.sub(r"(?<=.)(?=[A-Z])", " ", name.removeprefix("Can")).lower() for name in capabilities)
