"""Eight processes open and close one store over and over: no opening fails, and none has to do without its storage."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from symcache_core import SymcacheSettings
from symcache_core.factory import open_backend

CHILD = Path(__file__).with_name("opening_child.py")
PROCESSES = 8


class OpeningAndClosing:
    def test_opens_beside_closes_of_eight_processes_never_fail(self, tmp_path):
        self.open_and_close(tmp_path, times=25)

    @pytest.mark.soak
    def test_a_thousand_opens_beside_closes_of_eight_processes_never_fail(self, tmp_path):
        self.open_and_close(tmp_path, times=125)

    def open_and_close(self, tmp_path, times):
        settings = {
            "backend": self.backend,
            "provider": "ib",
            "backends": {self.backend: {"path": f"{tmp_path}/store"}},
        }
        order = json.dumps({"settings": settings, "times": times})
        command = [sys.executable, "-W", "ignore::DeprecationWarning", CHILD, order]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
        told = [json.loads(child.communicate(timeout=PATIENCE + times)[0]) for child in children]
        failed = [why for each in told for why in each["failed"]]
        assert not failed, f"{len(failed)} of {PROCESSES * times}, {failed[0]}"
        assert sum(each["degraded"] for each in told) == 0
        backend = open_backend(SymcacheSettings(**settings))
        assert {f"ib||S{number}||" for number in range(10)} <= set(backend.keys())
        backend.close()


class TestJson(OpeningAndClosing):
    backend = "json"


class TestDiskcache(OpeningAndClosing):
    backend = "diskcache"
