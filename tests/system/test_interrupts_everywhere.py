"""KeyboardInterrupt at each point of a call where a signal can raise it leaves no lock, and loses nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

CHILD = Path(__file__).with_name("interrupting_child.py")
TESTS = Path(__file__).parents[1]


class InterruptsEverywhere:
    @pytest.fixture(params=["backend", "cache"])
    def level(self, request):
        return request.param

    def test_an_interrupt_at_many_a_point_leaves_nothing_behind(self, tmp_path):
        self.interrupt(tmp_path, "backend", every=97)

    @pytest.mark.soak
    def test_an_interrupt_at_any_point_leaves_nothing_behind(self, tmp_path, level):
        self.interrupt(tmp_path, level, every=1)

    def interrupt(self, tmp_path, level, every):
        path = str(tmp_path / "store" / "symbols")
        settings = {"backend": self.backend, "provider": "ib", "backends": {self.backend: {"path": path}}}
        order = {"settings": settings, "level": level, "path": path, "own": str(tmp_path / "precious.csv")}
        order |= {"every": every, "patience": 30 * PATIENCE / every**0.5}
        run = subprocess.run(
            [sys.executable, "-W", "ignore", CHILD, json.dumps(order)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert run.returncode == 0, "it hung; see above where"
        found = [json.loads(line) for line in run.stdout.splitlines()]
        problems = [problem for each in found for problem in each["problems"]]
        assert not problems, f"{len(problems)} of {sum(each['points'] for each in found)} points; {problems[0]}"
        assert len(found) > 12


class TestJson(InterruptsEverywhere):
    backend = "json"


class TestDiskcache(InterruptsEverywhere):
    backend = "diskcache"
