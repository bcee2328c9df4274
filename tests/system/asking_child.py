"""A process that asks, through a cache that it shares with others, a provider at the other end of a socket.

Started as ``python asking_child.py ORDER``. It says what it does on standard output, a line of JSON each, and goes on
when it hears a line on standard input.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from symcache_core import ContractInfo, SymcacheSettings, ValidationResult, open_symbol_cache

PATIENCE = 60
"""Seconds after which a child that hangs is ended."""

TIMEFRAMES = ("1d",)


class Asker:
    """A cache, the provider's port, and what can be done with both; each public method is an order."""

    def __init__(self, settings, port):
        self._cache = open_symbol_cache(SymcacheSettings(**settings))
        self._port = port

    def ask(self, symbol, threads, tasks):
        """Ask for one symbol, in so many tasks on each of so many event loops, all at once."""
        everyone = threading.Barrier(threads + 1)

        async def together():
            return await asyncio.gather(*(self._look_up(symbol) for _ in range(tasks)))

        def thread():
            everyone.wait()
            return asyncio.run(together())

        with ThreadPoolExecutor(threads) as pool:
            crowd = [pool.submit(thread) for _ in range(threads)]
            say("ready")
            hear()
            everyone.wait()
            while self._cache.get_stats().waiting < threads * tasks and not any(each.done() for each in crowd):
                time.sleep(0.005)
            say("waiting")
            say([answer for each in crowd for _outcome, answer in each.result()])
        self._cache.close()

    def ask_many(self, symbols, concurrency):
        """Ask for many symbols, several at a time, and say each one's answer as it comes."""

        async def main():
            many = self._cache.get_or_validate_many(symbols, TIMEFRAMES, self._validate, concurrency=concurrency)
            async for done in many:
                assert done.error is None, done
                say([done.symbol, answer_in(done.lookup)])

        say("ready")
        hear()
        asyncio.run(main())
        self._cache.close()

    def abandon(self, symbol):
        """Close an event loop in the middle of its call while another thread waits for the same symbol."""
        carrier = LoopThread()
        asyncio.run_coroutine_threadsafe(self._look_up(symbol), carrier.loop)
        hear()
        with ThreadPoolExecutor(1) as pool:
            waiter = pool.submit(lambda: asyncio.run(self._look_up(symbol)))
            while self._cache.get_stats().waiting < 2:
                time.sleep(0.005)
            carrier.stop()
            # Held on to, so that what they hold is not given back by the garbage collector.
            abandoned = asyncio.all_tasks(carrier.loop)
            carrier.loop.close()
            say(waiter.result())
        hear()
        for task in abandoned:
            task._log_destroy_pending = False  # the loop was closed under it on purpose
        self._cache.close()

    def fork_in_a_call(self, symbol):
        """Fork while another thread asks about a symbol, and stay after the child has come to use the cache."""
        carrier = LoopThread()
        asyncio.run_coroutine_threadsafe(self._look_up(symbol), carrier.loop)
        hear()
        in_forked_child(lambda: self._cache.peek(symbol))

    def fork_in_a_refresh(self, symbol):
        """Fork while another thread refreshes a symbol, and look it up in the child, which would refresh it, too."""
        carrier = LoopThread()
        for _time in ("to know it", "to refresh it"):
            say(asyncio.run_coroutine_threadsafe(self._look_up(symbol), carrier.loop).result())
            hear()
        in_forked_child(lambda: asyncio.run(self._look_up_and_refresh(symbol)))
        asyncio.run_coroutine_threadsafe(self._cache.aclose(drain=PATIENCE), carrier.loop).result()
        carrier.stop()
        carrier.loop.close()

    def fork_a_crowd(self, symbol, threads):
        """Fork, ask for one symbol in many threads of the child, and say how often each part was made anew for it."""
        parts = [part for part in (self._cache, self._cache._backend) if hasattr(part, "_forks")]
        made = [visits(part._forks, "_begin") for part in parts]

        def crowd():
            with ThreadPoolExecutor(threads) as pool:
                found = pool.map(lambda _: asyncio.run(self._look_up(symbol)), range(threads))
            return [answer for _outcome, answer in found], [len(times) for times in made]

        in_forked_child(crowd)
        self._cache.close()

    async def _look_up(self, symbol):
        lookup = await self._cache.get_or_validate(symbol, TIMEFRAMES, self._validate)
        return lookup.outcome, answer_in(lookup)

    async def _look_up_and_refresh(self, symbol):
        found = await self._look_up(symbol)
        while self._cache.get_stats().waiting:
            await asyncio.sleep(0.005)
        return found

    async def _validate(self, symbol, timeframes):
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"{os.getpid()} {symbol}\n".encode())
            answer = (await reader.readline()).decode().strip()
        finally:
            writer.close()
        contract = ContractInfo(symbol=symbol, description=answer)
        heads = dict.fromkeys(timeframes)
        return ValidationResult(is_valid=True, symbol=symbol, contract_info=contract, head_timestamps=heads)


class LoopThread:
    """An event loop that runs in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


def in_forked_child(work):
    """Do some work in a forked child, which says what came of it and stays until it hears something."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(PATIENCE // 3)
            say(work())
            hear()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def visits(owner, name):
    """Lets nobody into a method until a second thread comes, too, or evidently none will; gives the list of visits."""
    method, meeting, visitors = getattr(owner, name), threading.Barrier(2), []

    def visit():
        visitors.append(threading.get_ident())
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.2)
        method()

    setattr(owner, name, visit)
    return visitors


def answer_in(lookup):
    return lookup.result.contract_info.description


def say(what):
    print(json.dumps(what), flush=True)


def hear():
    sys.stdin.readline()


if __name__ == "__main__":
    signal.alarm(PATIENCE)
    order = json.loads(sys.argv[1])
    asker = Asker(order.pop("settings"), order.pop("port"))
    getattr(asker, order.pop("do"))(**order)
