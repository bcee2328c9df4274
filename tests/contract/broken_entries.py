"""Backends that keep entries under the wrong keys, change them, or drop and forget the wrong ones.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import fnmatch
import json
import sqlite3
import time
import unicodedata
from datetime import UTC, datetime

from reference_backends import MemoryStore, SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.errors import CorruptEntryError

# -- keys ------------------------------------------------------------------------------------------------------------


class FoldsCase(SqliteStore):
    """takes upper and lower case of a key for the same"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.lower().encode()


class StripsKeys(SqliteStore):
    """strips the space around a key"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.strip(" ").encode()


class CollapsesSpaces(SqliteStore):
    """takes two spaces in a key for one"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.replace("  ", " ").encode()


class NormalisesKeys(SqliteStore):
    """brings keys into Unicode's normal form, as some file systems do"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return unicodedata.normalize("NFC", key).encode()


class FoldsCompatibility(SqliteStore):
    """takes a ligature in a key for its letters"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return (key if key.isascii() else key.replace("\N{LATIN SMALL LIGATURE FI}", "fi")).encode()


class TruncatesKeys(SqliteStore):
    """cuts a key to what fits a column"""

    caught_by = "test_a_longer_key_is_stored_or_refused_and_never_cut"

    def _to_row(self, key):
        return key.encode()[:1024]


class MakesFileNamesOfKeys(SqliteStore):
    """replaces the slashes of a key, as if it were to be a file's name"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.replace("\\", "/").encode()


class ResolvesKeys(SqliteStore):
    """takes a key for a path, and drops what a path does not need"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.rstrip("/").encode()


class EndsKeysAtNul(SqliteStore):
    """ends a key at a NUL, as C does"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.partition("\x00")[0].encode()


class TakesKeysForNumbers(SqliteStore):
    """has a column for keys that turns digits into numbers"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _create(self):
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS entries (key STRING PRIMARY KEY, entry BLOB, keep_until REAL)")

    def _to_row(self, key):
        return key

    def _from_row(self, name):
        return str(name)


class TranslatesLineEnds(SqliteStore):
    """turns a line's end within a key into the system's own"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.replace("\r\n", "\n").encode()


class DecodesKeys(SqliteStore):
    """takes an escape in a key for the letter that it stands for"""

    caught_by = "test_keys_are_told_apart_character_by_character"

    def _to_row(self, key):
        return key.replace("\\u0041", "A").encode()


# -- entries ---------------------------------------------------------------------------------------------------------


class GivesEmptyForNothing(MemoryStore):
    """gives an empty entry for a key that has none"""

    caught_by = "test_an_unknown_key_has_no_entry"

    def read(self, key):
        return super().read(key) or b""


class ReturnsText(MemoryStore):
    """gives text instead of bytes"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def read(self, key):
        entry = super().read(key)
        return None if entry is None else entry.decode()


class SerialisesAnew(MemoryStore):
    """parses the JSON that it is given and writes it anew"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def write(self, key, entry, keep_until):
        super().write(key, json.dumps(json.loads(entry)).encode(), keep_until)


class AddsANewline(SqliteStore):
    """ends each entry with a newline, and does not take it off again"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry + b"\n", keep_until)


class StripsEntries(SqliteStore):
    """strips the space around an entry"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry.strip(), keep_until)


class DropsLongEntries(SqliteStore):
    """does not store, and does not say so, what is longer than its limit"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def _put(self, db, key, entry, keep_until):
        if len(entry) <= 512 * 1024:
            super()._put(db, key, entry, keep_until)


class SplitsAtUnicodeLines(SqliteStore):
    """reads lines as Python's splitlines does, which knows more ends than the newline"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def _fetch(self, db, key):
        entry = super()._fetch(db, key)
        return entry and entry.decode().splitlines()[0].encode()


class NormalisesEntries(SqliteStore):
    """brings entries into Unicode's normal form"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, unicodedata.normalize("NFC", entry.decode()).encode(), keep_until)


