"""``symcache warm``: brings many symbols into the cache before anybody needs them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..errors import ConfigurationError, SymcacheError
from ..registry import Registry
from .exits import Status, status_of
from .extras import needs
from .options import Timeframes
from .output import Output, failure_record, span
from .session import Session
from .watchlist import UNIVERSES, expand, universe

if TYPE_CHECKING:
    from ..lookup.warming import Warming, WarmingSummary

SHOWN_EVERY = 50
"""After how many symbols the progress is shown anew: to draw it takes longer than a lookup."""

COLLECT_AFTER = 50_000
"""After how many new objects garbage is looked for: what is kept is all new, and to go through it again and again takes
a third of this process's CPU time."""

SHOWN_AT_MOST = 5
"""How many invalid symbols people are told of, and how many reasons for failures."""

Lists = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE|SYMBOL]...",
        help="Files with a symbol a line, @FILE for any file, - for standard input, symbols.",
    ),
]
UniverseName = Annotated[
    str | None,
    typer.Option("--universe", metavar="NAME", help=f"A list that comes with symcache: {', '.join(UNIVERSES)}."),
]
Budget = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Ask the provider about at most so many symbols a minute.")
]
Concurrency = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Lookups under way at a time; what suits the provider by default."),
]


def warm(
    session: Session,
    symbols: Lists = None,
    universe_name: UniverseName = None,
    timeframe: Timeframes = None,
    budget: Budget = None,
    concurrency: Concurrency = None,
) -> None:
    """Validate many symbols ahead of need; run it again to go on after an interruption.

    What is in the cache already costs nothing.
    """
    listed = expand(symbols or [], files_by_name=True)
    wanted = listed + (universe(universe_name) if universe_name else [])
    if not wanted:
        raise ConfigurationError("nothing to warm: name a list, symbols, or --universe us")
    with needs("loading"):
        from ..lookup.warming import Warming
    _warn_if_nothing_is_kept(session)
    with session.open_parts() as (cache, provider, runner):
        warming = Warming(cache, provider, timeframes=timeframe or (), concurrency=concurrency, budget=budget)
        with session.reporting(), _collecting_seldom(), _progress(session.output, warming, len(wanted)) as show:
            runner.run(_follow(warming, wanted, show))
        _report(session, warming.summary)


async def _follow(warming: Warming, symbols: list[str], show: Callable[[], None]) -> None:
    async with aclosing(warming.run(symbols)) as results:
        async for _each in results:
            if warming.summary.symbols % SHOWN_EVERY == 0:
                show()
    show()


def _warn_if_nothing_is_kept(session: Session) -> None:
    name = session.settings.backend
    if not Registry(session.settings.plugins).backend(name).persistent:
        session.output.warn(f"the backend {name!r} keeps nothing beyond this command")


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def _progress(output: Output, warming: Warming, total: int) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("warming"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(),
    )
    with output.progress(*columns) as bar:
        task = bar.add_task("", total=total, counts="")

        def show() -> None:
            done = warming.summary
            counts = f"{done.rate:.0f}/s, cached {done.saved}, asked {done.asked}, failed {len(done.failed)}"
            bar.update(task, completed=done.symbols, counts=counts)

        yield show


def _report(session: Session, summary: WarmingSummary) -> None:
    if summary.invalid:
        session.end_with(Status.NO)
    for error in summary.failed.values():
        session.end_with(status_of(error) if isinstance(error, SymcacheError) else Status.UNAVAILABLE)
    session.output.show_one(
        _record(session.settings.provider, summary),
        {
            "symbols": summary.symbols,
            "already cached": summary.saved,
            "asked": summary.asked,
            "valid": summary.valid,
            "invalid": len(summary.invalid),
            "failed": len(summary.failed),
            "calls saved": summary.saved,
            "took": span(summary.seconds),
            "symbols a second": f"{summary.rate:.0f}",
        },
    )
    for symbol, suggested in list(summary.invalid.items())[:SHOWN_AT_MOST]:
        session.output.note(f"{symbol}: invalid" + (f"; did you mean {suggested}?" if suggested else ""))
    if len(summary.invalid) > SHOWN_AT_MOST:
        session.output.note(f"and {len(summary.invalid) - SHOWN_AT_MOST} more invalid symbols: --json has them all")
    for reason, count in Counter(map(str, summary.failed.values())).most_common(SHOWN_AT_MOST):
        session.output.error(f"{count} failed: {reason}")


def _record(provider: str, summary: WarmingSummary) -> dict[str, Any]:
    return {
        "provider": provider,
        "symbols": summary.symbols,
        "calls_saved": summary.saved,
        "asked": summary.asked,
        "valid": summary.valid,
        "invalid": [{"symbol": symbol, "suggested_symbol": near} for symbol, near in summary.invalid.items()],
        "failed": [failure_record(symbol, error) for symbol, error in summary.failed.items()],
        "seconds": round(summary.seconds, 3),
        "symbols_per_second": round(summary.rate, 1),
    }
