"""Killed with -9 a hundred times at random moments, a store opens each time and has what was acknowledged."""

import random
from contextlib import ExitStack

import pytest

from symcache_core.testing.bench import Bench
from symcache_core.testing.neighbour import Neighbour

pytestmark = pytest.mark.soak


class KilledWriters(Bench):
    def settings(self, tmp_path):
        return {"path": tmp_path / "store"}

    def test_a_hundred_kills_lose_nothing_that_was_acknowledged(self, tmp_path):
        chance, acknowledged = random.Random(20130301), set()
        for run in range(100):
            writer = Neighbour()
            writer.ask("open", **self.address(tmp_path))
            writer.begin("write_series", prefix=f"run{run}-", count=1_000_000)
            acknowledged.update(writer.kill(after=chance.uniform(0.0, 0.1)))
            with ExitStack() as opened:
                store = self.open(tmp_path, opened)
                keys = set(store.keys())
                assert acknowledged <= keys
                for key in keys - acknowledged | set(list(acknowledged)[:100]):
                    assert store.read(key) == b'{"from": "%b"}' % key[: key.index("-") + 1].encode()


class TestJson(KilledWriters):
    backend = "json"


class TestDiskcache(KilledWriters):
    backend = "diskcache"
