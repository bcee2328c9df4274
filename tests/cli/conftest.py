"""A real host service, an empty folder to work in, and two ways to run the command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from site_packages import SitePackages
from typer.testing import CliRunner, Result

Run = Callable[..., subprocess.CompletedProcess[str]]
Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a configuration of its own."""
    for name in [name for name in os.environ if name.startswith("SYMCACHE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SYMCACHE_HOST_LATENCY", "0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "symcache.toml").write_text('data_dir = "data"\n')
    return tmp_path


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SitePackages]:
    """A folder on the path to install distributions in."""
    site = SitePackages(tmp_path_factory.mktemp("installed") / "site-packages", monkeypatch)
    yield site
    site.close()


class Host:
    """A running host service, and how many questions it has been asked."""

    def __init__(self, url: str) -> None:
        self.url = url

    def requests(self) -> int:
        with urlopen(f"{self.url}/health/") as answer:
            return int(json.load(answer)["calls"]["requests"])


@pytest.fixture(scope="session")
def running_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    command = [sys.executable, "-m", "symcache_host", "--port", "0", "--latency", "0", "--until-stdin-closes"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield Host(json.loads(process.stdout.readline())["url"])
        process.terminate()


@pytest.fixture
def host(running_host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host service that the command's settings point to."""
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", running_host.url)
    monkeypatch.setenv("SYMCACHE_PROVIDER", "replay")
    return running_host


@pytest.fixture
def unused_url() -> Iterator[str]:
    """The URL of a port on which nobody listens, held so that nobody else takes it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture
def invoke() -> Invoke:
    """The command within this process: quicker."""
    from symcache_core.cli.app import app

    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def run() -> Run:
    """The command as a process of its own: the real thing."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "symcache_core.cli", *arguments]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, **options
        )

    return run
