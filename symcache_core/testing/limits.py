"""Bounds how long a case of a suite takes, without a plug-in of pytest, and tells where it hung."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

AGAIN = 1.0
"""Seconds after which a case that went on in spite of its interruption is interrupted again."""

LAST_RESORT = 15.0
"""Seconds past its time after which a case that no signal reaches takes the process down, lest it hang for ever."""

_SUITES = __name__.rpartition(".")[0]
_CORE = __name__.partition(".")[0]
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail what runs in the block if it takes too long; it is interrupted wherever it waits.

    A call that even a signal does not interrupt ends the process with ``SIGABRT``, of which pytest shows where it was.
    Outside the main thread, where no signal arrives, and below a shorter timer of someone else's, nothing is bounded.

    Args:
        seconds: How long it may take.
    """
    others, interval = signal.getitimer(signal.ITIMER_REAL)
    if threading.current_thread() is not threading.main_thread() or 0 < others <= seconds:
        yield
        return

    def interrupt(_signal: int, frame: FrameType | None) -> None:
        # Whatever is between two cases is pytest's, which takes no exception there.
        if any(map(_is_of_a_suite, _outwards(frame))):
            pytest.fail(f"it has not ended within {seconds:g} s: {where_it_hangs(frame)}", pytrace=False)

    began, before = time.monotonic(), signal.signal(signal.SIGALRM, interrupt)
    last_resort = threading.Timer(seconds + LAST_RESORT, os.kill, (os.getpid(), signal.SIGABRT))
    last_resort.daemon = True
    last_resort.start()
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        last_resort.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if others:
            signal.setitimer(signal.ITIMER_REAL, max(others - (time.monotonic() - began), 0.001), interval)


def where_it_hangs(frame: FrameType | None) -> str:
    """Which calls of the backend have not come back: of the main thread, and of the threads that the case began.

    Args:
        frame: Where the main thread is.
    """
    main = threading.main_thread().ident
    stacks = [frame, *(innermost for thread, innermost in sys._current_frames().items() if thread != main)]  # noqa: SLF001  # nothing else shows other threads
    calls = dict.fromkeys(filter(None, map(_call_of_the_backend, stacks)))
    if calls:
        return (
            f"{' and '.join(list(calls)[:3])} did not come back; bound each wait, and raise BackendUnavailableError; "
            "lower scale where each call is slow"
        )
    return f"it waits in {_place(frame)}" if frame is not None else "nobody can tell where"


def _call_of_the_backend(innermost: FrameType | None) -> str:
    """The call that a case made and is still in, and where that waits; nothing if it is in no backend."""
    called: FrameType | None = None
    for frame in _outwards(innermost):
        if _is_of_a_suite(frame):
            waits = next(filter(_is_foreign, _outwards(innermost)), None)
            return f"{called.f_code.co_qualname} ({_place(waits)})" if called is not None and waits is not None else ""
        if _is_foreign(frame):
            called = frame
    return ""


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_of_a_suite(frame: FrameType) -> bool:
    module = _module(frame)
    return module.startswith(f"{_SUITES}.") and module != __name__


def _is_foreign(frame: FrameType) -> bool:
    """Whether it is neither ours nor Python's own; what is installed lies below the standard library, too."""
    path = frame.f_code.co_filename
    is_standard = path.startswith("<") or (path.startswith(_STANDARD_LIBRARY) and "site-packages" not in path)
    return not is_standard and _module(frame).partition(".")[0] not in (_CORE, "_pytest", "pytest", "pluggy")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _place(frame: FrameType | None) -> str:
    return "" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
