"""Shows each promise as it is tried: a line that is completed on a terminal, a row or an object elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from .output import Columns, Output, plain

if TYPE_CHECKING:
    from .contract_suite import CaseResult

PROMISES: Columns = {
    "state": lambda line: line["state"],
    "promise": lambda line: line["promise"],
    "why": lambda line: line["reason"],
}

STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}


class CheckProgress:
    """Prints what comes of each promise at once, and what is being tried, where that can be seen.

    On a terminal both are the same lines of standard output: what is tried stands in the last one, until it is done.

    Args:
        output: What the command prints by.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lines = Console(highlight=False) if sys.stdout.isatty() and not output.as_json else None
        # Not as markup, for which a promise with brackets would pass.
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        if self._lines is None:
            self._progress = output.progress(*columns, shown=not output.streams_to_terminal)
        else:
            self._progress = Progress(
                *columns,
                console=self._lines,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                disable=not output.animated,
            )
        self._task = self._progress.add_task("opening the backend", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let something be printed to standard error within the block: nothing moves on the terminal."""
        self._progress.stop()
        yield
        self._progress.start()

    def total(self, promises: int) -> None:
        """So many will be tried."""
        self._progress.update(self._task, total=promises)

    def begins(self, promise: str) -> None:
        """One is being tried."""
        self._progress.update(self._task, description=plain(promise))

    def ends(self, result: CaseResult) -> None:
        """What came of it."""
        if self._lines is None:
            self._output.show(PROMISES, [{"promise": result.promise, **asdict(result)}])
        else:
            told = f"{result.promise}: {result.reason}" if result.reason else result.promise
            state = (f"{result.state:<8}", STYLES[result.state])
            self._lines.print(Text.assemble(state, plain(told)), soft_wrap=True)
        self._progress.advance(self._task)
