"""Backends of a server that are right as long as the server is there.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it, and ``outage``,
where it counts, which kind of it.
"""

import logging
import os
import sys
import threading
import time
from contextlib import contextmanager

from reference_backends import MemoryStore, mutants_of, record
from reference_server import Connection, ServerLease, ServerStore

from symcache_core import hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError, ConfigurationError


class TakesAnOutageForAMiss(ServerStore):
    """finds nothing while its server is away"""

    caught_by = "test_an_outage_is_no_miss"

    def read(self, key):
        try:
            return super().read(key)
        except BackendUnavailableError:
            return None


class AnswersFromMemory(ServerStore):
    """gives what it has read before while its server is away"""

    caught_by = "test_an_outage_is_no_miss"

    def __init__(self, settings):
        self._known = {}
        super().__init__(settings)

    def read(self, key):
        try:
            self._known[key] = super().read(key)
        except BackendUnavailableError:
            if self._known.get(key) is None:
                raise
        return self._known[key]


class ListsNothing(ServerStore):
    """has no keys while its server is away"""

    caught_by = "test_an_outage_is_no_miss"

    def keys(self):
        try:
            yield from super().keys()
        except BackendUnavailableError:
            return


class ReadsManyOfNothing(ServerStore):
    """leaves all keys out of a batch while its server is away"""

    caught_by = "test_an_outage_is_no_miss"

    def read(self, key):
        entry = self._ask("read", keys=[key]).get(key)
        return None if entry is None else super().read_many([key])[key]

    def read_many(self, keys):
        try:
            return super().read_many(keys)
        except BackendUnavailableError:
            return {}


class DropsWhatItAcknowledges(ServerStore):
    """acknowledges a write that its server has not heard of"""

    caught_by = "test_what_is_acknowledged_in_an_outage_is_there_after_it"

    def write(self, key, entry, keep_until):
        try:
            super().write(key, entry, keep_until)
        except BackendUnavailableError as error:
            logging.getLogger("symcache").warning("not written: %s", error)


class SaysThatThereWasNothing(ServerStore):
    """says of a delete that there was no entry while its server is away"""

    caught_by = "test_what_is_acknowledged_in_an_outage_is_there_after_it"

    def delete(self, key):
        try:
            return super().delete(key)
        except BackendUnavailableError:
            return False


class WaitsForEver(ServerStore):
    """waits for a reply for as long as it takes"""

    caught_by = "test_every_call_in_an_outage_ends_promptly_and_with_our_errors"
    takes_long = True
    outage = "silent"

    def __init__(self, settings):
        super().__init__(settings.model_copy(update={"timeout": None}))


class MakesOneCallAtATime(ServerStore):
    """makes one call at a time, each of which waits for those before it to run into their timeouts"""

    caught_by = "test_every_call_in_an_outage_ends_promptly_and_with_our_errors"
    takes_long = True
    outage = "silent"

    def __init__(self, settings):
        self._turn = threading.Lock()
        super().__init__(settings.model_copy(update={"timeout": 3.0}))

    def _ask(self, do, **fields):
        with self._turn:
            return super()._ask(do, **fields)


class TriesForEver(ServerStore):
    """tries again until its server is back"""

    caught_by = "test_every_call_in_an_outage_ends_promptly_and_with_our_errors"
    takes_long = True

    def _ask(self, do, **fields):
        while True:
            try:
                return super()._ask(do, **fields)
            except BackendUnavailableError:
                time.sleep(0.05)


class LetsTheDriverSpeak(ServerStore):
    """lets the error of a connection out"""

    caught_by = "test_every_call_in_an_outage_ends_promptly_and_with_our_errors"

    def _unavailable(self, error):
        return error


class TakesAwayForClosed(ServerStore):
    """says that it is closed when its connection is"""

    caught_by = "test_every_call_in_an_outage_ends_promptly_and_with_our_errors"

    def _unavailable(self, error):
        return ClosedError(f"the connection is closed: {error}")


class HasNoWords(ServerStore):
    """raises an error without a message while its server is away"""

    caught_by = "test_every_call_in_an_outage_ends_promptly_and_with_our_errors"

    def _unavailable(self, error):
        return BackendUnavailableError()


