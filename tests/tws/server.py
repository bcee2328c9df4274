"""A TWS made for tests: real sockets, real messages, no broker behind it.

Its clock is the event loop's, so on a loop with simulated time its pacing rules need no real seconds.
"""

import asyncio
import socket

from . import protocol
from .behaviours import Behaviours
from .delays import Line
from .faults import Fault
from .handler import Client, Handler
from .market import NOW


class SimulatedTws:
    """The server, from ``start`` to ``stop``; as often as wanted, and always on the same port.

    Args:
        port: Where to listen; 0 takes any free port.
        now: Its present; nothing later has happened for it.
        latency: Seconds that every answer takes.
        behaviours: The names of those to be switched on; see `behaviours`.
        delays: Gives the seconds that a message of a client takes to arrive; each socket keeps its order.
    """

    def __init__(self, *, port=0, now=NOW, latency=0.0, behaviours=(), delays=None):
        # It never listens, and keeps the port while the server is down.
        self._reserved = bound(port)
        self.port = self._reserved.getsockname()[1]
        self._behaviours = Behaviours(behaviours)
        self._handler = Handler(now, latency, self._behaviours, self)
        self._delays = delays
        self._background = set()
        self._server = None
        self._restarting = None
        self._serving = {}

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_exc):
        for task in self._background.copy():
            task.cancel()
        await self.stop()
        self._reserved.close()

    async def start(self):
        """Listen."""
        self._server = await asyncio.start_server(self._serve, sock=bound(self.port))

    async def stop(self):
        """Drop everybody, and refuse whoever comes."""
        if self._restarting is not None:
            self._restarting.cancel()
            self._restarting = None
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop()

    async def restart(self):
        """Drop everybody; whoever comes back is welcome."""
        await self.stop()
        await self.start()

    async def reset(self, seconds):
        """Drop everybody, and refuse whoever comes within so many seconds, as every night."""
        await self.stop()
        self._restarting = asyncio.create_task(self._start_after(seconds))

    async def drop(self):
        """Drop everybody, without a word."""
        for writer in self._serving.values():
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving.copy())

    def switch(self, name, *, on=True):
        """Switch a behaviour on, as ``competing`` or ``competing=162``, or off; see `behaviours`."""
        self._behaviours.switch(name, on=on)

    def in_background(self, work):
        """Let something be done beside the clients; it ends with the server."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def fault(self, kind, **what):
        """Let something go wrong; see `Fault`."""
        self._handler.faults.add(Fault(kind, **what))

    def clear_faults(self):
        """Let nothing go wrong any more."""
        self._handler.faults.clear()

    def notice(self, code, farm=None, text=None):
        """Tell everybody something that answers no request; a farm that is down is told to newcomers, too."""
        self._handler.notice(code, farm, text)

    def counts(self):
        """What happened so far, and how things stand: plain values that JSON can carry."""
        return self._handler.counts()

    async def _start_after(self, seconds):
        await asyncio.sleep(seconds)
        await self.start()

    async def _serve(self, reader, writer):
        self._serving[asyncio.current_task()] = writer
        client = Client(writer, self._behaviours)
        line = Line(self._delays, lambda message: self._handler.receive(client, *message))
        try:
            if not await self._is_open(reader):
                return
            await protocol.handshake(reader, writer)
            while not writer.is_closing():
                line.carry(await protocol.read_message(reader))
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # it has gone, or speaks another protocol
        finally:
            line.cut()
            self._handler.leave(client)
            writer.close()
            del self._serving[asyncio.current_task()]

    async def _is_open(self, reader):
        """Whether the API takes anybody; a client is read, and then left alone or hung up on."""
        if not {"api-silent", "api-closes"} & set(self._behaviours):
            return True
        while await reader.read(protocol.LONGEST) and "api-silent" in self._behaviours:
            pass
        return False


def bound(port):
    """A socket at a port, beside others there; as long as one is open nobody else is given that port."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held
