"""Backends over an object store that break one promise each."""

import base64
import contextlib
import http.client
import logging
import math
import os
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from defect import Defect
from object_store import SCHEMA, ObjectBackend, ObjectSettings, _Connections, _Reply

from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptEntryError,
    NewerSchemaError,
)

Change = Callable[[bytes | None], tuple[bytes, float] | None]
log = logging.getLogger("symcache")


class CutsNameAtHash(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        name = settings.namespace.split("#")[0].split("?")[0]
        super().__init__(settings.model_copy(update={"namespace": name}))


class ListsByBeginning(ObjectBackend):
    """The names of stores stand in the names of objects, and the list of one has all that begin like it."""

    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._folder = f"{self._root}/{settings.namespace.encode().hex()}/"

    def _prefix(self) -> str:
        return self._folder.rstrip("/")

    def _listed(self) -> Iterator[dict[str, Any]]:
        return (found for found in super()._listed() if "/e/" in found["name"])


class DecodesNames(ObjectBackend):
    """`a%20b` and `a b` are one store, as names are escaped here and once more on the way."""

    def __init__(self, settings: ObjectSettings) -> None:
        from urllib.parse import unquote

        super().__init__(settings.model_copy(update={"namespace": unquote(settings.namespace)}))


class RoundsDown(ObjectBackend):
    @staticmethod
    def _lifetime(keep_until: float) -> dict[str, str]:
        left = keep_until - time.time()
        return {} if math.isinf(left) or left > 2**31 - 1 else {"X-Lifetime": str(max(int(left), 0))}


class FarTimesRefused(ObjectBackend):
    @staticmethod
    def _lifetime(keep_until: float) -> dict[str, str]:
        if math.isinf(keep_until):
            return {}
        return {"X-Lifetime": str(max(math.ceil(keep_until - time.time()), 0))}


class PastTimesRefused(ObjectBackend):
    @staticmethod
    def _lifetime(keep_until: float) -> dict[str, str]:
        if keep_until < time.time():
            return {"X-Lifetime": str(math.floor(keep_until - time.time()))}
        return ObjectBackend._lifetime(keep_until)


class InfinityOverflows(ObjectBackend):
    @staticmethod
    def _lifetime(keep_until: float) -> dict[str, str]:
        return {"X-Lifetime": str(min(max(math.ceil(keep_until - time.time()), 0), 2**31 - 1))}


class UpdateKeepsLifetime(ObjectBackend):
    """Puts an updated entry for a second, as a lock would be."""

    def update(self, key: str, change: Change) -> None:
        def short(old: bytes | None) -> tuple[bytes, float] | None:
            new = change(old)
            return None if new is None else (new[0], min(new[1], time.time() + 1))

        super().update(key, short)


class ForgetsCondition(ObjectBackend):
    def update(self, key: str, change: Change) -> None:
        new = change(self._get(key)[0])
        if new is not None:
            self._put(key, *new)


class NoConditionForNew(ObjectBackend):
    def _put(self, key: str, entry: bytes, keep_until: float, condition: Mapping[str, str] = {}) -> bool:
        return super()._put(key, entry, keep_until, {k: v for k, v in condition.items() if k == "If-Match"})


class ChangesOnce(ObjectBackend):
    """After a conflict it puts what it had made of the older entry."""

    def update(self, key: str, change: Change) -> None:
        old, etag = self._get(key)
        new = change(old)
        while new is not None:
            if self._put(key, *new, {"If-Match": etag} if etag else {"If-None-Match": "*"}):
                return
            etag = self._get(key)[1]


class GivesUpSilently(ObjectBackend):
    def update(self, key: str, change: Change) -> None:
        for _ in range(2):
            old, etag = self._get(key)
            new = change(old)
            if new is None or self._put(key, *new, {"If-Match": etag} if etag else {"If-None-Match": "*"}):
                return


class DeletesOnNone(ObjectBackend):
    def update(self, key: str, change: Change) -> None:
        def noted(old: bytes | None) -> tuple[bytes, float] | None:
            new = change(old)
            if new is None and old is not None:
                self.delete(key)
            return new

        super().update(key, noted)


class AnyStatusIsMiss(ObjectBackend):
    @staticmethod
    def _checked(reply: _Reply) -> _Reply:
        if reply.status in (401, 403, 500, 502, 503):
            return _Reply(404, b"", "", "")
        return ObjectBackend._checked(reply)

    def _know_store(self) -> None:
        with contextlib.suppress(BackendUnavailableError):
            super()._know_store()


class RemembersInOutage(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._last: dict[str, bytes | None] = {}

    def read(self, key: str) -> bytes | None:
        try:
            self._last[key] = super().read(key)
        except BackendUnavailableError:
            if key not in self._last:
                raise
        return self._last[key]


class BelievesShortAnswers(ObjectBackend):
    """Takes the end of a connection for the end of an entry."""

    def _exchange(self, connection: Any, method: str, path: str, body: Any, headers: Any, deadline: float) -> _Reply:
        headers["Authorization"] = f"Bearer {self._settings.token.get_secret_value()}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        try:
            whole = answer.read()
        except http.client.IncompleteRead as short:
            whole = short.partial
        return _Reply(answer.status, whole, answer.headers.get("ETag", ""), answer.headers.get("X-Meta", ""))


class NoTimeout(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings.model_copy(update={"timeout": 86400.0}))


class TimeoutOfEachPiece(ObjectBackend):
    """Bounds each piece of an answer, not the answer: one that drips goes on and on."""

    def _exchange(self, connection: Any, method: str, path: str, body: Any, headers: Any, deadline: float) -> _Reply:
        headers["Authorization"] = f"Bearer {self._settings.token.get_secret_value()}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        whole = answer.read()
        return _Reply(answer.status, whole, answer.headers.get("ETag", ""), answer.headers.get("X-Meta", ""))


class OneConnectionForAll(ObjectBackend):
    """Threads share one connection, and none waits for another."""

    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._only: http.client.HTTPConnection | None = None

    def _connection(self, here: _Connections) -> http.client.HTTPConnection:
        if self._only is None:
            self._only = super()._connection(here)
        return self._only


class ReusesUnansweredConnection(ObjectBackend):
    """Gives a connection back to the others whatever has happened on it."""

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        here = self._here()
        connection = here.idle.pop() if here.idle else self._connection(here)
        try:
            deadline = time.monotonic() + self._settings.timeout
            return self._checked(self._exchange(connection, method, path, body, dict(headers), deadline))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BackendUnavailableError(f"The object store does not answer ({type(error).__name__}).") from None
        finally:
            here.idle.append(connection)


class SharesSocketsWithChild(ObjectBackend):
    def _here(self) -> _Connections:
        if self._closed:
            raise ClosedError("The backend is closed.")
        return self._connections


class ConnectionForEachCall(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._all: list[Any] = []

    def _connection(self, here: _Connections) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._settings.timeout)
        connection.connect = self._noted(connection)  # type: ignore[method-assign]  # on this one alone
        return connection

    def _noted(self, connection: http.client.HTTPConnection) -> Callable[[], None]:
        def connect() -> None:
            http.client.HTTPConnection.connect(connection)
            self._all.append(connection.sock.dup())

        return connect


class LeaksWhenAway(ObjectBackend):
    """Opens a file for each connection that it tries, and forgets it when there is none."""

    def _connection(self, here: _Connections) -> http.client.HTTPConnection:
        connection = super()._connection(here)
        if connection.sock is None:
            file = os.open(os.devnull, os.O_RDONLY)
            connection.connect()
            os.close(file)
        return connection

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        try:
            return super()._ask(method, path, body, headers)
        except OSError:
            raise BackendUnavailableError("The object store does not answer: see whether it runs, and url.") from None


class CloseLeavesSockets(ObjectBackend):
    def close(self) -> None:
        self._closed = True


class ReadsAfterClose(ObjectBackend):
    def _here(self) -> _Connections:
        closed, self._closed = self._closed, False
        try:
            return super()._here()
        finally:
            self._closed = closed


class SizeAfterClose(ObjectBackend):
    """Has something to say about its size at any time."""

    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._known_size = 0

    def size(self) -> int:
        try:
            self._known_size = super().size()
        except ClosedError:
            return self._known_size
        return self._known_size


class TokenInError(ObjectBackend):
    def _exchange(self, *args: Any) -> _Reply:
        self._sent = args[4]
        return super()._exchange(*args)

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        try:
            return super()._ask(method, path, body, headers)
        except BackendUnavailableError as error:
            raise BackendUnavailableError(f"{error} Sent was {method} {path} with {self._sent}") from None


class TokenInLog(ObjectBackend):
    def _exchange(self, *args: Any) -> _Reply:
        reply = super()._exchange(*args)
        log.debug("%s %s %s: %d", args[1], args[2], args[4], reply.status)
        return reply


class TokenInWarning(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        if not self._secure:
            token = settings.token.get_secret_value()
            warnings.warn(f"the token {token} goes over the net as it is, use https", stacklevel=2)


class UrlInRepr(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._about = {"url": settings.url.get_secret_value(), "namespace": settings.namespace}

    def __repr__(self) -> str:
        return f"ObjectBackend({self._about})"


class RawConnectionErrors(ObjectBackend):
    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        here = self._here()
        connection = self._connection(here)
        try:
            deadline = time.monotonic() + self._settings.timeout
            reply = self._exchange(connection, method, path, body, dict(headers), deadline)
            here.idle.append(connection)
            return self._checked(reply)
        except (http.client.HTTPException, TimeoutError):
            connection.close()
            raise BackendUnavailableError("The object store does not answer.") from None


class NoHostIsFine(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        try:
            super().__init__(settings)
        except ConfigurationError:
            super().__init__(settings.model_copy(update={"url": type(settings.url)("http://localhost:80/default")}))


class FirstPageOnly(ObjectBackend):
    def _keys(self) -> Iterator[str]:
        self._know_store()
        reply = self._ask("GET", f"/?prefix={quote(self._prefix())}&limit=1000")
        import json

        for found in json.loads(reply.body)["objects"]:
            yield base64.urlsafe_b64decode(found["meta"]).decode()


class ListsUntilStill(ObjectBackend):
    """Lists again until nothing has changed meanwhile, in order to leave nothing out."""

    def _keys(self) -> Iterator[str]:
        before: set[str] = set()
        while True:
            now = set(super()._keys())
            yield from sorted(now - before)
            if now <= before:
                return
            before |= now
            time.sleep(0.05)  # a moment, for others to come to their end


class ListsTwice(ObjectBackend):
    """Asks for the next page from the last name on, this one included."""

    def _listed(self) -> Iterator[dict[str, Any]]:
        last: dict[str, Any] | None = None
        for count, found in enumerate(super()._listed()):
            if last is not None and count % 500 == 0:
                yield last
            yield found
            last = found


class TripsOverDeleted(ObjectBackend):
    """Gets each object for its key, and raises when it has gone since it was listed."""

    def _keys(self) -> Iterator[str]:
        self._know_store()
        for found in self._listed():
            reply = self._ask("GET", "/" + quote(found["name"]))
            if reply.status == 404:
                raise CorruptEntryError("An object of the list is missing.")
            yield base64.urlsafe_b64decode(reply.meta).decode()


class StopsAtGap(ObjectBackend):
    """Ends its list where an object goes away while it is listed."""

    def _keys(self) -> Iterator[str]:
        self._know_store()
        for found in self._listed():
            reply = self._ask("GET", "/" + quote(found["name"]))
            if reply.status == 404:
                return
            yield base64.urlsafe_b64decode(reply.meta).decode()


class KeyInHeader(ObjectBackend):
    """Puts the key as it is into a header, which takes no line end and nothing beyond Latin-1."""

    def _put(self, key: str, entry: bytes, keep_until: float, condition: Mapping[str, str] = {}) -> bool:
        return super()._put(key, entry, keep_until, {**condition, "X-Key": key})


class ShortKeys(ObjectBackend):
    @staticmethod
    def _raw(key: str) -> bytes:
        raw = ObjectBackend._raw(key)
        if len(raw) > 255:
            raise BackendError("A name may have 255 bytes.")
        return raw


class CleansKeys(ObjectBackend):
    """Takes dots and slashes out of a key, as it were a path."""

    @staticmethod
    def _raw(key: str) -> bytes:
        return ObjectBackend._raw(os.path.normpath(key) if "/" in key else key)


class KeyCutForHash(ObjectBackend):
    """Looks at the first 256 bytes of a key only."""

    @staticmethod
    def _raw(key: str) -> bytes:
        return ObjectBackend._raw(key)[:256]

    def _keys(self) -> Iterator[str]:
        self._know_store()
        for found in self._listed():
            yield base64.urlsafe_b64decode(found["meta"]).decode(errors="ignore")


class FirstLineOnly(ObjectBackend):
    def read(self, key: str) -> bytes | None:
        found = super().read(key)
        return found if not found else found.splitlines()[0]


class AddsNewline(ObjectBackend):
    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        super().write(key, entry if entry.endswith(b"\n") else entry + b"\n", keep_until)


class FitsWhenCompressed(ObjectBackend):
    def _put(self, key: str, entry: bytes, keep_until: float, condition: Mapping[str, str] = {}) -> bool:
        if len(zlib.compress(entry, 1)) > 1 << 20:
            raise BackendError("The entry has more than a megabyte.")
        return super()._put(key, entry, keep_until, condition)


class ClearsLater(ObjectBackend):
    def clear(self) -> int:
        names = [found["name"] for found in self._listed()]

        def drop() -> None:
            with contextlib.suppress(BackendError, ClosedError):
                for name in names:
                    self._ask("DELETE", "/" + quote(name))

        threading.Thread(target=drop, daemon=True).start()
        return len(names)


class ClearsOnePage(ObjectBackend):
    def clear(self) -> int:
        self._know_store()
        gone = 0
        for count, found in enumerate(self._listed()):
            if count == 500:
                break
            gone += self._ask("DELETE", "/" + quote(found["name"])).status == 204
        return gone


class WritesInBackground(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._errors = 0

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self._here()
        self._raw(key)

        def put() -> None:
            try:
                self._put(key, entry, keep_until)
            except (BackendError, ClosedError):
                self._errors += 1

        writer = threading.Thread(target=put, daemon=True)
        writer.start()
        writer.join(0.002)


class PoolForEachBatch(ObjectBackend):
    """Writes a batch by threads, which stay."""

    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._pools: list[ThreadPoolExecutor] = []

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        self._here()
        self._pools.append(ThreadPoolExecutor(4))
        list(self._pools[-1].map(lambda item: self._put(item[0], *item[1]), entries.items()))


class BatchPassesOver(ObjectBackend):
    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        for key, (entry, keep_until) in entries.items():
            try:
                self._put(key, entry, keep_until)
            except BackendError as error:
                log.warning("an entry of a batch was not stored: %s", error)


class MissesAreEmpty(ObjectBackend):
    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: self.read(key) or b"" for key in keys}


class SizeOfOneStore(ObjectBackend):
    """Gets each object of its own store, and adds up their lengths."""

    def size(self) -> int:
        return sum(len(self._ask("GET", "/" + quote(found["name"])).body) for found in self._listed())


class SizeOnce(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._first: int | None = None

    def size(self) -> int:
        self._here()
        if self._first is None:
            self._first = super().size()
        return self._first


class HandlesSignals(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: Any) -> None:
        self.close()
        os._exit(0)


class PrintsTraffic(ObjectBackend):
    def _connection(self, here: _Connections) -> http.client.HTTPConnection:
        connection = super()._connection(here)
        connection.set_debuglevel(1)
        return connection


class InterruptKeepsTurn(ObjectBackend):
    """Has one turn for each call, and takes it back after errors, but not after an interrupt."""

    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._turns = threading.BoundedSemaphore(1)

    def _exchange(self, *args: Any) -> _Reply:
        if not self._turns.acquire(timeout=self._settings.timeout):
            raise TimeoutError
        try:
            reply = super()._exchange(*args)
        except Exception:
            self._turns.release()
            raise
        self._turns.release()
        return reply


class DeleteAlwaysDid(ObjectBackend):
    def delete(self, key: str) -> bool:
        super().delete(key)
        return True


class DeleteOfMarker(ObjectBackend):
    """Deletes by writing an empty object, which keys still gives."""

    def delete(self, key: str) -> bool:
        if self.read(key) is None:
            return False
        return self._put(key, b"", math.inf)

    def read(self, key: str) -> bytes | None:
        return super().read(key) or None


class CachesReads(ObjectBackend):
    """Gives what it has read within the last second, unless it has written it itself."""

    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._fresh: dict[str, tuple[float, tuple[bytes | None, str]]] = {}

    def _get(self, key: str) -> tuple[bytes | None, str]:
        self._here()
        known = self._fresh.get(key)
        if known is None or time.monotonic() - known[0] > 1:
            known = self._fresh[key] = (time.monotonic(), super()._get(key))
        return known[1]

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        if method != "GET":
            self._fresh.clear()
        return super()._ask(method, path, body, headers)


class OverwritesNewer(ObjectBackend):
    """Puts its own version in place of a newer one; visible to who has put a newer one there."""

    def _know_store(self) -> None:
        try:
            super()._know_store()
        except NewerSchemaError:
            self._ask("PUT", f"/{quote(self._folder)}schema", str(SCHEMA).encode())
            self._here().known = True


class TriesForLong(ObjectBackend):
    """Tries again ten times, longer each time, before it says that the store is away."""

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        for attempt in range(10):
            try:
                return super()._ask(method, path, body, headers)
            except BackendUnavailableError:
                time.sleep(min(0.2 * 2**attempt, 30.0))
        return super()._ask(method, path, body, headers)


class OneAtATime(ObjectBackend):
    def __init__(self, settings: ObjectSettings) -> None:
        super().__init__(settings)
        self._one = threading.RLock()

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> _Reply:
        with self._one:
            return super()._ask(method, path, body, headers)

    def close(self) -> None:
        with self._one:
            super().close()


LIMIT_NAMES = (
    "Two stores whose names differ in anything at all, case, blanks, `#`, `?`, `%` or one being the beginning of the "
    "other, share nothing"
)
SECRET = "None shows in an error, a log record, a `repr` or a warning"
LISTED = "what was there all the time is given, whatever others write or delete meanwhile, and it comes to an end"

DEFECTS = [
    Defect(
        "cuts the name of a store at # and ?",
        LIMIT_NAMES,
        CutsNameAtHash,
        case="test_stores_of_names_alike_share_no_entry",
    ),
    Defect(
        "lists and clears all stores whose names begin like its own",
        LIMIT_NAMES,
        ListsByBeginning,
        case="test_clearing_a_store_leaves_those_of_names_alike",
    ),
    Defect(
        "takes `a%20b` and `a b` for one store",
        LIMIT_NAMES,
        DecodesNames,
        case="test_stores_of_names_alike_share_no_entry",
    ),
    Defect(
        "rounds a lifetime down, so an entry goes up to a second early",
        "A server that expires by its own clock is given a duration: `keep_until - time.time()`, rounded up to what it "
        "counts in.",
        RoundsDown,
        case="test_an_entry_is_there_until_its_very_moment",
    ),
    Defect(
        "refuses an entry with a finite time that is farther than the store can count",
        "A lifetime beyond what it can count is none at all.",
        FarTimesRefused,
        case="test_an_entry_comes_back_byte_for_byte",
    ),
    Defect(
        "refuses an entry whose time is over, and leaves the older one in its place",
        "is in seconds since the epoch (UTC), a float, maybe in the past, maybe `math.inf`.",
        PastTimesRefused,
        case="test_an_entry_whose_time_is_over_may_go_and_no_other",
    ),
    Defect(
        "raises an OverflowError for math.inf",
        "Only errors of `symcache_core.errors` come out",
        InfinityOverflows,
        case="test_an_entry_may_live_for_ever",
    ),
    Defect(
        "keeps what update wrote for a second or two only",
        "Until then the entry must be there",
        UpdateKeepsLifetime,
        case="test_an_entry_is_there_until_its_very_moment",
    ),
    Defect(
        "reads and writes without a condition in update",
        "`update` has nobody in between",
        ForgetsCondition,
        case="test_an_update_of_threads_has_nobody_in_between",
    ),
    Defect(
        "has no condition in update where there is no entry yet",
        "`update` has nobody in between, in whatever process or object",
        NoConditionForNew,
        case="test_an_update_of_threads_has_nobody_in_between",
    ),
    Defect(
        "puts what it made of the older entry after a conflict, in place of another's update",
        "merges of two processes never lose a timeframe",
        ChangesOnce,
        case="test_an_update_of_threads_has_nobody_in_between",
    ),
    Defect(
        "returns from update after two conflicts as if it were done",
        "it gives `(entry, keep_until)`, or `None` to leave everything as it is",
        GivesUpSilently,
        case="test_an_update_of_threads_has_nobody_in_between",
    ),
    Defect(
        "deletes the entry when change gives None",
        "or `None` to leave everything as it is",
        DeletesOnNone,
        case="test_an_update_of_none_leaves_the_entry",
    ),
    Defect(
        "takes a store that does not let it in for an empty one; visible with a wrong token",
        "A storage that is away is no miss.",
        AnyStatusIsMiss,
        case="test_a_secret_that_the_storage_refuses_is_no_miss",
    ),
    Defect(
        "reads what was there before while the store is away",
        "`read` raises `BackendUnavailableError`, and gives neither `None` nor what was there before",
        RemembersInOutage,
        case="test_an_outage_is_no_miss",
    ),
    Defect(
        "gives half an entry when the connection breaks in the middle of it",
        "It is given back byte for byte",
        BelievesShortAnswers,
        case="test_half_an_answer_is_no_entry",
    ),
    Defect(
        "waits for an answer for a day",
        "Every call ends promptly: bound each connection, each query and each wait, by an option of yours.",
        NoTimeout,
        case="test_a_server_that_is_silent_keeps_no_call",
    ),
    Defect(
        "bounds each piece of an answer and not the whole, so that one which drips does not end; visible through a "
        "slow proxy",
        "Every call ends promptly",
        TimeoutOfEachPiece,
        why_not="It takes a server that answers byte by byte, which no case tries yet.",
    ),
    Defect(
        "uses one connection from several threads at once",
        "The core calls them by position, from worker threads, several at a time",
        OneConnectionForAll,
        case="test_many_threads_lose_nothing",
    ),
    Defect(
        "goes on with a connection whose answer has not come, and never works again after it",
        "A connection whose reply is still on the way must not be used again.",
        ReusesUnansweredConnection,
        case="test_what_is_acknowledged_in_an_outage_is_there_after_it",
    ),
    Defect(
        "uses the sockets of its parent in a child, who get each other's answers",
        "Compare `os.getpid()` on use, or register with `os.register_at_fork`, and begin anew in the child with "
        "connections",
        SharesSocketsWithChild,
        case="test_a_forked_child_and_its_parent_do_not_disturb_each_other",
    ),
    Defect(
        "leaves a descriptor of each connection open until it is dropped itself",
        "Descriptors, threads and connections do not grow with calls",
        ConnectionForEachCall,
        case="test_ten_thousand_entries_are_all_kept",
    ),
    Defect(
        "leaves a descriptor open with each call while the store is away",
        "Descriptors, threads and connections do not grow with calls",
        LeaksWhenAway,
        case="test_outages_leave_nothing_open",
    ),
    Defect(
        "leaves idle connections open when it is closed",
        "nothing of this object is open",
        CloseLeavesSockets,
        case="test_objects_that_were_closed_leave_nothing_open",
    ),
    Defect(
        "goes on to work after close",
        "every other method raises `ClosedError`",
        ReadsAfterClose,
        case="test_a_closed_store_refuses_every_use",
    ),
    Defect(
        "gives its last known size after close",
        "any use after `close`, but `close`",
        SizeAfterClose,
        case="test_a_closed_store_refuses_every_use",
    ),
    Defect(
        "has the headers, and so the token, in the errors of an outage",
        SECRET,
        TokenInError,
        case="test_no_secret_shows_in_an_outage",
    ),
    Defect(
        "logs the headers, and so the token, at the level DEBUG",
        SECRET,
        TokenInLog,
        case="test_no_secret_is_logged_or_printed",
    ),
    Defect(
        "warns of a token that goes without TLS, and shows it",
        SECRET,
        TokenInWarning,
        case="test_no_secret_is_logged_or_printed",
    ),
    Defect("shows its URL, which is a secret, in its repr", SECRET, UrlInRepr, case="test_no_secret_shows"),
    Defect(
        "raises Python's ConnectionError when nobody listens",
        "Only errors of `symcache_core.errors` come out",
        RawConnectionErrors,
        case="test_an_outage_is_no_miss",
    ),
    Defect(
        "takes a URL without a host for one of this machine",
        "`open` is given what cannot be right: a path that is a folder, a URL without a host",
        NoHostIsFine,
        case="test_a_url_without_a_host_is_refused",
    ),
    Defect(
        "gives the first thousand keys only",
        "an iterator of every key, each once, in any order",
        FirstPageOnly,
        case="test_ten_thousand_entries_are_all_kept",
    ),
    Defect(
        "lists again until nobody has written meanwhile",
        LISTED,
        ListsUntilStill,
        case="test_iterating_survives_writers",
    ),
    Defect(
        "gives the last key of each page twice",
        "an iterator of every key, each once, in any order",
        ListsTwice,
        case="test_ten_thousand_entries_are_all_kept",
    ),
    Defect(
        "raises from keys when another deletes an entry meanwhile",
        LISTED,
        TripsOverDeleted,
        case="test_iterating_survives_the_deletion_of_what_is_to_come",
    ),
    Defect(
        "ends its keys when another deletes an entry meanwhile",
        LISTED,
        StopsAtGap,
        case="test_iterating_survives_the_deletion_of_what_is_to_come",
    ),
    Defect(
        "refuses keys with a line end or a letter beyond Latin-1",
        "Keys are any text without lone surrogates",
        KeyInHeader,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "refuses keys of more than 255 bytes",
        "The core's are no longer than 511 bytes of UTF-8: that has to fit.",
        ShortKeys,
        case="test_a_key_of_511_bytes_has_an_entry_of_its_own",
    ),
    Defect(
        "takes `../../x` and `a/../../../x` for one key, and gives it so",
        "compared character by character",
        CleansKeys,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "looks at 256 bytes of a key only",
        "it is never cut",
        KeyCutForHash,
        case="test_a_key_of_511_bytes_has_an_entry_of_its_own",
    ),
    Defect(
        "gives an entry up to its first line end",
        "It is given back byte for byte",
        FirstLineOnly,
        why_not="An entry is one line, so that no entry has anything behind a line end.",
    ),
    Defect(
        "ends entries that have no newline with one",
        "never parsed, stripped or ended with a newline",
        AddsNewline,
        case="test_an_entry_comes_back_byte_for_byte",
    ),
    Defect(
        "refuses a megabyte that cannot be compressed",
        "One megabyte (2^20 bytes) has to fit, even if it cannot be compressed.",
        FitsWhenCompressed,
        why_not="UTF-8 JSON can always be compressed, so that no entry of a megabyte is refused.",
    ),
    Defect(
        "clears in a thread, and returns before",
        "they are gone; leases stay",
        ClearsLater,
        case="test_clear_tells_how_many_there_were",
    ),
    Defect(
        "clears 500 entries at most",
        "they are gone; leases stay",
        ClearsOnePage,
        case="test_clear_drops_them_however_many_there_are",
    ),
    Defect(
        "writes in a thread, and returns after two milliseconds at the latest",
        "the entry is there for everyone, in place of any other with its time, and survives `kill -9` of this process",
        WritesInBackground,
        case="test_many_threads_lose_nothing",
    ),
    Defect(
        "leaves four threads behind with each batch",
        "Descriptors, threads and connections do not grow with calls",
        PoolForEachBatch,
        case="test_calls_leave_nothing_open",
    ),
    Defect(
        "passes over the entries of a batch that cannot be stored",
        "**`write_many`** is `write` of each",
        BatchPassesOver,
        case="test_what_is_acknowledged_in_an_outage_is_there_after_it",
    ),
    Defect(
        "gives empty entries for misses in batches",
        "leaves out the keys that have no entry",
        MissesAreEmpty,
        case="test_reading_many_equals_reading_each",
    ),
    Defect(
        "gives the size of one store, for which it reads each entry",
        "for all that the storage holds, whoever's. It must not read every entry.",
        SizeOfOneStore,
        why_not="No case looks whether the size counts what other stores hold.",
    ),
    Defect(
        "gives the size that it had when it was asked first",
        "for all that the storage holds, whoever's",
        SizeOnce,
        case="test_the_size_is_in_bytes_and_grows",
    ),
    Defect(
        "sets a handler for SIGTERM",
        "no signal handler, locale, working directory",
        HandlesSignals,
        case="test_what_is_around_a_store_stays_as_it_was",
    ),
    Defect(
        "prints its traffic, the token included",
        "**Nothing is printed**",
        PrintsTraffic,
        case="test_no_secret_is_logged_or_printed",
    ),
    Defect(
        "leaves a lock held when a call is interrupted",
        "An interrupt must leave no lock held, no transaction open",
        InterruptKeepsTurn,
        case="test_a_fork_beside_threads_at_work_hangs_nobody",
    ),
    Defect(
        "says that it deleted an entry where there was none",
        "whether there was an entry",
        DeleteAlwaysDid,
        case="test_delete_tells_whether_there_was_an_entry",
    ),
    Defect(
        "deletes by an empty entry, which keys and clear still count",
        "it is gone, for everyone",
        DeleteOfMarker,
        case="test_delete_tells_whether_there_was_an_entry",
    ),
    Defect(
        "gives what it read a second ago, though another has written",
        "the entry is there for everyone",
        CachesReads,
        case="test_two_objects_share_one_store",
    ),
    Defect(
        "puts its own version in place of a newer one; visible to who has put a newer one (object `schema`) there",
        "a newer version of your backend wrote the store. Nothing of it is changed",
        OverwritesNewer,
        why_not="Only the author knows where the version of a store stands.",
    ),
    Defect(
        "tries again for minutes before it says that the store is away",
        "Every call ends promptly",
        TriesForLong,
        case="test_every_call_in_an_outage_ends_promptly_and_with_our_errors",
    ),
    Defect(
        "makes one call at a time, so that calls and close wait behind one which hangs, one after the other",
        "no method may wait for a lock that another one holds during I/O, unless that wait is bounded",
        OneAtATime,
        case="test_a_server_that_is_silent_keeps_no_call",
    ),
]