class TakesAwayForTaken(ServerStore):
    """says that somebody has a lease while its server is away"""

    caught_by = "test_an_outage_gives_no_lease_that_is_none"

    def try_lock(self, key):
        try:
            return super().try_lock(key)
        except BackendUnavailableError:
            return None


class LeasesByItself(ServerStore):
    """gives a lease that nobody knows of while its server is away"""

    caught_by = "test_an_outage_gives_no_lease_that_is_none"

    def try_lock(self, key):
        try:
            return super().try_lock(key)
        except BackendUnavailableError:
            return ServerLease(self, None, key)


class CannotReleaseAnything(ServerStore):
    """raises when it cannot tell its server that a lease is released"""

    caught_by = "test_an_outage_gives_no_lease_that_is_none"

    def release(self, lease):
        if lease.connection is self._leasing:
            self._check()
            with self._leasing_lock, self._mapped():
                lease.connection.ask("unlock", key=lease.key)


class ReleasesLater(ServerStore):
    """releases what it could not when it takes the next lease, whoever has it by then"""

    caught_by = "test_an_outage_gives_no_lease_that_is_none"

    def __init__(self, settings):
        self._overdue = []
        super().__init__(settings)

    def release(self, lease):
        was_away = lease.connection is not self._leasing or lease.connection.has_ended()
        super().release(lease)
        if was_away:
            self._overdue.append(lease.key)

    def try_lock(self, key):
        while self._overdue:
            self._ask("unlock_for_anyone", key=self._overdue[-1])
            self._overdue.pop()
        return super().try_lock(key)


class CannotSayGoodbye(ServerStore):
    """raises when it is closed and cannot tell its server"""

    caught_by = "test_closing_in_an_outage_is_prompt"

    def close(self):
        if not self._is_closed:
            self._ask("keys")
        super().close()


class WaitsToSayGoodbye(ServerStore):
    """does not close before its server has heard of it"""

    caught_by = "test_closing_in_an_outage_is_prompt"
    takes_long = True

    def close(self):
        while not self._is_closed:
            try:
                self._ask("keys")
                super().close()
            except BackendUnavailableError:
                time.sleep(0.05)


class ClosesOnlyWhenItCan(ServerStore):
    """stays open when it cannot tell its server that it is closed"""

    caught_by = "test_closing_in_an_outage_is_prompt"

    def close(self):
        try:
            if not self._is_closed:
                self._ask("keys")
        except BackendUnavailableError:
            return
        super().close()


class OpensAnother(ServerStore):
    """goes on in memory when its server is away as it is opened"""

    caught_by = "test_opening_in_an_outage_makes_no_other_store"

    def __new__(cls, settings):
        try:
            Connection(settings).close()
        except OSError:
            return MemoryStore(settings)
        return super().__new__(cls)


class TakesAwayForMisconfigured(ServerStore):
    """calls its settings wrong when its server is away as it is opened"""

    caught_by = "test_opening_in_an_outage_makes_no_other_store"

    def __init__(self, settings):
        try:
            Connection(settings).close()
        except OSError as error:
            raise ConfigurationError(f"option 'port': there is no server: {error}") from error
        super().__init__(settings)


class ShowsItsPassword(ServerStore):
    """shows its password in an error"""

    caught_by = "test_no_secret_shows_in_an_outage"

    def _unavailable(self, error):
        settings = self._settings
        return BackendUnavailableError(f"kv://:{settings.password.get_secret_value()}@{settings.host}: {error}")


class PassesOnWhatTheDriverSays(ServerStore):
    """keeps as the cause of an error what its driver says, password and all"""

    caught_by = "test_no_secret_shows_in_an_outage"

    def _connected(self):
        try:
            return super()._connected()
        except OSError as error:
            raise OSError(f"{error} (as {self._settings.password.get_secret_value()})") from error

    def _unavailable(self, error):
        return BackendUnavailableError("the server is away")


class LogsWhatItTried(ServerStore):
    """logs its settings, password and all, when it cannot connect"""

    caught_by = "test_no_secret_shows_in_an_outage"

    def _unavailable(self, error):
        plain = {name: getattr(value, "get_secret_value", lambda v=value: v)() for name, value in self._settings}
        logging.getLogger("kv.driver").debug("cannot connect with %s", plain)
        return super()._unavailable(error)


class PrintsWhatItTried(ServerStore):
    """prints its password when it cannot connect"""

    caught_by = "test_no_secret_shows_in_an_outage"

    def _unavailable(self, error):
        print("cannot connect with", self._settings.password.get_secret_value(), file=sys.stderr)
        return super()._unavailable(error)


