"""Backends that share with a forked child what is one process's own, or that crash on damaged files.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import os
import signal
import socket
import threading
import time

from reference_backends import FileLease, SqliteStore, mutants_of, record

from symcache_core import hookimpl


class SharesItsAnswers(SqliteStore):
    """answers through one socket, which parent and child both read from"""

    caught_by = "test_a_forked_child_and_its_parent_do_not_disturb_each_other"

    def __init__(self, settings):
        self._there, self._back = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._back.settimeout(5)
        super().__init__(settings)

    def close(self):
        super().close()
        self._there.close()
        self._back.close()

    def _fetch(self, db, key):
        self._there.send(super()._fetch(db, key) or b"")
        time.sleep(0.001)  # for which a server thinks
        return self._back.recv(200_000) or None


class SaysGoodbyeForItsParent(SqliteStore):
    """says goodbye to its server when a child closes what it has inherited"""

    caught_by = "test_a_forked_child_and_its_parent_do_not_disturb_each_other"

    def __init__(self, settings):
        self._server, self._client = socket.socketpair()
        super().__init__(settings)

    def close(self):
        if not self._is_closed:
            self._client.shutdown(socket.SHUT_RDWR)
            self._client.close()
            self._server.close()
        super().close()

    def _put(self, db, key, entry, keep_until):
        self._client.send(b".")
        self._server.recv(1)
        super()._put(db, key, entry, keep_until)


class RefusesChildren(SqliteStore):
    """raises when a child uses it"""

    caught_by = "test_a_forked_child_and_its_parent_do_not_disturb_each_other"

    def _begin_anew(self):
        raise RuntimeError("opened in another process")


class UnlocksForItsParent(SqliteStore):
    """unlocks a lease that a child has inherited"""

    caught_by = "test_a_forked_child_leaves_the_lease_to_its_parent"

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is not None:
            lease.release, lease.in_child = lease._unlock, lambda: None
        return lease


class LeavesTheLockToChildren(SqliteStore):
    """closes the file of a lease without unlocking it, so that a child goes on to have it"""

    caught_by = "test_a_fork_beside_threads_at_work_hangs_nobody"

    def try_lock(self, key):
        lease = super().try_lock(key)
        return lease and ClosingLease(lease._descriptor)


class ClosingLease(FileLease):
    def _unlock(self):
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class ChildrenKeepLeases(SqliteStore):
    """leaves the files of its leases open in children, which keep the lease of a parent that has died"""

    caught_by = "test_a_lease_dies_with_its_holder_though_a_forked_child_lives_on"

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is not None:
            lease.in_child = lambda: None
        return lease


class RemovesItsFileWhenItCloses(SqliteStore):
    """takes its socket's file away when it closes, which a child still needs"""

    caught_by = "test_a_forked_child_goes_on_when_its_parent_closes"

    def __init__(self, settings):
        super().__init__(settings)
        self._beside = self._path.with_name("socket")
        self._beside.touch()

    def close(self):
        if not self._is_closed:
            self._beside.unlink(missing_ok=True)
        super().close()

    def _put(self, db, key, entry, keep_until):
        os.utime(self._beside)
        super()._put(db, key, entry, keep_until)


class InheritsItsLock(SqliteStore):
    """has a lock that a thread of the parent may hold for ever in a child"""

    caught_by = "test_a_fork_beside_threads_at_work_hangs_nobody"
    takes_long = True

    def __init__(self, settings):
        self._own = threading.Lock()
        super().__init__(settings)

    def write(self, key, entry, keep_until):
        with self._own:
            super().write(key, entry, keep_until)


class CrashesOnDamage(SqliteStore):
    """is ended by a signal when its file is damaged"""

    caught_by = "test_a_damaged_store_gives_no_wrong_entry_and_only_our_errors"

    def __init__(self, settings):
        if settings.path.exists() and settings.path.read_bytes()[:6] not in (b"SQLite", b""):
            os.kill(os.getpid(), signal.SIGSEGV)
        super().__init__(settings)


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
