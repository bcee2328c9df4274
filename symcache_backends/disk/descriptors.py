"""Asks a file by the descriptor that SQLite has of it in this process.

With the first descriptor of a file that is closed, the system drops every lock this process has on it, SQLite's
included. So none is opened beside those. One may be closed at any moment, and its number be another file's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from .paths import Identity, identity_of

T = TypeVar("T")


def descriptor_of(file: Identity) -> int:
    """By which number this process has a file open, whoever has opened it; -1 if it has not."""
    return next(_descriptors_of(file), -1)


def asked(file: Identity, ask: Callable[[int], T]) -> T | None:
    """What is learnt of a file by a descriptor of it; ``None`` if this process has none.

    Args:
        file: Which.
        ask: Gets a descriptor; it is called again where that turns out to be another file's by now.

    Raises:
        OSError: As ``ask`` does.
    """
    for number in _descriptors_of(file):
        try:
            learnt = ask(number)
        except OSError:
            if _is_of(number, file):
                raise
        else:
            if _is_of(number, file):
                return learnt
    return None


def close_if_alone(number: int) -> None:
    """Close a descriptor, unless this process has opened its file once more by now: then it stays open for good.

    Args:
        number: The descriptor.
    """
    if [*_descriptors_of(identity_of(os.fstat(number)))] == [number]:
        os.close(number)


def _descriptors_of(file: Identity) -> Iterator[int]:
    return (number for number in map(int, os.listdir("/dev/fd")) if _is_of(number, file))


def _is_of(number: int, file: Identity) -> bool:
    try:
        return identity_of(os.fstat(number)) == file
    except OSError:  # it is that of the listing itself, or was closed
        return False
