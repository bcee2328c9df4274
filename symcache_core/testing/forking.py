"""What a worker process does with a store that it has open when it forks: parent and child at work at once."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import NoReturn

from ..protocols import CanLock, CanUpdate, Lease, StorageBackend

FAR = 4102444800.0
"""A moment to keep an entry until that no test lives to see: the year 2100."""

BEFORE = b'{"before":"the fork"}'

ROUNDS = 60
"""How many rounds of calls parent and child make at the same time."""

FORKS = 25
"""How many children are forked while threads of their parent are at work."""

HUNG = 15.0
"""Seconds after which a child that has not ended is taken for hung, and killed."""

_APART = (
    "a child begins anew with connections, descriptors and locks of its own (compare os.getpid() on use, or register "
    "with os.register_at_fork), and leaves alone what it has inherited"
)

IDLES = 60
"""Seconds after which a child that does nothing ends by itself, should nobody have ended it."""

Deed = Callable[[StorageBackend, Lease | None], object]


def _works_and_closes(store: StorageBackend, _lease: Lease | None) -> None:
    work(store, "child", ROUNDS)
    store.close()


def _ends_as_programs_do(store: StorageBackend, _lease: Lease | None) -> NoReturn:
    work(store, "child", 1)
    raise SystemExit


DEEDS: dict[str, Deed] = {
    "works": lambda store, _lease: work(store, "child", ROUNDS),
    "closes what it has inherited": lambda store, _lease: store.close(),
    "works and closes": _works_and_closes,
    "releases what it has inherited": lambda _store, lease: None if lease is None else lease.release(),
    "ends as programs do": _ends_as_programs_do,
}
"""What a child may do."""


class Child:
    """A process that is forked from this one, for one deed, and says what went wrong.

    Args:
        deed: What it does; then it ends, as if killed, or by :class:`SystemExit` as programs do.
    """

    def __init__(self, deed: Callable[[], object]) -> None:
        self._words, words = os.pipe()
        os.set_blocking(self._words, False)  # whatever a child leaves running may have the other end open
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is what is tried
            self._pid = os.fork()
        if not self._pid:
            _end_with(words, deed)
        os.close(words)

    def outcome(self) -> str | None:
        """What went wrong, in words, once it has ended."""
        deadline = time.monotonic() + HUNG
        while not (ended := os.waitpid(self._pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                os.close(self._words)
                return f"a forked child hung for {HUNG:g} s: a lock that a thread of its parent had is held for ever"
            time.sleep(0.002)
        words = os.read(self._words, 10_000) or b"?" if ended[1] == 0 else b""
        os.close(self._words)
        if ended[1]:
            return f"a forked child was ended by {os.waitstatus_to_exitcode(ended[1])}"
        return None if words == b"ok" else f"in a forked child {words.decode(errors='replace')}"


def _end_with(words: int, deed: Callable[[], object]) -> NoReturn:
    try:
        deed()
    except SystemExit:
        os.write(words, b"ok")
        raise
    except BaseException as error:  # noqa: BLE001  # the parent's test fails with whatever happened here
        os.write(words, _described(error).encode()[:10_000])
    else:
        os.write(words, b"ok")
    os._exit(0)


def fork(store: StorageBackend, deed: str, lease: Lease | None) -> str | None:
    """Let a child do something while its parent works on the same object.

    Args:
        store: Which both have.
        deed: One of :data:`DEEDS`.
        lease: One that the parent holds.

    Returns:
        What went wrong, in words.
    """
    store.write("before", BEFORE, FAR)
    child = Child(lambda: DEEDS[deed](store, lease))
    beside = _tried(lambda: work(store, "parent", ROUNDS))
    wrong = child.outcome()
    after = _tried(lambda: work(store, "parent afterwards", 10))
    if wrong or beside:
        return f"{wrong or 'in the parent ' + str(beside)}: {_APART}"
    return after and f"after a child {deed}, in the parent {after}: {_APART}"


def fork_and_close(store: StorageBackend) -> str | None:
    """Let a child go on with a store that its parent closes; gives what went wrong, in words."""
    store.write("before", BEFORE, FAR)
    child = Child(lambda: work(store, "child", ROUNDS))
    store.close()
    wrong = child.outcome()
    return wrong and f"when the parent closed its own, {wrong}: {_APART}"


def fork_idle() -> int:
    """Fork a child that lives on, and uses nothing of what it has inherited; gives its number."""
    child = os.fork()
    if not child:
        signal.alarm(IDLES)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)  # else who reads what the parent says would wait for the child's end
        while True:
            signal.pause()
    return child


def fork_beside_threads(store: StorageBackend) -> str | None:
    """Fork again and again while threads use the store; gives what went wrong, in words."""
    store.write("before", BEFORE, FAR)
    stop, failures = threading.Event(), list[str]()

    def go_on(thread: int) -> None:
        while not stop.is_set() and not failures:
            if wrong := _tried(lambda: work(store, f"thread {thread}", 1)):
                failures.append(wrong)

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(FORKS):
            time.sleep(0.001)  # for the threads to be in the midst of something else each time
            if wrong := Child(lambda name=f"child {number}": work(store, name, 2)).outcome():  # type: ignore[misc]  # bound at once
                return f"while threads of the parent were at work, {wrong}: {_APART}"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return f"while it forked, in the parent {failures[0]}: {_APART}" if failures else None


def work(store: StorageBackend, who: str, rounds: int) -> None:
    """Use each method, and look whether each answer is the one to this question.

    Raises:
        AssertionError: It is not.
    """
    for number in range(rounds):
        key, entry = f"{who} {number % 7}", b'{"who":"%b","number":%d}' % (who.encode(), number)
        store.write(key, entry, FAR)
        _expect("read", store.read(key), entry)
        _expect("read", store.read("before"), BEFORE)
        _expect("read of an unknown key", store.read(f"unknown to {who}"), None)
        _expect("delete of an unknown key", store.delete(f"unknown to {who}"), False)
        if isinstance(store, CanUpdate):
            store.update(key, lambda _old, entry=entry: (entry + b" ", FAR))  # type: ignore[misc]  # bound at once
            _expect("read after update", store.read(key), entry + b" ")
        if number % 20 == 0:
            _expect("whether keys gives what is there", {key, "before"} <= set(store.keys()), True)
            if isinstance(store, CanLock):
                lease = store.try_lock(f"lease of {who}")
                _expect("whether try_lock gives a free lease", lease is not None, True)
                if lease is not None:
                    lease.release()


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what} gave {found!r:.200} where {expected!r:.200} is due")


def _tried(call: Callable[[], object]) -> str | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  # the test fails with whatever happened here
        return _described(error)
    return None


def _described(error: BaseException) -> str:
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__} was raised: {error}"
