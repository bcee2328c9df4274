"""A small key-value server, and a backend over it that keeps every promise; the broken ones of servers stand on it."""

import base64
import json
import os
import select
import socket
import socketserver
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress

from pydantic import BaseModel, SecretStr
from reference_backends import record

from symcache_core import hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError

PASSWORD = "correct-horse-battery"


class KeyValueServer(socketserver.ThreadingTCPServer):
    """Answers each line of JSON with one; leases belong to a connection, and end with it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Conversation)
        self.changes = threading.RLock()
        self.stores = defaultdict(dict)
        self.leases = {}
        self.watchers = defaultdict(set)
        self.port = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # who hung up in the midst of a sentence is no news


class Conversation(socketserver.StreamRequestHandler):
    """One connection."""

    disable_nagle_algorithm = True

    def handle(self):
        for line in self.rfile:
            request = json.loads(line)
            if request.pop("password") != PASSWORD:
                break
            if (do := request.pop("do")) == "watch":
                self.watch(**request)
                break
            with self.server.changes:
                answer = getattr(self, do)(**request)
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    def finish(self):
        with self.server.changes:
            for name in [name for name, holder in self.server.leases.items() if holder is self]:
                del self.server.leases[name]
        with suppress(OSError):
            super().finish()

    def read(self, store, keys):
        found = self.live(store)
        return {key: found[key][0] for key in keys if key in found}

    def write(self, store, entries):
        self.server.stores[store].update(entries)
        self.tell(store)

    def swap(self, store, key, old, new):
        found = self.live(store).get(key)
        if (None if found is None else found[0]) != old:
            return False
        self.write(store, {key: new})
        return True

    def delete(self, store, key):
        found = self.live(store).pop(key, None) is not None
        self.tell(store)
        return found

    def clear(self, store):
        count = len(self.live(store))
        self.server.stores.pop(store)
        self.tell(store)
        return count

    def keys(self, store):
        return list(self.live(store))

    def lock(self, store, key):
        if (store, key) in self.server.leases:
            return False
        self.server.leases[store, key] = self
        return True

    def unlock(self, store, key):
        if self.server.leases.get((store, key)) is self:
            del self.server.leases[store, key]

    def unlock_for_anyone(self, store, key):
        self.server.leases.pop((store, key), None)

    def live(self, store):
        entries = self.server.stores[store]
        for key in [key for key, (_entry, keep_until) in entries.items() if keep_until < time.time()]:
            del entries[key]
        return entries

    def watch(self, store):
        """Say of each change that there was one; whoever made it is answered when that has been heard."""
        self.heard = threading.Semaphore(0)
        with self.server.changes:
            self.server.watchers[store].add(self)
            self.wfile.write(b"null\n")
        try:
            for _line in self.rfile:
                self.heard.release()
        finally:
            self.heard.release()  # who waits for its word has the lock
            with self.server.changes:
                self.server.watchers[store].discard(self)

    def tell(self, store):
        for watcher in list(self.server.watchers[store]):
            try:
                watcher.wfile.write(b"\n")
            except OSError:
                continue
            if not watcher.heard.acquire(timeout=1):
                self.server.watchers[store].discard(watcher)
                with suppress(OSError):
                    watcher.connection.shutdown(socket.SHUT_RDWR)


class Connection:
    """One connection to the server; every call on it ends with its timeout."""

    def __init__(self, settings):
        self._settings = settings
        self._pid = os.getpid()
        self._socket = socket.create_connection((settings.host, settings.port), settings.timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rwb")

    def ask(self, do, **fields):
        password = self._settings.password.get_secret_value()
        request = {"do": do, "password": password, "store": self._settings.store, **fields}
        self._lines.write(json.dumps(request).encode() + b"\n")
        self._lines.flush()
        return json.loads(self._answer())

    def _answer(self):
        """A line, all of which has come in time."""
        deadline, answer = time.monotonic() + (self._settings.timeout or threading.TIMEOUT_MAX), b""
        while not answer.endswith(b"\n"):
            if self._settings.timeout is not None:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            if time.monotonic() > deadline:
                raise TimeoutError("the answer takes too long")
            if not (part := self._lines.read1(1 << 16)):
                raise ConnectionResetError("the server has hung up")
            answer += part
        self._socket.settimeout(self._settings.timeout)
        return answer

    def watch(self):
        """Begin to hear of changes; then each line is one, and wants another in return."""
        self.ask("watch")
        self._socket.settimeout(None)
        return self._changes()

    def _changes(self):
        while self._lines.readline().endswith(b"\n"):
            yield
            self._lines.write(b"\n")
            self._lines.flush()

    def has_ended(self):
        return bool(select.select([self._socket], [], [], 0)[0])

    def cut(self):
        """End what another thread is waiting for on it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        if os.getpid() == self._pid:
            self.cut()  # a child that was forked meanwhile has it open, too
        with suppress(OSError):
            self._lines.close()
        self._socket.close()


