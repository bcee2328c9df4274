"""What a test looks at besides what a call gives: whether it ends, what it shows, and what it leaves open."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

ENDS_WITHIN = 15.0
"""Seconds within which every call has ended, even if the storage is out of reach."""

Calls = list[tuple[str, Callable[[], object]]]
"""Calls that are tried one after another, each with its name."""

_DESCRIPTORS = "/dev/fd"
_SHORTEST = 4
"""Characters below which a secret is found by chance in any text."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call.

    Args:
        name: Which call.
        value: What it gave.
        error: What it raised.
    """

    name: str
    value: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.name} gave {self.value!r}" if self.error is None else f"{self.name} raised {told(self.error)}"


def ending(name: str, call: Callable[[], object], within: float = ENDS_WITHIN) -> Outcome:
    """What comes of a call; fails if it has not ended by then, and leaves it to itself."""
    return endings([(name, call)], within)[0]


def endings(calls: Calls, within: float = ENDS_WITHIN) -> list[Outcome]:
    """What comes of calls in threads of their own, all at once; fails likewise."""
    outcomes: dict[int, Outcome] = {}

    def run(number: int, name: str, call: Callable[[], object]) -> None:
        try:
            outcomes[number] = Outcome(name, value=call())
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test judges it
            outcomes[number] = Outcome(name, error=error)

    threads = [threading.Thread(target=run, args=(number, *named), daemon=True) for number, named in enumerate(calls)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within
    for (name, _), thread in zip(calls, threads, strict=True):
        thread.join(max(deadline - time.monotonic(), 0))
        assert not thread.is_alive(), (
            f"{name} has not ended within {within:g} s: bound each connection, each query and each wait"
        )
    return [outcomes[number] for number in range(len(threads))]


def told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"


# -- secrets -----------------------------------------------------------------------------------------------------------


def secrets_of(settings: BaseModel) -> list[str]:
    """What must not show of the options of a store: each secret, and the password in one that is a URL."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    passwords = [password for password in map(password_in, values) if password]
    return [secret for secret in {*values, *passwords, *map(unquote, passwords)} if len(secret) >= _SHORTEST]


def password_in(value: str) -> str | None:
    """The password of a URL, as it stands there."""
    try:
        return urlsplit(value).password
    except ValueError:  # it is no URL
        return None


def shown_by(error: BaseException) -> str:
    """All that a traceback of an error shows, its causes included."""
    return "".join(traceback.format_exception(error)) + repr(error)


def hides(secrets: Iterable[str], texts: Iterable[str], what: str) -> None:
    """Fail if a secret is in a text; what fails must not show the secret either."""
    every = "".join(texts)
    shows = any(secret in every for secret in secrets)
    assert not shows, (
        f"a secret shows in {what}: where a driver says it, raise an error of your own 'from None', and keep the "
        "driver's logger quiet; keep a secret a SecretStr until the driver is given it"
    )


class _Keeper(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.NOTSET)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # arguments that do not fit are another one's defect
            self._texts.append(self.format(record))


@contextmanager
def watched() -> Iterator[list[str]]:
    """Keep the text of every log record, of whatever level and logger, and of every warning."""
    shown: list[str] = []
    handler = _Keeper(shown)
    with ExitStack() as stack, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for logger in _loggers():
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
            if logger.parent is None or not logger.propagate:
                logger.addHandler(handler)
                stack.callback(logger.removeHandler, handler)
        yield shown
        shown += [str(warning.message) for warning in caught or ()]


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


# -- what is left open -------------------------------------------------------------------------------------------------


def left_open() -> tuple[int, int]:
    """How many threads run in this process, and how many descriptors are open."""
    return threading.active_count(), len(os.listdir(_DESCRIPTORS))


def settled(most: tuple[int, int], within: float = ENDS_WITHIN) -> tuple[int, int]:
    """What is left open once it is no more than that, or when the time is over."""
    deadline = time.monotonic() + within
    left = left_open()
    while any(now > bound for now, bound in zip(left, most, strict=True)) and time.monotonic() < deadline:
        time.sleep(0.02)  # threads that have been told to end do so by themselves
        left = left_open()
    return left
