"""A storage backend that fails, pauses and counts as a test wants; what it can do besides is a subclass's."""

import threading

from patience import PATIENCE

from symcache_core.errors import BackendUnavailableError
from symcache_core.registry import Registry


class FaultyBackend:
    """A memory backend that can be unplugged (``error``), or refuse writes alone (``write_error``).

    ``uses`` counts every call, ``reads`` those of ``read``. A subclass that wants to know of a call, or hold it up, has
    a method ``before``.
    """

    def __init__(self, tmp_path):
        self._backend = Registry().open("memory", {}, base_dir=tmp_path, data_dir=tmp_path)
        self.error = self.write_error = None
        self.uses = self.reads = 0

    def before(self, what, key):
        """Nothing is held up here."""

    def read(self, key):
        self.reads += 1
        return self.use("read", key).read(key)

    def write(self, key, entry, keep_until):
        backend = self.use("write", key)
        if self.write_error is not None:
            raise self.write_error
        backend.write(key, entry, keep_until)

    def delete(self, key):
        return self.use("delete", key).delete(key)

    def keys(self):
        return self.use("keys").keys()

    def clear(self):
        return self.use("clear").clear()

    def close(self):
        self._backend.close()

    def use(self, what, key=None):
        """The real backend, unless it is unplugged."""
        self.uses += 1
        self.before(what, key)
        if self.error is not None:
            raise self.error
        return self._backend


class LendingBackend(FaultyBackend):
    """The same with leases; ``held`` has the keys of those that are lent."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.held = set()
        self._mutex = threading.Lock()

    def try_lock(self, key):
        self.use("lock", key)
        with self._mutex:
            if key in self.held:
                return None
            self.held.add(key)
        return _Lease(self, key)


class _Lease:
    def __init__(self, backend, key):
        self._backend = backend
        self._key = key

    def release(self):
        self._backend.held.discard(self._key)  # of a storage out of reach it ends by itself
        self._backend.use("release", self._key)


class BatchingBackend(FaultyBackend):
    """The same with many entries at once; ``batches`` has the keys that were read so."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.batches = []

    def read_many(self, keys):
        self.batches.append(list(keys))
        backend = self.use("read_many")
        return {key: line for key in keys if (line := backend.read(key)) is not None}

    def write_many(self, entries):
        for key, (entry, keep_until) in entries.items():
            self.write(key, entry, keep_until)


class TellingBackend(FaultyBackend):
    """The same with a generation, which stays as it is."""

    def generation(self):
        self.use("generation")
        return 1


class HangingBackend(LendingBackend):
    """The same, whose calls hang, while ``hangs`` names them, until they are told to fail.

    ``hung`` has what was called then, in order, and ``hanging`` counts the calls that hang at this moment.
    """

    ALL = frozenset({"read", "write", "delete", "keys", "clear", "lock", "release"})

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.hangs = frozenset()
        self.hung = []
        self.hanging = 0
        self._over = threading.Event()

    def before(self, what, key):
        if what not in self.hangs:
            return
        over = self._over
        self.hung.append(what)
        self.hanging += 1
        try:
            assert over.wait(PATIENCE), "nobody has told it to fail"
        finally:
            self.hanging -= 1
        raise BackendUnavailableError("silent")

    def fail(self):
        """Let the calls that hang fail."""
        over, self._over = self._over, threading.Event()
        over.set()
