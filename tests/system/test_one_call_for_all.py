"""However many tasks, threads and processes ask for a symbol, the provider is asked once; the dead hold up nobody."""

import json
import os
import random
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from symcache_core.symbols import Instrument
from symcache_core.testing.harness import Harness

CHILD = Path(__file__).with_name("asking_child.py")
PATIENCE = 10.0
LEASE = 1.0

CROWDS = pytest.mark.parametrize(
    ("processes", "threads", "tasks"),
    [(1, 1, 200), (1, 200, 1), (4, 25, 1)],
    ids=["200 tasks", "200 threads", "4 processes of 25 threads"],
)


class Broker(socketserver.ThreadingTCPServer):
    """A provider that all processes share: its answer to the n-th call is n, after a time, or once it is let go."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Call)
        self.seconds = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.calls = []
        self._called = threading.Condition()

    @property
    def port(self):
        return self.server_address[1]

    def hold(self):
        """Leave callers without an answer until :meth:`release`."""
        self.may_answer.clear()

    def release(self):
        self.may_answer.set()

    def note(self, caller, symbol):
        with self._called:
            self.calls.append((caller, symbol))
            self._called.notify_all()
            return len(self.calls)

    def wait_for_calls(self, count):
        with self._called:
            assert self._called.wait_for(lambda: len(self.calls) >= count, PATIENCE), f"{count} calls: {self.calls}"


class _Call(socketserver.StreamRequestHandler):
    def handle(self):
        with suppress(OSError, ValueError):  # the caller was killed
            caller, symbol = self.rfile.readline().decode().split()
            number = self.server.note(int(caller), symbol)
            self.server.may_answer.wait(PATIENCE)
            time.sleep(self.server.seconds)
            self.wfile.write(b"%d\n" % number)


class Asker:
    """One process of :mod:`asking_child`."""

    def __init__(self, **order):
        command = [sys.executable, "-W", "ignore::DeprecationWarning", CHILD, json.dumps(order)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def go_on(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def said(self):
        line = self._process.stdout.readline()
        assert line, "the process ended, or hung and was ended"
        return json.loads(line)

    def rest(self):
        """All that it says until it ends; a killed one may have been in the middle of a line."""
        return [json.loads(line) for line in self._process.stdout if line.endswith("\n")]

    def stop(self):
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def ended_well(self):
        return self._process.wait() == 0

    def close(self):
        self._process.kill()
        with suppress(BrokenPipeError), self._process:
            pass


class OneCallForAll(Harness):
    @pytest.fixture
    def broker(self, opened):
        broker = opened.enter_context(Broker())
        opened.callback(broker.shutdown)
        opened.callback(broker.release)
        threading.Thread(target=broker.serve_forever, args=(0.01,)).start()
        return broker

    @pytest.fixture
    def start(self, tmp_path, broker, opened):
        """Starts a process that carries out an order, with the cache of this test."""
        (tmp_path / "store").mkdir()

        def start(order, settings=(), **arguments):
            options = self.address(tmp_path / "store")["options"]
            given = {"backend": self.backend, "backends": {self.backend: options}, "provider": "ib", **dict(settings)}
            asker = Asker(do=order, settings=given, port=broker.port, **arguments)
            opened.callback(asker.close)
            return asker

        return start

    @pytest.fixture
    def store(self, tmp_path, opened):
        return self.open(tmp_path / "store", opened)

    # -- one call ----------------------------------------------------------------------------------------------------

    @CROWDS
    def test_a_crowd_makes_one_call(self, start, broker, processes, threads, tasks):
        broker.hold()
        crowd = gather(start, processes, threads, tasks)
        assert [asker.said() for asker in crowd] == ["waiting"] * processes
        broker.release()
        assert [asker.said() for asker in crowd] == [["1"] * (threads * tasks)] * processes
        assert all(asker.ended_well() for asker in crowd)
        assert len(broker.calls) == 1

    @pytest.mark.soak
    @CROWDS
    def test_a_crowd_waits_little_longer_than_for_one_call(self, start, broker, processes, threads, tasks):
        broker.seconds = 2.0
        crowd = gather(start, processes, threads, tasks)
        began = time.monotonic()
        assert [asker.said() for asker in crowd] == ["waiting"] * processes
        assert [asker.said() for asker in crowd] == [["1"] * (threads * tasks)] * processes
        took = time.monotonic() - began
        print(f"{self.backend}: {processes} x {threads} x {tasks}: {took / broker.seconds:.2f} x the provider's time")
        assert len(broker.calls) == 1
        assert took <= (1.5 if processes == 1 else 3) * broker.seconds

    # -- the dead ----------------------------------------------------------------------------------------------------

    def test_who_waits_for_a_killed_holder_asks_and_has_the_answer(self, start, broker):
        holder, waiter = self.kill_a_holder(start, broker)
        broker.wait_for_calls(2)
        broker.release()
        assert waiter.said() == ["2"]
        assert [caller for caller, _symbol in broker.calls] == [holder.pid, waiter.pid]

    def test_a_stopped_holder_is_passed_by_and_of_those_who_do_so_one_asks(self, start, broker):
        broker.hold()
        order = {"symbol": "AAPL", "threads": 1, "tasks": 1}
        holder = start("ask", **order)
        assert holder.said() == "ready"
        holder.go_on()
        broker.wait_for_calls(1)
        holder.stop()
        broker.release()
        waiters = [start("ask", settings={"timeout": 1.0}, **order) for _ in range(3)]
        for waiter in waiters:
            assert waiter.said() == "ready"
        for waiter in waiters:
            waiter.go_on()
        assert [waiter.said() for waiter in waiters] == ["waiting"] * 3
        assert [waiter.said() for waiter in waiters] == [["2"]] * 3
        assert len(broker.calls) == 2

    @pytest.mark.soak
    def test_who_waits_for_a_killed_holder_waits_for_its_lease_and_one_call(self, start, broker):
        broker.seconds = 1.0
        _holder, waiter = self.kill_a_holder(start, broker)
        broker.release()
        began = time.monotonic()
        assert waiter.said() == ["2"]
        took = time.monotonic() - began
        print(f"{self.backend}: the answer came {took:.2f} s after the kill")
        assert took <= self.lease + 1.5 * broker.seconds

    def test_of_many_symbols_only_those_in_the_hands_of_the_killed_are_asked_for_again(self, start, broker):
        self.ask_for_many(start, broker, symbols=100, processes=4, killed=1)

    @pytest.mark.soak
    @pytest.mark.parametrize("seed", range(3))
    def test_of_a_thousand_symbols_too(self, start, broker, seed):
        self.ask_for_many(start, broker, symbols=1000, processes=12, killed=3, seed=seed)

    def test_a_loop_that_closes_in_the_middle_of_its_call_hands_the_symbol_to_a_waiter(self, start, broker, store):
        broker.hold()
        asker = start("abandon", symbol="AAPL")
        broker.wait_for_calls(1)
        asker.go_on()
        broker.wait_for_calls(2)
        broker.release()
        assert asker.said() == ["miss", "2"]
        assert len(broker.calls) == 2
        assert is_free(store, "AAPL"), "the lease that was left behind is held for ever"
        asker.go_on()
        assert asker.ended_well()

    # -- the forked --------------------------------------------------------------------------------------------------

    def test_a_forked_child_has_none_of_its_parents_leases(self, start, broker):
        asker = start("fork_in_a_refresh", settings={"refresh_ahead": 1e-12, "near_cache_size": 0}, symbol="AAPL")
        assert asker.said() == ["miss", "1"]
        broker.hold()
        asker.go_on()
        assert asker.said() == ["hit", "1"]
        broker.wait_for_calls(2)
        asker.go_on()
        assert asker.said() == ["hit", "1"], "the child's lookup"
        assert len(broker.calls) == 2, "the child asked as if it were its turn"
        broker.release()
        asker.go_on()
        assert asker.ended_well()

    def test_the_lease_of_a_killed_holder_ends_although_its_forked_child_goes_on(self, start, broker):
        broker.hold()
        holder = start("fork_in_a_call", symbol="AAPL")
        broker.wait_for_calls(1)
        holder.go_on()
        assert holder.said() is None, "the child's look at the cache"
        holder.kill()
        (waiter,) = gather(start, processes=1, threads=1, tasks=1)
        broker.wait_for_calls(2)
        broker.release()
        assert waiter.said() == "waiting"
        assert waiter.said() == ["2"]

    def test_a_crowd_in_a_forked_child_begins_anew_once_and_makes_one_call(self, start, broker):
        asker = start("fork_a_crowd", symbol="AAPL", threads=8)
        answers, beginnings = asker.said()
        assert answers == ["1"] * 8
        assert set(beginnings) == {1}, "two threads made the same part anew, one in the midst of the other's work"
        asker.go_on()
        assert asker.ended_well()
        assert len(broker.calls) == 1

    # -- how ---------------------------------------------------------------------------------------------------------

    def kill_a_holder(self, start, broker):
        """Kill a process in the middle of its call, while another waits for the same symbol."""
        broker.hold()
        holder, waiter = (start("ask", symbol="AAPL", threads=1, tasks=1) for _ in range(2))
        for asker in (holder, waiter):
            assert asker.said() == "ready"
            asker.go_on()
            assert asker.said() == "waiting"
            broker.wait_for_calls(1)
        holder.kill()
        return holder, waiter

    def ask_for_many(self, start, broker, *, symbols, processes, killed, seed=0):
        chance = random.Random(seed)
        names = [f"S{number}" for number in range(symbols)]
        moments = sorted(chance.sample(range(symbols // 10, symbols * 8 // 10), killed))
        broker.seconds = 0.005
        askers = [start("ask_many", symbols=chance.sample(names, symbols), concurrency=4) for _ in range(processes)]
        for asker in askers:
            assert asker.said() == "ready"
        for asker in askers:
            asker.go_on()
        for moment, victim in zip(moments, askers, strict=False):
            broker.wait_for_calls(moment)
            victim.kill()
        answers = {asker.pid: dict(asker.rest()) for asker in askers}

        survivors = askers[killed:]
        assert all(asker.ended_well() for asker in survivors)
        assert all(answers[asker.pid].keys() == set(names) for asker in survivors)
        assert all(answers[victim.pid].keys() < set(names) for victim in askers[:killed]), "killed too late"
        said = {(symbol, answer) for of_one in answers.values() for symbol, answer in of_one.items()}
        assert len(said) == symbols, "not everyone has the same answers"
        dead = {victim.pid for victim in askers[:killed]}
        in_flight = [call for call in broker.calls if call[0] in dead and call[1] not in answers[call[0]]]
        print(f"{self.backend}: {symbols} symbols, {len(broker.calls)} calls, {len(in_flight)} in flight when killed")
        assert len(broker.calls) <= symbols + len(in_flight)
        again = {symbol for symbol, times in Counter(symbol for _, symbol in broker.calls).items() if times > 1}
        assert again <= {symbol for _, symbol in in_flight}


def gather(start, processes, threads, tasks):
    """Start processes, and let them ask for the same symbol as soon as all are ready."""
    crowd = [start("ask", symbol="AAPL", threads=threads, tasks=tasks) for _ in range(processes)]
    for asker in crowd:
        assert asker.said() == "ready"
    for asker in crowd:
        asker.go_on()
    return crowd


def is_free(store, symbol):
    """Whether somebody else would get the lease of a symbol, which nobody waits for when it is given back."""
    deadline = time.monotonic() + PATIENCE
    while (lease := store.try_lock(Instrument.parse(symbol).key("ib"))) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    lease.release()
    return True


class TestJson(OneCallForAll):
    backend = "json"
    lease = 0.0

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols.json"}


class TestDiskcache(OneCallForAll):
    backend = "diskcache"
    lease = 0.0

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols"}


class TestRedis(OneCallForAll):
    backend = "redis"
    lease = LEASE

    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.url = redis_server.url

    def settings(self, tmp_path):
        return {"url": self.url, "namespace": ":".join(tmp_path.parts[1:]), "lease": LEASE}
