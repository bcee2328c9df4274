"""Keeps entries in a Redis or Valkey server, shared by machines; the server drops those whose time is over."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from symcache_core.errors import BackendUnavailableError, ClosedError, ConfigurationError
from symcache_core.plugin import Backend, hookimpl
from symcache_core.protocols import FOREVER, LeaseHolder

try:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.connection import BlockingConnectionPool, Connection, parse_url
    from redis.exceptions import (
        AuthenticationError,
        AuthenticationWrongNumberOfArgsError,
        NoPermissionError,
        RedisError,
    )
    from redis.exceptions import ConnectionError as UnreachableError
    from redis.exceptions import TimeoutError as SilentError
    from redis.retry import Retry

    from .redis_leases import Leases, RedisLease
except ModuleNotFoundError as missing:
    raise ConfigurationError(f"the redis backend needs {missing.name}: pip install 'symcache[redis]'") from None

_T = TypeVar("_T")

_REFUSED = (AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError)

_NEWS = 1.0
"""Seconds for which it is news that the server was silent when the backend was opened."""

_BATCH = 1000
"""How many keys one command takes; a server does nothing else meanwhile."""

# MGET takes what is no plain value, which only someone else can have put there, for nothing, as GET does not.
_SWAP = """
if (redis.call('mget', KEYS[1])[1] or '') ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'pxat', ARGV[3])
return 1
"""


class RedisSettings(BaseModel):
    """The options of the redis backend."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="the server: redis://, rediss:// for TLS, or unix://"
    )
    username: str | None = Field(None, description="the ACL user, in place of the one in the URL")
    password: SecretStr | None = Field(None, description="its password, in place of the one in the URL")
    namespace: str = Field(
        "symcache",
        pattern=r"^[^:]+(:[^:]+)*$",
        description="what its keys begin with; stores of other namespaces are apart",
    )
    timeout: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="seconds to wait for the server, or for a free connection to it"
    )
    max_connections: int = Field(16, ge=1, description="how many connections a process opens at most")
    lease: float = Field(
        10.0, ge=0.1, allow_inf_nan=False, description="seconds after which the lease of a dead holder ends"
    )

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url: SecretStr) -> SecretStr:
        try:
            options = _parsed(url)
            options.pop("connection_class", Connection)(**options)
        except (RedisError, LookupError, TypeError, ValueError):
            # What the parser says may quote a piece of a password.
            raise ValueError(
                "write redis://host:port/db, rediss://host:port/db or unix:///path?db=0, percent-escape the password, "
                "and add no other option than db and ssl_..."
            ) from None
        return url

    def connection(self) -> dict[str, Any]:
        """What redis-py calls these options."""
        options = _parsed(self.url)
        if self.username:
            options["username"] = self.username
        if self.password:
            options["password"] = self.password.get_secret_value()
        return options


