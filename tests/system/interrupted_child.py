"""A program whose synchronous calls are interrupted, as by Ctrl-C in a notebook: it catches that, and goes on.

Started as ``python interrupted_child.py ORDER`` it makes calls, each with a timer that interrupts it at a random moment
of its course, and after each interrupt looks for what must not be: a lock or a transaction that is left, an entry that
is lost, a file of the program's own that has changed. What it finds goes to standard output, as one line of JSON.

With ``"neighbour": true`` it works beside such a program until standard input closes, and tells how long it waited.
"""

import faulthandler
import fcntl
import gc
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path

from pydantic_core import PydanticSerializationError
from system.storing_child import STORES

from symcache_core import SymcacheSettings

PATIENCE = 10.0
"""Seconds that a lock may be another's; a call that takes thrice as long ends the program."""

PRECIOUS = b"date,amount\n2024-01-01,100\n" * 40
DESCRIPTORS = 6
"""How many files of its own the program opens after an interrupt: more than a store has open."""


class Interruptions:
    """Raises KeyboardInterrupt in a call at a random moment of its course, from a signal."""

    def __init__(self, chance):
        self._chance = chance
        self._armed = False
        self._usual = {}
        signal.signal(signal.SIGALRM, self._handle)

    def during(self, what, act):
        """Make a call; gives whether it was interrupted, and what it gave or where it was."""
        usual, began = self._usual.get(what, 1e-3), time.perf_counter()
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, max(self._chance.uniform(0.0, 1.1 * usual), 1e-6))
            result = act()
            self._armed = False
        except KeyboardInterrupt:
            return True, traceback.format_exc()
        except PydanticSerializationError as error:
            # A serializer in Python that is interrupted is an error of pydantic's.
            if "KeyboardInterrupt" not in str(error):
                raise
            return True, traceback.format_exc()
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        self._usual[what] = 0.9 * usual + 0.1 * (time.perf_counter() - began)
        return False, result

    def _handle(self, *_signal):
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt


class Program:
    """What a user's program does with a store, and what it knows of it.

    Args:
        order: ``settings`` and ``level`` of the store, ``path`` of it, ``seed``, ``moments``, and ``own``: the folder
            of the program's own files.
    """

    def __init__(self, order):
        self._order = order
        self._settings = SymcacheSettings(**order["settings"])
        self._chance = random.Random(order["seed"])
        prefix, suffix = ("ib||", "||") if order["level"] == "backend" else ("", "")
        self._keys = [f"{prefix}{order['name']}{number}{suffix}" for number in range(12)]
        # What each key may have: one value, or several after an interrupted call.
        self._known = {key: {None} for key in self._keys}
        self._values = (str(number) for number in count(order["first"]))
        self._store = self._opened()
        self.problems, self.where, self.interrupts = [], Counter(), 0

    def run(self):
        """Make calls until so many were interrupted; gives what was found."""
        interruptions = Interruptions(self._chance)
        self._look("nothing")
        before = descriptors()
        while self.interrupts < self._order["moments"] and not self.problems:
            what, act, may_be = self._some_call()
            hit, told = interruptions.during(what, act)
            if hit:
                self.interrupts += 1
                self.where[what] += 1
                for key, value in may_be.items():
                    self._known[key] = self._known[key] | {value}
                if what == "reopen":
                    self._reopen()  # a store that was being closed, or opened, is closed for good and opened anew
                self._check(f"{what}, interrupted at\n{told}")
            else:
                self._known.update({key: {value} for key, value in may_be.items()})
        gc.collect()  # what was interrupted while it was opened may be part of a circle
        lost = descriptors() - before
        self._store.close()
        return {
            "interrupts": self.interrupts,
            "where": self.where,
            "problems": self.problems,
            "descriptors": lost,
            "known": {key: sorted(values, key=str) for key, values in self._known.items()},
        }

    def work_beside(self):
        """Work until standard input closes; gives how long the slowest call took, in seconds."""
        over = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
        slowest, calls = (0.0, ""), 0
        while not over.is_set():
            what, act, _ = self._some_call()
            began = time.perf_counter()
            act()
            slowest, calls = max(slowest, (time.perf_counter() - began, what)), calls + 1
            time.sleep(0.001)
        self._store.close()
        return {"slowest": slowest, "calls": calls}

    def _opened(self):
        return STORES[self._order["level"]](self._settings)

    def _reopen(self):
        self._store.close()
        self._store = self._opened()

    def _some_call(self):
        """A call, by name, and what each key that it changes may have afterwards."""
        store, key, value = self._store, self._chance.choice(self._keys), next(self._values)
        few = self._chance.sample(self._keys, 3)
        calls = {
            "write": (lambda: store.write(key, value), {key: value}),
            "read": (lambda: store.read(key), {}),
            "delete": (lambda: store.delete(key), {key: None}),
            "read_many": (lambda: store.read_many(few), {}),
            "write_many": (lambda: store.write_many(few, value), dict.fromkeys(few, value)),
            "keys": (store.keys, {}),
        }
        rare = {"clear": (store.clear, dict.fromkeys(self._keys)), "compact": (store.compact, {})}
        rare["reopen"] = self._reopen, {}
        if hasattr(store, "update"):
            calls["update"] = lambda: store.update(key, value), {key: value}
        if self._order.get("neighbour"):
            rare = {"compact": (store.compact, {})}  # a clear would take away what the program knows
        chosen = rare if self._chance.random() < (0.05 if self._order.get("neighbour") else 0.25) else calls
        what = self._chance.choice(list(chosen))
        return what, *chosen[what]

    def _check(self, after):
        """What must hold after an interrupt, whatever it hit."""
        if why := lock_held(Path(self._order["path"])):
            self.problems.append(f"{why} after {after}")
            return
        own = Path(self._order["own"])
        own.write_bytes(PRECIOUS)
        # They get the numbers of descriptors that the store may have closed and still use.
        files = [own.open("r+b", buffering=0) for _ in range(DESCRIPTORS)]
        try:
            self._look(after)
        finally:
            for file in files:
                file.close()
        if own.read_bytes() != PRECIOUS:
            self.problems.append(f"a foreign file was changed after {after}")

    def _look(self, after):
        key, value = self._chance.choice(self._keys), next(self._values)
        try:
            self._store.write(key, value)
            self._known[key] = {value}
            seen = dict(zip(self._keys, self._store.read_many(self._keys), strict=True))
        except Exception:
            self.problems.append(f"{traceback.format_exc()}\nafter {after}")
            return
        for key, value in seen.items():
            if value not in self._known[key]:
                self.problems.append(f"{key} has {value!r}, not {self._known[key]}, after {after}")
            self._known[key] = {value}


def lock_held(path):
    """Whether the lock of a store, or its database, stays taken: a text that says which."""
    lock = path / "symcache.lock" if path.is_dir() else path.with_name(f"{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    return f"the lock is held by {holders(descriptor)}, this process is {os.getpid()},"
                time.sleep(0.0005)
    finally:
        os.close(descriptor)
    if path.is_dir():
        with closing(sqlite3.connect(path / "cache.db", timeout=PATIENCE, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                return f"the database is not free ({error})"
            database.execute("ROLLBACK")
    return None


def holders(descriptor):
    """The processes that hold the lock of an open file, as the system knows them."""
    inode = os.fstat(descriptor).st_ino
    lines = Path("/proc/locks").read_text().splitlines() if Path("/proc/locks").exists() else []
    return [fields[4] for line in lines if (fields := line.split())[1] == "FLOCK" and fields[5].endswith(f":{inode}")]


def descriptors():
    """How many descriptors this process has."""
    return len(os.listdir("/dev/fd"))


def main():
    order = json.loads(sys.argv[1])
    faulthandler.dump_traceback_later(order["patience"], exit=True)
    program = Program(order)
    if order.get("neighbour"):
        print("ready", flush=True)
    print(json.dumps(program.work_beside() if order.get("neighbour") else program.run()), flush=True)


if __name__ == "__main__":
    main()