class SaysWhichPasswordIsWrong(ServerStore):
    """quotes a password that its server refuses"""

    caught_by = "test_a_secret_that_the_storage_refuses_is_not_shown"

    def _unavailable(self, error):
        password = self._settings.password.get_secret_value()
        return BackendUnavailableError(f"the server hangs up, is {password!r} wrong?")


class LetsARefusalOut(ServerStore):
    """lets out the error of a connection whose password is refused"""

    caught_by = "test_a_secret_that_the_storage_refuses_is_not_shown"

    def _unavailable(self, error):
        return error if isinstance(error, ConnectionResetError) else super()._unavailable(error)


class TakesARefusalForAMiss(ServerStore):
    """finds nothing when its password is refused"""

    caught_by = "test_a_secret_that_the_storage_refuses_is_no_miss"

    def read(self, key):
        try:
            return super().read(key)
        except BackendUnavailableError:
            return None


class NeverConnectsAgain(ServerStore):
    """does not connect again after it has lost its server once"""

    caught_by = "test_after_an_outage_the_same_object_goes_on"
    takes_long = True

    _lost = None

    def _connected(self):
        if self._lost is not None:
            raise self._lost
        return super()._connected()

    def _unavailable(self, error):
        self._lost = ConnectionResetError("the connection was lost")
        return super()._unavailable(error)


class KeepsBrokenConnections(ServerStore):
    """gives a connection that failed back to its pool"""

    caught_by = "test_after_an_outage_the_same_object_goes_on"
    takes_long = True

    @contextmanager
    def _connection(self):
        connection = self._idle.pop() if self._idle else self._connected()
        try:
            yield connection
        finally:
            self._idle.append(connection)


class LosesItsPlaces(ServerStore):
    """has so many connections at most, and counts those that failed for ever"""

    caught_by = "test_threads_at_work_when_an_outage_begins_lose_nothing"
    takes_long = True

    def __init__(self, settings):
        self._places = threading.Semaphore(6)
        super().__init__(settings)

    @contextmanager
    def _connection(self):
        if not self._places.acquire(timeout=1):
            raise ConnectionError("no connection is free")
        with super()._connection() as connection:
            yield connection
        self._places.release()


class StartsAThreadForEachOutage(ServerStore):
    """starts a thread that waits for its server each time it is away, and never ends it"""

    caught_by = "test_outages_leave_nothing_open"
    takes_long = True

    def _unavailable(self, error):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return super()._unavailable(error)


class KeepsADescriptorForEachOutage(ServerStore):
    """keeps a descriptor open of each connection that failed"""

    caught_by = "test_outages_leave_nothing_open"
    takes_long = True

    def __init__(self, settings):
        self._failed = []
        super().__init__(settings)

    def close(self):
        while self._failed:
            os.close(self._failed.pop())
        super().close()

    def _unavailable(self, error):
        self._failed.append(os.open(os.devnull, os.O_RDONLY))
        return super()._unavailable(error)


class HearsNothingMore(ServerStore):
    """does not listen for others' writes again after it has lost its server once"""

    caught_by = "test_after_an_outage_the_generation_tells_of_others"

    _has_heard = False

    def _watch(self):
        if not self._has_heard:
            self._has_heard = True
            super()._watch()

    def generation(self):
        self._check()
        return self._generation


class WaitsForWhoIsSilent(ServerStore):
    """waits for a reply for ever, once it is connected"""

    caught_by = "test_a_server_that_is_silent_keeps_no_call"
    takes_long = True

    def __init__(self, settings):
        super().__init__(settings.model_copy(update={"timeout": None}))


class HalfHeard(Connection):
    def _answer(self):
        answer = b""
        while not answer.endswith(b"\n") and (part := self._lines.read1(1 << 16)):
            answer += part
        if not answer.endswith(b"\n"):
            before, quote, entry = answer.rpartition(b'"')
            answer = before + quote + entry[: len(entry) // 4 * 4] + b'"}'
        return answer


class BelievesHalfAnAnswer(ServerStore):
    """takes the end of a connection for the end of an entry"""

    caught_by = "test_half_an_answer_is_no_entry"

    def _connected(self):
        return HalfHeard(self._settings)


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
