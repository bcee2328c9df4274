"""What a process does in which a backend is checked: it tries the contract, and tells of each promise at once."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BackendUnavailableError, SymcacheError
from ..registry import Registry
from .check_stores import StoreOptions
from .exits import status_of

LINGER = 1.0
"""Seconds that the threads of a test have to end after it."""

DUMP = signal.SIGUSR1
"""What makes the process write down where each thread is, whatever it is doing."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to try, as it is handed to the process.

    Args:
        backend: Which backend, by its name.
        plugins: Modules that register it, if it is not installed.
        options: What all stores have in common.
        has_path: Whether the option ``path`` tells one store from another.
        folder: An empty folder to work in.
        but: Tests that are left out.
        scale: How much is written, in proportion.
        time_limit: Seconds that each test may take.
        is_first: Whether to find out first whether it can be opened at all.
        empty: Folders whose stores are to be cleared, instead of trying anything.
    """

    backend: str
    plugins: Sequence[str]
    options: Mapping[str, Any]
    has_path: bool
    folder: str
    but: Sequence[str] = ()
    scale: float = 1.0
    time_limit: float = 60.0
    is_first: bool = True
    empty: Sequence[str] = ()

    def options_of(self, folder: Path) -> Mapping[str, Any]:
        """The options of the store of a folder."""
        return StoreOptions(self.options, self.has_path).of(folder)


class Teller:
    """Tells the parent what happens, a line for each thing.

    Args:
        descriptor: Where to.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # a process that is left behind must not keep the parent waiting
        self._descriptor = descriptor

    def tell(self, what: str, **facts: Any) -> None:
        """Tell one thing, whatever else this process prints."""
        line = json.dumps({"what": what, **facts}).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]


def main() -> None:
    """Carry out the order from standard input, telling into the descriptor that the command line names."""
    teller = Teller(int(sys.argv[2]))
    order = Order(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with open(Path(order.folder) / "where", "w", encoding="utf-8") as where:
        faulthandler.enable(where)
        faulthandler.register(DUMP, where)
        if order.empty:
            _empty(order)
        elif not order.is_first or _opens(order, teller):
            _try(order, teller)
    teller.tell("finished")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever threads there are


def _end_with_the_parent() -> None:
    # Not by the buffered stream, whose lock would be held at a fork.
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.killpg(0, signal.SIGKILL)


def _opens(order: Order, teller: Teller) -> bool:
    """Whether the backend opens, and its storage is there; if not, no promise needs to be tried."""
    folder = Path(order.folder) / "opened"
    folder.mkdir()
    teller.tell("uses", folder=str(folder))
    try:
        store = _registry(order).open(order.backend, order.options_of(folder), base_dir=folder, data_dir=folder)
    except SymcacheError as error:
        teller.tell("refused", message=str(error), status=status_of(error))
        return False
    try:
        store.read("key")
        store.close()
    except BackendUnavailableError as error:
        teller.tell("refused", message=str(error), status=status_of(error))
        return False
    except Exception:  # noqa: BLE001, S110  # what is wrong with it, the promises tell
        pass
    return True


def _try(order: Order, teller: Teller) -> None:
    # Not before the backend has been opened, which is the quicker look.
    from ..testing.metering import Written
    from .contract_suite import CaseResult, Trial, Watcher, try_contract

    used, written = set[Path](), Written()

    def options(folder: Path) -> Mapping[str, Any]:
        if folder not in used:
            used.add(folder)
            teller.tell("uses", folder=str(folder))
        return order.options_of(folder)

    class Telling(Watcher):
        def __init__(self) -> None:
            self._threads = set[threading.Thread]()

        def collected(self, cases: Sequence[str]) -> None:
            teller.tell("promises", cases=cases)

        def begins(self, case: str, variant: str) -> None:
            if not self._threads:
                self._threads = set(threading.enumerate())
            teller.tell("begins", case=case, variant=variant)

        def ends(self, result: CaseResult) -> None:
            left = _left_behind(self._threads)
            self._threads = set()
            sys.stdout.flush()
            sys.stderr.flush()
            calls, size = written.take()
            result = replace(result, threads=left)
            facts = {name: getattr(result, name) for name in ("case", "state", "reason", "seconds", "threads")}
            teller.tell("ends", calls=calls, size=size, **facts)

    trial = Trial(
        order.backend,
        order.plugins,
        options,
        Path(order.folder),
        but=order.but,
        scale=order.scale,
        time_limit=order.time_limit,
        written=written,
    )
    try:
        try_contract(trial, Telling(), "-s")
    except RuntimeError as error:
        teller.tell("broken", message=str(error))


def _left_behind(before: set[threading.Thread]) -> list[str]:
    """The threads of a test that has ended which the interpreter would wait for."""
    until = time.monotonic() + LINGER
    while left := [thread for thread in threading.enumerate() if not thread.daemon and thread not in before]:
        if time.monotonic() >= until:
            break
        time.sleep(0.01)
    return [thread.name for thread in left]


def _empty(order: Order) -> None:
    """Leave nothing behind where no temporary folder takes it along."""
    for folder in map(Path, order.empty):
        with suppress(SymcacheError):
            store = _registry(order).open(order.backend, order.options_of(folder), base_dir=folder, data_dir=folder)
            store.clear()
            store.close()


def _registry(order: Order) -> Registry:
    return Registry(tuple(order.plugins))
