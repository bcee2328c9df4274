"""Leases of a server that expire and are renewed: a backend with them that keeps every promise."""

import threading
import time
import uuid
from contextlib import suppress

from reference_backends import record
from reference_server import ServerStore, packed

from symcache_core import hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError


class ExpiringServerStore(ServerStore):
    """Keeps leases as entries of a store beside its own, each with a mark and a time."""

    seconds = 8.0
    pause = 1.5

    def _begin(self):
        self._held, self._renewer, self._is_over = {}, None, threading.Event()
        super()._begin()

    def try_lock(self, key):
        mark = f"{self._pid} {uuid.uuid4().hex}".encode()
        if not self._swapped(key, None, mark, self.seconds):
            return None
        self._held[mark] = key
        if self._renewer is None:
            self._renewer = threading.Thread(target=self._renew, daemon=True)
            self._renewer.start()
        return ExpiringLease(self, mark)

    def close(self):
        if not self._is_closed:
            for mark in list(self._held):
                self.give_back(mark)
        self._is_over.set()
        super().close()

    def give_back(self, mark):
        self._check()  # in a child nothing is held
        key = self._held.pop(mark, None)
        if key is not None and not self._is_away:
            with suppress(BackendUnavailableError):
                self._swapped(key, mark, mark, 0.0)

    def _renew(self):
        while not self._is_over.wait(self.pause):
            for mark, key in list(self._held.items()):
                try:
                    self._renew_one(key, mark)
                except ClosedError:
                    return

    def _renew_one(self, key, mark):
        with suppress(BackendUnavailableError):
            self._swapped(key, mark, mark, self.seconds)

    def _swapped(self, key, old, new, seconds):
        """Put one mark in another's place, if it is there."""
        store, until = f"{self._settings.store} leases", time.time() + seconds
        there = None if old is None else packed(old, until)[0]
        return self._ask("swap", store=store, key=key, old=there, new=packed(new, until))


class ExpiringLease:
    def __init__(self, store, mark):
        self._store, self._mark = store, mark

    def release(self):
        with suppress(ClosedError):
            self._store.give_back(self._mark)


@hookimpl
def symcache_backends():
    yield record(ExpiringServerStore)
