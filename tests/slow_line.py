"""A line to TWS on which everything takes its time, and a count of what arrives by the strictest reading."""

import asyncio
import struct
from collections import Counter, defaultdict, deque

from tws import protocol
from tws.protocol import ClientMessage
from tws.server import bound


class StrictMonitor:
    """Counts what arrives at one TWS, whichever connection it comes by; a window has its very ends in it."""

    def __init__(self):
        self.violations = Counter()
        self.messages = 0
        self.most_open = 0
        self._open = set()
        self._windows = defaultdict(deque)

    def arrived(self, connection, frame):
        """Note a message of a connection."""
        number, *fields = frame.decode().split("\0")[:-1]
        number = int(number)
        self.messages += 1
        self._count("messages", 50, 1.0)
        if number in protocol.REQUESTS:
            request = protocol.REQUESTS[number].read(fields)
            if request.kind != "details":
                same = tuple(value for name, value in sorted(vars(request).items()) if name != "number")
                self._count(("same request", request.kind, *same), 1, 15.0)
                self._count(("one contract", request.query, request.what), 5, 2.0)
                self._open.add((connection, request.number))
                self.most_open = max(self.most_open, len(self._open))
                self.violations["open requests"] += len(self._open) > 50
        elif number in (ClientMessage.CANCEL_HEAD, ClientMessage.CANCEL_BARS):
            self._open.discard((connection, int(fields[number == ClientMessage.CANCEL_BARS])))

    def answered(self, connection, frame):
        """Note what was answered: bars, or an error, close their request."""
        number, *fields = frame.decode().split("\0")[:-1]
        if number in ("17", "4"):
            self._open.discard((connection, int(fields[number == "4"])))

    def gone(self, connection):
        """A connection has ended, and with it all that was asked through it."""
        self._open = {request for request in self._open if request[0] != connection}

    def _count(self, scope, most, seconds):
        now, times = asyncio.get_running_loop().time(), self._windows[scope]
        while times and times[0] < now - seconds:
            times.popleft()
        times.append(now)
        self.violations[scope if isinstance(scope, str) else scope[0]] += len(times) > most


class SlowLine:
    """Stands between a client and TWS; everything that passes is delayed, and stays in order.

    Args:
        tws: Where it leads.
        there: Draws the seconds that a message takes to TWS.
        back: Draws those that an answer takes.
    """

    def __init__(self, tws, there, back):
        self._tws, self._there, self._back = tws, there, back
        self._reserved = bound(0)
        self.port = self._reserved.getsockname()[1]
        self.monitor = StrictMonitor()
        self._serving = {}
        self._connections = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, sock=bound(self.port))
        return self

    async def __aexit__(self, *_exc):
        self._server.close()
        serving = self._serving.copy()
        self.cut()
        if serving:
            await asyncio.wait(serving)
        for connection in self._connections:
            connection.hang_up()
        self._reserved.close()

    def cut(self):
        """End every connection; what is under way still arrives."""
        for writer in self._serving.values():
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self._serving[asyncio.current_task()] = writer
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._tws.port)
        there, back = Delayed(self._there), Delayed(self._back)
        connection = Connection(self.monitor, writer, up_writer)
        self._connections.append(connection)
        pumps = [
            asyncio.create_task(_pump(reader, there, [connection.open, connection.ask])),
            asyncio.create_task(_pump(up_reader, back, [connection.greet, connection.answer], connection.answered)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.close()
            there.later(connection.gone)
            del self._serving[asyncio.current_task()]


class Connection:
    """One client's way through the line: what is done with what comes out of it at either end."""

    def __init__(self, monitor, client, tws):
        self._monitor, self._client, self._tws = monitor, client, tws

    def open(self, frame):
        _write(self._tws, frame, protocol.HELLO)

    def ask(self, frame):
        self._monitor.arrived(self, frame)
        _write(self._tws, frame)

    def greet(self, frame):
        _write(self._client, frame)

    answer = greet

    def answered(self, frame):
        """TWS has sent it, whenever it comes out."""
        self._monitor.answered(self, frame)

    def gone(self):
        self._monitor.gone(self)
        self.hang_up()

    def hang_up(self):
        self._tws.transport.abort()


async def _pump(reader, line, steps, on_entry=None):
    first, then = steps
    if first.__name__ == "open":
        await reader.readexactly(len(protocol.HELLO))
    line.later(first, await _frame(reader))
    while True:
        frame = await _frame(reader)
        if on_entry is not None:
            on_entry(frame)
        line.later(then, frame)


def _write(writer, frame, before=b""):
    if not writer.is_closing():
        writer.write(before + struct.pack(">I", len(frame)) + frame)


class Delayed:
    """Does things later, in the order in which they are given."""

    def __init__(self, draw):
        self._draw, self._last = draw, 0.0
        self._waiting = deque()

    def later(self, do, *arguments):
        loop = asyncio.get_running_loop()
        self._last = max(self._last, loop.time() + self._draw())
        self._waiting.append((do, arguments))
        loop.call_at(self._last, self._next)  # timers of one time have no order of their own

    def _next(self):
        do, arguments = self._waiting.popleft()
        do(*arguments)


async def _frame(reader):
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    return await reader.readexactly(length)
