"""Counts what a suite writes to a store, for those who pay for each write."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Written:
    """How often entries were written, and how many bytes they had."""

    def __init__(self) -> None:
        self.calls = 0
        self.size = 0
        self._lock = threading.Lock()
        self._thread = threading.local()

    def add(self, calls: int, size: int) -> None:
        """Count some more."""
        with self._lock:
            self.calls += calls
            self.size += size

    def take(self) -> tuple[int, int]:
        """How many writes and bytes were counted since this was last asked."""
        with self._lock:
            taken = self.calls, self.size
            self.calls = self.size = 0
            return taken

    @contextmanager
    def outermost(self) -> Iterator[Callable[[int, int], None]]:
        """Count what one call of a store writes, and not once more what it does through others of its own."""
        is_inner, self._thread.is_inside = getattr(self._thread, "is_inside", False), True
        try:
            yield _nothing if is_inner else self.add
        finally:
            self._thread.is_inside = is_inner


def metered(store: T, written: Written) -> T:
    """The same store, which counts what it is given to write; one whose class cannot be derived from counts nothing.

    Args:
        store: Stays the object that it is.
        written: What to add to.
    """
    kind: Any = type(store)

    def write(self: Any, key: str, entry: bytes, keep_until: float) -> Any:
        with written.outermost() as count:
            count(1, len(entry))
            return kind.write(self, key, entry, keep_until)

    def write_many(self: Any, entries: Mapping[str, tuple[bytes, float]]) -> Any:
        with written.outermost() as count:
            count(len(entries), sum(len(entry) for entry, _ in entries.values()))
            return kind.write_many(self, entries)

    def update(self: Any, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> Any:
        with written.outermost() as count:

            def counted(entry: bytes | None) -> tuple[bytes, float] | None:
                changed = change(entry)
                if changed is not None:
                    count(1, len(changed[0]))
                return changed

            return kind.update(self, key, counted)

    own = {
        method.__name__: method
        for method in (write, write_many, update)
        if callable(getattr(kind, method.__name__, None))
    }
    names = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        **own,
    }
    with suppress(Exception):  # a class may refuse to be derived from, or its objects to change
        object.__setattr__(
            store, "__class__", types.new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(names))
        )
    return store


def _nothing(_calls: int, _size: int) -> None:
    """Count nothing."""
