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
from .demo_environment import Answer, DemoEnvironment
from .exits import Status
from .load import summary
from .output import Columns, Record, span
from .session import Session

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
        closing(DemoEnvironment(Path(folder), session.output)) as environment,
    ):
        session.output.show(COLUMNS, _checked(session, _steps(environment)))


def _checked(session: Session, steps: Iterator[Record]) -> Iterator[Record]:
    for step in steps:
        yield step
        if not step["as_expected"]:
            session.output.error(f"not as expected: {step['step']}")
            session.end_with(Status.NO)


def _steps(environment: DemoEnvironment) -> Iterator[Record]:
    yield environment.measure("JEPI for the first time", _ask(environment, "JEPI"), Outcome.MISS, ONE_CALL)
    yield environment.measure("JEPI again", _ask(environment, "JEPI"), Outcome.HIT, NO_CALL)
    environment.put_forward(31 * DAY)
    yield environment.measure("JEPI 31 days later", _ask(environment, "JEPI"), Outcome.MISS, ONE_CALL)
    yield environment.measure("GOOG for the first time", _ask(environment, "GOOG"), Outcome.MISS, ONE_CALL)
    yield environment.measure("AAPL for the first time", _ask(environment, "AAPL"), Outcome.MISS, ONE_CALL)
    yield environment.measure("all three kept apart", _ask(environment, "JEPI", "GOOG", "AAPL"), Outcome.HIT, NO_CALL)
    environment.restart()
    yield environment.measure(
        "all three after a restart", _ask(environment, "JEPI", "GOOG", "AAPL"), Outcome.HIT, NO_CALL
    )
    for symbol in ("AAPL", "MSFT"):
        yield from _bars(environment, symbol)


def _ask(environment: DemoEnvironment, *symbols: str) -> Callable[[], Answer]:
    def ask() -> Answer:
        lookups = [environment.manager.validate(symbol) for symbol in symbols]
        told = {_description(lookup) for lookup in lookups if lookup.result.is_valid}
        outcomes = {lookup.outcome for lookup in lookups}
        return Answer(outcomes.pop(), "; ".join(sorted(told)), right=not outcomes and len(told) == len(symbols))

    return ask


def _description(lookup: Lookup) -> str:
    contract = lookup.result.contract_info
    return "" if contract is None else f"{lookup.result.symbol}: {contract.description}"


def _bars(environment: DemoEnvironment, symbol: str) -> Iterator[Record]:
    frames: list[pd.DataFrame] = []

    def load() -> Answer:
        frame = environment.manager.load(symbol, mode="full")
        frames.append(frame)
        bars = summary(frame)
        text = f"{bars['rows']} bars, {bars['first']} to {bars['last']}"
        return Answer(Outcome(bars["outcome"]), text, right=not frame.empty and frame.equals(frames[0]))

    yield environment.measure(f"all daily bars of {symbol}", load, Outcome.MISS, SOME_CALLS)
    yield environment.measure(f"the same bars of {symbol} again", load, Outcome.HIT, NO_CALL)
