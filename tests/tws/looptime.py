"""An event loop on which minutes take moments: its time jumps whenever there is nothing else to do."""

import asyncio
import selectors
import socket
import tempfile
from pathlib import Path

HURRY = 1000
LONGEST_WAIT = 0.01
"""Seconds. Before it jumps it waits a thousandth of the way, but no longer, for other threads."""


class _Hurried(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.passed = 0.0

    def select(self, timeout=None):
        if ready := super().select(0):
            return ready
        ready = super().select(timeout and min(timeout / HURRY, LONGEST_WAIT))
        if not ready and timeout:
            self.passed += timeout
        return ready


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while there is work, and goes to the next timer when there is none.

    Its servers and clients find each other by their ports as ever, but through sockets of the Unix domain: what one
    side has written is there to be read at once, while TCP may take its time even within one machine, and time would
    jump while something is on its way.
    """

    def __init__(self):
        self._hurried = _Hurried()
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(self._hurried)

    def time(self):
        return self._hurried.passed

    def close(self):
        super().close()
        self._folder.cleanup()

    async def create_server(self, protocol_factory, host=None, port=None, *, sock, **_options):
        with sock:
            place = self._place(sock.getsockname()[1])
        place.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(place))
        return await self.create_unix_server(protocol_factory, sock=listener)

    async def create_connection(self, protocol_factory, host=None, port=None, **_options):
        try:
            return await self.create_unix_connection(protocol_factory, str(self._place(port)))
        except FileNotFoundError:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}") from None

    def _place(self, port):
        return Path(self._folder.name, str(port))


def run(main):
    """Run a coroutine on such a loop."""
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        return runner.run(main)
