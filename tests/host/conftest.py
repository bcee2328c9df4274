"""Host services for these tests: real processes, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from patience import PATIENCE
from tws.process import TwsProcess


@dataclass
class Host:
    """A running host service and a client for it."""

    process: subprocess.Popen[str]
    ready: dict[str, str]
    http: httpx.Client

    @property
    def calls(self) -> dict[str, int]:
        """Its counters of requests and gateway calls."""
        counted: dict[str, int] = self.http.get("/health/").json()["calls"]
        return counted

    def stop(self) -> int:
        """End it as a supervisor does; gives the exit status."""
        self.http.close()
        self.process.terminate()
        with self.process as process:
            return process.wait(PATIENCE)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of symcache, and some more."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SYMCACHE")} | more


def launch(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a host service whose data and working directory are a folder; nobody asked for anything before it."""
    quick = {"SYMCACHE_HOST_PORT": "0", "SYMCACHE_HOST_LATENCY": "0", "SYMCACHE_HOST_IB_QUIET_START": "0"}
    with (folder / "host.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "symcache_host", *arguments],
            cwd=folder,
            env=clean_environment(**(quick | environment)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def wait_until_ready(process: subprocess.Popen[str]) -> Host:
    """Read the ready line."""
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    return Host(process, ready, httpx.Client(base_url=ready["url"], trust_env=False, verify=False, timeout=PATIENCE))


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no configuration file of this machine reaches a test."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Start host services that end with the test."""
    hosts: list[Host] = []

    def start_one(*arguments: str, **environment: str) -> Host:
        hosts.append(wait_until_ready(launch(tmp_path, *arguments, **environment)))
        return hosts[-1]

    yield start_one
    for host in hosts:
        host.stop()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One host service for every test that does not count."""
    running = wait_until_ready(launch(tmp_path_factory.mktemp("host")))
    yield running
    running.stop()


@pytest.fixture
def tws() -> Iterator[TwsProcess]:
    """A simulated TWS in a process of its own."""
    with TwsProcess() as running:
        yield running


@pytest.fixture
def broker(start: Callable[..., Host], tws: TwsProcess) -> Host:
    """A host service that is connected to it."""
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    assert host.http.post("/data/validate", json={"symbol": "AAPL"}).json()["success"]
    return host