class RedisBackend:
    """One namespace of a server's keys.

    It connects when it is opened, and again whenever it has to; a server that is out of reach then is no error yet.

    Raises:
        ConfigurationError: The server refuses the user, the password, or what the user wants to do.
    """

    def __init__(self, settings: RedisSettings) -> None:
        options = settings.connection()
        self._closed = False
        self._silent_until = -math.inf
        self._address = options.get("path") or f"{options['host']}:{options.get('port', 6379)}"
        self._pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]  # redis-py types it in part
            max_connections=settings.max_connections,
            timeout=settings.timeout,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.timeout,
            # What gets no reply may have been done all the same: a swap or a lease must not be tried twice.
            retry=Retry(NoBackoff(), 0),
            # With RESP3, redis-py does not look whether an idle connection has died before it uses it.
            protocol=2,
            **options,
        )
        # For redis-py's types a reply is bytes or text; here it is bytes.
        self._redis: Any = Redis(connection_pool=self._pool)
        self._swap = self._redis.register_script(_SWAP)
        self._lease_seconds = settings.lease
        self._leases = Leases(self._redis, settings.lease)
        self._entry_prefix = f"{settings.namespace}::entry:".encode()
        self._lease_prefix = f"{settings.namespace}::lease:".encode()
        self._pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", self._entry_prefix) + b"*"
        self._introduce()

    def read(self, key: str) -> bytes | None:
        """The entry under a key."""
        with self._mapped():
            self._tell_that_it_was_silent()
            return self._get(self._name(key))

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The entries under those of the keys that have one."""
        entries: dict[str, bytes] = {}
        with self._mapped():
            self._tell_that_it_was_silent()
            for batch in _batches(keys):
                found = self._redis.mget([self._name(key) for key in batch])
                entries.update((key, entry) for key, entry in zip(batch, found, strict=True) if entry is not None)
        return entries

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key."""
        with self._mapped():
            self._redis.set(self._name(key), entry, pxat=_milliseconds(keep_until))

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write each ``key: (entry, keep_until)``."""
        with self._mapped():
            for batch in _batches(entries.items()):
                pipeline = self._redis.pipeline(transaction=False)
                for key, (entry, keep_until) in batch:
                    pipeline.set(self._name(key), entry, pxat=_milliseconds(keep_until))
                pipeline.execute()

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it; asks again if somebody else was faster."""
        name = self._name(key)
        while True:
            with self._mapped():
                entry = self._get(name)
            changed = change(entry)
            if changed is None:
                return
            new, keep_until = changed
            with self._mapped():
                if self._swap(keys=[name], args=[entry or b"", new, _milliseconds(keep_until)]):
                    return

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        with self._mapped():
            return bool(self._redis.unlink(self._name(key)))

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        with self._mapped():
            # A scan may come upon a key more than once.
            names = {name for page in self._pages() for name in page}
        return iter([key for key in map(self._key, names) if key is not None])

    def clear(self) -> int:
        """Drop every entry of this namespace."""
        with self._mapped():
            return sum(self._redis.unlink(*page) for page in self._pages() if page)

    def try_lock(self, key: str) -> RedisLease | None:
        """Take a key's lease, or ``None`` at once if another thread, process or machine has it."""
        if self._leases.are_inherited():
            self._leases = Leases(self._redis, self._lease_seconds)
        with self._mapped():
            lease = self._leases.take(self._lease_prefix + key.encode())
        if lease is None or not self._closed:
            return lease
        lease.release()
        raise self._closed_error()

    def lease_holder(self, key: str) -> LeaseHolder | None:
        """Who has a key's lease, which here only a number tells from the next one."""
        with self._mapped():
            token = self._redis.get(self._lease_prefix + key.encode())
        return None if token is None else LeaseHolder(token.decode(), "another process or machine")

    def close(self) -> None:
        """Give back every lease and close the connections."""
        if not self._closed:
            self._closed = True
            self._leases.release_all()
            self._pool.disconnect()

    def _introduce(self) -> None:
        try:
            self._get(self._entry_prefix)
        except _REFUSED as error:
            self._pool.disconnect()
            raise ConfigurationError(
                f"redis server {self._address} refuses the user (settings 'backends.redis.username' and "
                f"'backends.redis.password', or those in 'backends.redis.url'): {error}"
            ) from error
        except RedisError as error:  # opened degraded: the first use says what is wrong, if it still is
            if isinstance(error, SilentError):
                self._silent_until = time.monotonic() + _NEWS

    def _tell_that_it_was_silent(self) -> None:
        """Let the first who reads learn what opening has just waited for, and not wait for it again."""
        silent_until, self._silent_until = self._silent_until, -math.inf
        if time.monotonic() < silent_until:
            raise SilentError("Timeout when it was opened, just now")

    def _name(self, key: str) -> bytes:
        return self._entry_prefix + key.encode()

    def _key(self, name: bytes) -> str | None:
        try:
            return name.removeprefix(self._entry_prefix).decode()
        except UnicodeDecodeError:
            return None  # somebody else's

    def _get(self, name: bytes) -> bytes | None:
        entry: bytes | None = self._redis.mget([name])[0]
        return entry

    def _pages(self) -> Iterator[list[bytes]]:
        cursor = None
        while cursor != 0:
            cursor, names = self._redis.scan(cursor or 0, match=self._pattern, count=_BATCH, _type="string")
            yield names

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the redis backend at {self._address} is closed")

    def _check(self) -> None:
        if self._closed:
            raise self._closed_error()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        self._check()
        try:
            yield
        except RedisError as error:
            if self._closed:
                raise self._closed_error() from error
            self._leases.is_out_of_reach = isinstance(error, UnreachableError | SilentError)
            raise self._unavailable(error) from error
        except Exception as error:
            # redis-py stumbles, in whatever way, over a connection that is closed under its hands.
            if self._closed:
                raise self._closed_error() from error
            raise
        except BaseException:
            # The interrupted call may have given back a connection that its reply is still on the way to.
            self._pool.reset()  # type: ignore[no-untyped-call]  # redis-py has no types for it
            raise
        finally:
            self._disconnect_if_closed()
        self._leases.is_out_of_reach = False

    def _disconnect_if_closed(self) -> None:
        """Let go of the connection that a call may have opened again beside ``close``."""
        if self._closed:
            self._pool.disconnect()

    def _unavailable(self, why: object) -> BackendUnavailableError:
        return BackendUnavailableError(f"redis server {self._address} (setting 'backends.redis.url'): {why}")


def _parsed(url: SecretStr) -> dict[str, Any]:
    text = url.get_secret_value()
    options: dict[str, Any] = parse_url(text)  # type: ignore[no-untyped-call]  # redis-py has no types for it
    known = {"connection_class", "username", "password", "host", "port", "path", "db"}
    if any(name not in known and not name.startswith("ssl_") for name in options):
        raise ValueError("an option of redis-py that would be at odds with this backend")
    if "path" not in options:
        options["host"].encode("idna")
        if urlsplit(text).path.strip("/") and "db" not in options:
            raise ValueError("redis-py takes what is no number for database 0")
    return options


def _milliseconds(keep_until: float) -> int:
    return math.ceil(max(min(keep_until, FOREVER), 0.001) * 1000)  # servers refuse moments much later than that


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    """Register the backend ``redis``."""
    yield Backend(name="redis", settings=RedisSettings, open=RedisBackend)
