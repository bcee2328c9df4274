"""Starts processes of :mod:`storing_child`, disturbs them, and makes a history of what they have written down."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from linearizability import Operation
from patience import PATIENCE

CHILD = Path(__file__).with_name("storing_child.py")


class StoreWorkers:
    """Processes that work on a store, quick to begin as they are forked from one that has imported everything.

    Args:
        notes: The folder of what they write down.
        tree: Where to find the packages, if not where this process does.
    """

    def __init__(self, notes, tree=None):
        self.notes = notes
        self.notes.mkdir(exist_ok=True)
        path = [str(tree)] if tree else [entry for entry in sys.path if entry]
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "ignore", CHILD],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.found_at = self._answer()["from"]
        self.pids = []

    def start(self, **order):
        """Have one begin, and give its process id."""
        self._parent.stdin.write(json.dumps({"notes": str(self.notes), **order}) + "\n")
        self._parent.stdin.flush()
        self.pids.append(self._answer())
        return self.pids[-1]

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        self.pids.remove(pid)

    def wait(self):
        """Wait until all have ended, forked ones included."""
        deadline = time.monotonic() + PATIENCE
        while alive := [pid for pid in processes_of(self.notes) if is_alive(pid)]:
            assert time.monotonic() < deadline, f"processes {alive} hang"
            time.sleep(0.02)

    def close(self):
        """End those that are left."""
        with suppress(ProcessLookupError):
            os.killpg(self._parent.pid, signal.SIGKILL)
        with self._parent:
            pass

    def _answer(self):
        line = self._parent.stdout.readline()
        assert line, "the process that forks the others has ended"
        return json.loads(line)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def processes_of(notes):
    """The process ids of all that have begun."""
    for path in notes.glob("*.jsonl"):
        with path.open() as notes_of_one:
            first = notes_of_one.readline().strip()
        if first.endswith("]"):
            yield json.loads(first)[1]


class Failure(NamedTuple):
    """Something that was reported to have failed: the notes of whom, what it was, and what the error said."""

    who: str
    what: str
    why: str


@dataclass
class History:
    """What all processes saw.

    ``slowest`` is the longest that anything took, in seconds; ``began`` and ``ended`` count processes.
    """

    operations: list[Operation] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    began: int = 0
    ended: int = 0
    done: int = 0


def history_of(notes, history):
    """Add to a history what the processes in a folder have written down."""
    for path in notes.glob("*.jsonl"):
        _add(history, path)


def _add(history, path):
    under_way = {}
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):  # killed in the middle of it
            break
        match json.loads(line):
            case "doing", (number, what, keys, value, start):
                under_way[number] = what, keys, value, start, path.stem
            case "did", (number, end, result):
                begun = under_way.pop(number)
                history.done += 1
                history.slowest = max(history.slowest, ((end - begun[3]) / 1e9, begun[0]))
                history.operations += _operations(*begun, end, result)
            case "failed", (number, end, why):
                begun = under_way.pop(number)
                history.slowest = max(history.slowest, ((end - begun[3]) / 1e9, begun[0]))
                history.failed.append(Failure(path.stem, begun[0], why))
                history.operations += _operations(*begun, None, None)
            case "crashed", trace:
                history.crashed.append(trace)
            case "began", _:
                history.began += 1
            case "ended", _:
                history.ended += 1
    for begun in under_way.values():
        history.operations += _operations(*begun, None, None)


def _operations(what, keys, value, start, who, end, result):
    """One operation for each key; of one whose end is unknown, those that may have changed something."""
    if what == "keys":
        results, what = [key in (result or ()) for key in keys], "present"
    elif what == "read_many":
        results, what = result or [None] * len(keys), "read"
    else:
        results, what = [result] * len(keys), what.removesuffix("_many")
    for key, each in zip(keys, results, strict=True):
        yield Operation(what, key, start, end, value=value, result=each, who=who)
