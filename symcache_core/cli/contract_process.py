"""Tries the contract on a backend in a process of its own, and goes on in a new one when that one ends or hangs."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contract_child import DUMP, Order
from .contract_suite import FAILED, SKIPPED, CaseResult

START_LIMIT = 60.0
"""Seconds that a process may take until it tries the first promise."""

GRACE = 5.0
"""Seconds past its time after which a promise that cannot be interrupted is taken for hung."""

EMPTYING = 10.0
"""Seconds that clearing the stores may take in the end."""

EMPTYING_INTERRUPTED = 2.0
"""Seconds that it may take after an interrupt."""

_LOOK = 0.2
_PRINTED = 2_000
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")

# The child finds modules where its parent does.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from symcache_core.cli.contract_child import main
main()
"""


@dataclass(frozen=True, slots=True)
class Promises:
    """Which tests will be tried."""

    cases: list[str]


@dataclass(frozen=True, slots=True)
class Begun:
    """A test is being tried."""

    case: str


Event = Promises | Begun | CaseResult


class RefusedError(Exception):
    """The backend does not open; there is nothing to try.

    Args:
        message: What to show.
        status: The exit status that this leads to.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class ContractProcess:
    """One check of one backend.

    Args:
        order: What to try; its folder is where all of it happens.
        time_limit: Seconds for all promises.

    Attributes:
        calls: How many entries were written, as far as it is known.
        size: How many bytes they had.
        is_over: Whether the time was not enough.
    """

    order: Order
    time_limit: float
    calls: int = 0
    size: int = 0
    is_over: bool = False
    _cases: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)
    _used: list[str] = field(default_factory=list)
    _children: int = 0
    _current: str = ""

    def run(self) -> Generator[Event, None, None]:
        """Try each promise, and tell of it as soon as it is known.

        Raises:
            RefusedError: The backend cannot be opened.
            RuntimeError: The contract could not be run; the message says what the process said.
        """
        until = time.monotonic() + self.time_limit
        is_interrupted = True
        try:
            while not self._done or self._rest():
                progress = len(self._done)
                yield from self._run_one(until)
                if len(self._done) == progress:
                    raise RuntimeError("the process that tries the contract ends without trying anything")
            is_interrupted = False
        except Exception:
            is_interrupted = False
            raise
        finally:
            self._empty(EMPTYING_INTERRUPTED if is_interrupted else EMPTYING)

    def _rest(self) -> list[str]:
        return [case for case in self._cases if case not in self._done]

    def _run_one(self, until: float) -> Iterator[Event]:
        """Try what is left in one process, as far as it comes."""
        self._current, patience = "", START_LIMIT
        with self._child(but=[*self.order.but, *sorted(self._done)], is_first=not self._children) as child:
            while (told := child.next(min(until, time.monotonic() + patience))) is not None:
                if told["what"] == "finished":
                    return
                yield from self._hear(told, child)
                patience = self.order.time_limit + GRACE if self._current else START_LIMIT
            self.is_over = time.monotonic() >= until
            reason = child.end()
            printed = child.printed()
        if not self._cases:
            if self.is_over:
                reason = f"{self.time_limit:g} s for all are over"
            elif printed:
                reason = f"{reason}; the last that it said: {printed.splitlines()[-1]}"
            raise RefusedError(f"a first look at backend {self.order.backend!r}: {reason}", 1)
        if self.is_over:
            yield from self._not_tried()
        elif self._current:
            yield self._ended(CaseResult(self._current, FAILED, reason, printed=printed))

    def _hear(self, told: Mapping[str, Any], child: _Child) -> Iterator[Event]:
        """What a thing that a process tells means."""
        match told:
            case {"what": "uses", "folder": folder}:
                self._used.append(folder)
            case {"what": "refused", "message": message, "status": status}:
                raise RefusedError(message, status)
            case {"what": "broken", "message": message}:
                raise RuntimeError(message)
            case {"what": "promises", "cases": cases} if not self._cases:
                self._cases = cases
                yield Promises(cases)
            case {"what": "begins", "case": case} if case != self._current:
                self._current = case
                yield Begun(case)
            case {"what": "ends", "calls": calls, "size": size, **facts}:
                self.calls, self.size, self._current = self.calls + calls, self.size + size, ""
                yield self._ended(CaseResult(**facts, printed=child.printed()))

    def _ended(self, result: CaseResult) -> CaseResult:
        self._done.add(result.case)
        return result

    def _not_tried(self) -> Iterator[CaseResult]:
        for case in self._rest():
            yield self._ended(
                CaseResult(case, SKIPPED, f"not tried to its end: {self.time_limit:g} s for all are over")
            )

    def _child(self, **changes: Any) -> _Child:
        self._children += 1
        folder = Path(self.order.folder) / str(self._children)
        folder.mkdir()
        return _Child(replace(self.order, folder=str(folder), **changes))

    def _empty(self, seconds: float) -> None:
        if self._used and not self.order.has_path:
            with self._child(empty=self._used) as child:
                while child.next(time.monotonic() + seconds) not in (None, {"what": "finished"}):
                    pass


class _Child:
    """One process, and whatever it starts: none of it outlives the block.

    Args:
        order: What it does.
    """

    def __init__(self, order: Order) -> None:
        self._folder = Path(order.folder)
        self._time_limit = order.time_limit
        printed = self._folder / "printed"
        writing_printed = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._printed = printed.open("rb")
        self._told = b""
        reading, writing = os.pipe()
        self._pipe = reading
        try:
            self._process = subprocess.Popen(  # noqa: S603  # Python itself
                [sys.executable, "-c", _START, json.dumps(sys.path), str(writing)],
                stdin=subprocess.PIPE,
                stdout=writing_printed,
                stderr=writing_printed,
                pass_fds=[writing],
                start_new_session=True,  # so that all of it can be ended at once, and Ctrl-C is ours alone to handle
            )
        finally:
            os.close(writing)
            os.close(writing_printed)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # then it has ended, which shows soon enough
            self._process.stdin.write(json.dumps(asdict(order), default=str).encode() + b"\n")
            self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        with suppress(BrokenPipeError), self._process:
            pass
        os.close(self._pipe)
        self._printed.close()

    def next(self, until: float) -> Mapping[str, Any] | None:
        """The next thing that it tells; nothing if it has ended, or is silent until a moment of the monotonic clock."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while b"\n" not in self._told:
                has_ended = self._process.poll() is not None
                if selector.select(0 if has_ended else min(_LOOK, max(until - time.monotonic(), 0))):
                    more = os.read(self._pipe, 65536)
                    if not more:
                        return None
                    self._told += more
                elif has_ended or time.monotonic() >= until:
                    return None
        line, _, self._told = self._told.partition(b"\n")
        told: Mapping[str, Any] = json.loads(line)
        return told

    def printed(self) -> str:
        """What it has printed since this was last asked."""
        return self._printed.read()[-_PRINTED:].decode(errors="replace").strip()

    def end(self) -> str:
        """End it, and say why it had to be, or how it had ended by itself."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LOOK)
        status = self._process.poll()
        if status is None:
            place = self._where_it_hangs()
            self._kill()
            return (
                f"it hung for more than {self._time_limit:g} s{place}; bound each wait, so that every call comes back"
            )
        place = _place(self._dump())
        if status < 0:
            return f"the process was ended by {signal.Signals(-status).name}{place}; no call may take it down"
        return f"the process ended with status {status}{place}; no call may end it, as os._exit and sys.exit do"

    def _where_it_hangs(self) -> str:
        self._process.send_signal(DUMP)
        for _ in range(20):
            time.sleep(0.05)
            if (dump := self._dump()).endswith("\n"):
                return _place(dump)
        return ""

    def _dump(self) -> str:
        with suppress(OSError):
            return (self._folder / "where").read_text(encoding="utf-8", errors="replace")
        return ""

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # all of it is gone
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _place(dump: str) -> str:
    """In which call of a test a process was, out of what faulthandler writes: the innermost call of a thread first."""
    for thread in dump.split("\n\n"):
        called = ""
        for path, line, name in re.findall(r'^  File "(.*)", line (\d+) in (.*)$', thread, re.MULTILINE):
            if "/symcache_core/testing/" in path:
                if called:
                    return f" in {called}"
                break
            if "/symcache_core/" not in path and not _is_standard(path):
                called = f"{name} ({os.path.basename(path)}:{line})"
    return ""


def _is_standard(path: str) -> bool:
    return path.startswith("<") or (path.startswith(_STANDARD_LIBRARY) and "site-packages" not in path)
