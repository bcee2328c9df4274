"""What a storage backend promises about opening and closing: settings, secrets, paths, and what outlives a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from ..errors import ClosedError, ConfigurationError, SymcacheError
from ..protocols import CanBatch, CanCompact, CanLock, CanSize, CanUpdate, StorageBackend
from ..registry import Registry
from .backend_entries import KEYS
from .contract import Contract
from .harness import FAR, plain

SECRET_WORDS = ("password", "passwd", "secret", "token", "credential")
"""What the name of an option that holds a secret has in it."""


class OpeningPromises(Contract):
    """Promises of a store from its opening to its end, and to the next opening."""

    # -- reopening ---------------------------------------------------------------------------------------------------

    def test_entries_outlive_a_reopening(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        first = self.open(tmp_path / "store", opened)
        for key in KEYS:
            first.write(key, b'{"kept":1}', FAR)
        first.close()
        again = self.open(tmp_path / "store", opened)
        assert sorted(again.keys()) == sorted(KEYS), "a reopened store has the keys that it had"
        assert {again.read(key) for key in again.keys()} == {b'{"kept":1}'}, "a reopened store has its entries"

    def test_what_was_changed_last_outlives_a_reopening(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        for number in range(3):
            store = self.open(tmp_path / "store", opened)
            assert store.read("changed") == (b'{"n":%d}' % (number - 1) if number else None)
            store.write("changed", b'{"n":9}', FAR)
            store.write("changed", b'{"n":%d}' % number, FAR)
            store.write("deleted", b"{}", FAR)
            store.delete("deleted")
            store.close()
        again = self.open(tmp_path / "store", opened)
        assert list(again.keys()) == ["changed"], "a deleted entry is back"
        assert again.read("changed") == b'{"n":2}', "an older entry is back"
        again.clear()
        again.close()
        assert list(self.open(tmp_path / "store", opened).keys()) == [], "cleared entries are back"

    def test_two_stores_are_apart(self, tmp_path: Path, opened: ExitStack) -> None:
        one = self.open(tmp_path / "one", opened)
        two = self.open(tmp_path / "two", opened)
        one.write("key", b"{}", FAR)
        assert two.read("key") is None, "a store shows another store's entry"
        assert list(two.keys()) == [], "a store lists another store's key"
        assert two.delete("key") is False
        assert two.clear() == 0, "a store counts another store's entries"
        assert one.read("key") == b"{}", "clearing one store cleared another"
        two.write("key", b"[]", FAR)
        assert one.read("key") == b"{}", "writing to one store changed another"

    # -- what cannot be opened ---------------------------------------------------------------------------------------

    def test_a_path_that_cannot_be_written_is_refused_when_opened(self, tmp_path: Path) -> None:
        occupied = tmp_path / "a file"
        occupied.write_text("not a folder")
        options = plain(self.settings(occupied))
        if not any(str(occupied) in str(value) for value in options.values()):
            pytest.skip("the backend has no option that is a path")
        settings = self._validated(options, tmp_path)
        with pytest.raises(SymcacheError):
            self.record.open(settings)
        assert occupied.read_text() == "not a folder", "a file of someone else's was overwritten"

    @pytest.mark.parametrize("damage", ["cut", "overwritten", "emptied"])
    def test_a_damaged_store_gives_no_wrong_entry_and_only_our_errors(
        self, tmp_path: Path, opened: ExitStack, damage: str
    ) -> None:
        folder = tmp_path / "store"
        store = self.open(folder, opened)
        written = {f"key{number}": b'{"n":"%b"}' % (b"%d" % number * 500) for number in range(20)}
        for key, entry in written.items():
            store.write(key, entry, FAR)
        store.close()
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        if not files:
            pytest.skip("the backend keeps no files in its folder")
        for path in files:
            whole = path.read_bytes()
            path.write_bytes(
                {"cut": whole[: len(whole) // 2], "overwritten": b"\xff\x00" * 512, "emptied": b""}[damage]
            )
        settings = self._validated(plain(self.settings(folder)), folder)
        with suppress(SymcacheError):
            again = self.record.open(settings)
            opened.callback(again.close)
            for key, entry in written.items():
                assert again.read(key) in (None, entry), "damage passed for an entry"
            assert set(again.keys()) <= set(written), "damage passed for a key"
            again.write("after", b"{}", FAR)
            assert again.read("after") == b"{}", "a store that opens in spite of the damage takes new entries"

    # -- the end -----------------------------------------------------------------------------------------------------

    def test_closing_twice_is_harmless(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        store.write("key", b"{}", FAR)
        store.close()
        store.close()

    def test_a_closed_store_refuses_every_use(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        store.write("key", b"{}", FAR)
        store.close()
        for name, use in _uses(store):
            with pytest.raises(ClosedError):
                pytest.fail(f"{name} of a closed store gave {use()!r} where a ClosedError is due")

    # -- settings ----------------------------------------------------------------------------------------------------

    def test_an_unknown_option_is_refused_by_name(self, tmp_path: Path) -> None:
        options = {**plain(self.settings(tmp_path)), "no_such_option": 1}
        with pytest.raises(ConfigurationError, match="no_such_option"):
            Registry(self.plugins).open(self.backend, options, base_dir=tmp_path, data_dir=tmp_path)

    def test_an_option_of_the_wrong_type_is_refused_by_name(self, tmp_path: Path) -> None:
        options = plain(self.settings(tmp_path))
        for name in self.record.settings.model_fields:
            with pytest.raises(ConfigurationError) as raised:
                Registry(self.plugins).open(
                    self.backend, {**options, name: object()}, base_dir=tmp_path, data_dir=tmp_path
                )
            assert f"'{name}" in str(raised.value), f"the error does not name the option {name!r}: {raised.value}"

    def test_an_option_that_is_a_secret_is_declared_as_one(self) -> None:
        for name, field in self.record.settings.model_fields.items():
            if any(word in name.lower() for word in SECRET_WORDS):
                assert "SecretStr" in str(field.annotation), f"option {name!r} holds a secret: make it a SecretStr"

    def test_no_secret_shows(self, tmp_path: Path, opened: ExitStack) -> None:
        options = plain(self.settings(tmp_path))
        settings = self._validated(options, tmp_path)
        secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
        if not any(secrets):
            pytest.skip("the test's settings have no secret")
        store = self.open(tmp_path / "store", opened)
        with pytest.raises(ConfigurationError) as raised:
            Registry(self.plugins).open(
                self.backend, {**options, "no_such_option": 1}, base_dir=tmp_path, data_dir=tmp_path
            )
        shown = {"the store": store, "its settings": settings, "an error": raised.value}
        for what, value in shown.items():
            for secret in filter(None, secrets):
                # The assertion must not show what it protects.
                hidden = secret not in repr(value) and secret not in str(value)
                assert hidden, f"a secret shows in the text of {what}"

    def _validated(self, options: dict[str, Any], folder: Path) -> BaseModel:
        return self.record.settings.model_validate(options, context={"base_dir": folder, "data_dir": folder})


def _uses(store: StorageBackend) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "read", lambda: store.read("key")
    yield "write", lambda: store.write("key", b"{}", FAR)
    yield "delete", lambda: store.delete("key")
    yield "keys", lambda: list(store.keys())
    yield "clear", store.clear
    if isinstance(store, CanUpdate):
        yield "update", lambda: store.update("key", lambda _entry: (b"{}", FAR))
    if isinstance(store, CanBatch):
        yield "read_many", lambda: store.read_many(["key"])
        yield "write_many", lambda: store.write_many({"key": (b"{}", FAR)})
    if isinstance(store, CanLock):
        yield "try_lock", lambda: store.try_lock("key")
    if isinstance(store, CanSize):
        yield "size", store.size
    if isinstance(store, CanCompact):
        yield "compact", store.compact
