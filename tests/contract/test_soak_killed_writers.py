"""Killed with -9 two hundred times at random moments, a store opens each time and has what was acknowledged."""

import random
from contextlib import ExitStack

import pytest

from symcache_core.testing.harness import Harness
from symcache_core.testing.worker_process import WorkerProcess

pytestmark = pytest.mark.soak


class KilledWriters(Harness):
    def settings(self, tmp_path):
        return {"path": tmp_path / "store"}

    @pytest.mark.parametrize("compact_every", [0, 5], ids=["during stores", "during compaction"])
    @pytest.mark.parametrize("seed", range(5))
    def test_twenty_kills_lose_nothing_that_was_acknowledged(self, tmp_path, seed, compact_every):
        chance, acknowledged = random.Random(seed), set()
        for run in range(20):
            writer = WorkerProcess()
            writer.ask("open", **self.address(tmp_path))
            writer.begin("write_series", prefix=f"run{run}-", count=1_000_000, compact_every=compact_every)
            acknowledged.update(writer.kill(after=chance.uniform(0.0, 0.05)))
            with ExitStack() as opened:
                store = self.open(tmp_path, opened)
                keys = set(store.keys())
                assert acknowledged <= keys
                for key in keys:
                    assert store.read(key) == b'{"from": "%b"}' % key[: key.index("-") + 1].encode()


class TestJson(KilledWriters):
    backend = "json"


class TestDiskcache(KilledWriters):
    backend = "diskcache"