class TakesNullForNothing(MemoryStore):
    """takes the entry null for no entry"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def read(self, key):
        entry = super().read(key)
        return entry if entry and json.loads(entry) is not None else None


class TakesAnEntryForATombstone(MemoryStore):
    """marks deletions by an entry that anyone may write"""

    caught_by = "test_an_entry_comes_back_byte_for_byte"

    def read(self, key):
        entry = super().read(key)
        return None if entry == b'{"gone":true}' else entry


class GivesItsBuffer(MemoryStore):
    """gives out the buffer that the next write changes"""

    caught_by = "test_an_entry_is_kept_by_value"

    def write(self, key, entry, keep_until):
        with self._open() as entries:
            entries.setdefault(key, bytearray())[:] = entry


class AppendsToEntries(SqliteStore):
    """appends to the entry before"""

    caught_by = "test_a_write_replaces_the_whole_entry"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, (self._fetch(db, key) or b"") + entry, keep_until)


class OverwritesInPlace(SqliteStore):
    """writes over the entry before without cutting it"""

    caught_by = "test_a_write_replaces_the_whole_entry"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry + (self._fetch(db, key) or b"")[len(entry) :], keep_until)


class KeepsTheFirst(MemoryStore):
    """keeps the entry that was there first"""

    caught_by = "test_a_write_replaces_the_whole_entry"

    def write(self, key, entry, keep_until):
        with self._open() as entries:
            entries.setdefault(key, entry)


class ListsVersions(SqliteStore):
    """keeps a row for each write, reads the newest, and lists them all"""

    caught_by = "test_a_write_replaces_the_whole_entry"

    def _create(self):
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB, entry BLOB, keep_until REAL)")

    def _fetch(self, db, key):
        where = "SELECT entry FROM entries WHERE key = ? ORDER BY rowid DESC"
        return next((entry for (entry,) in db.execute(where, (self._to_row(key),))), None)


class EvictsAtTen(MemoryStore):
    """drops the oldest entry as soon as there are eleven"""

    caught_by = "test_ten_thousand_entries_are_all_kept"
    limit = 10

    def write(self, key, entry, keep_until):
        with self._open() as entries:
            super().write(key, entry, keep_until)
            while len(entries) > self.limit:
                del entries[next(iter(entries))]


class EvictsAtAThousand(EvictsAtTen):
    """drops the oldest entry as soon as there are more than a thousand"""

    caught_by = "test_ten_thousand_entries_are_all_kept"
    limit = 1_000


class ListsOnePage(SqliteStore):
    """lists the first page of its keys"""

    caught_by = "test_ten_thousand_entries_are_all_kept"

    def keys(self):
        return iter(list(super().keys())[:1_000])


# -- delete and clear ------------------------------------------------------------------------------------------------


class DeletesByPrefix(MemoryStore):
    """deletes every key that begins like the given one"""

    caught_by = "test_delete_takes_one_entry_and_no_other"

    def delete(self, key):
        with self._open() as entries:
            return [entries.pop(name) for name in list(entries) if name.startswith(key)] != []


class DeletesByPattern(MemoryStore):
    """takes a key for a pattern when it deletes"""

    caught_by = "test_delete_takes_one_entry_and_no_other"

    def delete(self, key):
        with self._open() as entries:
            return [entries.pop(name) for name in fnmatch.filter(list(entries), key)] != []


class DeleteSaysNothing(MemoryStore):
    """deletes without saying whether there was an entry"""

    caught_by = "test_delete_tells_whether_there_was_an_entry"

    def delete(self, key):
        super().delete(key)


class DeleteSaysYes(MemoryStore):
    """says of every key that its entry was deleted"""

    caught_by = "test_delete_tells_whether_there_was_an_entry"

    def delete(self, key):
        super().delete(key)
        return True


class DeleteRaises(MemoryStore):
    """raises KeyError when there is nothing to delete"""

    caught_by = "test_delete_tells_whether_there_was_an_entry"

    def delete(self, key):
        with self._open() as entries:
            del entries[key]
            return True


class EmptiesInsteadOfDeleting(MemoryStore):
    """makes a deleted entry empty, and goes on listing its key"""

    caught_by = "test_delete_tells_whether_there_was_an_entry"

    def read(self, key):
        return super().read(key) or None

    def delete(self, key):
        with self._open() as entries:
            found = bool(entries.get(key))
            if found:
                entries[key] = b""
            return found


class BuriesForEver(MemoryStore):
    """refuses a key, once it was deleted, for good"""

    caught_by = "test_a_deleted_key_can_be_written_again"

    def __init__(self, settings):
        super().__init__(settings)
        self._buried = set()

    def write(self, key, entry, keep_until):
        if key not in self._buried:
            super().write(key, entry, keep_until)

    def delete(self, key):
        self._buried.add(key)
        return super().delete(key)


class ClearSaysNothing(MemoryStore):
    """clears without saying how many entries there were"""

    caught_by = "test_clear_tells_how_many_there_were"

    def clear(self):
        super().clear()


class ClearCountsWrites(MemoryStore):
    """counts what was written since the last clear, not what is there"""

    caught_by = "test_clear_tells_how_many_there_were"

    def __init__(self, settings):
        super().__init__(settings)
        self._written = 0

    def write(self, key, entry, keep_until):
        super().write(key, entry, keep_until)
        self._written += 1

    def clear(self):
        super().clear()
        written, self._written = self._written, 0
        return written


class ClearLeavesOne(MemoryStore):
    """leaves the last entry when it clears"""

    caught_by = "test_a_cleared_store_is_empty_and_takes_new_entries"

    def clear(self):
        with self._open() as entries:
            count = len(entries)
            for key in list(entries)[:-1]:
                del entries[key]
            return count


class ClearDropsTheTable(SqliteStore):
    """drops the table when it clears, and makes it only when it opens"""

    caught_by = "test_a_cleared_store_is_empty_and_takes_new_entries"

    def clear(self):
        count = super().clear()
        with self._transaction() as db:
            db.execute("DROP TABLE entries")
        return count


# -- time ------------------------------------------------------------------------------------------------------------


class TakesMilliseconds(SqliteStore):
    """takes keep_until for milliseconds, so that every time is over"""

    caught_by = "test_an_entry_lives_until_its_time"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, keep_until / 1_000)


class RoundsToDays(SqliteStore):
    """keeps the day of keep_until and forgets the hour"""

    caught_by = "test_an_entry_is_there_until_its_very_moment"  # the other case keeps some past midnight

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, min(keep_until, 1e12) // 86400 * 86400)


class OverflowsOnForever(SqliteStore):
    """makes a whole number of keep_until, which infinity is not"""

    caught_by = "test_an_entry_may_live_for_ever"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, int(keep_until))


class KeepsACalendar(SqliteStore):
    """makes a date of keep_until, and the calendar ends in the year 9999"""

    caught_by = "test_an_entry_may_live_for_ever"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, datetime.fromtimestamp(keep_until, UTC).timestamp())


class TakesForeverForNever(SqliteStore):
    """stores infinity as nothing, and reads nothing as zero"""

    caught_by = "test_an_entry_may_live_for_ever"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, 0.0 if keep_until == float("inf") else keep_until)


class PurgesTooMuch(SqliteStore):
    """drops everything when it finds one entry whose time is over"""

    caught_by = "test_an_entry_whose_time_is_over_may_go_and_no_other"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, keep_until)
        if keep_until < time.time():
            db.execute("DELETE FROM entries")


class NeverRenews(SqliteStore):
    """replaces the entry and leaves the time of the one before"""

    caught_by = "test_a_rewritten_entry_has_its_new_time"

    def _put(self, db, key, entry, keep_until):
        put = "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET entry = excluded.entry"
        db.execute(put, (self._to_row(key), entry, keep_until))


# -- several at once -------------------------------------------------------------------------------------------------


class GivesAList(MemoryStore):
    """gives its keys as a list"""

    caught_by = "test_keys_is_an_iterator"

    def keys(self):
        return list(super().keys())


class ShowsItsDict(MemoryStore):
    """iterates over the very dict that others write to"""

    caught_by = "test_iterating_survives_writers"

    def keys(self):
        with self._open() as entries:
            return iter(entries)


class ChasesWriters(SqliteStore):
    """looks for the next key each time, and so never catches up with a writer"""

    caught_by = "test_iterating_survives_writers"

    def keys(self):
        last = 0
        while True:
            with self._open() as db:
                row = db.execute(
                    "SELECT rowid, key FROM entries WHERE rowid > ? ORDER BY rowid LIMIT 1", (last,)
                ).fetchone()
            if row is None:
                return
            last = row[0]
            yield self._from_row(row[1])


class ClearsAPage(SqliteStore):
    """clears a thousand entries, as many as its storage lists at once"""

    caught_by = "test_clear_drops_them_however_many_there_are"

    def clear(self):
        return sum(self.delete(key) for key in list(super().keys())[:1_000])


class EndsAtAGap(SqliteStore):
    """ends its list at a key that has gone since it was begun"""

    caught_by = "test_iterating_survives_the_deletion_of_what_is_to_come"

    def keys(self):
        for key in list(super().keys()):
            if self.read(key) is None:
                return
            yield key


class TripsOverAGap(SqliteStore):
    """raises at a key that has gone since its list was begun"""

    caught_by = "test_iterating_survives_the_deletion_of_what_is_to_come"

    def keys(self):
        for key in list(super().keys()):
            if self.read(key) is None:
                raise CorruptEntryError(f"{key} is listed, and is not there")
            yield key


class CountsPages(SqliteStore):
    """lists its keys page by page, by number, and skips what moves up when others are deleted"""

    caught_by = "test_iterating_survives_deletions"

    def keys(self):
        offset = 0
        while True:
            with self._open() as db:
                rows = db.execute("SELECT key FROM entries ORDER BY key LIMIT 10 OFFSET ?", (offset,)).fetchall()
            if not rows:
                return
            yield from (self._from_row(name) for (name,) in rows)
            offset += 10


class CopiesWithoutALock(MemoryStore):
    """replaces its dict by a changed copy, with no lock around it"""

    caught_by = "test_many_threads_lose_nothing"

    def write(self, key, entry, keep_until):
        entries = dict(self._entries)
        time.sleep(0)
        entries[key] = entry
        self._entries = entries


class OneConnectionForOneThread(SqliteStore):
    """opens a connection that only the opening thread may use"""

    caught_by = "test_many_threads_lose_nothing"

    def __init__(self, settings):
        super().__init__(settings)
        self._db.close()
        self._db = sqlite3.connect(self._path, timeout=30, isolation_level=None)


class LooksBeforeItDeletes(MemoryStore):
    """looks whether there is an entry, and then deletes"""

    caught_by = "test_one_of_many_threads_deletes_an_entry"

    def delete(self, key):
        found = self.read(key) is not None
        time.sleep(0.001)
        super().delete(key)
        return found


class CountsBeforeItClears(MemoryStore):
    """counts the entries, and then clears"""

    caught_by = "test_clearing_beside_writers_leaves_a_store_in_order"

    def clear(self):
        count = len(self._entries)
        time.sleep(0.001)
        super().clear()
        return count


class BeginsAPageAfterADeletedKey(SqliteStore):
    """lists in pages, and leaves out the key after one that ended a page and was deleted"""

    caught_by = "test_iterating_many_keys_survives_deletions"

    def keys(self):
        last = None
        while page := self._page(last):
            yield from map(self._from_row, page)
            last = page[-1]

    def _page(self, last):
        with self._open() as db:
            where = "SELECT key FROM entries WHERE ? IS NULL OR key >= ? ORDER BY key LIMIT 101"
            found = [name for (name,) in db.execute(where, (last, last))]
        return found[:100] if last is None else found[1:]


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
