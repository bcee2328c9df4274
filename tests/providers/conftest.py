"""The far side of the provider: a real host service, an older one, and one that answers whatever a test wants."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from symcache_core.providers import IbDataAdapter
from symcache_core.providers.embedded import EmbeddedHost

T = TypeVar("T")

# What an older host service knows: of two timeframes, one was asked of its gateway before.
OLDER_VERDICT = {
    "success": True,
    "is_valid": True,
    "error_message": None,
    "contract_info": {
        "symbol": "AAPL",
        "asset_type": "STK",
        "exchange": "SMART",
        "currency": "USD",
        "description": "APPLE INC",
        "validated_at": 1700000000.5,
        "contract": {"conId": 1, "symbol": "AAPL"},
        "trading_hours": None,
        "head_timestamp": None,
        "head_timestamp_timeframes": None,
        "head_timestamp_fetched_at": None,
    },
    "head_timestamps": {"1d": "1980-12-12T14:30:00+00:00", "1h": None},
    "error": None,
}
OLDER_NEGATIVE = {
    "success": True,
    "is_valid": False,
    "error_message": "Symbol MSFT not found",
    "contract_info": None,
    "head_timestamps": None,
    "error": None,
}
OLDER_BARS = {
    "2024-01-03T00:00:00.000Z": {"open": 3, "high": 4, "low": 2, "close": 3.5, "volume": 20, "average": 3.2},
    "2024-01-02T00:00:00.000Z": {"open": 1, "high": 2, "low": 1, "close": 1.5, "volume": 10, "average": 1.2},
    "2024-01-04T00:00:00.000Z": {"open": 5, "high": 6, "low": 5, "close": 5.5, "volume": 30, "average": 5.2},
}


def older_host(path: str, question: dict[str, Any]) -> tuple[int, bytes]:
    """The bare wire contract: no kinds of errors, no provenance."""
    if path == "/data/validate":
        answer = OLDER_VERDICT if question["symbol"] == "AAPL" else OLDER_NEGATIVE
    elif question["symbol"] == "AAPL":
        answer = {"success": True, "data": json.dumps(OLDER_BARS), "error": None, "rows": 3}
    else:
        answer = {"success": False, "data": None, "error": "Historical data request failed", "rows": 0}
    return 200, json.dumps(answer).encode()


@contextmanager
def serving(answer: Callable[[str, dict[str, Any]], tuple[int, bytes]]) -> Iterator[str]:
    """A real HTTP server in a thread; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content = answer(self.path, json.loads(body))
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
        yield lambda answer: servers.enter_context(serving(answer))


@pytest.fixture
def serve(serve_with: Callable[..., str]) -> Callable[..., str]:
    """Start a server that gives every question one answer; gives its URL."""

    def start(content: object, status: int = 200) -> str:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return serve_with(lambda _path, _question: (status, body))

    return start


@pytest.fixture(scope="session")
def older_url() -> Iterator[str]:
    """Where an older host service is."""
    with serving(older_host) as url:
        yield url


@contextmanager
def nothing_of_this_machine(folder: Path) -> Iterator[None]:
    """No setting and no configuration file of this machine reaches a test; a replayed call takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("SYMCACHE")]:
            patch.delenv(name)
        patch.setenv("SYMCACHE_HOST_LATENCY", "0")
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
