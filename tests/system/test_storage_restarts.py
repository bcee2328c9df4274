"""A storage is taken away and given back while lookups go on: none of them fails, and nothing validated is lost."""

import asyncio
import fcntl
import random
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from symcache_core.factory import open_symbol_cache
from symcache_core.models import Outcome
from symcache_core.settings import SymcacheSettings

RETRY = 5.0


@pytest.fixture
def open_cache(tmp_path, clock):
    """Opens the store of this test, each time as another program does."""
    with ExitStack() as opened:

        def open_cache(backend, **options):
            settings = SymcacheSettings(
                backend=backend, backends={backend: options}, provider="ib", data_dir=tmp_path, storage_retry=RETRY
            )
            cache = open_symbol_cache(settings, clock=clock)
            opened.callback(cache.close)
            return cache

        yield open_cache


def ask(cache, provider, symbol, *timeframes):
    return asyncio.run(cache.get_or_validate(symbol, timeframes, provider.validate))


def names(count):
    return [f"S{number}" for number in range(count)]


class Trouble:
    """What a subclass's ``store`` is to live through: its ``away()`` takes it away while the context lasts.

    Its ``options`` open it; ``keeps`` tells whether it comes back with what it held.
    """

    def test_no_lookup_fails_and_what_is_validated_meanwhile_is_there_afterwards(
        self, open_cache, provider, clock, store
    ):
        cache = open_cache(self.backend, **store.options)
        for symbol in names(10):
            assert ask(cache, provider, symbol, "1d").outcome is Outcome.MISS
        assert not cache.get_stats().degraded
        with store.away():
            for symbol in names(20):
                lookup = ask(cache, provider, symbol, "1h")
                assert lookup.result.is_valid
                assert lookup.result.head_timestamps["1h"] is not None
            assert cache.get_stats().degraded
            assert {ask(cache, provider, symbol, "1h").outcome for symbol in names(20)} == {Outcome.HIT}
            assert cache.get_stats().unwritten == 20
            clock.advance(RETRY)
            assert ask(cache, provider, "S0", "1h").outcome is Outcome.HIT
        assert cache.get_stats().degraded, "nobody has tried it yet"
        clock.advance(RETRY)
        assert ask(cache, provider, "S0", "1h").outcome is Outcome.HIT
        stats = cache.get_stats()
        assert (stats.degraded, stats.unwritten) == (False, 0)
        assert stats.provider_errors == 0
        self.check(open_cache(self.backend, **store.options), store)

    def check(self, other, store):
        """Another program finds everything."""
        for number, symbol in enumerate(names(20)):
            known = ("1d", "1h") if number < 10 and store.keeps else ("1h",)
            assert other.get(symbol, known) is not None, f"{symbol} was lost"

    def test_it_may_come_and_go_while_many_threads_ask(self, open_cache, provider, clock, store):
        cache, over = open_cache(self.backend, **store.options), threading.Event()

        def ask_on(seed):
            chance, asked = random.Random(seed), 0
            while not over.is_set() or asked < 100:
                symbol, timeframe = chance.choice(names(100)), chance.choice(["1d", "1h"])
                assert ask(cache, provider, symbol, timeframe).result.is_valid
                asked += 1

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask_on, seed) for seed in range(4)]
            try:
                for _ in range(2):
                    with store.away():
                        self.until(lambda: cache.get_stats().degraded, clock)
                    self.until(lambda: not cache.get_stats().degraded, clock)
            finally:
                over.set()
            for each in asking:
                each.result()
        assert ask(cache, provider, "LAST").result.is_valid
        cache.close()
        other = open_cache(self.backend, **store.options)
        if store.keeps:
            for symbol, timeframes in provider.calls:
                assert other.get(symbol, timeframes) is not None, f"{timeframes} of {symbol} were lost"

    def until(self, condition, clock):
        while not condition():
            clock.advance(RETRY)


