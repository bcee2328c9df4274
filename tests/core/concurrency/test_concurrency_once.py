"""A thing is made once, whoever else wants it meanwhile, and whatever making it leads to."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from symcache_core.concurrency.once import Once, OneAtATime
from symcache_core.errors import BackendUnavailableError


def test_of_all_who_ask_at_once_one_makes_it():
    made, all_there = [], threading.Barrier(8)

    def make():
        made.append(object())
        return made[-1]

    once = Once(make, "it")

    def ask(_number):
        all_there.wait(10)
        return once.get()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(made) == 1


def test_if_it_cannot_be_made_the_next_one_tries_again():
    answers = iter([OSError("full"), "made"])

    def make():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    once = Once(make, "it")
    with pytest.raises(OSError, match="full"):
        once.get()
    assert once.get() == once.get() == "made"


def test_who_waits_for_one_that_fails_makes_it():
    begun, go = threading.Event(), threading.Event()

    def make():
        if not begun.is_set():
            begun.set()
            assert go.wait(10)
            raise OSError("full")
        return "made"

    once = Once(make, "it")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(once.get)
        assert begun.wait(10)
        second = pool.submit(once.get)
        go.set()
        assert isinstance(first.exception(10), OSError)
        assert second.result(10) == "made"


def test_making_it_may_lead_back_to_it():
    def make():
        with pytest.raises(BackendUnavailableError, match="the cache is just being opened"):
            once.get()
        return "made"

    once = Once(make, "the cache")
    assert once.get() == "made"


class InterruptedLock:
    """A lock, and Ctrl-C comes just after it was taken or given back, where Python looks for signals."""

    def __init__(self, comes):
        self._lock, self._comes = threading.Lock(), comes
        self.locked = self._lock.locked

    def __enter__(self):
        self._lock.acquire()
        try:
            self._interrupt("taken")
        except KeyboardInterrupt:
            self._lock.release()  # as a lock of C does, in which no signal is looked for
            raise

    def __exit__(self, *_error):
        self._lock.release()
        self._interrupt("given back")

    def _interrupt(self, now):
        if self._comes == now:
            self._comes = None
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("comes", ["taken", "made", "given back"])
@pytest.mark.parametrize("asker", ["same thread", "another thread"])
def test_after_an_interrupt_whoever_asks_next_gets_it(comes, asker):
    def make():
        if comes == "made" and not made:
            made.append("in vain")
            signal.raise_signal(signal.SIGINT)
        return "made"

    made, once = [], Once(make, "it")
    once._making._locks[os.getpid()] = InterruptedLock(comes)
    with pytest.raises(KeyboardInterrupt):
        once.get()
    with ThreadPoolExecutor(1) as pool:
        assert (pool.submit(once.get).result(10) if asker == "another thread" else once.get()) == "made"


def test_a_note_that_an_interrupt_has_left_behind_keeps_nobody_out():
    one = OneAtATime("it is being made")
    one._holder = threading.get_ident()
    assert one.do(lambda: "made") == "made"


FORKED_WHILE_ANOTHER_THREAD_MAKES_IT = """
import os, signal, sys, threading
from symcache_core.concurrency.once import Once

def make():
    if os.getpid() == parent:
        inside.set()
        threading.Event().wait()
    return "made"

parent, inside = os.getpid(), threading.Event()
once = Once(make, "it")
threading.Thread(target=once.get, daemon=True).start()
inside.wait()
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.alarm(30)
os._exit(0 if once.get() == "made" else 1)
"""


def test_a_child_that_is_forked_while_another_thread_makes_it_makes_its_own():
    command = [sys.executable, "-W", "ignore", "-c", FORKED_WHILE_ANOTHER_THREAD_MAKES_IT]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
