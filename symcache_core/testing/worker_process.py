"""Processes beside this one that work on the same store, for what only shows between processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

TIMEOUT = 60.0
"""Seconds after which a worker that does not answer is taken for hung, and killed."""

# The child finds modules where its parent does, a test's own folder included.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from symcache_core.testing.child import main
main()
"""


class WorkerProcess:
    """One process; see :class:`.child.Worker` for the orders that it takes.

    Args:
        environment: Variables that it has besides those of this process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-c", _START, json.dumps(sys.path)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._pending = 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def is_idle(self) -> bool:
        """Whether it would carry out an order at once."""
        return self.alive and not self._pending

    def begin(self, order: str, **arguments: Any) -> None:
        """Give an order and go on; :meth:`outcome` waits for what comes of it. Orders are carried out in turn."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._process.stdin.flush()
        self._pending += 1

    def outcome(self) -> Any:
        """What came of the first order that was begun and not yet waited for.

        Raises:
            AssertionError: It raised, or there was no answer in time.
        """
        with self._bounded():
            for what, value in self._lines():
                if what == "gave":
                    self._pending -= 1
                    return value
                assert what == "done", f"another process, at work on the same store, raised {value}"
        raise AssertionError(f"another process, at work on the same store, {self._end()}")

    def ask(self, order: str, **arguments: Any) -> Any:
        """Give an order and wait for what comes of it."""
        self.begin(order, **arguments)
        return self.outcome()

    def acknowledged(self) -> str:
        """The next thing that an order under way has done."""
        with self._bounded():
            what, value = next(self._lines(), ("ended", "its process ended"))
        assert what == "done", f"another process, at work on the same store: {value}"
        return str(value)

    def rest(self) -> None:
        """Let go of everything; what a test has left undone must not reach the next one."""
        if self._pending:
            self.close()
        elif self.alive:
            self.ask("release")
            self.ask("close")

    def pause(self) -> None:
        """Stop the process where it is, as ``kill -STOP`` does."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped process go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self, after: float = 0.0) -> list[str]:
        """End the process in the midst of an order, as ``kill -9`` does.

        Args:
            after: Seconds that it goes on for.

        Returns:
            What it had done and nobody has heard yet.
        """
        timer = threading.Timer(after, self._process.kill)
        timer.start()
        last = [str(value) for what, value in self._lines() if what == "done"]
        timer.join()
        self.close()
        return last

    def close(self) -> None:
        """End the process, if it still runs."""
        self._process.kill()
        with suppress(BrokenPipeError), self._process:  # an order that it no longer took
            pass

    def _lines(self) -> Iterator[tuple[str, Any]]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # a killed process may have been in the middle of one
                what, value = json.loads(line)
                yield what, value

    def _end(self) -> str:
        """How it ended, in words."""
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return f"was killed, or hung for {TIMEOUT:g} s"
        return (
            f"crashed: it was ended by {signal.Signals(-status).name}" if status < 0 else f"ended by itself: {status}"
        )

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        timer = threading.Timer(TIMEOUT, self._process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class WorkerProcesses:
    """A few workers that serve one test after another, since each takes a while to start."""

    def __init__(self) -> None:
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for worker in self._workers:
            worker.close()

    def pair(self) -> tuple[WorkerProcess, WorkerProcess]:
        """Two that are alive; new ones take the place of those that were killed."""
        self._workers = [worker for worker in self._workers if worker.alive]
        while len(self._workers) < 2:
            self._workers.append(WorkerProcess())
        return self._workers[0], self._workers[1]
