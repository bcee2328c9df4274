"""What ``symcache doctor`` found of one thing, and the status that the command ends with for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SymcacheError
from .exits import Status, status_of


@dataclass(frozen=True, slots=True)
class Check:
    """What came of looking at one thing, and what to do about it."""

    what: str
    state: str
    detail: str
    status: Status = Status.DONE
    advice: str | None = None

    def record(self) -> dict[str, str | None]:
        """As ``--json`` shows it."""
        return {"what": self.what, "state": self.state, "detail": self.detail, "advice": self.advice}


def attempt(what: str, look: Callable[[], str]) -> Check:
    """Look at one thing; an error is what came of it."""
    try:
        return Check(what, "ok", look())
    except SymcacheError as error:
        return failed(what, error)


def failed(what: str, error: SymcacheError) -> Check:
    """What came of looking at something that failed."""
    return Check(what, "fail", str(error), status_of(error))
