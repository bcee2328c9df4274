"""Single flight: of all who want one thing at the same time, one fetches it; tasks, event loops and threads alike.

The cases that make it long:

- *The caller that came first is cancelled.* The work must go on for the others, so it is a task of its own, and the
  first caller waits for it like anyone else. Only when the last waiter leaves is the work cancelled.
- *A waiter goes away on purpose* (its soft timeout has passed): the work goes on without anybody, and is never
  cancelled for want of waiters.
- *Waiters on other event loops.* An asyncio future belongs to one loop, so the outcome is a concurrent future, and each
  waiter has its own loop woken.
- *The loop that carries the work ends* (``asyncio.run`` returned, or its thread died): nobody will ever complete the
  outcome. A waiter on another loop looks now and then whether the carrying loop still runs, and leads anew if not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..errors import ClosedError

T = TypeVar("T")


class SoftTimeoutError(TimeoutError):
    """A caller went away before the work was done; the work goes on."""


class _AbandonedError(Exception):
    """The loop that carried a flight is gone, or its work was cancelled; whoever still waits leads a new one."""


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[T] | None = None
        """There once the turn of its loop that made it has gone on: others see it in later ones."""
        self.outcome: Future[T] = Future()
        self.traceback: TracebackType | None = None
        """Where the work failed, without the waiters that have raised its error since."""
        self.waiters = 0
        self.is_detached = False

    def cancel(self) -> None:
        """Cancel its work; called on its loop."""
        if self.task is not None:
            self.task.cancel()

    def is_orphaned(self) -> bool:
        """Whether its loop no longer carries it; one that stands still may never go on."""
        return not self.loop.is_running()


class SingleFlight(Generic[T]):
    """Runs one piece of work for each key at a time, and gives its outcome to everyone who asks meanwhile.

    The work is a task of its own on the event loop of whoever came first. Cancelling one waiter never touches the
    others; when the last one leaves, the work is cancelled. If the loop that carries it ends first, a waiter on another
    loop leads anew.

    Args:
        look_every: Seconds after which a waiter on another loop looks whether the carrying loop still runs.
    """

    def __init__(self, look_every: float = 0.25) -> None:
        self._look_every = look_every
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
            flight, led = self._join(key, work)
            try:
                if not await self._is_done(flight, deadline):
                    flight.is_detached = True
                    raise SoftTimeoutError(f"no outcome within {soft_timeout} s")
                if (error := flight.outcome.exception()) is not None:
                    raise error.with_traceback(flight.traceback)
                return flight.outcome.result(), led
            except _AbandonedError:
                continue
            finally:
                self._leave(key, flight)

    def start(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> bool:
        """Begin the work on the running loop with nobody waiting; False if it is under way already."""
        flight, led = self._join(key, work)
        flight.is_detached = True
        self._leave(key, flight)
        return led

    def waiting(self) -> int:
        """How many callers wait at this moment, background work counted as one."""
        with self._lock:
            return sum(flight.waiters + flight.is_detached for flight in self._flights.values())

    async def drain(self, timeout: float, *, last: bool = False) -> None:
        """Wait for the flights of the running loop, and cancel what is not done in time.

        Args:
            timeout: Seconds to wait.
            last: Whether nothing may begin anew after that; who still waits for what is cancelled gets ClosedError.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            flights = [flight for flight in self._flights.values() if flight.loop is loop]
        tasks = {flight.task for flight in flights if flight.task is not None}
        late = (await asyncio.wait(tasks, timeout=timeout))[1] if tasks else set()
        self._closed = last
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[_Flight[T], bool]:
        with self._lock:
            if self._closed:
                raise ClosedError("this symbol cache is closed")
            flight = self._flights.get(key)
            led = flight is None or flight.is_orphaned()
            if flight is None or led:
                flight = self._flights[key] = _Flight()
            flight.waiters += 1
        if led:  # outside of the lock, for a program may have a task factory of its own
            self._begin(key, flight, work)
        return flight, led

    def _begin(self, key: str, flight: _Flight[T], work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        try:
            flight.task = flight.loop.create_task(work())
        except BaseException:
            with self._lock:
                self._forget(key, flight)
            flight.outcome.set_exception(_AbandonedError())
            raise
        flight.task.add_done_callback(partial(self._complete, key, flight))

    def _leave(self, key: str, flight: _Flight[T]) -> None:
        with self._lock:
            flight.waiters -= 1
            if flight.waiters or flight.is_detached or flight.outcome.done():
                return
            self._forget(key, flight)
        with suppress(RuntimeError):  # its loop has closed: nothing is left to cancel
            flight.loop.call_soon_threadsafe(flight.cancel)

    def _complete(self, key: str, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        with self._lock:
            self._forget(key, flight)
        # A cancelled task means that the last waiter had left, or that the loop is ending: whoever has joined since
        # then did not want that, and begins anew.
        if task.cancelled():
            flight.outcome.set_exception(_AbandonedError())
        elif (error := task.exception()) is not None:
            flight.traceback = error.__traceback__
            flight.outcome.set_exception(error)
        else:
            flight.outcome.set_result(task.result())

    def _forget(self, key: str, flight: _Flight[T]) -> None:
        # A flight that was orphaned may have been replaced under its key.
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _is_done(self, flight: _Flight[T], deadline: float | None) -> bool:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_outcome: Future[T] | None = None) -> None:
            if not woken.done():
                woken.set_result(None)

        def wake_from_another_loop(_outcome: Future[T]) -> None:
            with suppress(RuntimeError):  # this waiter's loop has closed: nobody is left to wake
                loop.call_soon_threadsafe(wake)

        # The outcome is there on the loop that carries the flight, which need not be woken for a waiter of its own.
        flight.outcome.add_done_callback(wake if flight.loop is loop else wake_from_another_loop)
        while not flight.outcome.done():
            if flight.is_orphaned():
                raise _AbandonedError
            limits = [] if flight.loop is loop else [self._look_every]
            if deadline is not None:
                limits.append(deadline - loop.time())
                if limits[-1] <= 0:
                    return False
            await asyncio.wait({woken}, timeout=min(limits, default=None))
        return True
