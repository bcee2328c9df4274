"""Lets many processes work on one store for a while, and disturbs them: kills, stops, moved folders."""

import os
import random
import shutil
import signal
import time
from contextlib import closing, suppress
from dataclasses import replace
from itertools import cycle

from linearizability import Operation, violations
from system.store_history import History, StoreWorkers, history_of

from symcache_core import SymcacheSettings
from symcache_core.factory import open_backend

KEYS = {"backend": "ib||S{}||", "cache": "S{}"}
BLINDLY = {"update": "write", "delete": "clear"}
"""What does the same, whatever was there."""

SETTLES = 150_000_000
"""Nanoseconds after a deletion within which each process has looked at what is at the path: the json store does so at
least every 0.1 s."""

CHANCES = {"clear": 0.0005, "compact": 0.002}


class Run:
    """Processes at work on one store for a while, and what is done to them meanwhile.

    Args:
        folder: Where the store is, and what the processes write down.
        backend: Which.
        level: ``backend`` or ``cache``.
        processes: How many.
        seconds: How long.
        options: The backend's, besides its path.
        chances: How often a process does what is rare.
        threads: How many each process has.
        trees: Where each process in turn finds the packages; ``None`` is where this one does.
    """

    def __init__(self, folder, backend, level, processes, seconds, *, options=(), chances=(), threads=1, trees=(None,)):
        self.folder, self.backend, self.level = folder, backend, level
        # The more processes are at work on one key, the longer the check takes.
        self.keys = [KEYS[level].format(number) for number in range(max(40, 4 * processes))]
        self.chance = random.Random(1)
        self.workers = [StoreWorkers(folder / f"notes{number}", tree) for number, tree in enumerate(trees)]
        self.kills = self.stops = 0
        self.moves = []
        """Start and end of each move, in nanoseconds, and which store is at the path after it."""
        self.stores = [folder / "store"]
        self._options = dict(options)
        self._processes, self._seconds, self._threads = processes, seconds, threads
        self._chances = {**CHANCES, **dict(chances)}

    def settings(self, folder):
        """Those of a store in a folder."""
        options = {"path": str(folder / "symbols"), **self._options}
        return {"backend": self.backend, "provider": "ib", "backends": {self.backend: options}}

    def start_one(self, workers):
        return workers.start(
            settings=self.settings(self.folder / "store"),
            level=self.level,
            keys=self.keys,
            seed=self.chance.random(),
            threads=self._threads,
            until=self._until,
            chances=self._chances,
        )

    def go(self, *disturbances):
        """Let them work, and disturb them in these ways, by turns; give the history."""
        try:
            self._until = time.monotonic() + self._seconds
            for number in range(self._processes):
                self.start_one(self.workers[number % len(self.workers)])
            for disturb in cycle(disturbances):
                time.sleep(self.chance.uniform(0.01, 0.1))
                if time.monotonic() > self._until:
                    break
                disturb(self)
            for workers in self.workers:
                workers.wait()
        finally:
            for workers in self.workers:
                workers.close()
        history = History()
        for workers in self.workers:
            history_of(workers.notes, history)
        if self.moves:
            history.operations = list(self._located(history.operations))
        history.operations += [look for number in range(len(self.stores)) for look in self._last_look(number, history)]
        return history

    def check(self, history, *, least, failing=False):
        """What must hold of it.

        Args:
            history: What :meth:`go` gave.
            least: How many operations there must be.
            failing: Whether operations may fail, for a store out of reach.
        """
        assert not history.crashed, history.crashed[0]
        died = history.began - history.ended
        assert died <= self.kills, f"{died - self.kills} processes hung or died by themselves; see above where"
        assert history.done > least, f"only {history.done} operations"
        assert failing or not history.failed, history.failed[0]
        found = violations(history.operations, initial=(None,) * len(self.stores))
        assert not found, f"{len(found)} keys; {found[0]}"

    def _located(self, operations):
        """The same, each with the stores that were at the path while it was under way.

        Who only reads may not have noticed the last move: it then still sees what was there before. What was under way
        while a folder was being deleted file by file is not known; for a moment afterwards some of the deleted files
        may still be seen, but what is written counts.
        """
        for operation in operations:
            now, former, begun_in, deleted, settling = 0, 0, set(), False, False
            last = operation.start if operation.end is None else operation.end
            for start, end, store, by_and_by in self.moves:
                if end < operation.start:
                    now, former = store, now
                elif operation.end is None or start <= operation.end:
                    begun_in.add(store)
                deleted |= by_and_by and start <= last and operation.start <= end
                settling |= by_and_by and start <= last and operation.start <= end + SETTLES
            if settling and operation.looks:
                continue
            what = BLINDLY.get(operation.what, operation.what) if settling else operation.what
            stores = begun_in | {now} | ({former} if operation.looks else set())
            end = None if deleted else operation.end
            yield replace(operation, what=what, stores=tuple(sorted(stores)), end=end)

    def _last_look(self, number, history):
        """What someone sees who opens a store afterwards: told as if they had looked once nobody could use it any more.

        The later it is told, the longer the check has to follow what the store may have. One that is gone is told as
        cleared, since nobody sees what it had.
        """
        last = dict.fromkeys(self.keys, 0)
        for each in history.operations:
            if number in each.stores:
                last[each.key] = max(last[each.key], each.end or each.start)
        if self.level != "backend":
            return
        there = {}
        if exists := self.stores[number].exists():
            with closing(open_backend(SymcacheSettings(**self.settings(self.stores[number])))) as backend:
                there = {key: entry.decode().split('"')[3] for key, entry in backend.read_many(self.keys).items()}
        for key, end in last.items():
            moment, what = end + 1, "read" if exists else "clear"
            yield Operation(what, key, moment, moment, result=there.get(key), stores=(number,), who="last look")


