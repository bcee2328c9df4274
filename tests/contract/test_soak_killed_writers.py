"""Killed with -9 a hundred times at random moments, a store opens each time and has what was acknowledged."""

import random
import threading
from contextlib import ExitStack

import pytest

from symcache_core.testing.bench import Bench

pytestmark = pytest.mark.soak


class KilledWriters(Bench):
    def settings(self, tmp_path):
        return {"path": tmp_path / "store"}

    def test_a_hundred_kills_lose_nothing_that_was_acknowledged(self, tmp_path):
        chance, acknowledged = random.Random(20130301), set()
        for run in range(100):
            with self.child(tmp_path, "write", f"run{run}-", "100000") as process:
                assert process.stdout.readline() == "ready\n"
                process.stdin.write("go\n")
                process.stdin.flush()
                timer = threading.Timer(chance.uniform(0.0, 0.1), process.kill)
                timer.start()
                acknowledged.update(process.stdout.read().split("\n")[:-1])
                timer.join()
            with ExitStack() as opened:
                store = self.open(tmp_path, opened)
                keys = set(store.keys())
                assert acknowledged <= keys
                for key in keys - acknowledged | set(list(acknowledged)[:100]):
                    assert store.read(key) == b'{"from":"%b"}' % key[: key.index("-") + 1].encode()


class TestJson(KilledWriters):
    backend = "json"


class TestDiskcache(KilledWriters):
    backend = "diskcache"
