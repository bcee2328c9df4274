"""An event loop on which minutes pass when a test says so, while the rest of the world goes on as ever."""

import asyncio


class PassingTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward, for tests with real servers and deadlines that real time never meets."""

    ahead = 0.0

    def time(self):
        return super().time() + self.ahead

    def put_forward(self, seconds):
        """Let time pass; from another thread, with ``call_soon_threadsafe``."""
        self.ahead += seconds


def run(main):
    """Run a coroutine on such a loop."""
    with asyncio.Runner(loop_factory=PassingTimeLoop) as runner:
        return runner.run(main)
