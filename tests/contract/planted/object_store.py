"""A symcache backend over an object store that speaks HTTP, with ETag and conditional writes (object_server.py)."""

import base64
import collections
import hashlib
import http.client
import json
import logging
import math
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptEntryError,
    CorruptStoreError,
    NewerSchemaError,
)
from symcache_core.plugin import Backend, hookimpl

log = logging.getLogger("symcache")

SCHEMA = 1
LONGEST_KEY = 4096
LARGEST_ENTRY = 32 << 20
LONGEST_LIFETIME = 2**31 - 1
PAGE = 500
IDLE = 8
CLOSED = "The backend is closed: open another one."


class ObjectSettings(BaseModel):
    """Options of the backend. The URL is a secret, as one may stand in it."""

    model_config = ConfigDict(extra="forbid")

    url: SecretStr
    token: SecretStr
    namespace: str = "symcache"
    timeout: float = Field(default=10.0, gt=0)
    lock_timeout: float = Field(default=5.0, gt=0)


class _Reply:
    """One answer of the store."""

    def __init__(self, status: int, body: bytes, etag: str, meta: str) -> None:
        self.status, self.body, self.etag, self.meta = status, body, etag, meta


class _Connections:
    """The idle connections of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.idle: collections.deque[http.client.HTTPConnection] = collections.deque()
        self.known = False

    def drop(self) -> None:
        while self.idle:
            try:
                self.idle.pop().close()
            except IndexError:
                return


_INHERITED: list[_Connections] = []


class ObjectBackend:
    """Each entry is an object. Its name is a hash of the key, the key stands in its first line and its X-Meta."""

    def __init__(self, settings: ObjectSettings) -> None:
        self._settings = settings
        self._closed = False
        try:
            url = urlsplit(settings.url.get_secret_value())
            good = url.scheme in ("http", "https") and url.hostname and url.username is None and not url.query
            self._host, self._port, self._secure = url.hostname or "", url.port, url.scheme == "https"
            self._root = url.path.strip("/")
        except ValueError:
            good = False
        if not good:
            raise ConfigurationError("The option url has to be like http://host:port/bucket, without a user.")
        name = hashlib.sha256(settings.namespace.encode("utf-8", "surrogatepass")).hexdigest()
        self._folder = f"{self._root}/{name}/" if self._root else f"{name}/"
        self._connections = _Connections()

    # what every method uses

    def _here(self) -> _Connections:
        if self._connections.pid != os.getpid():
            _INHERITED.append(self._connections)
            self._connections = _Connections()
        if self._closed:
            raise ClosedError(CLOSED)
        return self._connections

    def _connection(self, here: _Connections) -> http.client.HTTPConnection:
        """An idle connection has nothing to read: one that has is over."""
        while True:
            try:
                connection = here.idle.pop()
            except IndexError:
                kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
                return kind(self._host, self._port, timeout=self._settings.timeout)
            waiter = select.poll()
            if connection.sock is not None:
                waiter.register(connection.sock, select.POLLIN)
                if not waiter.poll(0):
                    return connection
            connection.close()

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        here = self._here()
        deadline = time.monotonic() + self._settings.timeout
        connection = self._connection(here)
        good = False
        try:
            reply = self._exchange(connection, method, path, body, dict(headers), deadline)
            good = True
        except (OSError, http.client.HTTPException, ValueError) as error:
            here.drop()
            if self._closed:
                raise ClosedError(CLOSED) from None
            raise BackendUnavailableError(
                f"The object store does not answer ({type(error).__name__}): see whether it runs, and url."
            ) from None
        finally:
            if good and not self._closed and len(here.idle) < IDLE:
                here.idle.append(connection)
            else:
                connection.close()
            if self._closed:
                here.drop()
        return self._checked(reply)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        deadline: float,
    ) -> _Reply:
        headers["Authorization"] = f"Bearer {self._settings.token.get_secret_value()}"
        connection.request(method, path, body, headers)
        sock = connection.sock
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        answer = connection.getresponse()
        parts = []
        while True:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            part = answer.read1(1 << 16)
            if not part:
                break
            if time.monotonic() > deadline:
                raise TimeoutError
            parts.append(part)
        answer.close()
        whole = b"".join(parts)
        expected = answer.headers.get("Content-Length")
        if expected is not None and len(whole) != int(expected):
            raise http.client.IncompleteRead(b"")
        if not answer.will_close:
            sock.settimeout(self._settings.timeout)
        else:
            connection.close()
        return _Reply(answer.status, whole, answer.headers.get("ETag", ""), answer.headers.get("X-Meta", ""))

    @staticmethod
    def _checked(reply: _Reply) -> _Reply:
        if reply.status in (200, 204, 404, 412):
            return reply
        if reply.status in (400, 413, 414):
            raise BackendError(f"The object store refuses this key or entry (status {reply.status}).")
        if reply.status in (401, 403):
            raise BackendUnavailableError(f"The object store does not let us in (status {reply.status}): see token.")
        raise BackendUnavailableError(f"The object store cannot do it now (status {reply.status}).")

    def _path(self, key: str) -> str:
        return f"/{quote(self._folder)}e/{hashlib.sha256(self._raw(key)).hexdigest()}"

    @staticmethod
    def _raw(key: str) -> bytes:
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raise BackendError("A key with a lone surrogate cannot be stored.") from None
        if len(raw) > LONGEST_KEY:
            raise BackendError(f"A key may have {LONGEST_KEY} bytes, this one has {len(raw)}.")
        return raw

    def _meta(self, key: str) -> str:
        return base64.urlsafe_b64encode(self._raw(key)).decode()

    @staticmethod
    def _lifetime(keep_until: float) -> dict[str, str]:
        left = keep_until - time.time()
        if not left < LONGEST_LIFETIME:
            return {}
        return {"X-Lifetime": str(max(math.ceil(left), 0))}

    def _know_store(self) -> None:
        """Looks once, in each process, whether the store is one that this understands."""
        here = self._here()
        if here.known:
            return
        path = f"/{quote(self._folder)}schema"
        reply = self._ask("GET", path)
        if reply.status == 404:
            reply = self._ask("PUT", path, str(SCHEMA).encode(), {"If-None-Match": "*"})
            if reply.status == 412:
                reply = self._ask("GET", path)
            else:
                reply.body = str(SCHEMA).encode()
        if not reply.body.isdigit():
            raise CorruptStoreError("The version of the store cannot be understood: remove its objects.")
        if int(reply.body) > SCHEMA:
            raise NewerSchemaError(
                f"The store has version {int(reply.body)}, this is for {SCHEMA}: upgrade the backend."
            )
        here.known = True

    def _get(self, key: str) -> tuple[bytes | None, str]:
        self._know_store()
        reply = self._ask("GET", self._path(key))
        if reply.status == 404:
            return None, ""
        head, found, entry = reply.body.partition(b"\n")
        if not found or head != self._meta(key).encode():
            raise CorruptEntryError("The object is not the entry of this key: delete it.")
        return entry, reply.etag

    def _put(self, key: str, entry: bytes, keep_until: float, condition: Mapping[str, str] = {}) -> bool:
        if len(entry) > LARGEST_ENTRY:
            raise BackendError(f"An entry may have {LARGEST_ENTRY} bytes, this one has {len(entry)}.")
        self._know_store()
        headers = {"X-Meta": self._meta(key), **self._lifetime(keep_until), **condition}
        body = self._meta(key).encode() + b"\n" + entry
        reply = self._ask("PUT", self._path(key), body, headers)
        if reply.status == 404:
            raise BackendUnavailableError("The object store has no such bucket now: see url.")
        return reply.status == 200

    def _prefix(self) -> str:
        return f"{self._folder}e/"

    def _listed(self) -> Iterator[dict[str, Any]]:
        after = ""
        while True:
            reply = self._ask("GET", f"/?prefix={quote(self._prefix())}&after={quote(after)}&limit={PAGE}")
            try:
                answer = json.loads(reply.body)
                objects, more = answer["objects"], answer["more"]
            except (ValueError, KeyError, TypeError):
                raise BackendUnavailableError("The object store gave a list that is none: see url.") from None
            yield from objects
            if not more:
                return
            after = objects[-1]["name"]

    # the six methods

    def read(self, key: str) -> bytes | None:
        return self._get(key)[0]

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self._put(key, entry, keep_until)

    def delete(self, key: str) -> bool:
        self._know_store()
        return self._ask("DELETE", self._path(key)).status == 204

    def keys(self) -> Iterator[str]:
        self._here()
        return self._keys()

    def _keys(self) -> Iterator[str]:
        self._know_store()
        for found in self._listed():
            try:
                yield base64.urlsafe_b64decode(found["meta"]).decode()
            except ValueError:
                log.warning("an object of the store has no key, it is passed over")

    def clear(self) -> int:
        self._know_store()
        gone = 0
        for found in self._listed():
            gone += self._ask("DELETE", "/" + quote(found["name"])).status == 204
        return gone

    def close(self) -> None:
        self._closed = True
        here = self._connections
        if here.pid == os.getpid():
            here.drop()

    # what the store can do besides

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        deadline = time.monotonic() + self._settings.lock_timeout
        while True:
            try:
                old, etag = self._get(key)
            except CorruptEntryError:
                self.delete(key)
                continue
            new = change(old)
            if new is None or self._put(key, *new, {"If-Match": etag} if old is not None else {"If-None-Match": "*"}):
                return
            if time.monotonic() > deadline:
                raise BackendUnavailableError("Others write the entry all the time: raise lock_timeout.")

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        found = {key: self.read(key) for key in dict.fromkeys(keys)}
        return {key: entry for key, entry in found.items() if entry is not None}

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        for key, (entry, keep_until) in entries.items():
            self._put(key, entry, keep_until)

    def size(self) -> int:
        reply = self._ask("GET", "/?usage")
        try:
            return int(json.loads(reply.body)["bytes"])
        except (ValueError, KeyError, TypeError):
            raise BackendUnavailableError("The object store does not say how much it holds: see url.") from None


@hookimpl
def symcache_backends() -> Iterator[Backend]:
    yield Backend(name="objectstore", settings=ObjectSettings, open=ObjectBackend, persistent=True)
