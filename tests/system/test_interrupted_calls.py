"""Ctrl-C at random moments of calls: no lock stays, nothing acknowledged is lost, no foreign file changes."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import PATIENCE

CHILD = Path(__file__).with_name("interrupted_child.py")
TESTS = Path(__file__).parents[1]
LONGEST_WAIT = 10.0
"""Seconds that a neighbour may wait at most; what it waits for takes milliseconds."""

SEVERAL = 0.01
"""The share of interrupts that may cost a descriptor: between opening a file and assigning it there is a moment that no
Python code can guard."""


def start(order):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", CHILD, json.dumps(order)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def neighbour(order, found):
    """Another process that works on the same store; what it tells in the end goes to a dict."""
    process = start({**order, "name": "N", "neighbour": True, "first": 50_000_000})
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        told, _ = process.communicate()
        found.update(json.loads(told))
    finally:
        process.kill()
        process.communicate()


class InterruptedCalls:
    @pytest.fixture(params=["backend", "cache"])
    def level(self, request):
        return request.param

    def test_two_hundred_interrupts_leave_nothing_behind(self, tmp_path, level):
        self.interrupt(tmp_path, level, 200, PATIENCE)

    @pytest.mark.soak
    def test_five_thousand_interrupts_leave_nothing_behind(self, tmp_path, level):
        self.interrupt(tmp_path, level, 5000, 20 * PATIENCE)

    def interrupt(self, tmp_path, level, moments, patience):
        path = tmp_path / "store" / "symbols"
        settings = {"backend": self.backend, "provider": "ib", "backends": {self.backend: {"path": str(path)}}}
        order = {"settings": settings, "level": level, "path": str(path), "patience": patience, "moments": moments}
        order |= {"name": "I", "seed": 13, "own": str(tmp_path / "precious.csv"), "first": 1}
        beside = {}
        with neighbour({**order, "patience": 2 * patience}, beside):
            process = start(order)
            told, _ = process.communicate()
            assert process.returncode == 0, "it hung or died; see above where"
        found = json.loads(told)
        assert not found["problems"], found["problems"][0]
        assert found["interrupts"] == moments
        assert found["descriptors"] <= max(2, SEVERAL * moments)
        assert beside["slowest"][0] < LONGEST_WAIT, beside
        assert beside["calls"] > moments / 10


class TestJson(InterruptedCalls):
    backend = "json"


class TestDiskcache(InterruptedCalls):
    backend = "diskcache"
