"""Runs the host service: its socket, its ready line, and the ways it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading

import uvicorn

from symcache_core.errors import ConfigurationError

from .app import create_app
from .gateway import Gateway
from .own_cache import open_own_cache
from .replay import ReplayGateway
from .service import HostService
from .settings import HostSettings

GRACE = 0.5

IB_TIMEOUT = 30.0
"""Seconds for one request to Interactive Brokers; a client waits for a minute, and a request may be queued before."""

log = logging.getLogger("symcache")


def serve(settings: HostSettings) -> None:
    """Answer until a signal, or the end of standard input if that was asked for.

    As soon as requests are accepted, one line of JSON goes to standard output: ``{"url": ..., "gateway": ...}``.

    Raises:
        KeyboardInterrupt: A signal ended it; everything is closed.
        ConfigurationError: The address cannot be listened on, what the gateway needs is not installed, or a setting of
            the cache is wrong.
        BackendError: The host's own cache cannot be used.
    """
    gateway = _gateway(settings)
    with listen(settings.bind, settings.port) as listener:
        app = create_app(HostService(gateway, open_own_cache(settings.data_dir, gateway.name)), token=settings.token)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE,  # type: ignore[arg-type]  # any number of seconds will do
        )
        server = _Server(config, ready={"url": url_of(listener), "gateway": gateway.name})
        if settings.until_stdin_closes:
            threading.Thread(target=server.stop_with_stdin, daemon=True).start()
        log.info("serving %s", gateway.notice or gateway.name)
        # uvicorn raises what ended it once more when all is closed; this makes SIGTERM end like Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server.run([listener])


def _gateway(settings: HostSettings) -> Gateway:
    if settings.gateway == "replay":
        return ReplayGateway(latency=settings.latency, as_of=settings.as_of)
    try:
        from .ib.connection import IbConnection  # here, because both need an extra of their own
        from .ib.gateway import IbGateway
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error}; the gateway 'ib' needs: pip install 'symcache[ib]'") from None
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)  # what it has to say comes back as an answer or an error
    connection = IbConnection(
        settings.ib_host, settings.ib_port, client_id=settings.ib_client_id, request_timeout=IB_TIMEOUT
    )
    return IbGateway(connection, quiet_start=settings.ib_quiet_start)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: dict[str, str]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps(self._ready), flush=True)  # noqa: T201  # what whoever started it waits for

    def stop_with_stdin(self) -> None:
        # os.read, because a thread inside a buffered reader makes the interpreter abort when it ends.
        while os.read(0, 4096):
            pass
        self.should_exit = True


def listen(bind: str, port: int) -> socket.socket:
    """A listening TCP socket; ``port`` 0 takes any free one.

    Raises:
        ConfigurationError: The address is taken, or not one of this machine.
    """
    try:
        found = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Made with its protocol, unlike by socket.create_server: asyncio turns Nagle's algorithm off only where it
        # sees TCP, and with it on, every answer waits 40 ms for an acknowledgement.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {bind}:{port}: {error.strerror or error}") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
