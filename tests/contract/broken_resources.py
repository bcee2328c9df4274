"""Backends that leave something over, print, change what is around them, or keep the interpreter from ending.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import atexit
import locale
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

from reference_backends import MemoryStore, SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.errors import BackendUnavailableError

# -- left over -------------------------------------------------------------------------------------------------------


class ConnectsForEachLook(SqliteStore):
    """connects anew for each look at its size, and keeps the connections"""

    caught_by = "test_calls_leave_nothing_open"

    def __init__(self, settings):
        self._connections = []
        super().__init__(settings)

    def size(self):
        self._check_open()
        self._connections.append(os.open(self._path, os.O_RDONLY))
        return super().size()


class KeysStayOpen(SqliteStore):
    """opens something for each iterator, and closes it when that has come to its end"""

    caught_by = "test_calls_leave_nothing_open"

    def keys(self):
        found = super().keys()
        descriptor = os.open(self._path, os.O_RDONLY)
        return self._given(found, descriptor)

    def _given(self, found, descriptor):
        for key in found:
            yield key
            if key == "key":
                return
        os.close(descriptor)


class AThreadForEachWrite(MemoryStore):
    """starts a thread for each write, which waits for more of them"""

    caught_by = "test_calls_leave_nothing_open"

    def write(self, key, entry, keep_until):
        super().write(key, entry, keep_until)
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()


class AThreadForEachLease(SqliteStore):
    """has a thread that looks after each lease, as long as it is held"""

    caught_by = "test_leases_that_are_held_take_no_thread_each"

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is not None:
            threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        return lease


class ClosesOnlyItsDatabase(SqliteStore):
    """opens a file to tell others by, and does not close it"""

    caught_by = "test_objects_that_were_closed_leave_nothing_open"

    def __init__(self, settings):
        super().__init__(settings)
        self._descriptor = os.open(self._path, os.O_RDONLY)


class ItsThreadLivesOn(MemoryStore):
    """has a thread that does not end with it"""

    caught_by = "test_objects_that_were_closed_leave_nothing_open"

    def __init__(self, settings):
        super().__init__(settings)
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class ErrorsStayOpen(SqliteStore):
    """opens a lock file for an update, and leaves it open when the change raises"""

    caught_by = "test_errors_leave_nothing_open"

    def update(self, key, change):
        descriptor = os.open(self._path, os.O_RDONLY)
        super().update(key, change)
        os.close(descriptor)


class RefusalsStayOpen(SqliteStore):
    """opens a file to write, and leaves it open when the key is refused"""

    caught_by = "test_errors_leave_nothing_open"

    def write(self, key, entry, keep_until):
        descriptor = os.open(self._path, os.O_RDONLY)
        super().write(key, entry, keep_until)
        os.close(descriptor)


class ConnectsAgainWhenClosed(SqliteStore):
    """connects first, and then finds that it is closed"""

    caught_by = "test_errors_leave_nothing_open"

    def read(self, key):
        descriptor = os.open(self._path, os.O_RDONLY)
        entry = super().read(key)
        os.close(descriptor)
        return entry


class RefusedOpeningsStayOpen(SqliteStore):
    """opens the folder, finds that it is none, and leaves it open"""

    caught_by = "test_a_store_that_cannot_be_opened_leaves_nothing_open"

    def __init__(self, settings):
        folder = settings.path.parent
        if folder.is_file():
            os.open(folder, os.O_RDONLY)
            raise BackendUnavailableError(f"{folder} is a file")
        super().__init__(settings)


# -- printed ---------------------------------------------------------------------------------------------------------


class SaysHello(MemoryStore):
    """prints that it is open"""

    caught_by = "test_nothing_is_printed"

    def __init__(self, settings):
        super().__init__(settings)
        print(f"opened {type(self).__name__}")


class SpeaksToTheTerminal(MemoryStore):
    """writes to the descriptor of standard errors, as a library in C does"""

    caught_by = "test_nothing_is_printed"

    def clear(self):
        os.write(2, b"cleared\n")
        return super().clear()


class Warns(MemoryStore):
    """warns of what is as usual"""

    caught_by = "test_nothing_is_printed"

    def close(self):
        warnings.warn("entries are lost when this is closed", RuntimeWarning, stacklevel=2)
        super().close()


# -- changed ---------------------------------------------------------------------------------------------------------


class GoesToItsFolder(SqliteStore):
    """makes its folder the working directory"""

    caught_by = "test_what_is_around_a_store_stays_as_it_was"

    def __init__(self, settings):
        super().__init__(settings)
        os.chdir(self._path.parent)


class SetsTheMask(SqliteStore):
    """sets the umask, so that its files are nobody else's"""

    caught_by = "test_what_is_around_a_store_stays_as_it_was"

    def _create(self):
        os.umask(0o077)
        super()._create()


