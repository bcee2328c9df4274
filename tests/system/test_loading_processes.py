"""Processes that load the same symbols, are killed or interrupted: nothing is fetched twice, nothing is lost."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from host_process import HostProcess

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.loading import DataLoadingOrchestrator, DataManager
from symcache_core.loading.bars.comparing import OVERLAP
from symcache_core.loading.bars.store import BarStore
from symcache_core.providers import IbDataAdapter

CHILD = Path(__file__).with_name("loading_child.py")
SYMBOLS = ["AAPL", "IBM", "MSFT", "GOOG"]
REQUESTS = 14 + 14 + 14 + 9
LATENCY = 0.02
backend = "json"
PATIENCE = 30.0


class Loaders:
    """Processes of :mod:`loading_child`, quick to begin as they are forked from one that has imported everything."""

    def __init__(self, url, backend):
        self._order = {"url": url, "backend": backend, "symbols": SYMBOLS}
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder, *symbols):
        """Have one begin, and give its process id."""
        order = {**self._order, "folder": str(folder), "symbols": symbols or SYMBOLS}
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return self.result()["pid"]

    def result(self):
        """What the next one says."""
        return json.loads(self._parent.stdout.readline())

    def close(self):
        with self._parent:
            self._parent.stdin.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    host = HostProcess(tmp_path_factory.mktemp("host"), "--latency", str(LATENCY))
    yield host
    host.close()


@pytest.fixture(scope="module")
def loaders(host):
    loaders = Loaders(host.url, "json")
    yield loaders
    loaders.close()


@pytest.fixture(scope="module")
def bars(host, tmp_path_factory):
    """All bars of each symbol, as loaded by a process that nobody has disturbed."""
    settings = SymcacheSettings(
        backend="memory", provider="replay", host_service_url=host.url, data_dir=tmp_path_factory.mktemp("whole")
    )
    with DataManager(settings) as manager:
        return dict(manager.load_many(SYMBOLS, mode="full").frames)


class Recorded(IbDataAdapter):
    """An adapter that keeps a list of the bars it was asked for."""

    def __init__(self, url):
        super().__init__(url, provider="replay")
        self.asked = []
        self.requests = Counter()

    async def fetch_historical_data(self, symbol, timeframe, start, end, instrument_type=None):
        self.requests[symbol] += 1
        frame = await super().fetch_historical_data(symbol, timeframe, start, end, instrument_type)
        self.asked += [(symbol, stamp) for stamp in frame.index]
        return frame


async def load_all(orchestrator, provider):
    try:
        loads = (orchestrator.load_with_fallback(symbol, "1d", mode="full") for symbol in SYMBOLS)
        return dict(zip(SYMBOLS, await asyncio.gather(*loads), strict=True))
    finally:
        await provider.aclose()


def go_on(host, folder, bars):
    """Load what a killed process has left off, and check that only that is asked for."""
    store = BarStore(folder / "bars", "replay")
    left = {symbol: store.series(f"{symbol}@:USD", "1d").read().bars for symbol in SYMBOLS}
    for symbol, frame in left.items():
        pd.testing.assert_frame_equal(frame, bars[symbol].loc[frame.index], check_freq=False)
    provider = Recorded(host.url)
    with open_symbol_cache(SymcacheSettings(backend="json", provider="replay", data_dir=folder)) as cache:
        frames = asyncio.run(load_all(DataLoadingOrchestrator(cache, provider, store, provider.as_of), provider))
    for symbol in SYMBOLS:
        pd.testing.assert_frame_equal(frames[symbol], bars[symbol])
        missing = bars[symbol].index.difference(left[symbol].index)
        asked = [stamp for name, stamp in provider.asked if name == symbol]
        assert set(missing) <= set(asked)
        overlaps = 2 * OVERLAP * provider.requests[symbol]
        assert len(asked) <= len(missing) + overlaps, "nothing is asked for twice but the overlap of each request"
    return sum(map(len, left.values()))


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(LATENCY / 10)


def kill_and_go_on(host, loaders, bars, folder, moments):
    """Kill a load after some requests of its, and a little later; tell how many bars it had saved."""
    end = host.calls() + moments.randint(1, len(SYMBOLS) + REQUESTS - 1)
    child = loaders.start(folder)
    wait_for(lambda: host.calls() >= end)
    time.sleep(moments.uniform(0, 2 * LATENCY))
    os.kill(child, signal.SIGKILL)
    return go_on(host, folder, bars)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_of_a_load_of_four_symbols_the_next_run_fetches_only_what_is_missing(
    host, loaders, bars, tmp_path, seed
):
    kill_and_go_on(host, loaders, bars, tmp_path, random.Random(seed))


@pytest.mark.soak
def test_fifty_loads_killed_at_any_moment(host, loaders, bars, tmp_path):
    moments = random.Random(5)
    left = [kill_and_go_on(host, loaders, bars, tmp_path / str(number), moments) for number in range(50)]
    whole = sum(map(len, bars.values()))
    assert sum(0 < count < whole for count in left) >= 25, f"too few were killed in the middle: {left}"


def test_processes_that_load_the_same_symbol_fetch_each_segment_once(host, loaders, bars, tmp_path):
    before = host.calls()
    for _ in range(3):
        loaders.start(tmp_path, "AAPL")
    results = [loaders.result() for _ in range(3)]
    assert host.calls() - before == 1 + 14  # one lookup, thirteen years that overlap
    assert sorted(result["requests"] for result in results) == [0, 0, 14]
    assert {result["bars"]["AAPL"] for result in results} == {3270}
    pd.testing.assert_frame_equal(
        BarStore(tmp_path / "bars", "replay").series("AAPL@:USD", "1d").read().bars, bars["AAPL"]
    )


@pytest.mark.parametrize("seed", range(2))
def test_an_interrupted_command_ends_with_130_and_the_next_one_goes_on_from_there(host, bars, tmp_path, seed):
    environment = {
        **os.environ,
        "SYMCACHE_HOST_SERVICE_URL": host.url,
        "SYMCACHE_PROVIDER": "replay",
        "SYMCACHE_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "symcache_core.cli", "load", *SYMBOLS, "--mode", "full"]
    moments = random.Random(seed)
    end = host.calls() + moments.randint(len(SYMBOLS), REQUESTS // 2)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: host.calls() >= end)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted: what is stored stays" in said
    assert "Traceback" not in said
    go_on(host, tmp_path, bars)
