"""What a storage backend promises about entries: each under its own key, whole, as given, and until its time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..protocols import CanBatch, StorageBackend
from .contract import Contract
from .harness import FAR

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
    "k" * 2_000 + "1",
    "k" * 2_000 + "2",
]
"""Keys of which each is another one."""

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
        assert store.read("ib||AAPL||") is None, "read gives None for a key that was never written"
        assert list(store.keys()) == [], "a new store has no keys"

    @pytest.mark.parametrize("kind", ENTRIES)
    def test_an_entry_comes_back_byte_for_byte(self, store: StorageBackend, kind: str) -> None:
        store.write("key", ENTRIES[kind], FAR)
        back = store.read("key")
        assert type(back) is bytes, f"read gives bytes, not {type(back).__name__}"
        assert back == ENTRIES[kind], f"an entry with {kind} came back changed"

    def test_keys_are_told_apart_character_by_character(self, store: StorageBackend) -> None:
        for number, key in enumerate(KEYS):
            store.write(key, b'{"n":%d}' % number, FAR)
        for number, key in enumerate(KEYS):
            assert store.read(key) == b'{"n":%d}' % number, f"key {key[:40]!r} was taken for another one"
        listed = list(store.keys())
        assert sorted(listed) == sorted(KEYS), "keys() gives each key exactly as it was written"

    def test_a_write_replaces_the_whole_entry(self, store: StorageBackend) -> None:
        store.write("key", b'{"long":"and more"}', FAR)
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}", "something of the entry before is left"
        assert list(store.keys()) == ["key"], "a key that was written twice is listed once"

    def test_an_entry_is_kept_by_value(self, store: StorageBackend) -> None:
        store.write("key", b'{"a":1}', FAR)
        before = store.read("key")
        store.write("key", b'{"a":2}', FAR)
        assert before == b'{"a":1}', "what a caller has read changed under its hands"
        assert store.read("key") == b'{"a":2}'

    def test_delete_tells_whether_there_was_an_entry(self, store: StorageBackend) -> None:
        assert store.delete("key") is False, "delete says False when there was nothing"
        store.write("key", b"{}", FAR)
        assert store.delete("key") is True, "delete says True when there was an entry"
        assert store.read("key") is None, "a deleted entry is gone"
        assert list(store.keys()) == [], "a deleted key is not listed"
        assert store.delete("key") is False, "a second delete finds nothing"

    def test_delete_takes_one_entry_and_no_other(self, store: StorageBackend) -> None:
        others = ["key2", "KEY", "ke", "kez", "key|1", "key/1", "%", "*"]
        for key in ("key", "k_y", "k*", *others):
            store.write(key, b"{}", FAR)
        for key in ("key", "k_y", "k*"):
            assert store.delete(key) is True, key
        assert sorted(store.keys()) == sorted(others), "delete takes the entry of exactly this key"

    def test_a_deleted_key_can_be_written_again(self, store: StorageBackend) -> None:
        store.write("key", b"{}", FAR)
        store.delete("key")
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]", "a deleted key takes a new entry"
        assert list(store.keys()) == ["key"]

    def test_clear_tells_how_many_there_were(self, store: StorageBackend) -> None:
        for number in range(5):
            store.write(f"key{number}", b"{}", FAR)
        store.write("key0", b"[]", FAR)
        store.delete("key1")
        assert store.clear() == 4, "clear gives the number of entries that it dropped"
        assert store.clear() == 0, "nothing was left to drop"

    def test_a_cleared_store_is_empty_and_takes_new_entries(self, store: StorageBackend) -> None:
        for number in range(5):
            store.write(f"key{number}", b"{}", FAR)
        store.clear()
        assert list(store.keys()) == [], "a cleared store has no keys"
        assert [store.read(f"key{number}") for number in range(5)] == [None] * 5, "a cleared store has no entries"
        store.write("key1", b"[]", FAR)
        assert store.read("key1") == b"[]", "a cleared store takes new entries"
        assert list(store.keys()) == ["key1"]

    def test_ten_thousand_entries_are_all_kept(self, store: StorageBackend) -> None:
        expected = {f"ib||S{number}||": b'{"n":%d}' % number for number in range(10_000)}
        if isinstance(store, CanBatch):
            store.write_many({key: (entry, FAR) for key, entry in expected.items()})
        else:
            for key, entry in expected.items():
                store.write(key, entry, FAR)
        keys = list(store.keys())
        assert len(keys) == 10_000, "every entry is kept, and its key is listed once"
        kept = store.read_many(keys) if isinstance(store, CanBatch) else {key: store.read(key) for key in keys}
        assert kept == expected, "every entry is kept as it was written"

    # -- time --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kept_for", [60.0, 86400.5, 40 * 365 * 86400.0], ids=["a minute", "a day", "decades"])
    def test_an_entry_lives_until_its_time(self, store: StorageBackend, kept_for: float) -> None:
        store.write("key", b"{}", time.time() + kept_for)
        assert store.read("key") == b"{}", "keep_until is in seconds since the epoch, and it is not over"
        assert list(store.keys()) == ["key"]

    @pytest.mark.parametrize("keep_until", [253402300799.0, 1e15, float("inf")], ids=["the year 9999", "1e15", "inf"])
    def test_an_entry_may_live_for_ever(self, store: StorageBackend, keep_until: float) -> None:
        store.write("key", b"{}", keep_until)
        assert store.read("key") == b"{}", "a time beyond every calendar is still in the future"

    def test_an_entry_whose_time_is_over_may_go_and_no_other(self, store: StorageBackend) -> None:
        store.write("far", b"{}", FAR)
        for keep_until in (time.time() - 60, 0.0, -1.0):
            store.write("over", b"{}", keep_until)
            assert store.read("over") in (None, b"{}")
        assert store.read("far") == b"{}", "an entry went because another one's time was over"
        assert "far" in list(store.keys())

    def test_a_rewritten_entry_has_its_new_time(self, store: StorageBackend) -> None:
        store.write("key", b"{}", time.time() - 60)
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]", "the time of the entry before still counts"
        assert list(store.keys()) == ["key"]

    # -- several at once ---------------------------------------------------------------------------------------------

    def test_keys_is_an_iterator(self, store: StorageBackend) -> None:
        store.write("key", b"{}", FAR)
        keys = store.keys()
        assert isinstance(keys, Iterator), f"keys() gives an iterator, not a {type(keys).__name__}"
        assert next(keys) == "key"

    def test_iterating_survives_writers(self, store: StorageBackend) -> None:
        for number in range(50):
            store.write(f"old{number}", b"{}", FAR)
        seen: list[str] = []
        for key in store.keys():
            seen.append(key)
            store.write(f"new{len(seen)}", b"{}", FAR)
            store.delete(f"new{len(seen) - 1}")
            assert len(seen) <= 1_000, "iterating never ends while others write"
        old = [key for key in seen if key.startswith("old")]
        assert sorted(old) == sorted(f"old{number}" for number in range(50)), "each key that stays is given once"

    def test_iterating_survives_deletions(self, store: StorageBackend) -> None:
        for number in range(50):
            store.write(f"key{number}", b"{}", FAR)
        deleted = [key for key in store.keys() if store.delete(key)]
        assert sorted(deleted) == sorted(f"key{number}" for number in range(50)), "each key is given once"
        assert list(store.keys()) == []

    def test_many_threads_lose_nothing(self, store: StorageBackend) -> None:
        start = threading.Barrier(8)

        def work(thread: int) -> None:
            start.wait()
            for number in range(25):
                store.write(f"{thread}-{number}", b'{"t":%d}' % thread, FAR)
                store.write("shared", b'{"t":%d}' % thread, FAR)
                assert store.read(f"{thread}-{number}") == b'{"t":%d}' % thread, "a thread's own store is gone"
                assert store.read("shared") is not None, "an entry that is being overwritten was missing"
                list(store.keys())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        expected = {f"{thread}-{number}" for thread in range(8) for number in range(25)} | {"shared"}
        assert set(store.keys()) == expected, "what a thread stored is gone"

    def test_one_of_many_threads_deletes_an_entry(self, store: StorageBackend) -> None:
        start = threading.Barrier(4)

        def work(_thread: int) -> int:
            start.wait()
            return sum(store.delete(f"key{number}") for number in range(50))

        for number in range(50):
            store.write(f"key{number}", b"{}", FAR)
        with ThreadPoolExecutor(4) as pool:
            deleted = sum(pool.map(work, range(4)))
        assert deleted == 50, "of those who delete one entry at the same time, one is told True"

    def test_clearing_beside_writers_leaves_a_store_in_order(self, store: StorageBackend) -> None:
        start = threading.Barrier(3)

        def write(thread: int) -> int:
            start.wait()
            for number in range(60):
                store.write(f"{thread}-{number}", b"{}", FAR)
            return 0

        def clear(_thread: int) -> int:
            start.wait()
            return sum(store.clear() for _ in range(20))

        with ThreadPoolExecutor(3) as pool:
            cleared = sum(pool.map(lambda work, thread: work(thread), (write, write, clear), range(3)))
        left = list(store.keys())
        assert {store.read(key) for key in left} <= {b"{}"}, "a listed key has no entry"
        assert cleared + len(left) == 120, "each entry was dropped once, and counted once, or is still there"
        assert store.clear() == len(left)
