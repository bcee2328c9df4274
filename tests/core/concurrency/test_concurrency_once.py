"""A thing is made once, whoever else wants it meanwhile, and whatever making it leads to."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from symcache_core.concurrency.once import Once
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
