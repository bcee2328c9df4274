"""Interrupts calls at each point where a signal can do so, one after the other, and looks at what each leaves behind.

Python looks for signals where a function begins, where a generator goes on, and after each call of a function written
in C. These are the points that a profiler is told of, and from there KeyboardInterrupt is raised.

Started as ``python interrupting_child.py ORDER``; a line of JSON for each situation, or for those that are named by
``only``, goes to standard output.
"""

import faulthandler
import json
import shutil
import sqlite3
import sys
import threading
import traceback
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from pathlib import Path

from pydantic_core import PydanticSerializationError
from system.interrupted_child import DESCRIPTORS, PRECIOUS, descriptors, holders
from system.storing_child import STORES

from symcache_core import SymcacheSettings

HANGS_AFTER = 5.0
"""Seconds after which a call that takes milliseconds counts as one that hangs."""


class Interruption:
    """Raises KeyboardInterrupt at one point of a call, counted from where it first comes into a package.

    ``reached`` tells whether the call got there.
    """

    def __init__(self, point, package):
        self._left = point
        self._package = package
        self._inside = False
        self.reached = False

    def during(self, act):
        """Make the call; gives the error if it was interrupted, with its frames, as a notebook keeps them."""
        sys.setprofile(self._event)
        try:
            act()
        except BaseException as error:
            if not self.reached:
                raise
            return error
        finally:
            sys.setprofile(None)

    def _event(self, frame, event, _argument):
        self._inside = self._inside or frame.f_globals.get("__name__", "").startswith(self._package)
        if self._inside and event in ("call", "c_return"):
            self._left -= 1
            if self._left < 0 and not self.reached:
                self.reached = True
                sys.setprofile(None)
                raise KeyboardInterrupt


