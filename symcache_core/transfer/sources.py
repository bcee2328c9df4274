"""Tells what wrote a file, and finds the entries in it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..entries import unversioned
from ..entries.items import Found, Unreadable
from ..errors import ConfigurationError
from ..settings import SymcacheSettings
from .host_file import host_entries
from .lines import are_lines, read_lines
from .salvage import whole_part
from .stores import StoredEntries

STDIN = Path("-")

_JSON_STORE = re.compile(rb'\{"symcache":\{')


@contextmanager
def entries_in(file: Path, settings: SymcacheSettings, *, provider: str | None = None) -> Iterator[Collection[Found]]:
    """What a file holds: an export, a store of the json or the diskcache backend, or what an unversioned cache wrote.

    It stays as it is; of a store, a copy is opened.

    Args:
        file: The file, the folder of a diskcache store, or ``-`` for standard input.
        settings: Have the options of the backends, and how long answers live.
        provider: Whose answers an unversioned file holds; Interactive Brokers' when left out.

    Raises:
        ConfigurationError: There is no such file, or it is nothing of the kind, or says itself whose answers it holds.
        BackendError: It is a store and cannot be opened.
    """
    backend = store_at(file)
    if backend is None:
        yield _entries_of(_read(file), file, settings, provider)
        return
    _says_so_itself(provider)
    from .snapshot import opened_copy  # it needs fcntl, which not every system has; nor have these two backends there

    with opened_copy(file.absolute(), backend, settings) as store:
        yield StoredEntries(store)


def store_at(file: Path) -> str | None:
    """The backend whose store a path is, if it is one's.

    Raises:
        ConfigurationError: It cannot be looked at.
    """
    if file == STDIN:
        return None
    try:
        return _kind_of(file)
    except OSError as error:
        raise _unreadable(file, error) from None


def _kind_of(file: Path) -> str | None:
    if (file / "cache.db").is_file():
        return "diskcache"
    if file.is_file():
        with file.open("rb") as opened:
            return "json" if _JSON_STORE.match(opened.read(64)) else None
    # A store of the json backend that has never been closed has only a journal.
    return "json" if file.with_name(f"{file.name}.journal").is_file() else None


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"argument 'FILE': {file} cannot be read: {error.strerror or error}")


def _entries_of(text: bytes, file: Path, settings: SymcacheSettings, provider: str | None) -> Collection[Found]:
    if are_lines(text):
        _says_so_itself(provider)
        return list(read_lines(text))
    lost = []
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document, first = whole_part(text)
        lost = [Unreadable(first, f"{file} is damaged or cut short here, and nothing of what follows is read")]
    whose = provider or unversioned.PROVIDER
    if _is_of_a_host(document):
        return [*host_entries(document, whose, settings.policy), *lost]
    if unversioned.is_table(document) and (document or not lost):
        return [*unversioned.entries_of(document, whose), *lost]
    raise ConfigurationError(
        f"argument 'FILE': {file} is neither an export of symcache nor a store of the json or diskcache backend, "
        "nor a file of an unversioned symbol cache"
    )


def _is_of_a_host(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("cache"), Mapping)


def _says_so_itself(provider: str | None) -> None:
    if provider is not None:
        raise ConfigurationError("option '--provider': this file says itself whose answers it holds; leave it out")
