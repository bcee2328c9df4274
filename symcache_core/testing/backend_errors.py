"""What a storage backend promises about errors, on whatever storage, and about secrets wherever something is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from hashlib import shake_256
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from ..errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptStoreError,
    SymcacheError,
)
from ..messages import explain
from ..protocols import CanBatch, CanLock, CanUpdate, StorageBackend
from .contract import Contract
from .harness import FAR, plain, raises
from .watching import Calls, ending, hides, password_in, secrets_of, shown_by, told, watched

_CANARY = "canary-7f3a9c"
"""A secret that no text has in it by chance."""

_WRONG_SECRETS = [
    _CANARY,
    f"nothing://user:{_CANARY}@nowhere.invalid:port/x",
    f"{_CANARY}\x00",
]
"""Values that an option with a secret may refuse."""

_RAISED_BY_CHANGE = (
    OSError("the caller's own"),
    ConnectionResetError("the caller's own"),
    TimeoutError("the caller's own"),
    ValueError("the caller's own"),
    TypeError("the caller's own"),
    RuntimeError("the caller's own"),
    BackendUnavailableError("the caller's own"),
    ClosedError("the caller's own"),
    CorruptStoreError("the caller's own"),
)
"""What a function of the caller's may raise, and a driver as well."""


class ErrorPromises(Contract):
    """Promises of what is raised and shown, with nothing wrong with the storage."""

    @pytest.fixture
    def given(self, tmp_path: Path) -> BaseModel:
        """The validated options of a store; skips a test if no secret is among them."""
        folder = tmp_path / "store"
        settings = self.record.settings.model_validate(
            plain(self.settings(folder)), context={"base_dir": folder, "data_dir": folder}
        )
        if not secrets_of(settings):
            pytest.skip("the test's settings have no secret")
        return settings

    # -- errors ------------------------------------------------------------------------------------------------------

    def test_an_error_says_something(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        store.close()
        for name, call in _on_one_key(store, "key"):
            outcome = ending(name, call)
            assert isinstance(outcome.error, ClosedError), f"of a closed store {outcome}, where a ClosedError is due"
            assert str(outcome.error).strip(), f"the error of {name} has no message: say what to do"

    @pytest.mark.parametrize("length", [2_000, 100_000])
    def test_a_key_that_is_refused_is_refused_alone(self, tmp_path: Path, opened: ExitStack, length: int) -> None:
        store = self.open(tmp_path / "store", opened)
        long = shake_256(b"a key").hexdigest(length // 2)  # which does not become short by being compressed
        store.write("kept", b"{}", FAR)
        for name, call in _on_one_key(store, long):
            outcome = ending(name, call)
            assert outcome.error is None or _is_a_refusal(outcome.error), (
                f"{name} of a key of {length} characters raised {told(outcome.error)[:300]}: a key that is refused for "
                "what it is, is a BackendError of no other kind; the storage is used on for all others"
            )
            assert store.read("kept") == b"{}", f"{name} of a key of {length} characters harmed another entry"
        store.write("kept", b"[]", FAR)
        assert store.read("kept") == b"[]", "after a key was refused, others cannot be written"

    @pytest.mark.parametrize("error", _RAISED_BY_CHANGE, ids=lambda error: type(error).__name__)
    def test_what_change_raises_is_taken_for_nobody_elses(
        self, tmp_path: Path, opened: ExitStack, error: Exception
    ) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        store.write("key", b"{}", FAR)

        def change(_entry: bytes | None) -> tuple[bytes, float]:
            raise error

        outcome = ending("update", lambda: store.update("key", change))
        assert outcome.error is error, (
            f"change raised {told(error)}, and {outcome}: what the caller's function raises goes out as it is, so call "
            "it where nothing takes its error for one of the storage"
        )
        assert store.read("key") == b"{}", f"change raised {told(error)}, and the entry is not as it was"
        store.update("key", lambda _entry: (b"[]", FAR))
        assert store.read("key") == b"[]", f"change raised {told(error)}, and the next update is not written"

    def test_an_interrupt_inside_change_goes_out(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanUpdate):
            pytest.skip("the backend has no update")
        store.write("key", b"{}", FAR)
        interrupt = KeyboardInterrupt("the user's own")

        def change(_entry: bytes | None) -> tuple[bytes, float]:
            raise interrupt

        outcome = ending("update", lambda: store.update("key", change))
        assert outcome.error is interrupt, (
            f"an interrupt came inside change, and {outcome}: let KeyboardInterrupt out, as all that change raises"
        )
        updating = ending("update", lambda: store.update("other", lambda _entry: (b"[]", FAR)))
        assert updating.error is None, f"after an interrupt inside change, {updating}: let go of locks in a 'finally'"
        assert (store.read("key"), store.read("other")) == (b"{}", b"[]"), (
            "an interrupt inside change left the entry other than it was, or kept the next update from being written"
        )

    def test_a_url_that_cannot_be_right_is_a_wrong_configuration(self, tmp_path: Path) -> None:
        given = plain(self.settings(tmp_path / "store"))
        names = [name for name in given if "://" in str(given[name])]
        if not names:
            pytest.skip("the backend has no option that is a URL")
        for name in names:
            for wrong in _no_urls(given[name]):
                if (settings := self._validated_with(name, wrong, tmp_path)) is not None:
                    raises(
                        ConfigurationError,
                        lambda settings=settings: self.record.open(settings).close(),  # type: ignore[misc]  # bound at once
                        f"option {name!r} is {wrong!r}, which is the address of nothing: refuse it with a "
                        "ConfigurationError when it is opened, before anything is looked for there",
                    )

    # -- secrets -----------------------------------------------------------------------------------------------------

    def test_no_secret_is_in_a_dump_of_the_settings(self, given: BaseModel) -> None:
        dump = [given.model_dump_json(), repr(given.model_dump()), repr(given), str(given)]
        hides(secrets_of(given), dump, "a dump of the settings")

    def test_no_secret_is_logged_or_printed(
        self, given: BaseModel, tmp_path: Path, opened: ExitStack, capfd: pytest.CaptureFixture[str]
    ) -> None:
        secrets = secrets_of(given)
        with watched() as shown:
            store = self.open(tmp_path / "store", opened)
            for name, call in _on_one_key(store, "key"):
                outcome = ending(name, call)
                if outcome.error is not None:
                    hides(secrets, [shown_by(outcome.error)], f"what {name} raises")
            shown += [repr(store), str(store)]
            store.close()
            shown.append(shown_by(ending("read", lambda: store.read("key")).error or ClosedError()))
        hides(secrets, shown, "a log record, a warning, the store's text, or the error after close")
        hides(secrets, capfd.readouterr(), "what is printed")

    def test_a_secret_that_is_refused_is_not_shown(self, tmp_path: Path) -> None:
        fields = self.record.settings.model_fields.items()
        if not (names := [name for name, field in fields if "SecretStr" in str(field.annotation)]):
            pytest.skip("the backend has no option that is a secret")
        given = plain(self.settings(tmp_path / "store"))
        for name in names:
            for value in (*_WRONG_SECRETS, [_CANARY], {"value": _CANARY}):
                try:
                    self.record.settings.model_validate(
                        {**given, name: value}, context={"base_dir": tmp_path, "data_dir": tmp_path}
                    )
                except ValidationError as error:
                    hides([_CANARY], [explain(error, "setting", names)], f"the error about a wrong option {name!r}")

    @pytest.mark.parametrize("wrong", _WRONG_SECRETS, ids=["one word", "no such URL", "a NUL"])
    def test_a_secret_that_cannot_be_right_is_not_shown(
        self, given: BaseModel, tmp_path: Path, opened: ExitStack, wrong: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for name, value in given:
            if not isinstance(value, SecretStr) or (settings := self._validated_with(name, wrong, tmp_path)) is None:
                continue  # what is refused before it is opened is another promise's
            self._shows_nothing_of(name, settings, opened, capfd)

    def test_a_secret_that_the_storage_refuses_is_no_miss(
        self, given: BaseModel, tmp_path: Path, opened: ExitStack
    ) -> None:
        self.only_if_persistent()
        self.open(tmp_path / "store", opened).write("key", b'{"known":1}', FAR)
        for name, value in given:
            if not isinstance(value, SecretStr) or (wrong := _another(value.get_secret_value())) is None:
                continue
            opening = ending("open", partial(self.record.open, given.model_copy(update={name: SecretStr(wrong)})))
            if opening.error is not None:
                continue  # it is refused, and another promise is about how
            opened.callback(opening.value.close)
            reading = ending("read", partial(opening.value.read, "key"))
            writing = ending("write", partial(opening.value.write, "other", b"{}", FAR))
            # Whoever may write has another store, or a storage that does not look.
            assert writing.error is None or reading.error is not None or reading.value is not None, (
                f"with a wrong {name!r} the storage takes no write, and read gave None: who is not let in raises "
                "BackendUnavailableError, and finds no miss"
            )

    def test_a_secret_that_the_storage_refuses_is_not_shown(
        self, given: BaseModel, tmp_path: Path, opened: ExitStack, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for name, value in given:
            if not isinstance(value, SecretStr) or (wrong := _another(value.get_secret_value())) is None:
                continue
            settings = given.model_copy(update={name: SecretStr(wrong)})
            self._shows_nothing_of(name, settings, opened, capfd)

    def _shows_nothing_of(
        self, name: str, settings: BaseModel, opened: ExitStack, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Open a store with a secret that is wrong, and look at what is said of it."""
        with watched() as shown:
            outcome = ending("open", partial(self.record.open, settings))
            if outcome.error is None:
                opened.callback(outcome.value.close)
                outcome = ending("read", partial(outcome.value.read, "key"))
        if outcome.error is not None:
            hides([_CANARY], [shown_by(outcome.error)], f"what is raised with a wrong {name!r}, or in its cause")
            assert isinstance(outcome.error, SymcacheError), (
                f"with a wrong {name!r} {outcome.name} raised {type(outcome.error).__name__}, which is not ours"
            )
        hides([_CANARY], [*shown, *capfd.readouterr()], f"what is logged or printed with a wrong {name!r}")

    def _validated_with(self, name: str, value: str, folder: Path) -> BaseModel | None:
        """The options of a store, one of them another; ``None`` if they are refused."""
        options = {**plain(self.settings(folder / "store")), name: value}
        try:
            return self.record.settings.model_validate(options, context={"base_dir": folder, "data_dir": folder})
        except ValidationError:
            return None


def _no_urls(url: str) -> Iterator[str]:
    """What cannot be right in the place of a URL."""
    yield "these are words"
    yield f"{url.partition('://')[0]}://[half/of/an/address"


def _another(secret: str) -> str | None:
    """A secret of the same form that is wrong; none of a URL without a password."""
    if "://" not in secret:
        return _CANARY
    password = password_in(secret)
    return secret.replace(f":{password}@", f":{_CANARY}@") if password else None


def _on_one_key(store: StorageBackend, key: str) -> Calls:
    calls: Calls = [
        ("write", lambda: store.write(key, b"{}", FAR)),
        ("read", lambda: store.read(key)),
    ]
    if isinstance(store, CanUpdate):
        calls.append(("update", lambda: store.update(key, lambda _entry: (b"[]", FAR))))
    if isinstance(store, CanBatch):
        calls.append(("read_many", lambda: store.read_many([key])))
        calls.append(("write_many", lambda: store.write_many({key: (b"{}", FAR)})))
    if isinstance(store, CanLock):
        calls.append(("try_lock", lambda: store.try_lock(key)))
    calls.append(("delete", lambda: store.delete(key)))
    return calls


def _is_a_refusal(error: BaseException) -> bool:
    """Whether it is a BackendError of no other kind; a class of the author's own is one."""
    kinds = [kind for kind in type(error).__mro__ if kind.__module__ == SymcacheError.__module__]
    return bool(kinds) and kinds[0] is BackendError
