"""A call in a thread of its own: it may hang without keeping anybody, and what comes of it is asked for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

IN_TIME = 10.0
"""Seconds within which what is not kept from it has ended, however busy the machine."""


class Aside(Generic[T]):
    """A call under way.

    Args:
        call: Begun at once.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._outcomes: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether it has; waits for that.

        Args:
            within: Seconds to wait at most.
        """
        self._thread.join(within)
        return not self._thread.is_alive()

    def outcome(self, what: str) -> T:
        """What it gave, or raises what it raised.

        Args:
            what: How a message calls it.

        Raises:
            AssertionError: It has not ended in time.
        """
        assert self.has_ended(IN_TIME), f"{what} has not returned within {IN_TIME:g} s: bound each wait"
        if self._error is not None:
            raise self._error
        return self._outcomes[0]

    def _run(self) -> None:
        try:
            self._outcomes.append(self._call())
        except BaseException as error:  # noqa: BLE001  # it goes out where the outcome is asked for
            self._error = error
