"""Backends over LMDB that break one promise each."""

import datetime as dt
import fcntl
import itertools
import logging
import os
import struct
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lmdb
from defect import Defect
from lmdb_store import LmdbBackend, LmdbSettings, _Environment, _Lease, _Leases

from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError, CorruptStoreError
from symcache_core.protocols import Lease, LeaseHolder

Change = Callable[[bytes | None], tuple[bytes, float] | None]


class CutsKeys(LmdbBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        return key.encode()[:511] or b"\xff"


class EmptyIsNul(LmdbBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        return LmdbBackend._stored_key(key or "\0")


class Normalizes(LmdbBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        return LmdbBackend._stored_key(unicodedata.normalize("NFC", key))


class PrefixTakesRoom(LmdbBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        raw = b"k" + key.encode()
        if len(raw) > 511:
            raise BackendError("The key is too long for LMDB.")
        return raw

    @staticmethod
    def _key_of(stored: bytes) -> str:
        return stored[1:].decode()


class StripsEntries(LmdbBackend):
    def read(self, key: str) -> bytes | None:
        found = super().read(key)
        return None if found is None else found.rstrip(b"\n")


class WholeHours(LmdbBackend):
    @staticmethod
    def _time_key(until: float, stored: bytes) -> bytes:
        return LmdbBackend._time_key(until // 3600 * 3600, stored)


class KeepsOldTime(LmdbBackend):
    def _forget_time(self, txn: lmdb.Transaction, shared: _Environment, stored: bytes) -> bool:
        return txn.get(stored, db=shared.entries) is not None


class LocalClock(LmdbBackend):
    def _drop_over(self, txn: lmdb.Transaction, shared: _Environment, most: int) -> int:
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None).timestamp()
        over = [(bytes(w), bytes(s)) for w, s in txn.cursor(db=shared.times) if struct.unpack(">d", w[:8])[0] < now]
        for when, stored in over[:most]:
            txn.delete(when, db=shared.times)
            txn.delete(stored, db=shared.entries)
        return len(over[:most])


class SkipsOneOnEachPage(LmdbBackend):
    def _pages(self) -> Iterator[str]:
        last: bytes | None = None
        while True:

            def page(txn: lmdb.Transaction, shared: _Environment, after: bytes | None = last) -> list[bytes]:
                with txn.cursor(db=shared.entries) as cursor:
                    if not (cursor.first() if after is None else cursor.set_range(after) and cursor.next()):
                        return []
                    return [bytes(k) for k in itertools.islice(cursor.iternext(values=False), 50)]

            stored = self._reading(page)
            yield from map(self._key_of, stored)
            if len(stored) < 50:
                return
            last = stored[-1]


class IteratesInsideWriter(LmdbBackend):
    def _pages(self) -> Iterator[str]:
        shared = self._environment()
        with open(self._path + "-writer", "ab", buffering=0) as file:
            self._wait_for_writer(file.fileno())
            with shared.env.begin(write=True) as txn, txn.cursor(db=shared.entries) as cursor:
                for stored in cursor.iternext(values=False):
                    yield self._key_of(bytes(stored))


class ClearDropsLeases(LmdbBackend):
    def clear(self) -> int:
        if os.path.exists(self._path + "-leases"):
            os.unlink(self._path + "-leases")
        return super().clear()


class CompactSwapsFile(LmdbBackend):
    def compact(self) -> None:
        super().compact()
        self._environment().env.copy(self._path + "-new", compact=True)
        os.replace(self._path + "-new", self._path)


class CompactLooksOnce(LmdbBackend):
    def compact(self) -> None:
        now = time.time()

        def find(txn: lmdb.Transaction, shared: _Environment) -> list[bytes]:
            return [bytes(s) for w, s in txn.cursor(db=shared.times) if struct.unpack(">d", w[:8])[0] < now]

        for stored in self._reading(find):
            self.delete(self._key_of(stored))


class UpdateInTwoSteps(LmdbBackend):
    def update(self, key: str, change: Change) -> None:
        new = change(self.read(key))
        if new is not None:
            self.write(key, *new)


class UpdateWrapsErrors(LmdbBackend):
    def update(self, key: str, change: Change) -> None:
        try:
            super().update(key, change)
        except (BackendError, ClosedError):
            raise
        except Exception as error:
            raise BackendError(f"The change of an entry failed: {error}") from error


class UpdateLeaksFile(LmdbBackend):
    def update(self, key: str, change: Change) -> None:
        look = os.open(self._path, os.O_RDONLY)
        super().update(key, change)
        os.close(look)


class GenerationCountsEntries(LmdbBackend):
    def generation(self) -> int:
        return self._reading(lambda txn, shared: txn.stat(shared.entries)["entries"])


class GenerationInSeconds(LmdbBackend):
    def generation(self) -> int:
        self._environment()
        return int(os.stat(self._path).st_mtime)


class GenerationWraps(LmdbBackend):
    def generation(self) -> int:
        return super().generation() & 15


class GenerationWithoutClear(LmdbBackend):
    """Counts what write and update do, in a row of its own: clear and delete forget to."""

    def _put(self, txn: lmdb.Transaction, shared: _Environment, stored: bytes, entry: bytes, until: float) -> None:
        super()._put(txn, shared, stored, entry, until)
        about = shared.env.open_db(b"symcache", txn=txn)
        txn.put(b"count", str(int(txn.get(b"count", b"0", db=about)) + 1).encode(), db=about)

    def generation(self) -> int:
        shared = self._environment()
        about = shared.env.open_db(b"symcache", create=False)
        return self._reading(lambda txn, _: int(txn.get(b"count", b"0", db=about)))


class GenerationMovesAlone(LmdbBackend):
    def generation(self) -> int:
        return super().generation() * 1_000_000 + int(time.monotonic() * 10) % 1_000_000


class LeaseReenters(LmdbBackend):
    def try_lock(self, key: str) -> Lease | None:
        leases = self._lease_file()
        mine = leases.held.get(leases.place(key.encode()))
        if mine is not None and getattr(mine, "thread", None) == threading.get_ident():
            return mine
        lease = super().try_lock(key)
        if isinstance(lease, _Lease):
            lease.thread = threading.get_ident()  # type: ignore[attr-defined]  # the defect's own
        return lease


class _ProcessLocks(_Leases):
    def lock(self, file: int, kind: int, place: int) -> None:
        fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, place, 1, 0))

    def taken(self, file: int, place: int) -> bool:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK


class LeaseOfProcess(LmdbBackend):
    _leases_kind = _ProcessLocks


class _Careless(_Lease):
    def release(self) -> None:
        leases = self._leases
        if leases.pid != os.getpid():
            return
        with leases.mutex:
            if leases.file is not None:
                leases.lock(leases.file, fcntl.F_UNLCK, self._place)
                leases.held.pop(self._place, None)


class LateReleaseFrees(LmdbBackend):
    _lease_kind = _Careless


class _KeptByChild(_Leases):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        from lmdb_store import _ALL_LEASES

        _ALL_LEASES.discard(self)


class ChildKeepsLeases(LmdbBackend):
    _leases_kind = _KeptByChild


class _ReleasedByAnyone(_Lease):
    def release(self) -> None:
        leases = self._leases
        if leases.file is not None and leases.held.get(self._place) is self:
            leases.lock(leases.file, fcntl.F_UNLCK, self._place)
            del leases.held[self._place]


class ChildReleases(LmdbBackend):
    _leases_kind = _KeptByChild
    _lease_kind = _ReleasedByAnyone


class FewLeases(LmdbBackend):
    def try_lock(self, key: str) -> Lease | None:
        return None if len(self._lease_file().held) >= 128 else super().try_lock(key)


class _Coarse(_Leases):
    @staticmethod
    def place(key: bytes) -> int:
        return _Leases.place(key) % 1024


class LeasesCollide(LmdbBackend):
    _leases_kind = _Coarse


class LeaseTimesOut(LmdbBackend):
    def try_lock(self, key: str) -> Lease | None:
        lease = super().try_lock(key)
        if lease is not None:
            timer = threading.Timer(5.0, lease.release)
            timer.daemon = True
            timer.start()
        return lease


class MarkIsProcess(LmdbBackend):
    def lease_holder(self, key: str) -> LeaseHolder | None:
        found = super().lease_holder(key)
        return None if found is None else LeaseHolder(mark=found.who, who=found.who)


class CloseTakesAll(LmdbBackend):
    def close(self) -> None:
        shared = self._shared
        super().close()
        if shared is not None and shared.pid == os.getpid():
            shared.env.close()


class ChildUsesInherited(LmdbBackend):
    def _begin_anew_in_child(self) -> None:
        pass


class ClosesOnce(LmdbBackend):
    def close(self) -> None:
        if self._closed:
            raise ClosedError("The backend is closed already.")
        super().close()


class SizeIsMap(LmdbBackend):
    def size(self) -> int:
        return int(self._environment().env.info()["map_size"])


class WaitsForWriter(LmdbBackend):
    def _wait_for_writer(self, file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


class FullIsRefused(LmdbBackend):
    def _translated(self, work: Callable[[], Any]) -> Any:
        def run() -> Any:
            try:
                return work()
            except lmdb.MapFullError:
                raise BackendError("The entry does not fit into the store.") from None

        return super()._translated(run)


class MakesCorruptAnew(LmdbBackend):
    def __init__(self, settings: LmdbSettings) -> None:
        try:
            super().__init__(settings)
        except CorruptStoreError:
            os.unlink(settings.path)
            super().__init__(settings)


class OtherStoreForFolder(LmdbBackend):
    def __init__(self, settings: LmdbSettings) -> None:
        if os.path.isdir(settings.path):
            settings = settings.model_copy(update={"path": settings.path / "data.mdb"})
        super().__init__(settings)


class CutsPathAtHash(LmdbBackend):
    def __init__(self, settings: LmdbSettings) -> None:
        folder, name = os.path.split(settings.path)
        path = type(settings.path)(folder, name.split("#")[0].split("?")[0].rstrip() or name)
        super().__init__(settings.model_copy(update={"path": path}))


class BatchDeletesFirst(LmdbBackend):
    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        if len(entries) > 1:
            for key in entries:
                try:
                    self.delete(key)
                except BackendUnavailableError:
                    raise
                except BackendError:
                    continue
        super().write_many(entries)


class BatchRefusesTwice(LmdbBackend):
    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        if len(set(keys)) < len(keys):
            raise BackendError("A key stands twice in the batch.")
        return super().read_many(keys)


class SkipsWhatIsOver(LmdbBackend):
    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        if keep_until > time.time():
            super().write(key, entry, keep_until)


class WritesLater(LmdbBackend):
    """Collects writes, and puts them down with the next one, or when this object is asked for anything."""

    def __init__(self, settings: LmdbSettings) -> None:
        super().__init__(settings)
        self._later: dict[str, tuple[bytes, float]] = {}

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self._environment()
        self._stored_key(key)
        self._check_entry(entry)
        self._later[key] = (entry, keep_until)
        if len(self._later) >= 20:
            self._put_down()

    def _put_down(self) -> None:
        later, self._later = self._later, {}
        if later:
            super().write_many(later)

    def _reading(self, work: Any) -> Any:
        self._put_down()
        return super()._reading(work)

    def delete(self, key: str) -> bool:
        self._put_down()
        return super().delete(key)

    def clear(self) -> int:
        self._put_down()
        return super().clear()

    def close(self) -> None:
        if not self._closed:
            self._put_down()
        super().close()


class OldSnapshot(LmdbBackend):
    """Keeps what it read for half a second, as long as it does not write itself."""

    def __init__(self, settings: LmdbSettings) -> None:
        super().__init__(settings)
        self._seen: dict[str, tuple[float, bytes | None]] = {}

    def read(self, key: str) -> bytes | None:
        self._environment()
        when, found = self._seen.get(key, (0.0, None))
        if time.monotonic() - when > 0.5:
            found = super().read(key)
            self._seen[key] = (time.monotonic(), found)
        return found

    def _writing(self, work: Any) -> Any:
        self._seen.clear()
        return super()._writing(work)


class SizeLeaksFile(LmdbBackend):
    def size(self) -> int:
        self._environment()
        return os.fstat(os.open(self._path, os.O_RDONLY)).st_blocks * 512


class CloseLeavesFile(LmdbBackend):
    def close(self) -> None:
        self._leases, kept = None, self._leases
        super().close()
        if kept is not None:
            self._kept = kept


class LogsToRoot(LmdbBackend):
    def clear(self) -> int:
        count = super().clear()
        logging.warning("cleared %d entries", count)
        return count


class SwallowsInterrupt(LmdbBackend):
    def update(self, key: str, change: Change) -> None:
        try:
            super().update(key, change)
        except KeyboardInterrupt:
            logging.getLogger("symcache").warning("an update was interrupted")


class OwnUmask(LmdbBackend):
    def __init__(self, settings: LmdbSettings) -> None:
        os.umask(0o077)
        super().__init__(settings)


class CountsAfterwards(LmdbBackend):
    def clear(self) -> int:
        def work(txn: lmdb.Transaction, shared: _Environment) -> int:
            txn.drop(shared.entries, delete=False)
            txn.drop(shared.times, delete=False)
            return int(txn.stat(shared.entries)["entries"])

        return self._writing(work)


class FilesGoWithFirstOwner(LmdbBackend):
    def close(self) -> None:
        was_closed = self._closed
        super().close()
        if not was_closed and os.path.exists(self._path + "-leases"):
            os.unlink(self._path + "-leases")


DEFECTS = [
    Defect(
        "cuts a key at 511 bytes",
        "it is never cut",
        CutsKeys,
        case="test_a_longer_key_is_stored_or_refused_and_never_cut",
    ),
    Defect(
        "stores the empty key as the one of a single NUL",
        "Keys are any text without lone surrogates, also empty, compared character by character",
        EmptyIsNul,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "takes a composed and a decomposed letter for one",
        "compared character by character",
        Normalizes,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "puts a byte before each key, and so refuses one of 511 bytes",
        "The core's are no longer than 511 bytes of UTF-8: that has to fit.",
        PrefixTakesRoom,
        case="test_a_key_of_511_bytes_has_an_entry_of_its_own",
    ),
    Defect(
        "takes newlines from the end of what it reads, but not in batches",
        "It is given back byte for byte, as `bytes`: never parsed, stripped or ended with a newline.",
        StripsEntries,
        why_not="An entry is one line, so that no entry ends with a newline.",
    ),
    Defect(
        "counts in whole hours, rounded down, in the index for compacting, so that entries go up to an hour early",
        "Until then the entry must be there",
        WholeHours,
        case="test_compacting_takes_nothing_before_its_time",
    ),
    Defect(
        "leaves the time of a replaced entry in its index, and drops the new one when that is over",
        "the entry is there for everyone, in place of any other with its time",
        KeepsOldTime,
        case="test_reading_what_is_over_takes_nothing_that_was_just_written",
    ),
    Defect(
        "takes UTC for local time, so entries go hours early in a process whose zone (TZ) is west of UTC; "
        "only visible with such a TZ",
        "The moment is by the clock of *this* machine, `time.time()`.",
        LocalClock,
        case="test_nobodys_time_zone_matters",
    ),
    Defect(
        "lists in pages, and leaves one key out when the last one of a page is deleted meanwhile",
        "what was there all the time is given, whatever others write or delete meanwhile",
        SkipsOneOnEachPage,
        case="test_iterating_many_keys_survives_deletions",
    ),
    Defect(
        "keeps its write transaction open for as long as its keys are iterated",
        "what was there all the time is given, whatever others write or delete meanwhile, and it comes to an end",
        IteratesInsideWriter,
        case="test_iterating_survives_writers",
    ),
    Defect(
        "removes the file of leases with clear",
        "they are gone; leases stay",
        ClearDropsLeases,
        case="test_no_use_of_the_store_ends_a_lease",
    ),
    Defect(
        "compacts into a new file under the eyes of those who have the old one open, whose writes are lost to others",
        "drops what is over or superseded and nothing else, while other threads and processes go on using the storage",
        CompactSwapsFile,
        case="test_compacting_takes_nothing_that_was_just_written",
    ),
    Defect(
        "looks for what is over, and deletes it later without looking again",
        "and not what someone has just written anew",
        CompactLooksOnce,
        case="test_compacting_takes_nothing_that_was_just_written",
    ),
    Defect(
        "reads and writes in two transactions for an update",
        "`update` has nobody in between",
        UpdateInTwoSteps,
        case="test_an_update_of_threads_has_nobody_in_between",
    ),
    Defect(
        "wraps what change raises in an error of its own",
        "What it raises goes out unchanged",
        UpdateWrapsErrors,
        case="test_an_update_that_raises_changes_nothing",
    ),
    Defect(
        "leaves a descriptor open when change raises",
        "leaves the entry, and all that you had open for it, as they were",
        UpdateLeaksFile,
        case="test_errors_leave_nothing_open",
    ),
    Defect(
        "gives the number of entries as its generation, so that replacing one is not seen",
        "`generation` differs from all that this object has given before as soon as another object or process has "
        "written",
        GenerationCountsEntries,
        case="test_the_generation_tells_of_other_objects",
    ),
    Defect(
        "gives the file's time in whole seconds as its generation",
        "as soon as another object or process has written, updated, deleted or cleared",
        GenerationInSeconds,
        case="test_the_generation_tells_of_other_objects",
    ),
    Defect(
        "counts its generation in four bits, and so repeats",
        "`generation` differs from all that this object has given before",
        GenerationWraps,
        case="test_the_generation_never_comes_back",
    ),
    Defect(
        "raises its generation at writes and updates, but not at delete and clear",
        "updated, deleted or cleared, by whichever method",
        GenerationWithoutClear,
        case="test_the_generation_tells_of_other_objects",
    ),
    Defect(
        "has the time in its generation",
        "It stands still while nobody does",
        GenerationMovesAlone,
        case="test_the_generation_stands_still_while_nobody_writes",
    ),
    Defect(
        "gives a thread the lease that it has already",
        "gives `None` at once if anyone has it, the same thread included",
        LeaseReenters,
        case="test_a_lease_has_one_holder",
    ),
    Defect(
        "locks for the process, so that two objects in one process have the same lease",
        "`try_lock` never blocks, and gives `None` at once if anyone has it",
        LeaseOfProcess,
        case="test_a_lease_excludes_other_objects",
    ),
    Defect(
        "frees the next holder's lease with a late or second release of the same object",
        "A second `release` does nothing, and a late one frees nobody else's lease.",
        LateReleaseFrees,
        case="test_releasing_twice_frees_no_other_lease",
    ),
    Defect(
        "leaves the descriptor of its leases open in children, so that a dead parent's leases last as long as they do",
        "A lease ends when it is released, from any thread, and when its holder dies: at once, or within ten seconds.",
        ChildKeepsLeases,
        case="test_a_lease_dies_with_its_holder_though_a_forked_child_lives_on",
    ),
    Defect(
        "lets a child give back the leases of its parent",
        "In the child, `release` of an inherited lease does nothing but let go of memory and descriptors.",
        ChildReleases,
        case="test_a_forked_child_leaves_the_lease_to_its_parent",
    ),
    Defect(
        "has no more than 128 leases for each object",
        "and hundreds of them at once, each of another key, all of which have to be had",
        FewLeases,
        case="test_hundreds_of_leases_are_to_be_had_at_once",
    ),
    Defect(
        "has 1024 places for leases, so that different keys meet in one",
        "each of another key, all of which have to be had",
        LeasesCollide,
        case="test_hundreds_of_leases_are_to_be_had_at_once",
    ),
    Defect(
        "ends each lease after five seconds",
        "Nothing else ends it",
        LeaseTimesOut,
        case="test_leases_that_are_held_take_no_thread_each",
    ),
    Defect(
        "marks the holder of a lease by its process, the same for each time",
        "a mark that stands for one holder's time with the lease",
        MarkIsProcess,
        case="test_each_holder_of_a_lease_has_a_mark_of_its_own",
    ),
    Defect(
        "closes the file for all objects of the process with the first close",
        "Other objects on the same store go on",
        CloseTakesAll,
        case="test_two_objects_share_one_store",
    ),
    Defect(
        "goes on with what it inherited in a child, whose leases then say that it is closed",
        "begin anew in the child with connections, locks and threads of its own",
        ChildUsesInherited,
        case="test_a_forked_child_and_its_parent_do_not_disturb_each_other",
    ),
    Defect(
        "raises when it is closed again",
        "`None`; again if called again",
        ClosesOnce,
        case="test_closing_twice_is_harmless",
    ),
    Defect(
        "gives the most that the store may ever have as its size",
        "`size` is in bytes, on disk or in memory, for all that the storage holds",
        SizeIsMap,
        case="test_the_size_is_in_bytes_and_grows",
    ),
    Defect(
        "waits for another writer without an end, such as a process that is stopped while it writes",
        "Bound each wait, by an option of yours or by `lock_timeout`, and raise `BackendUnavailableError`.",
        WaitsForWriter,
        case="test_a_process_that_was_stopped_in_an_update_keeps_nobody_waiting_for_ever",
    ),
    Defect(
        "takes a store that is full (max_size) for a refused entry",
        "what may pass: no connection, a full disk, a lock that others hold, no permission",
        FullIsRefused,
        case="test_a_full_store_is_one_that_takes_no_writes_for_now",
    ),
    Defect(
        "removes a file that it does not understand, and begins a new one",
        "what will not: the store as a whole cannot be understood. Nothing of it is changed",
        MakesCorruptAnew,
        case="test_a_file_of_something_else_is_left_as_it_is",
    ),
    Defect(
        "takes a folder for its path, and makes a file in it",
        "`open` is given what cannot be right: a path that is a folder",
        OtherStoreForFolder,
        case="test_a_folder_in_the_place_of_a_file_is_a_wrong_configuration",
    ),
    Defect(
        "cuts its path at # and ?",
        "Two stores whose names differ in anything at all, case, blanks, `#`, `?`, `%` or one being the beginning "
        "of the "
        "other, share nothing",
        CutsPathAtHash,
        case="test_paths_that_are_alike_are_stores_apart",
    ),
    Defect(
        "deletes the entries of a batch before it writes them, and they stay away when that fails",
        "when it fails, each entry is whole and there, or as before",
        BatchDeletesFirst,
        case="test_a_batch_that_fails_leaves_each_entry_whole",
    ),
    Defect(
        "refuses a batch with a key twice",
        "a key that is asked for twice is no matter",
        BatchRefusesTwice,
        case="test_reading_many_equals_reading_each",
    ),
    Defect(
        "does not write what is over already, and leaves the older entry in its place",
        "the entry is there for everyone, in place of any other with its time",
        SkipsWhatIsOver,
        case="test_a_batch_keeps_the_time_of_each_entry",
    ),
    Defect(
        "collects writes in memory, up to twenty of them",
        "the entry is there for everyone, in place of any other with its time, and survives `kill -9` of this process",
        WritesLater,
        case="test_two_objects_share_one_store",
    ),
    Defect(
        "gives what it read half a second ago, though another object has written",
        "the entry is there for everyone",
        OldSnapshot,
        case="test_two_objects_share_one_store",
    ),
    Defect(
        "leaves a descriptor open with each question for its size",
        "Descriptors, threads and connections do not grow with calls",
        SizeLeaksFile,
        case="test_calls_leave_nothing_open",
    ),
    Defect(
        "does not give back its leases with close as long as it is in memory",
        "It gives back the leases that are still held, if that can be done at once.",
        CloseLeavesFile,
        case="test_close_gives_back_the_leases_that_are_held",
    ),
    Defect(
        "logs to the root logger, which prints it",
        "Log to the logger `symcache`",
        LogsToRoot,
        case="test_nothing_is_printed",
    ),
    Defect(
        "swallows an interrupt that comes inside change",
        "What it raises goes out unchanged",
        SwallowsInterrupt,
        case="test_an_interrupt_inside_change_goes_out",
    ),
    Defect(
        "sets the umask of the program when it is opened",
        "no signal handler, locale, working directory, umask or environment variable is changed",
        OwnUmask,
        case="test_what_is_around_a_store_stays_as_it_was",
    ),
    Defect(
        "counts what it cleared afterwards, always nothing",
        "how many entries it dropped",
        CountsAfterwards,
        case="test_clear_tells_how_many_there_were",
    ),
    Defect(
        "removes the file of leases with close, though others hold leases in it",
        "Nothing else ends it: no `clear`, no `compact`, no other object's `close`.",
        FilesGoWithFirstOwner,
        case="test_a_lease_lasts_as_long_as_its_holder_lives",
    ),
]