class SetsTheLocale(MemoryStore):
    """sets the locale, so that it sorts by code points"""

    caught_by = "test_what_is_around_a_store_stays_as_it_was"

    def keys(self):
        locale.setlocale(locale.LC_ALL, "C" if locale.setlocale(locale.LC_ALL) != "C" else "C.UTF-8")
        return super().keys()


class SetsTheTimeZone(MemoryStore):
    """sets the time zone, so that times are in UTC"""

    caught_by = "test_what_is_around_a_store_stays_as_it_was"

    def __init__(self, settings):
        os.environ["TZ"] = "Etc/GMT+1"
        time.tzset()
        super().__init__(settings)


class ClosesOnATerm(MemoryStore):
    """sets a signal handler, so that it is closed in the end"""

    caught_by = "test_what_is_around_a_store_stays_as_it_was"

    def __init__(self, settings):
        super().__init__(settings)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())


# -- the end ---------------------------------------------------------------------------------------------------------


class HoldsAPlaceForEachIterator(SqliteStore):
    """holds one of eight places for each iterator of keys until it has come to its end"""

    caught_by = "test_iterators_that_are_left_half_way_keep_nothing_from_others"

    def __init__(self, settings):
        super().__init__(settings)
        self._places = threading.Semaphore(8)

    def keys(self):
        found = super().keys()
        return self._given(found)

    def _given(self, found):
        if not self._places.acquire(timeout=0.2):
            raise BackendUnavailableError("no place is free")
        try:
            yield from found
        finally:
            self._places.release()


class ItsThreadKeepsTheProcess(MemoryStore):
    """has a thread that is no daemon"""

    caught_by = "test_the_interpreter_ends"
    takes_long = True

    def __init__(self, settings):
        super().__init__(settings)
        self._closed = threading.Event()
        threading.Thread(target=self._closed.wait, args=(60,)).start()

    def close(self):
        super().close()
        self._closed.set()


class WaitsForItsLeases(MemoryStore):
    """waits at the end of the process until every lease has been released"""

    caught_by = "test_the_interpreter_ends"
    takes_long = True

    def __init__(self, settings):
        super().__init__(settings)
        atexit.register(self._wait)

    def _wait(self):
        deadline = time.monotonic() + 60
        while self._leases and time.monotonic() < deadline:
            time.sleep(0.1)


class FailsInTheEnd(SqliteStore):
    """tidies up at the end of the process, and finds its files gone"""

    caught_by = "test_the_interpreter_ends"

    def __init__(self, settings):
        super().__init__(settings)
        atexit.register(self._tidy)

    def _tidy(self):
        Path(f"{self._path}.pid").unlink()


class Dies(SqliteStore):
    """ends the process when it is not closed"""

    caught_by = "test_the_interpreter_ends"

    def __init__(self, settings):
        super().__init__(settings)
        atexit.register(self._die)

    def _die(self):
        if not self._is_closed:
            os._exit(3)


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