class ServerStore:
    persistent = True
    outage = "away"
    lacks = frozenset(
        {
            "the backend has no option that is a path",
            "the backend has no option that is a file",
            "the test class has no small()",
            "the backend has no option that is a URL",
            "the backend keeps no files in its folder",
            "leases end with the connection, or too soon for an outage to be shorter",
            "the test's settings have no URL of HTTP",
            *(f"the backend has no {name}" for name in ("lease_holder", "size", "compact", "read_only")),
        }
    )

    class Settings(BaseModel):
        host: str = "127.0.0.1"
        port: int
        password: SecretStr
        store: str
        timeout: float = 5.0

    def __init__(self, settings):
        self._settings = settings
        self._is_closed = False
        self._begin()

    def _begin(self):
        """Start with connections of this process alone."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._idle, self._busy = [], set()
        self._leasing, self._leasing_lock = None, threading.RLock()
        self._is_away = False
        self._generation, self._is_watched = 0, False
        with suppress(BackendUnavailableError):
            self._watch()

    def read(self, key):
        return self.read_many([key]).get(key)

    def write(self, key, entry, keep_until):
        self.write_many({key: (entry, keep_until)})

    def delete(self, key):
        return self._ask("delete", key=key)

    def keys(self):
        return iter(self._ask("keys"))

    def clear(self):
        return self._ask("clear")

    def read_many(self, keys):
        return {key: unpacked(entry) for key, entry in self._ask("read", keys=list(keys)).items()}

    def write_many(self, entries):
        self._ask("write", entries={key: packed(*value) for key, value in entries.items()})

    def update(self, key, change):
        while True:
            old = self._ask("read", keys=[key]).get(key)
            changed = change(None if old is None else unpacked(old))
            if changed is None or self._ask("swap", key=key, old=old, new=packed(*changed)):
                return

    def try_lock(self, key):
        self._check()
        with self._leasing_lock, self._mapped():
            if self._leasing is None or self._leasing.has_ended():
                self._let_go_of_leases()
                self._leasing = self._connected()
            try:
                taken = self._leasing.ask("lock", key=key)
            except BaseException:
                self._let_go_of_leases()
                raise
            if self._is_closed:
                self._let_go_of_leases()
                raise self._closed()
            return ServerLease(self, self._leasing, key) if taken else None

    def release(self, lease):
        if os.getpid() != self._pid:
            return
        with self._leasing_lock, suppress(BackendUnavailableError, ClosedError):
            if lease.connection is not self._leasing:
                return  # it ended with its connection
            try:
                with self._mapped():
                    if self._is_away:
                        raise ConnectionResetError("it has just been away")
                    self._leasing.ask("unlock", key=lease.key)
            except BaseException:
                self._let_go_of_leases()
                raise

    def generation(self):
        self._check()
        with self._lock:
            if not self._is_watched:  # nobody would tell
                self._generation += 1
            return self._generation

    def close(self):
        self._is_closed = True
        if os.getpid() != self._pid:
            return  # all is the parent's, and its locks may be held
        with self._lock:
            idle, self._idle = self._idle, []
            for connection in self._busy:
                connection.cut()
        for connection in idle:
            connection.close()
        if (leasing := self._leasing) is not None:
            leasing.cut()
        with self._leasing_lock:
            self._let_go_of_leases()

    def _ask(self, do, **fields):
        self._check()
        with self._mapped(), self._connection() as connection:
            answer = connection.ask(do, **fields)
        self._watch()
        return answer

    @contextmanager
    def _connection(self):
        connection = self._taken() or self._connected()
        with self._lock:
            self._busy.add(connection)
        try:
            yield connection
        except BaseException:
            self._drop(connection)
            raise
        with self._lock:
            self._busy.discard(connection)
            if not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()

    def _taken(self):
        """An idle connection that still stands."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.has_ended():
                return connection
            connection.close()

    def _connected(self):
        return Connection(self._settings)

    def _drop(self, connection):
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _watch(self):
        with self._lock:
            if self._is_watched or self._is_closed:
                return
            self._is_watched = True
        connection = None
        try:
            with self._mapped():
                connection = self._connected()
                changes = connection.watch()
        except BaseException:
            self._is_watched = False
            if connection is not None:
                connection.close()
            raise
        with self._lock:
            self._generation += 1
            self._busy.add(connection)
        threading.Thread(target=self._hear, args=(connection, changes), daemon=True).start()

    def _hear(self, connection, changes):
        try:
            for _ in changes:
                with self._lock:
                    self._generation += 1
        except (OSError, ValueError):
            pass  # it was cut
        with self._lock:
            self._is_watched = False
        self._drop(connection)

    def _let_go_of_leases(self):
        if self._leasing is not None:
            self._leasing.close()
            self._leasing = None

    def _check(self):
        if self._is_closed:
            raise self._closed()
        if os.getpid() != self._pid:
            self._begin()

    def _closed(self):
        return ClosedError("this store is closed: open it anew")

    @contextmanager
    def _mapped(self):
        try:
            yield
        except OSError as error:
            self._is_away = True
            if self._is_closed:
                raise self._closed() from None
            raise self._unavailable(error) from error
        self._is_away = False

    def _unavailable(self, error):
        return BackendUnavailableError(f"the server at {self._settings.host}:{self._settings.port}: {error}")


class SilentServerStore(ServerStore):
    outage = "silent"


class ServerLease:
    def __init__(self, store, connection, key):
        self._store, self.connection, self.key = store, connection, key
        self._is_held = True

    def release(self):
        if self._is_held:
            self._is_held = False
            self._store.release(self)


def packed(entry, keep_until):
    return base64.b64encode(entry).decode(), keep_until


def unpacked(entry):
    return base64.b64decode(entry)


@hookimpl
def symcache_backends():
    yield record(ServerStore)
    yield record(SilentServerStore)
