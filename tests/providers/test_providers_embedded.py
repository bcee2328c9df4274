"""An embedded host starts when it is needed, once, and never outlives its program."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import httpx
import pytest
from pydantic import SecretStr

from symcache_core.errors import ProviderUnavailableError
from symcache_core.providers import IbDataAdapter
from symcache_core.providers.embedded import EmbeddedHost
from symcache_core.settings import SymcacheSettings


def answers(url):
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).json()["healthy"]
    except httpx.HTTPError:
        return False


def wait_for_end(url):
    """Return once the host is gone: its socket closes with the process, and that ends a connection to it."""
    address = httpx.URL(url)
    try:
        with socket.create_connection((address.host, address.port), timeout=10) as connection:
            assert connection.recv(1) == b""
    except ConnectionError:
        return


def test_nothing_starts_before_it_is_needed(embedded, tmp_path):
    adapter = IbDataAdapter(embedded, provider="replay")
    adapter.as_of()
    asyncio.run(adapter.aclose())
    assert embedded.url is None
    assert list(tmp_path.iterdir()) == []


def test_settings_start_one_that_asks_for_their_token(tmp_path, validate):
    settings = SymcacheSettings(data_dir=tmp_path, host_token=SecretStr("of-this-test"))
    assert validate(IbDataAdapter.from_settings(settings), "AAPL", "1d").result.is_valid
    assert (tmp_path / "host_symbol_cache.json").exists()


def test_many_first_callers_start_one_and_closing_ends_it(embedded):
    with ThreadPoolExecutor(8) as pool:
        urls = set(pool.map(lambda _: embedded.start(), range(8)))
    url = urls.pop()
    assert urls == set()
    assert answers(url)
    embedded.close()
    embedded.close()
    assert embedded.url is None
    assert not answers(url)


def test_one_that_died_is_replaced_on_the_next_call(embedded):
    async def ask_twice():
        adapter = IbDataAdapter(embedded, provider="replay")
        await adapter.validate_and_get_metadata("AAPL", ["1d"])
        first = embedded._running
        first._process.kill()
        first._process.wait(5)
        answer = await adapter.validate_and_get_metadata("AAPL", ["1d"])
        assert embedded._running is not first
        await adapter.aclose()
        return answer

    assert asyncio.run(ask_twice()).result.is_valid


def test_starting_it_does_not_hold_up_the_event_loop(embedded):
    async def count_while_it_starts():
        adapter = IbDataAdapter(embedded, provider="replay")
        turns = 0
        question = asyncio.create_task(adapter.validate_and_get_metadata("AAPL", ["1d"]))
        while not question.done():
            turns += 1
            await asyncio.sleep(0.01)
        await adapter.aclose()
        return turns

    assert asyncio.run(count_while_it_starts()) > 5


def test_one_that_cannot_start_says_why_in_its_own_words(tmp_path):
    host = EmbeddedHost(gateway="nonesuch", data_dir=tmp_path, as_of=date(2013, 3, 1))
    with pytest.raises(ProviderUnavailableError, match=r"status 2.*setting 'gateway'"):
        host.start()
    assert host.url is None
    host.close()


def test_an_interpreter_that_is_not_there_is_an_unavailable_provider(embedded, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ProviderUnavailableError, match="/nowhere/python"):
        embedded.start()


def test_a_module_in_the_working_directory_does_not_pass_for_one_of_the_host(embedded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "csv.py").write_text("raise SystemExit('not this one')")
    assert answers(embedded.start())


PROGRAM = """
import sys, time
from datetime import date
from pathlib import Path
from symcache_core.providers.embedded import EmbeddedHost
host = EmbeddedHost(gateway="replay", data_dir=Path(sys.argv[1]), as_of=date(2013, 3, 1))
print(host.start(), flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("then", "ends_by"),
    [
        ("time.sleep(600)", signal.SIGKILL),
        ("raise SystemExit(1)", None),
    ],
    ids=["kill -9", "the end of the program"],
)
def test_it_ends_with_its_program(tmp_path, then, ends_by):
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(then=then), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        url = program.stdout.readline().strip()
        if ends_by:
            program.send_signal(ends_by)
        _, said = program.communicate(timeout=10)
    assert said == ""
    wait_for_end(url)
    assert not answers(url)


def test_a_forked_child_does_not_end_its_parents_host(replay_host, replay_url):
    child = os.fork()
    if child == 0:
        replay_host.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert answers(replay_url)
