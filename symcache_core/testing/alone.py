"""What a process does that has a store to itself, from the import of its backend to the end of the interpreter."""

from __future__ import annotations

import json
import locale
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocols import CanLock, StorageBackend
from ..registry import Registry
from .every_call import every_call

BEGINNING = 60.0
"""Seconds within which a process has used its store, however busy the machine."""

ENDING = 15.0
"""Seconds within which it ends, when there is nothing left to do."""

UMASK = 0o031
"""The umask that it begins with: none that anyone would set, so that another one is seen."""

# What main gives lives as long as the interpreter, as it does in a program that never closes its store.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from symcache_core.testing.alone import main
kept = main(*sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Life:
    """What came of such a process.

    Args:
        status: What it ended with; ``None`` if it did not end.
        printed: What it wrote to its standard output and errors.
        changed: What of its surroundings is no longer as it was; ``None`` if it never came so far as to say.
    """

    status: int | None
    printed: str
    changed: list[str] | None


def live(address: Mapping[str, Any], folder: Path, environment: Mapping[str, str], *, closes: bool) -> Life:
    """Let a process use a store, and end.

    Args:
        address: What it needs to open the store.
        folder: An empty one, for what it has to say.
        environment: Its variables, as they were before anyone opened a store.
        closes: Whether it gives back its lease and closes the store; else it just ends.
    """
    report, said = folder / "report.json", folder / "printed"
    command = [sys.executable, "-c", _START, json.dumps(sys.path), json.dumps(address), str(report)]
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, "close" if closes else ""],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            umask=UMASK,
        )
    deadline = time.monotonic() + BEGINNING
    while not report.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    status: int | None = None
    try:
        status = process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    changed: list[str] | None = json.loads(report.read_text()) if report.exists() else None
    return Life(status, said.read_text(errors="replace"), changed)


def main(address: str, report: str, closes: str) -> object:
    """Open a store, use it in every way, and say what has changed around it."""
    where: dict[str, Any] = json.loads(address)
    before = _surroundings()
    folder = Path(where["folder"])
    store = Registry(where["plugins"]).open(where["backend"], where["options"], base_dir=folder, data_dir=folder)
    lease = _use(store)
    if closes:
        if lease is not None:
            lease.release()
        store.close()
    after = _surroundings()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    unfinished = Path(f"{report}.new")
    unfinished.write_text(json.dumps(changed))
    unfinished.replace(report)
    return store, lease


def _use(store: StorageBackend) -> Any:
    for _what, call in every_call(store):
        call()
    return store.try_lock("held to the end") if isinstance(store, CanLock) else None


def _surroundings() -> dict[str, object]:
    """What a process shares among all that runs in it, by the words of a message."""
    umask = os.umask(0o077)
    os.umask(umask)
    found: dict[str, object] = {
        "the umask": umask,
        "the working directory": os.getcwd(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the time zone": time.tzname,
    }
    # Their values may be secrets; these stay in this process.
    found |= {f"the environment variable {name}": value for name, value in os.environ.items()}
    found |= {f"the handler of {number.name}": signal.getsignal(number) for number in signal.Signals}
    return found