class Server:
    """A Valkey or Redis server that is stopped, killed or frozen.

    Args:
        start_redis: Starts one.
        how: The signal that takes it away.
    """

    keeps = True

    def __init__(self, start_redis, how):
        durably = ["--save", "3600 1"] if how is signal.SIGTERM else ["--appendonly", "yes", "--appendfsync", "always"]
        self._server, self._how = start_redis(*durably), how
        # A frozen server is given up after a while; a lease that it did not hear the end of ends by itself.
        self.options = {"url": self._server.url, "timeout": 0.5 if how is signal.SIGSTOP else 5.0, "lease": 0.3}

    @contextmanager
    def away(self):
        """Take it away, and start it again on the same port with its data."""
        self._server.process.send_signal(self._how)
        if self._how is signal.SIGSTOP:
            yield
            self._server.process.send_signal(signal.SIGCONT)
            return
        self._server.process.wait()
        yield
        self._server.start()


class TestRedis(Trouble):
    backend = "redis"

    @pytest.fixture(params=[signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP], ids=["stopped", "killed", "frozen"])
    def store(self, start_redis, request):
        return Server(start_redis, request.param)


class LostFolder:
    """The json backend's folder is deleted, and something else is in its place; permissions would not stop root."""

    keeps = False

    def __init__(self, folder):
        self._folder = folder
        self.options = {"path": str(folder / "symbols.json")}

    @contextmanager
    def away(self):
        """Put a file in its place, and take that away."""
        while not self._folder.is_file():
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(IsADirectoryError):  # who writes was faster, and has made it anew
                self._folder.write_text("in the way")
        yield
        self._folder.unlink()


class BlockedJournal:
    """The json backend's journal is taken away and something else is in its place, until it is put back."""

    keeps = True

    def __init__(self, folder):
        self._lock, self._journal = folder / "symbols.json.lock", folder / "symbols.json.journal"
        self.options = {"path": str(folder / "symbols.json")}

    @contextmanager
    def away(self):
        """Put a folder in its place, and the journal back, each with nobody writing."""
        aside = self._journal.with_name("aside")
        with self._alone():
            shutil.copy(self._journal, aside)
            self._journal.unlink()
            self._journal.mkdir()
        yield
        with self._alone():
            self._journal.rmdir()
            aside.rename(self._journal)

    @contextmanager
    def _alone(self):
        with self._lock.open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class TestJson(Trouble):
    backend = "json"

    @pytest.fixture(params=[BlockedJournal, LostFolder])
    def store(self, tmp_path, request):
        return request.param(tmp_path / "store")


FULL_DISK = """
import asyncio, os, resource, signal
from symcache_core.factory import open_symbol_cache
from symcache_core.models import Outcome
from symcache_core.settings import SymcacheSettings
from symcache_core.testing.cache_harness import Clock, Provider

signal.alarm(60)
clock, provider = Clock(), Provider()
settings = SymcacheSettings(backend="json", backends={"json": {"path": "symbols.json"}}, provider="ib", storage_retry=5)

def ask(symbol, *timeframes):
    return asyncio.run(cache.get_or_validate(symbol, timeframes, provider.validate))

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

cache = open_symbol_cache(settings, clock=clock)
for number in range(20):
    ask(f"OLD{number}", "1d")
limit(os.path.getsize("symbols.json.journal") + 100)
for number in range(20):
    assert ask(f"NEW{number}", "1d").outcome is Outcome.MISS
    assert ask(f"OLD{number}", "1h").result.is_valid
    assert cache.get_stats().degraded
limit(resource.RLIM_INFINITY)
clock.advance(5)
ask("OLD0", "1d")
assert not cache.get_stats().degraded
with open_symbol_cache(settings, clock=clock) as other:
    for number in range(20):
        assert other.get(f"NEW{number}", ("1d",)) is not None
        assert other.get(f"OLD{number}", ("1d", "1h")) is not None
cache.close()
"""


class TestFullDisk:
    backend = "json"

    def test_what_a_full_disk_does_not_take_is_written_once_there_is_room(self, tmp_path):
        command = [sys.executable, "-c", FULL_DISK]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert "works without its storage" in run.stderr
        assert "loses" not in run.stderr
