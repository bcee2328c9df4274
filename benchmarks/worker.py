"""A process of its own at work on a contender's store: ``python -m benchmarks.worker TASK``, and what starts it.

A task is a JSON object: ``action`` and its arguments. The result is a JSON object on standard output. A worker first
uses an empty store of the same kind, so that imports and first calls are not what is measured.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from .contenders import CONTENDERS, Place
from .entries import bare, make

_ROOT = Path(__file__).parents[1]


def start(action: str, **arguments: Any) -> subprocess.Popen[str]:
    """Start a worker, whose action is one of the functions below."""
    task = json.dumps({"action": action, **arguments})
    command = [sys.executable, "-m", "benchmarks.worker", task]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_until_ready(worker: subprocess.Popen[str]) -> None:
    """Wait until a worker has only to be let go."""
    assert worker.stdout is not None
    worker.stdout.readline()


def let_go(worker: subprocess.Popen[str]) -> None:
    """Let a worker that is ready begin."""
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def finish(worker: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for the result of a worker.

    Raises:
        RuntimeError: It failed; what it said is on standard error.
    """
    output, _ = worker.communicate()
    if worker.returncode:
        raise RuntimeError(f"a worker failed with status {worker.returncode}")
    return dict(json.loads(output))


def open_and_get(name: str, folder: str, number: int) -> dict[str, float]:
    """Seconds until a store is open and has answered its first lookup."""
    entry = bare(number)
    _warm_up(name)
    start = time.perf_counter()
    opened = CONTENDERS[name].open(Place(Path(folder)))
    opened.find(entry)
    seconds = time.perf_counter() - start
    opened.close()
    return {"seconds": seconds}


def touch_all(name: str, folder: str, count: int) -> dict[str, float]:
    """Bytes for each entry that a process grows by while it opens a store and looks each entry up once."""
    entries = [bare(number) for number in range(count)]
    _warm_up(name)
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    opened = CONTENDERS[name].open(Place(Path(folder)))
    for entry in entries:
        opened.find(entry)
    gc.collect()
    after = process.memory_info().rss
    opened.close()
    return {"bytes": (after - before) / count}


def store_some(name: str, folder: str, first: int, count: int, since: float) -> dict[str, float]:
    """Say "ready", store some entries at a word on standard input, and tell when, and how many were refused."""
    entries = list(make(count, since, first))
    _warm_up(name)
    opened = CONTENDERS[name].open(Place(Path(folder)))
    print("ready", flush=True)
    sys.stdin.readline()
    start, refused = time.monotonic(), 0
    for entry in entries:
        try:
            refused += opened.store(entry) is False
        except Exception:
            refused += 1
    end = time.monotonic()
    opened.close()
    return {"start": start, "end": end, "refused": refused}


ACTIONS = {action.__name__: action for action in (open_and_get, touch_all, store_some)}


def _warm_up(name: str) -> None:
    contender, entry = CONTENDERS[name], next(make(1, time.time()))
    with tempfile.TemporaryDirectory() as folder:
        for warmed in (CONTENDERS[contender.filled_by or name], contender):
            opened = warmed.open(Place(Path(folder)))
            opened.store(entry)
            opened.find(entry)
            opened.close()


def _main(task: Mapping[str, Any]) -> None:
    arguments = dict(task)
    print(json.dumps(ACTIONS[arguments.pop("action")](**arguments)))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