class Place:
    """A store with three entries, and what is done there."""

    def __init__(self, order):
        self.settings = SymcacheSettings(**order["settings"])
        self.make, self.path = STORES[order["level"]], Path(order["path"])
        prefix, suffix = ("ib||", "||") if order["level"] == "backend" else ("", "")
        self.keys = [f"{prefix}K{number}{suffix}" for number in range(5)]

    def begin(self, alone):
        """Open it, and unless the program is alone with it, open it for another, too."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        self.store = self.open()
        self.other = None if alone else self.open()
        for number in range(3):
            self.store.write(self.keys[number], str(number))
        self.store.read_many(self.keys)  # so that a near cache has them

    def open(self):
        return self.make(self.settings)

    def does(self, what, *arguments):
        """A call of whatever store there is by then."""
        return lambda: getattr(self.store, what)(*arguments)

    def end(self):
        for store in (self.store, self.other):
            if store is not None:
                store.close()


def situations(place):
    """What is done, by name: what comes before, the call, and what each key may have after it if it was interrupted."""
    keys, first = place.keys, {key: {str(number)} for number, key in enumerate(place.keys[:3])}
    first |= {key: {None} for key in keys[3:]}

    def compacted():
        place.other.compact()

    def written():
        place.other.write(keys[3], "3")

    def nothing():
        pass

    written_there, cleared = {**first, keys[3]: {"3"}}, {key: {*values, None} for key, values in first.items()}
    told = {
        "write": (nothing, place.does("write", keys[0], "9"), {**first, keys[0]: {"0", "9"}}),
        "write after another's write": (
            written, place.does("write", keys[0], "9"), {**written_there, keys[0]: {"0", "9"}}
        ),
        "write after another's compaction": (
            compacted, place.does("write", keys[0], "9"), {**first, keys[0]: {"0", "9"}}
        ),
        "read": (nothing, place.does("read", keys[0]), first),
        "read after another's write": (written, place.does("read", keys[3]), written_there),
        "read after another's compaction": (compacted, place.does("read", keys[0]), first),
        "read_many": (nothing, place.does("read_many", keys[:3]), first),
        "write_many": (
            nothing,
            place.does("write_many", keys[:2], "9"),
            {**first, keys[0]: {"0", "9"}, keys[1]: {"1", "9"}},
        ),
        "delete": (nothing, place.does("delete", keys[0]), {**first, keys[0]: {"0", None}}),
        "keys": (nothing, place.does("keys"), first),
        "clear": (nothing, place.does("clear"), cleared),
        "clear after another's write": (
            written, place.does("clear"), {**cleared, keys[3]: {"3", None}}
        ),
        "compact": (nothing, place.does("compact"), first),
        "close": (nothing, place.does("close"), first),
        "open": (place.does("close"), lambda: setattr(place, "store", place.open()), first),
    }  # fmt: skip
    if hasattr(place.make, "update"):
        told["update"] = nothing, place.does("update", keys[0], "9"), {**first, keys[0]: {"0", "9"}}
    return told


def interrupt_everywhere(place, name, every, own):
    """Interrupt the call of one situation at every point, or at every n-th; gives what was found."""
    before, act, may_be = situations(place)[name]
    found = {"what": name, "points": 0, "problems": [], "lost": 0}
    point = 0
    while True:
        have = descriptors()
        place.begin(alone=name == "close")  # who closes as the last one compacts
        before()
        # Before a backend is opened, plug-ins are looked for, at thousands of points.
        interruption = Interruption(point, "symcache_backends" if name == "open" else "symcache_")
        error = interruption.during(act)
        if error is None and not interruption.reached:
            place.end()
            return found
        found["points"] += 1
        where = "".join(traceback.format_exception(error)[-5:]) if error else "an interrupt that was swallowed"
        why = within_time(partial(look, place, name, may_be, own, clears=point % 2))
        # A serializer in Python that is interrupted is an error of pydantic's.
        if not isinstance(error, KeyboardInterrupt | PydanticSerializationError | None):
            why = why or f"it ends as {error!r}"
        if why:
            found["problems"].append(f"{name}, point {point}: {why}\n{where}")
        del error
        with suppress(Exception):
            if why is None or not why.startswith("hangs"):
                place.end()
        found["lost"] += descriptors() - have > 0
        point += every


def within_time(act):
    """What another thread finds, or where it hangs: it must not need what the interrupted one may still have."""
    found = []

    def find():
        try:
            found.append(act())
        except Exception:
            found.append(traceback.format_exc())

    thread = threading.Thread(target=find, daemon=True)
    thread.start()
    thread.join(HANGS_AFTER)
    if thread.is_alive():
        frame = sys._current_frames()[thread.ident]
        return "hangs at " + "".join(traceback.format_stack(frame)[-3:])
    return found[0]


def look(place, name, may_be, own, *, clears):
    """What must hold after an interrupt; gives what does not. Another program clears the store, or compacts it."""
    if why := taken(place.path):
        return why
    own.write_bytes(PRECIOUS)
    files = [own.open("r+b", buffering=0) for _ in range(DESCRIPTORS)]
    if name in ("close", "open"):
        place.store.close()
        place.store = place.open()
    place.store.write(place.keys[4], "4")
    may_be = {**may_be, place.keys[4]: {"4"}}
    fresh = place.open()
    try:
        for who, store in ("itself", place.store), ("another", place.other or fresh), ("who opens it", fresh):
            seen = dict(zip(place.keys, store.read_many(place.keys), strict=True))
            wrong = {key: value for key, value in seen.items() if value not in may_be[key]}
            if wrong:
                return f"{who} sees {wrong}"
            may_be = {key: {value} for key, value in seen.items()}
            if store is place.other and clears:
                store.clear()
                may_be = {key: {None} for key in place.keys}
            elif store is place.other:
                store.compact()
    finally:
        fresh.close()
        for file in files:
            file.close()
    return None if own.read_bytes() == PRECIOUS else "a foreign file was changed"


def taken(path):
    """Whether a lock or a transaction was left."""
    lock = path / "symcache.lock" if path.is_dir() else path.with_name(f"{path.name}.lock")
    if lock.exists():
        with lock.open("rb") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                return f"the lock is held by {holders(file.fileno())}"
    if (path / "cache.db").exists():
        database = sqlite3.connect(path / "cache.db", timeout=0, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return f"the database is not free: {error}"
        finally:
            database.close()
    return None


def main():
    order = json.loads(sys.argv[1])
    faulthandler.dump_traceback_later(order["patience"], exit=True)
    place = Place(order)
    for name in order.get("only") or situations(place):
        found = interrupt_everywhere(place, name, order["every"], Path(order["own"]))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
