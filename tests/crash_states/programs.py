"""What is done to a store while it is recorded: each program is a few processes, one after another."""

import json
import time

from .promises import FAR, PATH, entries, open_store


class Told:
    """A store whose calls are noted before they begin and when they have returned."""

    def __init__(self, notes, root, fsync):
        self._notes = notes
        self.store = self._told({}, lambda: open_store(root, fsync))

    def write(self, key, entry):
        self._told({key: entry}, lambda: self.store.write(key, entry.encode(), FAR))

    def write_many(self, new):
        lines = {key: (entry.encode(), FAR) for key, entry in new.items()}
        self._told(new, lambda: self.store.write_many(lines))

    def update(self, key, entry):
        self._told({key: entry}, lambda: self.store.update(key, lambda _old: (entry.encode(), FAR)))

    def delete(self, key):
        self._told({key: None}, lambda: self.store.delete(key))

    def clear(self):
        self._told(dict.fromkeys(self.store.keys()), self.store.clear, safe=True)

    def compact(self):
        self._told({}, self.store.compact, safe=True)

    def close(self):
        self._told({}, self.store.close)

    def _told(self, changes, call, *, safe=False):
        self._notes.add(does=changes, safe=safe)
        gave = call()
        self._notes.add(did=True)
        return gave


def entry(text):
    """An entry of some length."""
    return json.dumps({"n": text, "fill": "x" * (len(text) * 7 % 90)})


def stores(notes, root, fsync):
    told = Told(notes, root, fsync)
    for number in range(3):
        told.write(f"k{number}", entry(f"first {number}"))
    told.update("k1", entry("updated"))
    told.delete("k0")
    told.write_many({f"m{number}": entry(f"many {number}") for number in range(3)})
    told.close()


def stores_and_is_killed(notes, root, fsync):
    told = Told(notes, root, fsync)
    told.write("k2", entry("later"))
    told.write("k4", entry("fourth"))
    told.delete("k1")
    told.write("k5", entry("fifth"))


def compacts(notes, root, fsync):
    told = Told(notes, root, fsync)
    told.write("k1", entry("before"))
    told.compact()
    told.write("k6", entry("between"))
    told.compact()
    told.write("k1", entry("after"))
    told.delete("k6")
    told.close()


def clears(notes, root, fsync):
    told = Told(notes, root, fsync)
    told.write("k7", entry("to go"))
    told.clear()
    told.write("k8", entry("to stay"))
    told.close()


def looks(notes, root, fsync):
    told = Told(notes, root, fsync)
    entries(told.store)
    told.close()


def calls(notes, root, fsync, steps):
    """Call the methods of a store, each with its arguments, and end without closing it."""
    told = Told(notes, root, fsync)
    for name, *arguments in steps:
        getattr(told, name)(*arguments)


def _made(root):
    """A store with a snapshot and a journal."""
    (root / PATH).parent.mkdir()
    store = open_store(root, "never")
    for number in range(4):
        store.write(f"k{number}", entry(f"old {number}").encode(), FAR)
    store.compact()
    store.write("k1", entry("journalled").encode(), FAR)
    store.delete("k3")
    journal = (root / PATH).with_name(PATH.name + ".journal").read_bytes()
    store.close()
    return journal


def nothing(root):
    """Not even the store's own folder is there."""
    return []


def a_store(root):
    """A store that was closed."""
    _made(root)
    return []


def a_torn_store(root):
    """A store whose last writer was killed in the midst of a line."""
    journal = _made(root)
    (root / PATH).with_name(PATH.name + ".journal").write_bytes(journal + journal[:40])
    return []


def an_empty_file(root):
    """What ``touch`` leaves."""
    (root / PATH).parent.mkdir()
    (root / PATH).touch()
    return []


def a_damaged_store(root):
    """A store with a damaged record in either file; gives the damaged bytes."""
    journal = _made(root)
    path = root / PATH
    damaged = [b'"kd":{"until":4000000000,"sum":"00000000","entry":{"n":"damaged"}}', b'"no record"']
    path.write_bytes(path.read_bytes().replace(b"\n}}", b",\n" + damaged[0] + b"\n}}"))
    path.with_name(PATH.name + ".journal").write_bytes(journal + b"{" + damaged[1] + b"}\n")
    return damaged


def an_unversioned_file(root):
    """What the cache that came before has written, with a symbol that cannot be read; gives what must be kept."""
    symbol = {
        "validation_result": {
            "is_valid": True,
            "symbol": "AAPL",
            "error_message": None,
            "contract_info": None,
            "head_timestamps": {"1d": "1980-12-12T14:30:00+00:00"},
            "suggested_symbol": None,
        },
        "cached_at": time.time(),
        "ttl_seconds": 2592000,
    }
    text = json.dumps(
        {"AAPL": symbol, "MSFT": symbol, "BROKEN": {"validation_result": {"is_valid": "maybe"}}}, indent=2
    )
    (root / PATH).parent.mkdir()
    (root / PATH).write_text(text)
    return [text.encode()]


PROGRAMS = {
    "a first use": (nothing, [stores]),
    "a first use, killed, and a second": (nothing, [stores_and_is_killed, stores]),
    "a first compaction": (nothing, [compacts]),
    "a reopening": (a_store, [stores]),
    "a kill and a reopening": (a_store, [stores_and_is_killed, looks, stores]),
    "a torn tail": (a_torn_store, [stores]),
    "compactions": (a_store, [compacts]),
    "a clearing": (a_store, [clears]),
    "a killed writer, then a clearing": (a_store, [stores_and_is_killed, clears]),
    "an empty file": (an_empty_file, [stores]),
    "damaged records": (a_damaged_store, [looks, compacts]),
    "an adoption": (an_unversioned_file, [looks, stores]),
}
"""What is there at first, and what the processes do."""
