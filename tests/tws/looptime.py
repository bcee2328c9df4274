"""An event loop on which minutes take moments: its time jumps whenever there is nothing else to do."""

import asyncio
import selectors
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch


class _SimulatedTime(selectors.DefaultSelector):
    """Never waits for a timer, only for threads: their work takes no time, however long it takes."""

    def __init__(self):
        super().__init__()
        self.passed = 0.0
        self.in_threads = set()
        """The work that threads have not finished yet, or of which the loop has not heard yet."""

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.in_threads:
            return super().select(None)
        self.passed += timeout
        return []


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while there is work, and goes to the next timer when there is none.

    The work of thread pools is work, too: the loop waits for it in real time, and its clock does not see that.

    Its servers and clients find each other by their ports as ever, but through sockets of the Unix domain: what one
    side has written is there to be read at once, while TCP may take its time even within one machine, and time would
    jump while something is on its way.
    """

    def __init__(self):
        self._time = _SimulatedTime()
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(self._time)

    def time(self):
        return self._time.passed

    def close(self):
        super().close()
        self._folder.cleanup()

    def run_in_executor(self, executor, func, *args):
        future = super().run_in_executor(executor, func, *args)
        # The pool's own future is done a moment before this one, and time must not pass in between.
        self._time.in_threads.add(future)
        future.add_done_callback(self._time.in_threads.discard)
        return future

    def shutdown_default_executor(self, timeout=None):
        # The timeout is meant in real time; simulated, it is over before a thread can end.
        return super().shutdown_default_executor()

    def wait_for_thread(self, future):
        """Let no time pass until some work of a thread pool is done; gives its future."""
        self._time.in_threads.add(future)
        future.add_done_callback(self._thread_is_done)
        return future

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

    def _thread_is_done(self, future):
        with suppress(RuntimeError):  # the loop has closed, and nobody waits any more
            self.call_soon_threadsafe(self._time.in_threads.discard, future)

    def _place(self, port):
        return Path(self._folder.name, str(port))


def run(main):
    """Run a coroutine on such a loop; it waits for every thread pool that is used meanwhile."""
    submit = ThreadPoolExecutor.submit
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        loop = runner.get_loop()

        def submit_and_wait(pool, *work, **options):
            return loop.wait_for_thread(submit(pool, *work, **options))

        with patch.object(ThreadPoolExecutor, "submit", submit_and_wait):
            return runner.run(main)
