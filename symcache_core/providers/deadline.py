"""One deadline for one question, however many attempts it takes."""

from __future__ import annotations

import asyncio

HOST_SHARE = 0.95
OWN_SHARE = 0.99


class Deadline:
    """A moment on the running event loop's clock.

    Args:
        seconds: How far away it is.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = asyncio.get_running_loop().time() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; none once it has passed."""
        return max(0.0, self._ends - asyncio.get_running_loop().time())

    @property
    def left_to_wait(self) -> float:
        """How many of them to wait: a little less, so that the error comes before that of a caller who waits as long.

        It says more, as it knows the host.
        """
        return self.left * OWN_SHARE

    @property
    def left_for_host(self) -> float:
        """How many of them a host may use: it is to be done a little before, so that its answer still arrives."""
        return self.left * HOST_SHARE
