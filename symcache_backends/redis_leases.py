"""The leases that a process holds in a Redis or Valkey server: each is renewed until it is given back."""

from __future__ import annotations

import math
import os
import threading
import uuid
from typing import Any

from redis.exceptions import RedisError

from symcache_core.errors import BackendUnavailableError

_RENEW = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0"

_RELEASE = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"


class RedisLease:
    """A key's lease, renewed until it is released.

    Args:
        leases: Where it is held.
        name: The server's key of it.
    """

    def __init__(self, leases: Leases, name: bytes) -> None:
        self._leases = leases
        self.name = name
        self.token = uuid.uuid4().hex

    def release(self) -> None:
        """Give it back, from any thread."""
        self._leases.release(self)


class Leases:
    """The leases that this process holds; a thread renews them, for as long as there are any.

    Args:
        redis: The client.
        seconds: After which a lease ends that is not renewed.
    """

    def __init__(self, redis: Any, seconds: float) -> None:
        self._redis = redis
        self._seconds = seconds
        self._milliseconds = math.ceil(seconds * 1000)
        self._renew = redis.register_script(_RENEW)
        self._drop = redis.register_script(_RELEASE)
        self._lock = threading.RLock()  # the condition's own ``with`` is Python: an interrupt could leave it locked
        self._changed = threading.Condition(self._lock)
        self._held: set[RedisLease] = set()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self.is_out_of_reach = False  # as far as the last call to the server tells, whatever that was for

    def are_inherited(self) -> bool:
        """Whether they are those of the process that this one was forked from."""
        return self._pid != os.getpid()

    def take(self, name: bytes) -> RedisLease | None:
        """Take a lease, or ``None`` if anyone has it.

        Raises:
            BackendUnavailableError: It could not be renewed.
            RedisError: The server did not do it.
        """
        lease = RedisLease(self, name)
        if not self._redis.set(name, lease.token, nx=True, px=self._milliseconds):
            return None
        try:
            with self._lock:
                self._held.add(lease)
                if self._thread is None:
                    thread = threading.Thread(target=self._keep, name="symcache-redis-leases", daemon=True)
                    thread.start()
                    self._thread = thread  # not before: one that did not start would renew nothing, and keep others out
        except RuntimeError as error:  # there can be no more threads
            self.release(lease)
            raise BackendUnavailableError(f"no thread can renew a lease: {error}") from error
        return lease

    def release(self, lease: RedisLease) -> None:
        """Give one back; a server that is out of reach is not told, and it ends by itself."""
        if self.are_inherited():
            return
        with self._lock:
            if lease not in self._held:
                return
            self._held.remove(lease)
            self._changed.notify_all()
        # Each of many would wait for a server that is silent, and none of them would be given back sooner for it.
        if not self.is_out_of_reach:
            self._try(self._drop, lease.name, lease.token)

    def release_all(self) -> None:
        """Give all back, likewise."""
        if self.are_inherited():
            return
        with self._lock:
            leases = list(self._held)
            self._held.clear()
            self._changed.notify_all()
        for lease in leases:  # the rest of them expire; to try each would wait for each
            if self.is_out_of_reach or not self._try(self._drop, lease.name, lease.token):
                return

    def _keep(self) -> None:
        while True:
            with self._lock:
                if self._changed.wait_for(lambda: not self._held, self._seconds / 3):
                    self._thread = None
                    return
                leases = list(self._held)
            for lease in leases:  # the next round may reach the server in time
                self._try(self._renew, lease.name, lease.token, self._milliseconds)

    def _try(self, script: Any, name: bytes, *values: object) -> bool:
        """Run a script on a lease; if it does not reach the server, the lease expires."""
        try:
            script(keys=[name], args=values)
        except RedisError:
            self.is_out_of_reach = True
            return False
        self.is_out_of_reach = False
        return True
