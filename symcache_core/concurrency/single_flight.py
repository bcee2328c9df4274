"""Single flight: of all who want one thing at the same time, one fetches it; tasks, event loops and threads alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from ..errors import ClosedError

T = TypeVar("T")


class SoftTimeoutError(TimeoutError):
    """A caller went away before the work was done; the work goes on."""


class _AbandonedError(Exception):
    """The loop that carried a flight is gone; whoever still waits leads a new one."""


class _Flight(Generic[T]):
    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(work())
        self.landed: Future[T] = Future()
        self.aboard = 0
        self.goes_on = False

    def is_stranded(self) -> bool:
        """Whether its loop no longer carries it; one that stands still may never go on."""
        return not self.loop.is_running()


class SingleFlight(Generic[T]):
    """Runs one piece of work for each key at a time, and gives its outcome to everyone who asks meanwhile.

    The work is a task of its own on the event loop of whoever came first. Cancelling one waiter never touches the
    others; when the last one leaves, the work is cancelled. If the loop that carries it ends first, a waiter on another
    loop leads anew.

    Args:
        patience: Seconds after which a waiter on another loop looks whether the carrying loop still runs.
    """

    def __init__(self, patience: float = 0.25) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight[T]] = {}
        self._closed = False

    async def run(
        self, key: str, work: Callable[[], Coroutine[Any, Any, T]], *, soft_timeout: float | None = None
    ) -> tuple[T, bool]:
        """The outcome of the work under a key, and whether this caller started it.

        Args:
            key: What callers share.
            work: What to do if nobody does it yet.
            soft_timeout: Seconds after which this caller goes away; the work then goes on without it.

        Raises:
            SoftTimeoutError: The soft timeout passed.
            Exception: Whatever the work raised, the same for everyone.
        """
        loop = asyncio.get_running_loop()
        deadline = None if soft_timeout is None else loop.time() + soft_timeout
        while True:
            flight, led = self._board(key, work)
            try:
                if not await self._landed(flight, deadline):
                    flight.goes_on = True
                    raise SoftTimeoutError(f"no outcome within {soft_timeout} s")
                return flight.landed.result(), led
            except _AbandonedError:
                continue
            finally:
                self._leave(key, flight)

    def start(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> bool:
        """Begin the work on the running loop with nobody waiting; False if it is under way already."""
        flight, led = self._board(key, work)
        flight.goes_on = True
        self._leave(key, flight)
        return led

    def waiting(self) -> int:
        """How many callers wait at this moment, background work counted as one."""
        with self._lock:
            return sum(flight.aboard + flight.goes_on for flight in self._flights.values())

    async def drain(self, timeout: float, *, last: bool = False) -> None:
        """Wait for the flights of the running loop, and cancel what is not done in time.

        Args:
            timeout: Seconds to wait.
            last: Whether nothing may begin anew after that; who still waits for what is cancelled gets ClosedError.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            tasks = {flight.task for flight in self._flights.values() if flight.loop is loop}
        late = (await asyncio.wait(tasks, timeout=timeout))[1] if tasks else set()
        self._closed = last
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _board(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[_Flight[T], bool]:
        with self._lock:
            if self._closed:
                raise ClosedError("this symbol cache is closed")
            flight = self._flights.get(key)
            led = flight is None or flight.is_stranded()
            if flight is None or led:
                flight = self._flights[key] = _Flight(work)
                flight.task.add_done_callback(partial(self._land, key, flight))
            flight.aboard += 1
            return flight, led

    def _leave(self, key: str, flight: _Flight[T]) -> None:
        with self._lock:
            flight.aboard -= 1
            if flight.aboard or flight.goes_on or flight.landed.done():
                return
            self._forget(key, flight)
        with suppress(RuntimeError):  # its loop has closed: nothing is left to cancel
            flight.loop.call_soon_threadsafe(flight.task.cancel)

    def _land(self, key: str, flight: _Flight[T], _task: asyncio.Task[T]) -> None:
        with self._lock:
            self._forget(key, flight)
        if flight.task.cancelled():
            flight.landed.set_exception(_AbandonedError())
        elif (error := flight.task.exception()) is not None:
            flight.landed.set_exception(error)
        else:
            flight.landed.set_result(flight.task.result())

    def _forget(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _landed(self, flight: _Flight[T], deadline: float | None) -> bool:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_landed: Future[T] | None = None) -> None:
            if not woken.done():
                woken.set_result(None)

        def wake_from_afar(_landed: Future[T]) -> None:
            with suppress(RuntimeError):  # this waiter's loop has closed: nobody is left to wake
                loop.call_soon_threadsafe(wake)

        # A flight lands on the loop that carries it, which need not be woken for a waiter of its own.
        flight.landed.add_done_callback(wake if flight.loop is loop else wake_from_afar)
        while not flight.landed.done():
            if flight.is_stranded():
                raise _AbandonedError
            limits = [] if flight.loop is loop else [self._patience]
            if deadline is not None:
                limits.append(deadline - loop.time())
                if limits[-1] <= 0:
                    return False
            await asyncio.wait({woken}, timeout=min(limits, default=None))
        return True