def kill(run):
    """Kill one, as ``kill -9`` does, and start another."""
    workers = run.chance.choice(run.workers)
    with suppress(ProcessLookupError):  # it has come to its end
        workers.kill(run.chance.choice(workers.pids))
        run.kills += 1
        run.start_one(workers)


def stop(run, seconds=0.2):
    """Stop one for a while, as Ctrl-Z does, wherever it is."""
    with suppress(ProcessLookupError):
        pid = run.chance.choice(run.chance.choice(run.workers).pids)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(run.chance.uniform(0.0, seconds))
        os.kill(pid, signal.SIGCONT)
        run.stops += 1


def stop_long(run):
    """Stop one for longer than others wait for it."""
    stop(run, 1.5)


def rename(run):
    """Move the folder away; a new store is made in its place."""
    number = len(run.stores)
    aside, start = run.folder / f"aside{number}", time.monotonic_ns()
    try:
        (run.folder / "store").rename(aside)
    except FileNotFoundError:  # nobody has written since the last time
        return
    run.stores[-1] = aside
    run.stores.append(run.folder / "store")
    run.moves.append((start, time.monotonic_ns(), number, False))


def delete(run):
    """Delete the folder file by file; a new store is made in its place."""
    number, start = len(run.stores), time.monotonic_ns()
    shutil.rmtree(run.folder / "store", ignore_errors=True)  # who writes makes new files meanwhile
    run.stores[-1] = run.folder / "gone"
    run.stores.append(run.folder / "store")
    run.moves.append((start, time.monotonic_ns(), number, True))


def swing(run):
    """Have the link to the folder lead to another one, there and back, as a deployment does."""
    first, second = run.folder / "first", run.folder / "second"
    if not run.moves:
        run.stores[:] = [first, second]
    now = run.moves[-1][2] if run.moves else 0
    link, start = run.folder / "next", time.monotonic_ns()
    link.symlink_to((second, first)[now])
    link.rename(run.folder / "store")
    run.moves.append((start, time.monotonic_ns(), 1 - now, False))


def behind_a_link(run):
    """Have the store's folder be a link from the beginning."""
    for name in ("first", "second"):
        (run.folder / name).mkdir()
    (run.folder / "store").symlink_to(run.folder / "first")
    run.stores[:] = [run.folder / "first", run.folder / "second"]
