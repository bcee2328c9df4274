"""Sees to it that in a forked child what has locks, threads or files begins anew."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from weakref import WeakMethod, ref

from .once import OneAtATime


class ForkGuard:
    """Begins something once in this process, and once in each process that is forked from it and uses it.

    A lock may be held, in the parent, by a thread that the child does not have, and a file's lock is shared by both.

    Args:
        begin: Makes, or makes anew, what belongs to one process.
        afterwards: What to do in a child once that is made, and nobody waits for it any more.
    """

    def __init__(self, begin: Callable[[], None], afterwards: Callable[[], None] = lambda: None) -> None:
        self._begin = begin
        self._afterwards = afterwards
        self._beginning = OneAtATime("it is just being opened anew after a fork")
        begin()
        self._pid = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child that has not used it."""
        return self._pid != os.getpid()

    def check(self) -> None:
        """Begin anew if this is another process than the one that began.

        Raises:
            BackendUnavailableError: This very thread is at it, and what it does has led back here, as a logging
                handler may.
        """
        if self._pid != os.getpid() and self._beginning.do(self._has_begun_anew):
            self._afterwards()

    def _has_begun_anew(self) -> bool:
        if self._pid == os.getpid():
            return False
        self._begin()
        self._pid = os.getpid()
        return True


def told_in_children(begin: Callable[[], None]) -> None:
    """Have a method called in every child that is forked from now on, for as long as its object lives.

    Args:
        begin: A bound method. It may not wait: of the parent's threads the child has only the one that forked.
    """
    for number, method in tuple(_told.items()):
        if method() is None:
            _told.pop(number, None)
    method = WeakMethod(begin)
    _told[id(method)] = method


_told: dict[int, WeakMethod[Callable[[], None]]] = {}
"""Each by its own number: so threads add to them and take from them in one step."""


def _tell() -> None:
    for method in tuple(_told.values()):
        if (begin := method()) is not None:
            begin()


def closed_in_children(file: io.FileIO) -> io.FileIO:
    """Have every child that is forked from now on close its share in a file that is locked, and give the file.

    Else a child that lives on would keep the lock of a parent that has been killed.
    """
    _shared[file.fileno()] = ref(file)
    return file


_shared: dict[int, ref[io.FileIO]] = {}
"""By descriptor: a child has a share in each of its parent's, whichever object of which module has it."""


def _close_shared() -> None:
    for reference in tuple(_shared.values()):
        if (file := reference()) is not None:
            file.close()
    _shared.clear()


os.register_at_fork(after_in_child=_close_shared)
os.register_at_fork(after_in_child=_tell)
