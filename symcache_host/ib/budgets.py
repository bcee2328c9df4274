"""What is used up of each limit, and when it comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container
from heapq import heappop, heappush

from .limits import Budget, Takes


class Budgets:
    """Counts exactly, at any moment: what comes back does so by a timer of its own.

    Args:
        on_return: Called whenever something has come back.
    """

    def __init__(self, on_return: Callable[[], object]) -> None:
        self._on_return = on_return
        self._used: Counter[Budget] = Counter()
        self._returns: dict[Budget, list[float]] = {}

    def left(self, budget: Budget) -> int:
        """How much is left of one."""
        rule, _ = budget
        return rule.most - self._used[budget]

    @property
    def used(self) -> dict[Budget, int]:
        """What is used of each, where that is anything."""
        return dict(self._used)

    def lacking(self, wanted: Takes, reserved: Container[Budget]) -> Budget | None:
        """The first of some budgets, if any, that has nothing left, or nothing to take."""
        for budget, _ in wanted:
            if budget in reserved or self.left(budget) < 1:
                return budget
        return None

    def take(self, budget: Budget, count: int) -> None:
        """Take something, whether it is there or not."""
        self._used[budget] += count

    def give_back(self, budget: Budget, count: int, after: float) -> None:
        """Give something back after so many seconds."""
        if after <= 0:
            self._return(budget, count)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + after
        heappush(self._returns.setdefault(budget, []), when)
        loop.call_at(when, self._return_later, budget, count)

    def next_return(self, budget: Budget) -> float:
        """Seconds until some of it comes back, as far as that is known; none if it is not."""
        returns = self._returns.get(budget)
        return returns[0] - asyncio.get_running_loop().time() if returns else 0.0

    def _return_later(self, budget: Budget, count: int) -> None:
        heappop(self._returns[budget])  # timers end in the order of their times
        if not self._returns[budget]:
            del self._returns[budget]
        self._return(budget, count)

    def _return(self, budget: Budget, count: int) -> None:
        self._used[budget] -= count
        if not self._used[budget]:
            del self._used[budget]
        self._on_return()
