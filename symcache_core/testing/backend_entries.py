"""What a storage backend promises about entries: each under its own key, whole, as given, and until its time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from ..protocols import CanBatch, StorageBackend
from .contract import Contract
from .harness import FAR, at_once

KEYS = [
    "ib||AAPL||",
    "ib||aapl||",
    "ib||AAPL|| ",
    " ib||AAPL||",
    "ib||AAPL",
    "ib||BRK B||",
    "ib||BRK  B||",
    "ib||BRK.B||",
    "ib||BRKB||",
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a/b/",
    "a\\b",
    "a:b",
    "a",
    "CON",
    "con",
    "key\twith\ttabs",
    "key with tabs",
    "line\nbreak",
    "line\r\nbreak",
    "nul\x00one",
    "nul\x00two",
    "quotes \" and ' and {braces}",
    "\\u0041",
    "A",
    "1",
    "01",
    "1.0",
    "null",
    "*",
    "%",
    "_",
    "?",
    "[a]",
    "%2E%2E",
    "@corrupt|ib||AAPL||",
    "Zürich",
    "Zu\N{COMBINING DIAERESIS}rich",
    "ZÜRICH",
    "stra\N{LATIN SMALL LETTER SHARP S}e",
    "strasse",
    "\N{LATIN SMALL LIGATURE FI}n",
    "fin",
    "\N{CJK UNIFIED IDEOGRAPH-65E5}\N{CJK UNIFIED IDEOGRAPH-672C}",
    "\N{CHART WITH UPWARDS TREND}",
    "k" * 500,
    "k" * 510 + "1",
    "k" * 510 + "2",
]
"""Keys of which each is another one, none longer than has to fit."""

ENTRIES = {
    "an empty object": b"{}",
    "null": b"null",
    "false": b"false",
    "a number": b"1.10",
    "a text": b'"text"',
    "spaces inside": b'{ "spaces" :  1 }',
    "spaces around": b' {"spaces":1} ',
    "keys out of order and twice": b'{"b":1,"a":2,"b":3}',
    "unicode": '{"name":"Zürich \N{CHART WITH UPWARDS TREND}"}'.encode(),
    "a decomposed letter": '{"name":"Zu\N{COMBINING DIAERESIS}rich"}'.encode(),
    "line separators of unicode": '{"a":"\N{LINE SEPARATOR}\N{NEXT LINE}"}'.encode(),
    "escapes": b'{"name":"Z\\u00fcrich\\n\\"quoted\\"\\/\\u0000"}',
    "long numbers": b'{"number":1.10,"big":123456789012345678901234567890,"e":1E400}',
    "what a deletion may look like": b'{"gone":true}',
    "a megabyte": json.dumps({"long": "x" * 1_000_000}).encode(),
}
"""Lines of UTF-8 JSON, which have to come back byte for byte."""


class EntryPromises(Contract):
    """Promises of one store to those who use it in one process."""

    @pytest.fixture
    def store(self, tmp_path: Path, opened: ExitStack) -> StorageBackend:
        """An empty store, opened by the backend's name."""
        return self.open(tmp_path / "store", opened)

    def test_an_unknown_key_has_no_entry(self, store: StorageBackend) -> None:
        assert store.read("ib||AAPL||") is None, (
            "read gives None for a key that was never written, and nothing else for it"
        )
        assert list(store.keys()) == [], "a new store has no keys"

    @pytest.mark.parametrize("kind", ENTRIES)
    def test_an_entry_comes_back_byte_for_byte(self, store: StorageBackend, kind: str) -> None:
        store.write("key", ENTRIES[kind], FAR)
        back = store.read("key")
        assert back is not None, (
            f"{kind} was written, and read gives None: every entry has to be kept, whatever it says"
        )
        assert type(back) is bytes, f"read gives bytes, not {type(back).__name__}"
        assert back == ENTRIES[kind], f"{kind} came back changed: give the bytes as they are, never parsed or stripped"

    def test_keys_are_told_apart_character_by_character(self, store: StorageBackend) -> None:
        for number, key in enumerate(KEYS):
            store.write(key, b'{"n":%d}' % number, FAR)
        for number, key in enumerate(KEYS):
            assert store.read(key) == b'{"n":%d}' % number, (
                f"key {key[:40]!r} was taken for another one: compare keys by each of their bytes in UTF-8"
            )
        listed = list(store.keys())
        assert sorted(listed) == sorted(KEYS), "keys() gives each key exactly as it was written"

    def test_a_write_replaces_the_whole_entry(self, store: StorageBackend) -> None:
        store.write("key", b'{"long":"and more"}', FAR)
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}", "something of the entry before is left: a write replaces all of it"
        assert list(store.keys()) == ["key"], "a key that was written twice is listed once"

    def test_an_entry_is_kept_by_value(self, store: StorageBackend) -> None:
        store.write("key", b'{"a":1}', FAR)
        before = store.read("key")
        store.write("key", b'{"a":2}', FAR)
        assert before == b'{"a":1}', "what a caller has read changed under its hands: give bytes of its own to each"
        assert store.read("key") == b'{"a":2}', "read has to give what was written last"

    def test_delete_tells_whether_there_was_an_entry(self, store: StorageBackend) -> None:
        assert store.delete("key") is False, "delete has to give False, and raise nothing, when there was no entry"
        store.write("key", b"{}", FAR)
        assert store.delete("key") is True, "delete has to give True when there was an entry"
        assert store.read("key") is None, "read still gives an entry that was deleted"
        assert list(store.keys()) == [], "keys() still lists a key that was deleted"
        assert store.delete("key") is False, "a second delete finds nothing"

    def test_delete_takes_one_entry_and_no_other(self, store: StorageBackend) -> None:
        others = ["key2", "KEY", "ke", "kez", "key|1", "key/1", "%", "*"]
        for key in ("key", "k_y", "k*", *others):
            store.write(key, b"{}", FAR)
        for key in ("key", "k_y", "k*"):
            assert store.delete(key) is True, f"delete of {key!r} finds no entry, and there is one"
        assert sorted(store.keys()) == sorted(others), (
            "delete took another key's entry along, or left its own: no prefix and no pattern counts"
        )

    def test_a_deleted_key_can_be_written_again(self, store: StorageBackend) -> None:
        store.write("key", b"{}", FAR)
        store.delete("key")
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]", (
            "what was written after a delete is not there: a deletion counts for what was before it only"
        )
        assert list(store.keys()) == ["key"], "a key that was deleted and written again is listed once"

    def test_clear_tells_how_many_there_were(self, store: StorageBackend) -> None:
        for number in range(5):
            store.write(f"key{number}", b"{}", FAR)
        store.write("key0", b"[]", FAR)
        store.delete("key1")
        cleared = store.clear()
        assert cleared == 4, f"clear has to give how many entries it dropped: there were 4, and it gave {cleared!r}"
        assert store.clear() == 0, "clear has to give 0 when there was nothing to drop"

    def test_a_cleared_store_is_empty_and_takes_new_entries(self, store: StorageBackend) -> None:
        for number in range(5):
            store.write(f"key{number}", b"{}", FAR)
        store.clear()
        assert list(store.keys()) == [], "keys() still lists what was cleared"
        assert [store.read(f"key{number}") for number in range(5)] == [None] * 5, "read still gives what was cleared"
        store.write("key1", b"[]", FAR)
        assert store.read("key1") == b"[]", "what was written after a clear is not there"
        assert list(store.keys()) == ["key1"], "a cleared store lists what is written to it afterwards, and no more"

    def test_ten_thousand_entries_are_all_kept(self, store: StorageBackend) -> None:
        count = self.times(10_000)
        expected = {f"ib||S{number}||": b'{"n":%d}' % number for number in range(count)}
        if isinstance(store, CanBatch):
            store.write_many({key: (entry, FAR) for key, entry in expected.items()})
        else:
            for key, entry in expected.items():
                store.write(key, entry, FAR)
        keys = list(store.keys())
        assert len(keys) == count, f"of {count} keys that were written, keys() gives {len(keys)}: each once, and all"
        kept = store.read_many(keys) if isinstance(store, CanBatch) else {key: store.read(key) for key in keys}
        assert kept == expected, "of many entries some came back changed, or not at all"

    def test_clear_drops_them_however_many_there_are(self, store: StorageBackend) -> None:
        count = self.times(1_200)  # more than a page of any list
        expected = {f"key{number}": (b"{}", FAR) for number in range(count)}
        if isinstance(store, CanBatch):
            store.write_many(expected)
        else:
            for key, (entry, keep_until) in expected.items():
                store.write(key, entry, keep_until)
        cleared = store.clear()
        assert cleared == count, f"of {count} entries clear says that it dropped {cleared}: it has to drop all of them"
        assert next(store.keys(), None) is None, (
            f"clear left some of {count} entries: drop them page by page to the end"
        )

    # -- time --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kept_for", [60.0, 86400.5, 40 * 365 * 86400.0], ids=["a minute", "a day", "decades"])
    def test_an_entry_lives_until_its_time(self, store: StorageBackend, kept_for: float) -> None:
        store.write("key", b"{}", time.time() + kept_for)
        assert store.read("key") == b"{}", (
            f"an entry that was to be kept for {kept_for:g} s is gone: keep_until is in seconds since the epoch, UTC"
        )
        assert list(store.keys()) == ["key"], "keys() leaves out an entry whose time is not over"

    @pytest.mark.parametrize("keep_until", [253402300799.0, 1e15, float("inf")], ids=["the year 9999", "1e15", "inf"])
    def test_an_entry_may_live_for_ever(self, store: StorageBackend, keep_until: float) -> None:
        store.write("key", b"{}", keep_until)
        assert store.read("key") == b"{}", (
            f"an entry is gone that was to be kept until {keep_until:g}: take what you cannot count for no end at all"
        )

    def test_an_entry_whose_time_is_over_may_go_and_no_other(self, store: StorageBackend) -> None:
        store.write("far", b"{}", FAR)
        for keep_until in (time.time() - 60, 0.0, -1.0):
            store.write("over", b"{}", keep_until)
            assert store.read("over") in (None, b"{}"), "an entry whose time is over is there as it was, or not at all"
        assert store.read("far") == b"{}", "an entry went because another one's time was over"
        assert "far" in list(store.keys()), "a key went because another entry's time was over"

    def test_a_rewritten_entry_has_its_new_time(self, store: StorageBackend) -> None:
        store.write("key", b"{}", time.time() - 60)
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]", "the time of the entry before still counts"
        assert list(store.keys()) == ["key"], "keys() goes by the time of the entry before"

    # -- several at once ---------------------------------------------------------------------------------------------

    def test_keys_is_an_iterator(self, store: StorageBackend) -> None:
        store.write("key", b"{}", FAR)
        keys = store.keys()
        assert isinstance(keys, Iterator), f"keys() gives an iterator, not a {type(keys).__name__}"
        first = next(keys, None)
        assert first == "key", f"keys() gives keys as they were written, and not {first!r}"

    def test_iterating_survives_writers(self, store: StorageBackend) -> None:
        count = self.times(50)
        for number in range(count):
            store.write(f"old{number}", b"{}", FAR)
        seen: list[str] = []
        for key in store.keys():
            seen.append(key)
            store.write(f"new{len(seen)}", b"{}", FAR)
            store.delete(f"new{len(seen) - 1}")
            assert len(seen) <= 1_000, "iterating never ends while others write"
        old = [key for key in seen if key.startswith("old")]
        assert sorted(old) == sorted(f"old{number}" for number in range(count)), (
            "keys() skipped or repeated what was there all the time, while others were written"
        )

    def test_iterating_survives_deletions(self, store: StorageBackend) -> None:
        count = self.times(50)
        for number in range(count):
            store.write(f"key{number}", b"{}", FAR)
        deleted = [key for key in store.keys() if store.delete(key)]
        assert sorted(deleted) == sorted(f"key{number}" for number in range(count)), (
            "keys() skipped or repeated keys while they were deleted one by one: it must not count positions"
        )
        assert list(store.keys()) == [], "what was deleted while keys() went on is still listed"

    def test_iterating_survives_the_deletion_of_what_is_to_come(self, store: StorageBackend) -> None:
        count = self.times(50)
        for number in range(count):
            store.write(f"key{number}", b"{}", FAR)
        iterating = store.keys()
        seen = [next(iterating)]
        gone = {f"key{number}" for number in range(0, count, 2)} - set(seen)
        for key in gone:
            store.delete(key)
        try:
            seen += iterating
        except Exception as error:
            raise AssertionError(
                f"keys() raised {type(error).__name__}: {error} when others deleted what it was still to give: pass "
                "over what is gone"
            ) from error
        kept = {f"key{number}" for number in range(count)} - gone
        assert sorted(key for key in seen if key not in gone) == sorted(kept), (
            "keys() skipped or repeated what was there all the time, while others were deleted before it came to them"
        )

    def test_iterating_many_keys_survives_deletions(self, store: StorageBackend) -> None:
        count = self.times(1_200, least=1_200)  # more than a page of any list
        written = {f"key{number}" for number in range(count)}
        if isinstance(store, CanBatch):
            store.write_many(dict.fromkeys(written, (b"{}", FAR)))
        else:
            for key in written:
                store.write(key, b"{}", FAR)
        seen: list[str] = []
        for key in store.keys():
            seen.append(key)
            if len(seen) % 50 == 0 or len(seen) % 64 == 0:  # where pages are likely to end
                store.delete(key)
        assert sorted(seen) == sorted(written), (
            f"keys() gave {len(set(seen))} of {count} keys, {len(seen)} times, while some that it had given were "
            "deleted: begin the next page after the last key, whether it is still there or not"
        )

    def test_many_threads_lose_nothing(self, store: StorageBackend) -> None:
        rounds = self.times(25, least=5)

        def work(thread: int) -> None:
            for number in range(rounds):
                store.write(f"{thread}-{number}", b'{"t":%d}' % thread, FAR)
                store.write("shared", b'{"t":%d}' % thread, FAR)
                assert store.read(f"{thread}-{number}") == b'{"t":%d}' % thread, "a thread's own store is gone"
                assert store.read("shared") is not None, "an entry that is being overwritten was missing"
                list(store.keys())

        at_once(*(partial(work, thread) for thread in range(8)))
        expected = {f"{thread}-{number}" for thread in range(8) for number in range(rounds)} | {"shared"}
        assert set(store.keys()) == expected, "what a thread stored is gone"

    def test_one_of_many_threads_deletes_an_entry(self, store: StorageBackend) -> None:
        count = self.times(50)

        def work() -> int:
            return sum(store.delete(f"key{number}") for number in range(count))

        for number in range(count):
            store.write(f"key{number}", b"{}", FAR)
        deleted = sum(at_once(*[work] * 4))
        assert deleted == count, (
            f"{count} entries were deleted by four threads, and delete said True {deleted} times: of those who delete "
            "one entry at the same time, one is told True"
        )

    def test_clearing_beside_writers_leaves_a_store_in_order(self, store: StorageBackend) -> None:
        count = self.times(60, least=20)

        def write(thread: int) -> int:
            for number in range(count):
                store.write(f"{thread}-{number}", b"{}", FAR)
            return 0

        def clear() -> int:
            return sum(store.clear() for _ in range(20))

        cleared = sum(at_once(partial(write, 0), partial(write, 1), clear))
        left = list(store.keys())
        assert {store.read(key) for key in left} <= {b"{}"}, "a listed key has no entry"
        assert cleared + len(left) == 2 * count, (
            f"{2 * count} entries were written, clear dropped {cleared} by its own words, and {len(left)} are left: "
            "count what is dropped in the same step that drops it"
        )
        again = store.clear()
        assert again == len(left), f"clear gives how many entries it dropped: {again}, and {len(left)} were there"
