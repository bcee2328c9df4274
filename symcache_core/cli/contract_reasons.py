"""Says in one line why a test of the contract failed: what the backend's author did wrong, and where."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ..errors import SymcacheError

_CORE = __name__.partition(".")[0]
_SUITES = f"{_CORE}.testing."


def reason_of(caught: pytest.ExceptionInfo[BaseException] | None) -> str:
    """Why a test ended early: the words of its own that it ended with, or what was raised, and by which call."""
    if caught is None:
        return ""
    error = caught.value
    if isinstance(error, AssertionError | pytest.fail.Exception | pytest.skip.Exception):
        words = _first_line(error)
        return _what_does_not_hold(caught) if words.startswith("assert ") else words or "it failed without a word"
    called, place = _origin(caught)
    raised = f"{type(error).__name__}: {_first_line(error)}"
    if called is None:
        return f"what the backend gave raised {raised}, as the test used it ({place})"
    if isinstance(error, SymcacheError):
        return f"{called} raised {raised} ({place})"
    return f"{called} raised {raised} ({place}): only errors of symcache_core.errors may come out"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _what_does_not_hold(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """The condition of an assert that has no words, which an author can look up."""
    entry: Any = caught.traceback[-1]
    condition = " ".join(str(entry.statement).split()).removeprefix("assert ")
    return f"it does not hold that {condition} ({_place(entry)})"


def _origin(caught: pytest.ExceptionInfo[BaseException]) -> tuple[str | None, str]:
    """Which call of the backend raised, if it was one, and where."""
    entries: list[Any] = list(caught.traceback)
    own = [number for number, entry in enumerate(entries) if _module(entry).startswith(_SUITES)]
    beyond = [entry for entry in entries[own[-1] + 1 if own else 0 :] if _module(entry).partition(".")[0] != _CORE]
    if not beyond:
        return None, _place(entries[own[-1]] if own else entries[-1])
    return beyond[0].frame.code.raw.co_qualname, _place(beyond[-1])


def _module(entry: Any) -> str:
    return str(entry.frame.f_globals.get("__name__", ""))


def _place(entry: Any) -> str:
    return f"{os.path.basename(str(entry.path))}:{entry.lineno + 1}"
