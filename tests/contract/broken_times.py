"""Backends that round, shift or overflow the time until which an entry has to be there.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import time
from datetime import UTC, datetime

from reference_backends import SqliteStore, mutants_of, record

from symcache_core import hookimpl


class CountsWholeSeconds(SqliteStore):
    """keeps the second of keep_until and forgets the fraction"""

    caught_by = "test_an_entry_is_there_until_its_very_moment"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, min(keep_until, 1e12) // 1)


class RoundsLifetimesDown(SqliteStore):
    """makes whole seconds of a lifetime, rounded down, so that less than one is none"""

    caught_by = "test_an_entry_is_there_until_its_very_moment"

    def _put(self, db, key, entry, keep_until):
        life = int(min(keep_until - time.time(), 1e12))
        super()._put(db, key, entry, time.time() + life)


class KeepsTheOldLifetime(SqliteStore):
    """lets the time of the entry before count for one that is written in its place"""

    caught_by = "test_an_entry_is_there_until_its_very_moment"

    def update(self, key, change):
        with self._transaction() as db:
            changed = change(self._fetch(db, key))
            if changed is not None:
                db.execute("UPDATE entries SET entry = ? WHERE key = ?", (changed[0], self._to_row(key)))
                if self._fetch(db, key) is None:
                    db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", (self._to_row(key), *changed))


class Counts31Bits(SqliteStore):
    """keeps seconds in a number of 32 bits with a sign"""

    caught_by = "test_an_entry_may_live_past_the_end_of_any_counter"

    def _put(self, db, key, entry, keep_until):
        bits = int(min(max(keep_until, 0), 1e12)) & 0xFFFFFFFF
        super()._put(db, key, entry, keep_until if keep_until > 1e12 else bits - (bits >> 31 << 32))


class Counts32Bits(SqliteStore):
    """keeps seconds in a number of 32 bits"""

    caught_by = "test_an_entry_may_live_past_the_end_of_any_counter"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, keep_until if keep_until > 1e12 else max(keep_until, 0) % 2**32)


class CountsNanoseconds(SqliteStore):
    """keeps nanoseconds in a number of 64 bits with a sign"""

    caught_by = "test_an_entry_may_live_past_the_end_of_any_counter"

    def _put(self, db, key, entry, keep_until):
        nanoseconds = int(min(max(keep_until, 0), 1e12) * 1e9) & (2**64 - 1)
        shown = nanoseconds - (nanoseconds >> 63 << 64)
        super()._put(db, key, entry, keep_until if keep_until > 1e12 else shown / 1e9)


class TakesTwoDigitsForAYear(SqliteStore):
    """keeps a date with two digits for the year"""

    caught_by = "test_an_entry_may_live_past_the_end_of_any_counter"

    def _put(self, db, key, entry, keep_until):
        if keep_until < 253402300799.0:
            moment = datetime.fromtimestamp(max(keep_until, 0), UTC)
            keep_until = moment.replace(year=2000 + moment.year % 100, day=min(moment.day, 28)).timestamp()
        super()._put(db, key, entry, keep_until)


class CompactsWhatIsForEver(SqliteStore):
    """drops with compact what is kept for ever"""

    caught_by = "test_compacting_takes_nothing_before_its_time"

    def compact(self):
        super().compact()
        with self._transaction() as db:
            db.execute("DELETE FROM entries WHERE keep_until = 9e999")


class ReadsUtcAsLocal(SqliteStore):
    """makes a UTC date without a zone of keep_until, and takes it for local time"""

    caught_by = "test_nobodys_time_zone_matters"

    def _put(self, db, key, entry, keep_until):
        if keep_until < 1e11:
            keep_until = datetime.fromtimestamp(max(keep_until, 86400), UTC).replace(tzinfo=None).timestamp()
        super()._put(db, key, entry, keep_until)


class KeepsLocalTime(SqliteStore):
    """keeps local time, and takes it for the reader's own"""

    caught_by = "test_nobodys_time_zone_matters"

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, keep_until + time.localtime().tm_gmtoff)

    def _fetch(self, db, key):
        where = "SELECT entry FROM entries WHERE key = ? AND keep_until > ?"
        now = time.time() + time.localtime().tm_gmtoff
        return next((entry for (entry,) in db.execute(where, (self._to_row(key), now))), None)


class CompactsByLocalTime(SqliteStore):
    """drops with compact what is over by a UTC date without a zone, which it takes for local time"""

    caught_by = "test_nobodys_time_zone_matters"

    def compact(self):
        now = datetime.now(UTC).replace(tzinfo=None).timestamp()
        with self._transaction() as db:
            db.execute("DELETE FROM entries WHERE keep_until <= ?", (now,))


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
