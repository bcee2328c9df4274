"""Many processes work on one store, are killed, stopped, forked and started anew: each key stays linearizable."""

import json
import subprocess
import sys

import pytest
from system.store_runs import Run, behind_a_link, delete, kill, rename, stop, stop_long, swing

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache

KILLED_BEFORE_IT_TELLS = """
import json, os, signal, sys
from symcache_backends.shared_word import SharedWord
from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
cache = open_symbol_cache(SymcacheSettings(**json.loads(sys.argv[1])))
SharedWord.renew = lambda word: os.kill(os.getpid(), signal.SIGKILL)
cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL", head_timestamps={"1h": "1980-12-12"}))
"""


class LinearizableStores:
    @pytest.fixture(params=["backend", "cache"])
    def level(self, request):
        return request.param

    def test_eight_processes_that_are_killed_stopped_and_started_anew(self, tmp_path, level):
        run = Run(tmp_path, self.backend, level, 8, 2, chances={"reopen": 0.002})
        run.check(run.go(kill, stop), least=100)
        assert run.kills > 3

    def test_processes_with_threads_that_fork_and_both_go_on(self, tmp_path):
        run = Run(tmp_path, self.backend, "backend", 4, 2, chances={"fork": 0.01}, threads=2)
        history = run.go(stop)
        run.check(history, least=100)
        assert history.ended > 4

    def test_processes_that_are_stopped_for_longer_than_others_wait(self, tmp_path):
        run = Run(tmp_path, self.backend, "backend", 8, 3, options={"lock_timeout": 0.3})
        history = run.go(stop_long)
        run.check(history, least=100, failing=True)

    def test_processes_whose_folder_is_moved_go_on_with_what_is_at_the_path(self, tmp_path):
        run = Run(tmp_path, self.backend, "backend", 8, 2)
        history = run.go(stop, stop, stop, stop, rename)
        assert run.moves
        run.check(history, least=100, failing=True)

    def test_what_a_process_stored_that_was_killed_before_it_told_is_seen_after_near_cache_age(self, tmp_path, clock):
        settings = {
            "backend": self.backend,
            "provider": "ib",
            "backends": {self.backend: {"path": f"{tmp_path}/store"}},
        }
        with open_symbol_cache(SymcacheSettings(**settings, near_cache_age=5), clock=clock) as cache:
            cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL", head_timestamps={"1d": "1980-12-12"}))
            assert cache.get("AAPL", ("1d",)) is not None
            command = [sys.executable, "-c", KILLED_BEFORE_IT_TELLS, json.dumps(settings)]
            assert subprocess.run(command, check=False).returncode < 0
            clock.advance(5)
            assert cache.get("AAPL", ("1d", "1h")) is not None

    @pytest.mark.soak
    @pytest.mark.parametrize("processes", [50, 100])
    def test_many_processes_with_kills_stops_and_forks(self, tmp_path, level, processes):
        run = Run(tmp_path, self.backend, level, processes, 60, chances={"reopen": 0.002, "fork": 0.002})
        run.check(run.go(kill, kill, stop), least=1000)
        assert run.kills > 100

    @pytest.mark.soak
    def test_many_processes_with_threads_that_fork_and_both_go_on(self, tmp_path, level):
        run = Run(tmp_path, self.backend, level, 16, 30, chances={"fork": 0.002}, threads=2)
        run.check(run.go(stop), least=1000)

    @pytest.mark.soak
    @pytest.mark.parametrize("move", [rename, delete, swing])
    def test_many_processes_whose_folder_is_moved(self, tmp_path, move):
        run = Run(tmp_path, self.backend, "backend", 50, 60)
        if move is swing:
            behind_a_link(run)
        run.check(run.go(kill, *[stop] * 8, move), least=1000, failing=True)


class TestJson(LinearizableStores):
    backend = "json"


class TestDiskcache(LinearizableStores):
    backend = "diskcache"
