"""Backends of a server that get something wrong beside an outage, or after it.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it, and ``outage``,
where it counts, which kind of it.
"""

import logging
import threading
from contextlib import suppress

from reference_backends import mutants_of, record
from reference_leases import ExpiringServerStore
from reference_server import ServerStore

from symcache_core import hookimpl
from symcache_core.errors import BackendUnavailableError


class LogsWithItsLockHeld(ServerStore):
    """logs that its server is away with a lock held, which the next call that fails waits for"""

    caught_by = "test_a_log_handler_may_use_the_store_in_an_outage"
    takes_long = True

    def __init__(self, settings):
        self._telling = threading.Lock()
        super().__init__(settings)

    def _unavailable(self, error):
        with self._telling:
            logging.getLogger("symcache").warning("the server is away: %s", error)
        return super()._unavailable(error)


class AsksWhetherItIsReadOnly(ServerStore):
    """asks its server whether it takes writes"""

    caught_by = "test_whether_a_store_is_read_only_is_known_in_an_outage"

    def read_only(self):
        self._ask("keys")


class WaitsToRelease(ServerStore):
    """waits for its server to hear of each release, though it has just been silent"""

    caught_by = "test_a_release_waits_for_no_storage_that_is_known_to_be_away"
    outage = "silent"

    def release(self, lease):
        with suppress(BackendUnavailableError):
            self._ask("unlock", key=lease.key)


class RenewsUntilItFails(ExpiringServerStore):
    """renews its leases no more when that has failed once"""

    caught_by = "test_a_short_outage_ends_no_lease"

    def _renew_one(self, key, mark):
        if not self._is_away:
            super()._renew_one(key, mark)
        if self._is_away:
            self._is_over.set()


class LendsBrokenConnections(ServerStore):
    """does not look whether a connection still stands before it uses it"""

    caught_by = "test_connections_that_an_outage_broke_are_used_by_nobody"

    def _taken(self):
        with self._lock:
            return self._idle.pop() if self._idle else None


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
