"""BackendContract: what every storage backend promises, as tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..errors import ClosedError, ConfigurationError
from ..protocols import CanSeeOthers, CanUpdate, StorageBackend
from ..registry import Registry
from .bench import FAR, Bench, plain

KEYS = [
    "ib||AAPL||",
    "ib||aapl||",
    "ib||AAPL|| ",
    " ib||AAPL||",
    "ib||AAPL",
    "ib||BRK B||",
    "ib||BRK.B||",
    "ib||BRKB||",
    "../../etc/passwd",
    "a/b\\c",
    "CON",
    ".",
    "key\twith\ttabs",
    'quotes " and {braces}',
    "Zürich",
    "Zu\N{COMBINING DIAERESIS}rich",
    "\N{CJK UNIFIED IDEOGRAPH-65E5}\N{CJK UNIFIED IDEOGRAPH-672C}",
    "\N{CHART WITH UPWARDS TREND}",
    "%2E%2E",
    "*",
    "k" * 500,
]
"""Keys of which each is another one."""

ENTRIES = [
    b"{}",
    b"null",
    b'"text"',
    b'{ "spaces" :  1 }',
    b'{"b":1,"a":2,"b":3}',
    '{"name":"Zürich \N{CHART WITH UPWARDS TREND}"}'.encode(),
    b'{"name":"Z\\u00fcrich\\n\\"quoted\\""}',
    b'{"number":1.10,"big":123456789012345678901234567890}',
    b'{"gone":true}',
    json.dumps({"long": "x" * 1_000_000}).encode(),
]
"""Lines that have to come back byte for byte."""


class BackendContract(Bench):
    """Subclass it, set ``backend``, return the options from ``settings``; pytest does the rest."""

    @pytest.fixture
    def store(self, tmp_path: Path, opened: ExitStack) -> StorageBackend:
        """An empty store, opened by the backend's name."""
        return self.open(tmp_path / "store", opened)

    def test_an_unknown_key_has_no_entry(self, store: StorageBackend) -> None:
        assert store.read("ib||AAPL||") is None

    @pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: repr(entry[:24]))
    def test_an_entry_comes_back_byte_for_byte(self, store: StorageBackend, entry: bytes) -> None:
        store.write("key", entry, FAR)
        back = store.read("key")
        assert type(back) is bytes
        assert back == entry

    def test_keys_are_told_apart_character_by_character(self, store: StorageBackend) -> None:
        for number, key in enumerate(KEYS):
            store.write(key, b'{"n":%d}' % number, FAR)
        for number, key in enumerate(KEYS):
            assert store.read(key) == b'{"n":%d}' % number, key
        assert sorted(store.keys()) == sorted(KEYS)

    def test_a_write_replaces_the_whole_entry(self, store: StorageBackend) -> None:
        store.write("key", b'{"long":"and more"}', FAR)
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}"
        assert list(store.keys()) == ["key"]

    def test_an_entry_is_kept_by_value(self, store: StorageBackend) -> None:
        buffer = bytearray(b'{"a":1}')
        store.write("key", bytes(buffer), FAR)
        buffer[:] = b'{"a":2}'
        assert store.read("key") == b'{"a":1}'

    def test_delete_tells_whether_there_was_an_entry(self, store: StorageBackend) -> None:
        store.write("key", b"{}", FAR)
        store.write("key2", b"{}", FAR)
        assert store.delete("key") is True
        assert store.delete("key") is False
        assert store.read("key") is None
        assert list(store.keys()) == ["key2"], "a neighbour went too"

    def test_clear_tells_how_many_there_were(self, store: StorageBackend) -> None:
        for number in range(5):
            store.write(f"key{number}", b"{}", FAR)
        assert store.clear() == 5
        assert store.clear() == 0
        assert list(store.keys()) == []
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}", "a cleared store takes new entries"

    def test_a_deleted_key_can_be_written_again(self, store: StorageBackend) -> None:
        store.write("key", b"{}", FAR)
        store.delete("key")
        store.write("key", b"[]", FAR)
        assert store.read("key") == b"[]"

    def test_two_thousand_entries_are_all_kept(self, store: StorageBackend) -> None:
        expected = {f"ib||S{number}||": b'{"n":%d}' % number for number in range(2_000)}
        for key, entry in expected.items():
            store.write(key, entry, FAR)
        assert {key: store.read(key) for key in store.keys()} == expected

    def test_an_entry_whose_time_is_over_may_go_and_no_other(self, store: StorageBackend) -> None:
        store.write("over", b"{}", 0.0)
        store.write("never", b"{}", float("inf"))
        store.write("far", b"{}", FAR)
        assert store.read("over") in (None, b"{}")
        assert store.read("far") == store.read("never") == b"{}"
        store.write("over", b"[]", FAR)
        assert store.read("over") == b"[]", "a rewritten entry has its new time"

    def test_iterating_survives_writers(self, store: StorageBackend) -> None:
        for number in range(50):
            store.write(f"old{number}", b"{}", FAR)
        seen = []
        for key in store.keys():
            seen.append(key)
            store.write(f"new{len(seen)}", b"{}", FAR)
            store.delete(f"new{len(seen) - 1}")
            if len(seen) > 1_000:
                break
        old = [key for key in seen if key.startswith("old")]
        assert sorted(old) == sorted(f"old{number}" for number in range(50))

    def test_many_threads_lose_nothing(self, store: StorageBackend) -> None:
        def work(thread: int) -> None:
            for number in range(25):
                store.write(f"{thread}-{number}", b'{"t":%d}' % thread, FAR)
                store.write("shared", b'{"t":%d}' % thread, FAR)
                assert store.read(f"{thread}-{number}") == b'{"t":%d}' % thread
                list(store.keys())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(list(store.keys())) == 8 * 25 + 1

    def test_it_is_closed_once_and_for_all(self, store: StorageBackend) -> None:
        store.close()
        store.close()
        uses: list[Callable[[], Any]] = [
            lambda: store.read("key"),
            lambda: store.write("key", b"{}", FAR),
            lambda: store.delete("key"),
            lambda: list(store.keys()),
            store.clear,
        ]
        for use in uses:
            with pytest.raises(ClosedError):
                use()

    def test_entries_outlive_a_reopening(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        first = self.open(tmp_path / "store", opened)
        for key in KEYS:
            first.write(key, b'{"kept":true}', FAR)
        first.delete("CON")
        first.close()
        again = self.open(tmp_path / "store", opened)
        assert sorted(again.keys()) == sorted(set(KEYS) - {"CON"})
        assert {again.read(key) for key in again.keys()} == {b'{"kept":true}'}

    def test_two_stores_are_apart(self, tmp_path: Path, opened: ExitStack) -> None:
        one = self.open(tmp_path / "one", opened)
        two = self.open(tmp_path / "two", opened)
        one.write("key", b"{}", FAR)
        assert two.read("key") is None
        assert two.clear() == 0
        assert one.read("key") == b"{}"

    def test_two_objects_share_one_store(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        one = self.open(tmp_path / "store", opened)
        two = self.open(tmp_path / "store", opened)
        assert two.read("key") is None
        one.write("key", b"{}", FAR)
        assert two.read("key") == b"{}"
        assert two.delete("key") is True
        assert one.read("key") is None
        one.write("key", b"[]", FAR)
        two.clear()
        assert one.read("key") is None
        assert list(one.keys()) == []

    def test_processes_see_each_other_and_lose_nothing(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        with (
            self.child(tmp_path / "store", "write", "a", "100") as a,
            self.child(tmp_path / "store", "write", "b", "100") as b,
        ):
            for process in (a, b):
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            assert store.read("a0") is None
            for process in (a, b):
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            for number in range(100):
                store.write(f"mine{number}", b"{}", FAR)
            for process in (a, b):
                process.communicate(timeout=60)
                assert process.returncode == 0
        expected = {f"{who}{number}" for who in ("a", "b", "mine") for number in range(100)}
        assert set(store.keys()) == expected
        assert store.read("a99") == b'{"from":"a"}'

    def test_what_a_killed_writer_acknowledged_is_there(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        folder = tmp_path / "store"
        store = self.open(folder, opened)
        store.write("before", b"{}", FAR)
        with self.child(folder, "write", "k", "100000") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("go\n")
            process.stdin.flush()
            acknowledged = [process.stdout.readline().strip() for _ in range(20)]
            process.kill()
            acknowledged += process.stdout.read().split("\n")[:-1]
        for key in acknowledged:
            assert store.read(key) == b'{"from":"k"}', key
        again = self.open(folder, opened)
        assert set(acknowledged) | {"before"} <= set(again.keys())
        again.write("after", b"{}", FAR)
        assert store.read("after") == b"{}"

    def test_an_update_has_nobody_in_between(self, store: StorageBackend) -> None:
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        start = threading.Barrier(4)

        def work(_thread: int) -> None:
            start.wait()
            for _ in range(50):
                store.update("key", lambda entry: (b"%d" % (int(entry or b"0") + 1), FAR))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert store.read("key") == b"200"
        store.update("key", lambda _entry: None)
        assert store.read("key") == b"200", "a change of None leaves the entry"

    def test_the_generation_tells_of_others(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        one = self.open(tmp_path / "store", opened)
        if not isinstance(one, CanSeeOthers):
            pytest.skip("the backend has no generation")
        two = self.open(tmp_path / "store", opened)
        before = one.generation()
        assert one.generation() == before
        two.write("key", b"{}", FAR)
        written = one.generation()
        assert written != before
        two.delete("key")
        assert one.generation() != written

    def test_an_unknown_option_is_refused_by_name(self, tmp_path: Path) -> None:
        options = {**plain(self.settings(tmp_path)), "no_such_option": 1}
        with pytest.raises(ConfigurationError, match="no_such_option"):
            Registry(self.plugins).open(self.backend, options, base_dir=tmp_path, data_dir=tmp_path)
