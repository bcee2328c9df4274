"""TcpProxy: stands between a client and a TCP server, and takes the server out of reach when a test says so."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")

_CHUNK = 1 << 16
_BACKLOG = 128
_AT_ONCE = struct.pack("ii", 1, 0)
"""Lets a socket end with a reset, and not with what is still to be sent."""


class TcpProxy:
    """A way to a TCP server that can be cut; it works in one thread of its own.

    Args:
        host: The server's name or address.
        port: The server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        # It holds the port while nobody listens there, so that nobody else is given it.
        self._reserved = _bound(0)
        self.host: str
        self.port: int
        self.host, self.port = self._reserved.getsockname()
        self._passing = True
        self._passed_at_most: int | None = None
        self._pause = 0.0
        self._connections: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="symcache-testing-proxy", daemon=True)
        self._thread.start()
        self._listener: socket.socket | None = None
        self._do(self._listen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server is gone: every connection is cut in the midst of what it does, and new ones are refused."""
        self._do(self._refuse)
        try:
            yield
        finally:
            self._do(self._listen)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The server is stuck: connections are accepted, and nothing passes in either direction.

        What was sent in the meantime never arrives: every connection is cut in the end.
        """
        self._passing = False
        try:
            yield
        finally:
            self._passing = True
            self._do(self._cut)

    @contextmanager
    def cutting(self, after: int) -> Iterator[None]:
        """The server hangs up in the middle of an answer, as one that is stopped in good order does.

        Args:
            after: How many bytes of answers each connection still gives.
        """
        self._do(self._cut)
        self._passed_at_most = after
        try:
            yield
        finally:
            self._passed_at_most = None
            self._do(self._cut)

    @contextmanager
    def dripping(self, pause: float = 0.2) -> Iterator[None]:
        """The server is slow: its answers come byte by byte.

        Args:
            pause: Seconds between two bytes.
        """
        self._pause = pause
        try:
            yield
        finally:
            self._pause = 0.0
            self._do(self._cut)

    def close(self) -> None:
        """Cut every connection and let go of the port; again if called again."""
        if self._loop.is_closed():
            return
        self._do(self._refuse)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def _do(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(what(), self._loop).result()

    async def _listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        # No server of asyncio: what that has taken and not yet begun to serve could not be cut.
        self._loop.add_reader(self._listener, self._take, self._listener)

    def _take(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # who connected has gone
            return
        connection.setblocking(False)
        serving = self._loop.create_task(self._serve(connection))
        self._connections.add(serving)
        serving.add_done_callback(self._connections.discard)
        serving.add_done_callback(lambda _task: connection.close())

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            with suppress(OSError):  # where the system knows this of connections alone
                self._listener.shutdown(socket.SHUT_RDWR)  # a child that was forked meanwhile has it open, too
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        connections = list(self._connections)
        for end in self._ends:
            _abort(end)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, connection: socket.socket) -> None:
        ends: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
            ends.append(writer)
            self._ends.add(writer)
            up_reader, up = await asyncio.open_connection(*self._server)
            ends.append(up)
            self._ends.add(up)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pass(reader, up))
                both_ways.create_task(self._answer(up_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass  # either end has gone, and so goes the other
        finally:
            for end in ends:
                self._ends.discard(end)
                _abort(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            if self._passing:
                writer.write(data)
                await writer.drain()
        if not self._passing:
            await asyncio.get_running_loop().create_future()  # who is silent does not even hang up
        raise ConnectionResetError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass answers, in the way that they are disturbed in."""
        passed = 0
        while data := await reader.read(_CHUNK):
            if not self._passing:
                continue
            if self._passed_at_most is not None:
                data = data[: self._passed_at_most - passed]
            for piece in _pieces(data) if self._pause else (data,):
                await asyncio.sleep(self._pause)
                writer.write(piece)
                await writer.drain()
            passed += len(data)
            if self._passed_at_most is not None and passed >= self._passed_at_most:
                writer.write_eof()
                await asyncio.get_running_loop().create_future()  # until all is cut, or the client has had enough
        if not self._passing:
            await asyncio.get_running_loop().create_future()  # who is silent does not even hang up
        raise ConnectionResetError


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[place : place + 1] for place in range(len(data)))


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _abort(end: asyncio.StreamWriter) -> None:
    connection = end.get_extra_info("socket")
    with suppress(OSError):  # it has gone by itself
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        connection.shutdown(socket.SHUT_RDWR)  # a child that was forked meanwhile has it open, too
    end.transport.abort()
