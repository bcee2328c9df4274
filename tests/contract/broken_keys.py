"""Backends that cut long keys, mix up keys whose hashes are alike, drop long entries, or mix up stores.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import hashlib
import sqlite3
import zlib

from pydantic import BaseModel
from reference_backends import MemoryStore, SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.errors import BackendError, BackendUnavailableError

LIMIT = 511

# -- long keys -------------------------------------------------------------------------------------------------------


class CutsKeysAt255(SqliteStore):
    """cuts a key at the 255 bytes of a file's name"""

    caught_by = "test_a_key_of_511_bytes_has_an_entry_of_its_own"

    def _to_row(self, key):
        return key.encode()[:255]

    def _from_row(self, name):
        return name.decode(errors="replace")


class CutsKeysAt511(MemoryStore):
    """cuts what is longer than 511 bytes, in the middle of a letter if need be"""

    caught_by = "test_a_longer_key_is_stored_or_refused_and_never_cut"

    def read(self, key):
        return super().read(self._cut(key))

    def write(self, key, entry, keep_until):
        super().write(self._cut(key), entry, keep_until)

    def _cut(self, key):
        return key.encode()[:LIMIT].decode(errors="ignore")


class CountsLettersForBytes(MemoryStore):
    """refuses a key of more bytes than would fit if each letter took four"""

    caught_by = "test_a_key_of_511_bytes_has_an_entry_of_its_own"

    def write(self, key, entry, keep_until):
        if len(key) * 4 > LIMIT:
            raise BackendError("the key is too long")
        super().write(key, entry, keep_until)


class TakesLongKeysForAnOutage(MemoryStore):
    """says that its storage is away when a key is too long"""

    caught_by = "test_a_longer_key_is_stored_or_refused_and_never_cut"

    def write(self, key, entry, keep_until):
        if len(key.encode()) > LIMIT:
            raise BackendUnavailableError("MDB_BAD_VALSIZE")
        super().write(key, entry, keep_until)


class DropsLongKeys(MemoryStore):
    """does not store what has too long a key, and does not say so"""

    caught_by = "test_a_longer_key_is_stored_or_refused_and_never_cut"

    def write(self, key, entry, keep_until):
        if len(key.encode()) <= LIMIT:
            super().write(key, entry, keep_until)


# -- hashes ----------------------------------------------------------------------------------------------------------


class NamesBySum(SqliteStore):
    """lets a checksum of four bytes stand for a key"""

    caught_by = "test_keys_whose_hashes_are_alike_are_told_apart"

    def __init__(self, settings):
        self._names = {}
        super().__init__(settings)

    def _to_row(self, key):
        name = self._hash(key.encode())
        self._names[name] = key
        return name

    def _from_row(self, name):
        return self._names[name]

    def _hash(self, key):
        return b"%08x" % zlib.crc32(key)


class NamesByAPieceOfAHash(NamesBySum):
    """lets the first eight digits of a hash stand for a key"""

    caught_by = "test_keys_whose_hashes_are_alike_are_told_apart"

    def _hash(self, key):
        return hashlib.sha256(key).hexdigest()[:8].encode()


# -- long entries ----------------------------------------------------------------------------------------------------


class HasAMapOfTenMegabytes(MemoryStore):
    """is full at the ten megabytes that its driver has by default"""

    caught_by = "test_entries_of_a_megabyte_that_cannot_be_compressed_are_all_kept"

    def write(self, key, entry, keep_until):
        if self.size() + len(entry) > 10 * 2**20:
            raise BackendUnavailableError("MDB_MAP_FULL")
        super().write(key, entry, keep_until)


class CompressesAndThenMeasures(MemoryStore):
    """drops what is longer than half a megabyte once it is compressed"""

    caught_by = "test_entries_of_a_megabyte_that_cannot_be_compressed_are_all_kept"

    def write(self, key, entry, keep_until):
        if len(zlib.compress(entry, 1)) <= 2**19:
            super().write(key, entry, keep_until)


class CutsLongEntries(MemoryStore):
    """cuts an entry at four megabytes"""

    caught_by = "test_a_larger_entry_is_stored_whole_or_refused"

    def write(self, key, entry, keep_until):
        super().write(key, entry[: 4 * 2**20], keep_until)


class EmptiesAndThenRefuses(MemoryStore):
    """deletes the entry before, and then refuses the one that is too long"""

    caught_by = "test_a_larger_entry_is_stored_whole_or_refused"

    def write(self, key, entry, keep_until):
        self.delete(key)
        if len(entry) > 2**20:
            raise BackendError("the entry is too long")
        super().write(key, entry, keep_until)


