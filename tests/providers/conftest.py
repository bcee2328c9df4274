"""The far side of the provider: a real host service, an older one, and one that answers whatever a test wants."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
from older_host import OlderHost

from symcache_core.providers import IbDataAdapter
from symcache_core.providers.embedded import EmbeddedHost

T = TypeVar("T")


@contextmanager
def serving(answer: Callable[..., tuple[int, bytes]], *, with_headers: bool = False) -> Iterator[str]:
    """A real HTTP server in a thread; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            more = [self.headers] if with_headers else []
            status, content = answer(self.path, json.loads(body), *more)
            with suppress(ConnectionError):  # whoever asked may have given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def serve_with() -> Iterator[Callable[..., str]]:
    """Start a server that answers as a function of path and question does; gives its URL."""
    with ExitStack() as servers:
        yield lambda answer, **options: servers.enter_context(serving(answer, **options))


@pytest.fixture
def serve(serve_with: Callable[..., str]) -> Callable[..., str]:
    """Start a server that gives every question one answer; gives its URL."""

    def start(content: object, status: int = 200) -> str:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return serve_with(lambda _path, _question: (status, body))

    return start


@pytest.fixture
def older() -> Iterator[OlderHost]:
    """An older host service."""
    with OlderHost() as host:
        yield host


@pytest.fixture(scope="session")
def older_url() -> Iterator[str]:
    """Where one is that all tests share."""
    with OlderHost() as host:
        yield host.url


class Pauses(list[float]):
    """Takes note of how long it was to wait, and does not."""

    async def sleep(self, seconds: float) -> None:
        """Wait for nothing."""
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    """What an adapter waits for between one attempt and the next."""
    return Pauses()


@contextmanager
def nothing_of_this_machine(folder: Path) -> Iterator[None]:
    """No setting and no configuration file of this machine reaches a test; a replayed call takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("SYMCACHE")]:
            patch.delenv(name)
        patch.setenv("SYMCACHE_HOST_LATENCY", "0")
        patch.setenv("SYMCACHE_HOST_IB_QUIET_START", "0")
        yield


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path) -> Iterator[None]:
    with nothing_of_this_machine(tmp_path):
        yield


@pytest.fixture(scope="session")
def replay_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHost]:
    """A host service of ours that runs, with the replay gateway."""
    folder = tmp_path_factory.mktemp("replay")
    host = EmbeddedHost(gateway="replay", data_dir=folder, as_of=date(2013, 3, 1))
    with nothing_of_this_machine(folder):
        host.start()
    yield host
    host.close()


@pytest.fixture(scope="session")
def replay_url(replay_host: EmbeddedHost) -> str:
    """Where that host service is."""
    return replay_host.start()


@pytest.fixture
def start_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Start host services with settings of their own that end with the test; gives their URLs."""
    with ExitStack() as hosts:

        def start(gateway: str, **settings: object) -> str:
            for name, value in settings.items():
                monkeypatch.setenv(f"SYMCACHE_HOST_{name.upper()}", str(value))
            host = EmbeddedHost(gateway=gateway, data_dir=tmp_path, as_of=date(2013, 3, 1))
            hosts.callback(host.close)
            return host.start()

        yield start


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedHost]:
    """A host service that nobody has started yet."""
    host = EmbeddedHost(gateway="replay", data_dir=tmp_path, as_of=date(2013, 3, 1))
    yield host
    host.close()


def run(adapter: IbDataAdapter, question: Callable[[IbDataAdapter], Awaitable[T]]) -> T:
    """Ask an adapter one thing on an event loop of its own, and close it."""

    async def ask() -> T:
        try:
            return await question(adapter)
        finally:
            await adapter.aclose()

    return asyncio.run(ask())


@pytest.fixture
def validate() -> Callable[..., Any]:
    """Ask an adapter whether a symbol is valid."""
    return lambda adapter, symbol, *timeframes: run(
        adapter, lambda each: each.validate_and_get_metadata(symbol, timeframes)
    )


@pytest.fixture
def validate_many() -> Callable[..., Any]:
    """Ask an adapter which symbols are valid."""
    return lambda adapter, symbols, *timeframes: run(adapter, lambda each: each.validate_many(symbols, timeframes))


@pytest.fixture
def fetch() -> Callable[..., Any]:
    """Ask an adapter for daily bars."""
    return lambda adapter, symbol, start, end: run(
        adapter, lambda each: each.fetch_historical_data(symbol, "1d", start, end)
    )
