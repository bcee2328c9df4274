"""Keeps SQLite and forks apart: no connection is open while this process forks.

SQLite knows by itself which locks its process has on which file. A child inherits that knowledge, and not the locks: it
would take itself for a reader, or for the last one, who may write the log back and remove it. So a connection is closed
before the fork and opened again where it is needed next, in the parent and in the child. Whoever forks waits for the
statements that other threads are at. If one does not end in time, as on storage that hangs, the child neither uses nor
closes what it has inherited, and does not open that database at all: in it, SQLite is confused about this one file.

A lock file that is open is shared with the child, its ``flock`` included. The child closes its own, which leaves the
parent's lock as it is; it must not unlock it.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import weakref
from typing import Protocol

from .paths import Identity


class Forkable(Protocol):
    """What has a connection."""

    def park(self) -> None:
        """Before a fork: wait for the connection's user, close it, and let nobody open another."""
        ...

    def resume(self) -> None:
        """After it, in the parent: let it be opened again."""
        ...

    def abandon(self) -> None:
        """After it, in the child: let go of all that was inherited."""
        ...


class _Forks:
    """Tells everyone who has a connection of a fork of this process."""

    def __init__(self) -> None:
        self._known: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._parked: list[Forkable] = []
        self._lock = threading.RLock()
        self._is_registered = False
        self._confused: set[Identity] = set()

    def watch(self, one: Forkable) -> None:
        """From now on, tell one of every fork."""
        with self._lock:
            if not self._is_registered:  # nothing can ever be unregistered
                self._is_registered = True
                os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)
                # Whatever interrupts the first one is lost, and the second one does what it has left.
                os.register_at_fork(after_in_parent=self._in_parent)
            self._known.add(one)

    def leave(self, con: sqlite3.Connection, database: Identity) -> None:
        """Keep an inherited connection from ever being closed, and its database from being opened."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(con))
        self._confused.add(database)

    def are_confused_about(self, database: Identity) -> bool:
        """Whether this process was forked while its parent was inside SQLite with a database."""
        return database in self._confused

    def _before(self) -> None:
        # It is given back after the fork: nobody may connect meanwhile who has not been told to wait.
        self._lock.acquire()
        for one in list(self._known):
            self._parked.append(one)
            one.park()

    def _in_parent(self) -> None:
        while self._parked:
            self._parked[-1].resume()
            self._parked.pop()
        try:
            self._lock.release()
        except RuntimeError:  # the first time has done it all
            pass

    def _in_child(self) -> None:
        self._lock = threading.RLock()
        self._parked.clear()
        for one in list(self._known):
            one.abandon()


forks = _Forks()
"""One for the process, as its hooks are."""