class TakesLongEntriesForAnOutage(MemoryStore):
    """says that its storage is away when an entry is too long"""

    caught_by = "test_a_larger_entry_is_stored_whole_or_refused"

    def write(self, key, entry, keep_until):
        if len(entry) > 2**20:
            raise BackendUnavailableError("server closed the connection")
        super().write(key, entry, keep_until)


# -- stores ----------------------------------------------------------------------------------------------------------


class Namespaced(SqliteStore):
    """One file for all stores, which a name in front of each key keeps apart."""

    separator = ":"

    def __init__(self, settings):
        folder = settings.path.parent
        root = next(place for place in settings.path.parents if (place / "stores").is_dir())
        self._prefix = self._name(str(folder.relative_to(root))) + self.separator
        super().__init__(settings.model_copy(update={"path": root / "all"}))

    def keys(self):
        return (key.removeprefix(self._prefix) for key in super().keys() if key.startswith(self._prefix))

    def clear(self):
        return sum(self.delete(key) for key in list(self.keys()))

    def _name(self, name):
        return name

    def _to_row(self, key):
        return (self._prefix + key).encode()

    def _lock_file(self, key):
        return super()._lock_file(self._prefix + key)


class JoinsWithoutASeparator(Namespaced):
    """joins a store's name and a key without anything between"""

    caught_by = "test_stores_of_names_alike_share_no_entry"
    separator = ""


class JoinsWithAColon(Namespaced):
    """joins a store's name and a key with a colon, which both may have"""

    caught_by = "test_stores_of_names_alike_share_no_entry"


class FoldsTheNameOfAStore(Namespaced):
    """takes upper and lower case of a store's name for the same"""

    caught_by = "test_stores_of_names_alike_share_no_entry"
    separator = "\x00"

    def _name(self, name):
        return name.lower()


class ReplacesWhatIsOdd(Namespaced):
    """replaces all but letters and digits in a store's name by a line"""

    caught_by = "test_stores_of_names_alike_share_no_entry"
    separator = "\x00"

    def _name(self, name):
        return "".join(char if char.isalnum() else "_" for char in name)


class CutsTheNameOfAStore(Namespaced):
    """looks at the first 63 characters of a store's name"""

    caught_by = "test_stores_of_names_alike_share_no_entry"
    separator = "\x00"

    def _name(self, name):
        return name[:63]


class OpensAnAddress(SqliteStore):
    """makes a URI of its path without escaping what is special there"""

    caught_by = "test_stores_of_names_alike_share_no_entry"

    def _connect(self):
        super()._connect()
        self._db.close()
        self._db = sqlite3.connect(
            f"file:{self._path}", uri=True, timeout=30, isolation_level=None, check_same_thread=False
        )


class ClearsByPattern(Namespaced):
    """clears with LIKE, for which a name's signs are wildcards"""

    caught_by = "test_clearing_a_store_leaves_those_of_names_alike"
    separator = "\x00"

    def clear(self):
        with self._transaction() as db:
            where = "DELETE FROM entries WHERE CAST(key AS TEXT) LIKE ?"
            return db.execute(where, (self._prefix.removesuffix("\x00") + "%",)).rowcount


class LocksByKeyAlone(SqliteStore):
    """keeps the leases of all stores in one folder, by key"""

    caught_by = "test_stores_of_names_alike_share_no_lease"

    def _lock_file(self, key):
        root = next(place for place in self._path.parents if (place / "stores").is_dir())
        return root / "locks" / super()._lock_file(key).name


class CountsWritesOfAll(SqliteStore):
    """counts the writes of all stores together"""

    caught_by = "test_the_generation_of_a_store_stands_still_at_writes_to_others"
    writes = [0]  # noqa: RUF012  # that all objects share it is the defect

    def _put(self, db, key, entry, keep_until):
        self.writes[0] += 1
        super()._put(db, key, entry, keep_until)

    def generation(self):
        return self.writes[0]


class Named(MemoryStore):
    """One table for all stores of this process, which have a name and no path."""

    tables: dict

    class Settings(BaseModel):
        namespace: str = ""

    def __init__(self, settings):
        super().__init__(settings)
        self._entries = self.tables.setdefault(settings.namespace.casefold().strip(), {})


class StripsTheNameOfAStore(Named):
    """strips the name that its options give to a store"""

    caught_by = "test_stores_of_names_alike_share_no_entry"
    tables = {}  # noqa: RUF012  # all objects share it, as they would a server


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
