"""What a storage backend promises about opening and closing: settings, secrets, paths, and what outlives a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from pydantic import BaseModel, SecretStr

from ..errors import ClosedError, ConfigurationError, SymcacheError
from ..protocols import CanBatch, CanCompact, CanLock, CanSize, CanUpdate, StorageBackend
from ..registry import Registry
from .backend_entries import KEYS
from .contract import Contract
from .harness import FAR, plain, raises

SECRET_WORDS = ("password", "passwd", "secret", "token", "credential")
"""What the name of an option that holds a secret has in it."""

NEEDS_HOST = ("http://", "https://")
"""How the URLs begin that mean nothing without a host; others may mean this machine."""


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
        assert sorted(again.keys()) == sorted(KEYS), (
            "keys() after a reopening does not give what was there at close: what is written has to outlive the object"
        )
        assert {again.read(key) for key in again.keys()} == {b'{"kept":1}'}, (
            "an entry changed between close and the next opening"
        )

    def test_what_was_changed_last_outlives_a_reopening(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        for number in range(3):
            store = self.open(tmp_path / "store", opened)
            kept = b'{"n":%d}' % (number - 1) if number else None
            assert store.read("changed") == kept, "a reopened store has what was written last, and nothing older"
            store.write("changed", b'{"n":9}', FAR)
            store.write("changed", b'{"n":%d}' % number, FAR)
            store.write("deleted", b"{}", FAR)
            store.delete("deleted")
            store.close()
        again = self.open(tmp_path / "store", opened)
        assert list(again.keys()) == ["changed"], (
            "an entry that was deleted is back after a reopening: delete in the storage, too"
        )
        assert again.read("changed") == b'{"n":2}', "an older entry is back"
        again.clear()
        again.close()
        assert list(self.open(tmp_path / "store", opened).keys()) == [], "cleared entries are back"

    def test_two_stores_are_apart(self, tmp_path: Path, opened: ExitStack) -> None:
        one = self.open(tmp_path / "one", opened)
        two = self.open(tmp_path / "two", opened)
        one.write("key", b"{}", FAR)
        assert two.read("key") is None, (
            "a store shows another store's entry: what the options name has to tell stores apart"
        )
        assert list(two.keys()) == [], "a store lists another store's key"
        assert two.delete("key") is False, "delete of one store finds another store's entry"
        assert two.clear() == 0, "clear counts or drops another store's entries"
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
        raises(
            SymcacheError,
            lambda: self.record.open(settings).close(),
            "a path below a file cannot be written: open has to raise BackendUnavailableError or ConfigurationError",
        )
        assert occupied.read_text() == "not a folder", "a file of someone else's was overwritten"

    def test_a_url_without_a_host_is_refused(self, tmp_path: Path) -> None:
        options = plain(self.settings(tmp_path))
        urls = {name: str(url) for name, url in options.items() if str(url).startswith(NEEDS_HOST)}
        if not urls:
            pytest.skip("the test's settings have no URL of HTTP")
        for name, url in urls.items():
            parts = urlsplit(url)
            for wrong in (urlunsplit(parts._replace(netloc="")), f"{parts.scheme}:///", f"{parts.scheme}://"):
                opening = partial(self._opened_with, {**options, name: wrong}, tmp_path)
                due = f"option {name!r} is a URL without a host: open has to raise ConfigurationError"
                raises(ConfigurationError, opening, due)

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
            raises(ClosedError, use, f"after close(), {name} has to raise ClosedError")

    # -- settings ----------------------------------------------------------------------------------------------------

    def test_an_unknown_option_is_refused_by_name(self, tmp_path: Path) -> None:
        options = {**plain(self.settings(tmp_path)), "no_such_option": 1}
        due = "an option that there is none of has to be refused by its name"
        error = raises(ConfigurationError, lambda: self._opened_with(options, tmp_path), due)
        assert "no_such_option" in str(error), f"{due}: {error}"

    def test_an_option_of_the_wrong_type_is_refused_by_name(self, tmp_path: Path) -> None:
        options = plain(self.settings(tmp_path))
        for name in self.record.settings.model_fields:
            wrong = partial(self._opened_with, {**options, name: object()}, tmp_path)
            due = f"option {name!r} takes anything: give it a type in the settings, so that what is wrong is refused"
            error = raises(ConfigurationError, wrong, due)
            assert f"'{name}" in str(error), f"the error has to name the option {name!r}: {error}"

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
        unknown = partial(self._opened_with, {**options, "no_such_option": 1}, tmp_path)
        error = raises(ConfigurationError, unknown, "an option that there is none of has to be refused by its name")
        shown = {"the store": store, "its settings": settings, "an error": error}
        for what, value in shown.items():
            for secret in filter(None, secrets):
                # The assertion must not show what it protects.
                hidden = secret not in repr(value) and secret not in str(value)
                assert hidden, f"a secret shows in the text of {what}"

    def _opened_with(self, options: Mapping[str, Any], folder: Path) -> None:
        Registry(self.plugins).open(self.backend, options, base_dir=folder, data_dir=folder).close()

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
