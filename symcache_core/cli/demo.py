"""``symcache demo``: what the cache does, live and measured, in a folder that is gone afterwards."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..models import Lookup, Outcome
from .exits import Status
from .load import summary
from .output import Columns, Record, span
from .session import Session
from .stage import Answer, Stage

if TYPE_CHECKING:
    import pandas as pd

NO_CALL, ONE_CALL, SOME_CALLS = range(1), range(1, 2), range(1, sys.maxsize)
DAY = 86400.0

COLUMNS: Columns = {
    "step": lambda step: step["step"],
    "lookup": lambda step: step["outcome"],
    "host calls": lambda step: step["host_calls"],
    "took": lambda step: span(step["seconds"]),
    "answer": lambda step: step["answer"],
    "as expected": lambda step: "yes" if step["as_expected"] else "NO",
}


def demo(session: Session) -> None:
    """Show live what the cache does, with replayed data and a host service and a folder of its own."""
    if session.given:
        raise ConfigurationError("the demo has a configuration of its own: leave out --backend and --config")
    with (
        tempfile.TemporaryDirectory(prefix="symcache-demo-") as folder,
        closing(Stage(Path(folder), session.output)) as stage,
    ):
        session.output.show(COLUMNS, _judged(session, _steps(stage)))


def _judged(session: Session, steps: Iterator[Record]) -> Iterator[Record]:
    for step in steps:
        yield step
        if not step["as_expected"]:
            session.output.error(f"not as expected: {step['step']}")
            session.end_with(Status.NO)


def _steps(stage: Stage) -> Iterator[Record]:
    yield stage.measure("JEPI for the first time", _ask(stage, "JEPI"), Outcome.MISS, ONE_CALL)
    yield stage.measure("JEPI again", _ask(stage, "JEPI"), Outcome.HIT, NO_CALL)
    stage.put_forward(31 * DAY)
    yield stage.measure("JEPI 31 days later", _ask(stage, "JEPI"), Outcome.MISS, ONE_CALL)
    yield stage.measure("GOOG for the first time", _ask(stage, "GOOG"), Outcome.MISS, ONE_CALL)
    yield stage.measure("AAPL for the first time", _ask(stage, "AAPL"), Outcome.MISS, ONE_CALL)
    yield stage.measure("all three kept apart", _ask(stage, "JEPI", "GOOG", "AAPL"), Outcome.HIT, NO_CALL)
    stage.restart()
    yield stage.measure("all three after a restart", _ask(stage, "JEPI", "GOOG", "AAPL"), Outcome.HIT, NO_CALL)
    for symbol in ("AAPL", "MSFT"):
        yield from _bars(stage, symbol)


def _ask(stage: Stage, *symbols: str) -> Callable[[], Answer]:
    def ask() -> Answer:
        lookups = [stage.manager.validate(symbol) for symbol in symbols]
        told = {_description(lookup) for lookup in lookups if lookup.result.is_valid}
        outcomes = {lookup.outcome for lookup in lookups}
        return Answer(outcomes.pop(), "; ".join(sorted(told)), right=not outcomes and len(told) == len(symbols))

    return ask


def _description(lookup: Lookup) -> str:
    contract = lookup.result.contract_info
    return "" if contract is None else f"{lookup.result.symbol}: {contract.description}"


def _bars(stage: Stage, symbol: str) -> Iterator[Record]:
    frames: list[pd.DataFrame] = []

    def load() -> Answer:
        frame = stage.manager.load(symbol, mode="full")
        frames.append(frame)
        bars = summary(frame)
        text = f"{bars['rows']} bars, {bars['first']} to {bars['last']}"
        return Answer(Outcome(bars["outcome"]), text, right=not frame.empty and frame.equals(frames[0]))

    yield stage.measure(f"all daily bars of {symbol}", load, Outcome.MISS, SOME_CALLS)
    yield stage.measure(f"the same bars of {symbol} again", load, Outcome.HIT, NO_CALL)
