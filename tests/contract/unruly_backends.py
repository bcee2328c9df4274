"""Backends that do to their process what no backend may, each in one method and with keys of one promise.

The docstring of each is what it does.
"""

import ctypes
import fcntl
import os
import signal
import sys
import tempfile
import threading
import time

from reference_backends import MemoryStore, record

from symcache_core import hookimpl


def wait_for_ever(library):
    mutex = ctypes.create_string_buffer(128)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


class Crashes(MemoryStore):
    """kills its process by a signal"""

    def clear(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class Exits(MemoryStore):
    """ends its process"""

    def clear(self):
        os._exit(7)


class Leaves(MemoryStore):
    """ends the program as a command would"""

    def clear(self):
        sys.exit(3)


class Loops(MemoryStore):
    """never comes back from Python"""

    def clear(self):
        while True:
            time.sleep(0.01)


class LoopsOn(MemoryStore):
    """never comes back from Python, whatever is raised in it"""

    def clear(self):
        while True:
            try:
                time.sleep(0.01)
            except BaseException:  # that it goes on is the point
                pass


class WaitsForALock(MemoryStore):
    """waits in C for a file that another descriptor has locked"""

    def clear(self):
        with tempfile.NamedTemporaryFile() as held, open(held.name) as again:
            fcntl.flock(held, fcntl.LOCK_EX)
            fcntl.flock(again, fcntl.LOCK_EX)


class WaitsInC(MemoryStore):
    """waits in C where no signal reaches it"""

    def clear(self):
        wait_for_ever(ctypes.CDLL(None))


class KeepsTheInterpreter(MemoryStore):
    """waits in C where no signal reaches it, and lets no other thread go on"""

    def clear(self):
        wait_for_ever(ctypes.PyDLL(None))


class HangsInThreads(MemoryStore):
    """never comes back to those who are not in the main thread"""

    def delete(self, key):
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait()
        return super().delete(key)


class Prints(MemoryStore):
    """says what it does, on both streams, in Python and in C"""

    def clear(self):
        print("clearing", flush=True)
        os.write(2, b"cleared\n")
        return super().clear()


class LeavesAThread(MemoryStore):
    """does its work in a thread that never ends"""

    def clear(self):
        threading.Thread(target=threading.Event().wait, name="the clearer").start()
        return super().clear()


class CannotBeOpened(MemoryStore):
    """kills its process when it is opened"""

    def __init__(self, settings):
        os.kill(os.getpid(), signal.SIGBUS)


class HangsAtItsOpening(MemoryStore):
    """never comes back from its opening"""

    def __init__(self, settings):
        threading.Event().wait()


class HangsAtItsClosing(MemoryStore):
    """never comes back from its closing once it was cleared"""

    is_cleared = False

    def clear(self):
        self.is_cleared = True
        return super().clear()

    def close(self):
        if self.is_cleared:
            threading.Event().wait()


UNRULY = [store for store in list(globals().values()) if isinstance(store, type) and store.__module__ == __name__]


@hookimpl
def symcache_backends():
    return map(record, UNRULY)
