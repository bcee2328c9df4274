"""The progress bars of a load: one for each symbol that is under way, and one for all of them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

from .output import Output, plain

if TYPE_CHECKING:
    from ..loading import Progress as Step


class LoadProgress:
    """Shows the steps of a load on a terminal, and nothing elsewhere; steps may come from any thread.

    Until :meth:`stop` has taken the bars off it, only the output's notes and errors may be written to that terminal.

    Args:
        output: Whose terminal.
        symbols: How many are loaded.
    """

    def __init__(self, output: Output, symbols: int) -> None:
        # Not as markup, for which a symbol with brackets would pass.
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bars = output.progress(*columns, shown=not output.streams_to_terminal)
        self._all = self._bars.add_task("symbols", total=symbols) if symbols > 1 else None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take all bars off the terminal; a second call does nothing."""
        self._bars.stop()

    def __call__(self, step: Step) -> None:
        """Show a step."""
        description = plain(f"{step.symbol} {step.timeframe}: {step.what}")
        if step.symbol not in self._tasks:
            self._tasks[step.symbol] = self._bars.add_task(description)
        total, completed = (step.of, step.step) if step.of else (1, 1)
        self._bars.update(self._tasks[step.symbol], completed=completed, total=total, description=description)

    def done(self, symbol: str) -> None:
        """Take a symbol's bar away, as it is loaded or has failed."""
        task = self._tasks.pop(symbol, None)
        if task is not None:
            self._bars.remove_task(task)
        if self._all is not None:
            self._bars.advance(self._all)
