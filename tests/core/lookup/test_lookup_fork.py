"""After a fork a cache works in parent and child, whoever was waiting for the provider at that moment."""

import subprocess
import sys

SCRIPT = """
import asyncio, os, signal, sys, threading, traceback
from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache

signal.alarm(60)
name = sys.argv[1]
cache = open_symbol_cache(SymcacheSettings(backend=name, backends={name: {"path": "store"}}, provider="ib"))
verdict = ValidationResult(is_valid=True, symbol="X")
stop = threading.Event()

def store_on():
    number = 0
    while not stop.is_set():
        cache.store(f"S{number}", verdict)
        number += 1

async def validate(symbol, timeframes):
    return verdict

async def never(symbol, timeframes):
    await asyncio.Event().wait()

def in_child(number):
    signal.alarm(10)
    asyncio._set_running_loop(None)
    assert asyncio.run(cache.get_or_validate("FLYING", (), validate)).result.is_valid
    cache.store(f"CHILD{number}", verdict)
    assert cache.get(f"CHILD{number}") is not None
    cache.close()

def fork(number):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            in_child(number)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child

async def main():
    flight = asyncio.ensure_future(cache.get_or_validate("FLYING", (), never))
    while not cache.get_stats().waiting:
        await asyncio.sleep(0)
    children = [fork(number) for number in range(5)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
    flight.cancel()

thread = threading.Thread(target=store_on)
if sys.argv[2] == "storing":
    thread.start()
try:
    asyncio.run(main())
finally:
    stop.set()
    if thread.is_alive():
        thread.join()
assert all(cache.get(f"CHILD{number}") is not None for number in range(5))
cache.store("AFTER", verdict)
assert cache.get("AFTER") is not None
cache.close()
"""


class ForkedCache:
    def test_parent_and_child_go_on(self, tmp_path):
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, self.backend, self.meanwhile]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")


class TestJson(ForkedCache):
    backend = "json"
    meanwhile = "storing"


class TestDiskcache(ForkedCache):
    backend = "diskcache"
    meanwhile = "storing"
