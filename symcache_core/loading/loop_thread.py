"""One event loop in a thread of its own, for programs that have none, or one that is busy."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ClosedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Running:
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    main: asyncio.Task[Any] | None
    stop: asyncio.Event


class LoopThread:
    """An event loop that starts with the first coroutine given to it and runs until :meth:`close`.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = False

    @property
    def is_running(self) -> bool:
        """Whether its thread runs; in a forked child it does not."""
        return self._running is not None and self._running.thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for what it gives; Ctrl-C while waiting cancels it.

        Raises:
            ClosedError: The loop is closed, or was while the coroutine ran.
            RuntimeError: Called on the loop itself, which would wait for itself for ever.
        """
        if self._running is not None and threading.current_thread() is self._running.thread:
            work.close()
            raise RuntimeError("a blocking call from within the loader's own thread would never end: use the async one")
        future: concurrent.futures.Future[T] | None = None
        try:
            future = self._submit(work)
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClosedError("closed while the call was running") from None
        except BaseException:
            # An interrupt can come at any moment, even before there is a future to cancel the work by.
            if future is None or not future.done():
                self._abandon(work)
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it on another one; cancelling the one cancels the other.

        Raises:
            ClosedError: The loop is closed, or was while the coroutine ran.
        """
        future = self._submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if waiter is not None and waiter.cancelling():
                raise
            raise ClosedError("closed while the call was running") from None

    def iterate(self, results: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Give what an asynchronous generator gives, which runs on the loop; closing the one closes the other.

        Raises:
            ClosedError: The loop is closed, or was while the generator ran.
        """

        async def advance() -> list[T]:
            async for result in results:
                return [result]
            return []

        try:
            while found := self.run(advance()):
                yield from found
        except GeneratorExit:
            with suppress(ClosedError):  # which has ended it
                self.run(_closed(results))
            raise
        except BaseException:
            # An interrupt is in a hurry.
            with suppress(ClosedError):
                self._submit(_closed(results))
            raise

    def cancel_all(self) -> None:
        """Cancel whatever runs on the loop, and wait until it has ended."""
        if self._running is not None and self._running.thread.is_alive():
            self.run(_cancel_others(self._running.main))

    def close(self) -> None:
        """End the loop and its thread; a second call does nothing."""
        with self._lock:
            self._closed = True
            running = self._running
        if running is not None and running.thread.is_alive():
            _end(running)
            running.thread.join()
        self._running = None

    def _submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._lock:
            try:
                loop = self._start()
            except BaseException:
                work.close()
                raise
            return asyncio.run_coroutine_threadsafe(work, loop)

    def _abandon(self, work: Coroutine[Any, Any, Any]) -> None:
        if self._running is not None:
            self._running.loop.call_soon_threadsafe(_cancel, work)

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise ClosedError("used after close()")
        if self._running is None:
            ready: concurrent.futures.Future[_Running] = concurrent.futures.Future()
            try:
                threading.Thread(target=_serve, args=(ready,), name=self._name, daemon=True).start()
                self._running = ready.result()
            except BaseException:
                ready.add_done_callback(_end_unused)  # nobody else knows of it after an interrupt
                raise
        if not self._running.thread.is_alive():
            raise ClosedError("the event loop did not survive a fork: open a new one in the child process")
        return self._running.loop


def _serve(ready: concurrent.futures.Future[_Running]) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ready.set_result(_Running(threading.current_thread(), loop, asyncio.current_task(), stop))
        await stop.wait()

    try:
        asyncio.run(main())
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)


def _end(running: _Running) -> None:
    with suppress(RuntimeError):  # it has ended by itself
        running.loop.call_soon_threadsafe(running.stop.set)


def _end_unused(ready: concurrent.futures.Future[_Running]) -> None:
    if ready.exception() is None:
        _end(ready.result())


async def _closed(results: AsyncGenerator[T, None]) -> None:
    # A step that was interrupted may still be ending.
    while results.ag_running:  # type: ignore[attr-defined]  # noqa: ASYNC110  # typeshed lacks it; no event tells it
        await asyncio.sleep(0.001)
    await results.aclose()


def _cancel(work: Coroutine[Any, Any, Any]) -> None:
    for task in asyncio.all_tasks():
        if task.get_coro() is work:
            task.cancel()


async def _cancel_others(main: asyncio.Task[Any] | None) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task(), main}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
