"""Closes a store while threads use it, here or in a worker process, which a crash then ends instead of the suite."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..errors import ClosedError
from ..protocols import CanUpdate, StorageBackend
from .aside import IN_TIME, Aside
from .forking import FAR

ENTRY = b'{"is":"new"}'

OVERTAKEN = 0.3
"""Seconds that an update takes in which its store is closed."""


def close_beside_readers(store: StorageBackend) -> str | None:
    """Close a store that threads read; gives what went wrong, in words.

    Raises:
        Exception: Whatever came out of a read.
    """
    store.write("key", ENTRY, FAR)
    has_begun = threading.Barrier(4)
    looks = (partial(store.read, "key"), partial(_keys, store), partial(store.read, "key"))
    reading = [Aside(partial(_until_closed, look, has_begun)) for look in looks]
    has_begun.wait(IN_TIME)
    Aside(store.close).outcome("close() beside readers")
    given = [value for reader in reading for value in reader.outcome("a read that close() overtook")]
    wrong = [value for value in given if value not in (ENTRY, ["key"])]
    if wrong:
        return f"a call that close() overtook gave {wrong[0]!r}: give what it was to give, or raise ClosedError"
    return None


def close_beside_a_writer(store: StorageBackend, first: int) -> int:
    """Close a store that a thread writes to; gives how many writes of it have returned.

    Args:
        store: Which.
        first: The number of the first key; each has the next one.

    Raises:
        Exception: Whatever came out of a write.
    """
    written: list[int] = []
    has_begun = threading.Barrier(2)

    def write() -> bool:
        store.write(f"key{first + len(written)}", ENTRY, FAR)
        written.append(first + len(written))
        return True

    writing = Aside(partial(_until_closed, write, has_begun))
    has_begun.wait(IN_TIME)
    Aside(store.close).outcome("close() beside a writer")
    writing.outcome("a write that close() overtook")
    return len(written)


def close_beside_an_update(store: StorageBackend) -> bool:
    """Close a store in the midst of an update; gives whether the update has returned."""
    assert isinstance(store, CanUpdate)
    is_changing = threading.Event()

    def change(_entry: bytes | None) -> tuple[bytes, float]:
        is_changing.set()
        time.sleep(OVERTAKEN)
        return ENTRY, FAR

    updating = Aside(lambda: store.update("updated", change))
    assert is_changing.wait(IN_TIME), "update does not call the change"
    Aside(store.close).outcome("close() beside an update")
    try:
        updating.outcome("an update that close() overtook")
    except ClosedError:
        return False
    return True


def _keys(store: StorageBackend) -> list[str]:
    return list(store.keys())


def _until_closed(call: Callable[[], object], has_begun: threading.Barrier) -> list[object]:
    """Call something until it raises ClosedError; gives what it gave."""
    given = [call()]
    has_begun.wait(IN_TIME)
    deadline = time.monotonic() + IN_TIME
    with suppress(ClosedError):
        while time.monotonic() < deadline:
            value = call()
            if value not in given:
                given.append(value)
        raise AssertionError("a closed store goes on answering: raise ClosedError from every use after close()")
    return given
