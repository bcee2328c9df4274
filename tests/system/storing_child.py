"""Forks processes that work on one store, each of which writes down what it does and sees.

Each line of JSON on standard input has one forked; its process id goes to standard output. It works until a moment,
in several threads, and now and then opens the store anew or forks. What it writes down is read by :mod:`store_history`.

It uses nothing that an older version does not have, so that it can be run with one.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import BackendUnavailableError
from symcache_core.registry import Registry

FAR = 4102444800.0
"""A moment to keep an entry until that no test lives to see: the year 2100."""

PATIENCE = 40.0
"""Seconds after its time after which a process that hangs says where, and ends."""

EPOCH = datetime(1900, 1, 1, tzinfo=UTC)


class DirectStore:
    """The backend alone."""

    def __init__(self, settings):
        options = settings.backends[settings.backend]
        folders = {"base_dir": settings.base_dir, "data_dir": settings.data_dir}
        self._backend = Registry().open(settings.backend, options, **folders)
        self.compact = self._backend.compact
        self.clear = self._backend.clear
        self.close = self._backend.close

    def keys(self):
        return list(self._backend.keys())

    def delete(self, key):
        return self._backend.delete(key)

    def read(self, key):
        return _said(self._backend.read(key))

    def read_many(self, keys):
        found = self._backend.read_many(keys)
        return [_said(found.get(key)) for key in keys]

    def write(self, key, value):
        self._backend.write(key, _entry(value), FAR)

    def write_many(self, keys, value):
        self._backend.write_many({key: (_entry(value), FAR) for key in keys})

    def update(self, key, value):
        saw = []

        def change(old):
            saw.append(_said(old))
            return _entry(value), FAR

        self._backend.update(key, change)
        return saw[-1]


class CachedStore:
    """The symbol cache over it, with its near cache: a value is the time of a symbol's first bar."""

    def __init__(self, settings):
        self._cache = open_symbol_cache(settings)
        self.compact = self._cache._backend.compact
        self.clear = self._cache.clear
        self.close = self._cache.close
        self.delete = self._cache.forget

    def keys(self):
        return list(self._cache.symbols())

    def read(self, key):
        found = self._cache.get(key, ("1d",))
        if found is None:
            return None
        head = found.validation_result.head_timestamps["1d"]
        return str(int((datetime.fromisoformat(str(head)) - EPOCH).total_seconds()))

    def read_many(self, keys):
        return [self.read(key) for key in keys]

    def write(self, key, value):
        head = (EPOCH + timedelta(seconds=int(value))).isoformat()
        self._cache.store(key, ValidationResult(is_valid=True, symbol=key, head_timestamps={"1d": head}))

    def write_many(self, keys, value):
        for key in keys:
            self.write(key, value)


STORES = {"backend": DirectStore, "cache": CachedStore}


def _entry(value):
    return json.dumps({"value": value}).encode()


def _said(entry):
    return None if entry is None else json.loads(entry)["value"]


class Worker:
    """One process, and after a fork another one: it works on, in as many threads.

    Args:
        order: ``settings`` and ``level`` of the store, ``keys``, ``seed``, ``threads``, ``until`` (monotonic seconds),
            ``notes`` (the folder), and how often it does what: ``chances``.
    """

    def __init__(self, order):
        self._order = order
        self._settings = SymcacheSettings(**order["settings"])
        self._begin()

    def run(self):
        self._open()
        self._work_aside()
        chances = self._order["chances"]
        while self._has_time():
            self._act()
            what = self._chance.random()
            if what < chances.get("fork", 0):
                # Both go on, and fork again, more and more seldom.
                chances["fork"] /= 2
                if os.fork() == 0:
                    self._begin()
                    self._work_aside()
            elif what > 1 - chances.get("reopen", 0) and self._order["threads"] == 1:
                self._store.close()
                self._open()
        for thread in self._threads:
            thread.join()
        self._store.close()
        self._note("ended", None)

    def _open(self):
        """Open the store, again and again while its folder is being moved."""
        while True:
            start = time.monotonic_ns()
            try:
                self._store = STORES[self._order["level"]](self._settings)
            except BackendUnavailableError as error:
                self._note("doing", [number := next(self._numbers), "open", [], None, start])
                self._note("failed", [number, time.monotonic_ns(), f"{error}"])
                if not self._has_time():
                    raise
            else:
                return

    def _begin(self):
        """Have what belongs to one process alone: its notes, its values, what it does by chance."""
        self._chance = random.Random(f"{self._order['seed']} {os.getpid()}")
        while True:
            number = random.SystemRandom().randrange(1_000_000)
            with suppress(FileExistsError):
                path = Path(self._order["notes"]) / f"{number}.jsonl"
                self._notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
                break
        self._values, self._numbers = count(number * 100_000), count()
        self._note("began", os.getpid())
        signal.alarm(int(max(0.0, self._order["until"] - time.monotonic()) + PATIENCE))

    def _work_aside(self):
        self._threads = [threading.Thread(target=self._act_on, daemon=True) for _ in range(self._order["threads"] - 1)]
        for thread in self._threads:
            thread.start()

    def _act_on(self):
        try:
            while self._has_time():
                self._act()
        except BaseException:
            self._note("crashed", traceback.format_exc())
            os._exit(1)

    def _has_time(self):
        return time.monotonic() < self._order["until"]

    def _act(self):
        chance, keys, chances = self._chance, self._order["keys"], self._order["chances"]
        key, value, what = chance.choice(keys), str(next(self._values)), chance.random()
        few, store = chance.sample(keys, 3), self._store
        if what < 0.34:
            self._do("write", [key], value, lambda: store.write(key, value))
        elif what < 0.70:
            self._do("read", [key], None, lambda: store.read(key))
        elif what < 0.78 and hasattr(store, "update"):
            self._do("update", [key], value, lambda: store.update(key, value))
        elif what < 0.88:
            self._do("delete", [key], None, lambda: store.delete(key))
        elif what < 0.92:
            self._do("read_many", few, None, lambda: store.read_many(few))
        elif what < 0.95:
            self._do("write_many", few, value, lambda: store.write_many(few, value))
        elif what < 0.98:
            several = chance.sample(keys, 10)
            self._do("keys", several, None, lambda: sorted(set(store.keys()) & set(several)))
        elif what < 0.98 + chances.get("clear", 0):
            self._do("clear", keys, None, store.clear)
        elif what < 0.98 + chances.get("clear", 0) + chances.get("compact", 0):
            self._do("compact", [], None, store.compact)

    def _do(self, what, keys, value, act):
        number, start = next(self._numbers), time.monotonic_ns()
        self._note("doing", [number, what, keys, value, start])
        try:
            result = act()
        except BackendUnavailableError as error:
            self._note("failed", [number, time.monotonic_ns(), f"{type(error).__name__}: {error}"])
        else:
            self._note("did", [number, time.monotonic_ns(), result])

    def _note(self, what, content):
        os.write(self._notes, json.dumps([what, content]).encode() + b"\n")


def work(order):
    worker = Worker(order)
    try:
        worker.run()
    except BaseException:
        worker._note("crashed", traceback.format_exc())
        os._exit(1)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    faulthandler.register(signal.SIGALRM, chain=True)  # a watchdog's thread would be missing after a fork
    print(json.dumps({"from": sys.modules["symcache_core"].__file__}), flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid:
            print(json.dumps(pid), flush=True)
            continue
        work(json.loads(line))
        os._exit(0)


if __name__ == "__main__":
    main()
