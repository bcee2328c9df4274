"""Tells the files beside a snapshot from another program's that have their names: those are refused, and left alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from symcache_core.errors import ConfigurationError

from ..store_time import SIZE, is_noted
from . import records

BEHIND_THE_WORD = 8
"""Where the lock file has what is known of the store's time; before it stands the shared word."""

_WORDS = 1 << 30
"""Every word is less, so that half of its bytes are zeros, which no text has."""

_AT_FIRST = 1 << 16


def claim_lock(descriptor: int, path: Path) -> None:
    """See to it that an open lock file is one of symcache's, or make it one if it is new; the caller holds the lock.

    Raises:
        ConfigurationError: It is another program's.
        OSError: It cannot be written.
    """
    start = os.pread(descriptor, BEHIND_THE_WORD, 0)
    is_whole = len(start) == BEHIND_THE_WORD or not any(start)
    is_word = is_whole and int.from_bytes(start, sys.byteorder) < _WORDS
    # What a crash has left of the note may be anything, but no more than that.
    is_ours = is_word and os.fstat(descriptor).st_size <= BEHIND_THE_WORD + SIZE
    is_known = is_noted(descriptor, BEHIND_THE_WORD)
    if not (is_ours or is_known):
        raise refusal(path)
    if not is_known and not any(start):
        # Once they are safe, a crash leaves no part of a word, which might be anything. Whoever wrote zeros here before
        # may have been killed before that.
        os.pwrite(descriptor, bytes(BEHIND_THE_WORD), 0)
        os.fsync(descriptor)


def refuse_journal(descriptor: int, path: Path) -> None:
    """See to it that an open journal is one of symcache's, or new, however damaged.

    Raises:
        ConfigurationError: It is another program's.
    """
    size = os.fstat(descriptor).st_size
    if not is_journal(os.pread(descriptor, _AT_FIRST, 0)) and not is_journal(os.pread(descriptor, size, 0)):
        raise refusal(path)


def is_journal(text: bytes) -> bool:
    """Whether a text may be a journal's: it has a part of a record, or nothing but what a power loss leaves."""
    if records.AFTER_NAME in text:
        return True
    rest = text.strip(b"\0\n")
    if b"\0" in text and text[:1] in (b"\0", b"{") and _is_text(text):  # a record of which a part was not written
        return True
    return not rest or (b"\n" not in rest and b'{"'.startswith(rest[:2]) and not _is_whole(rest))


def refusal(path: Path) -> ConfigurationError:
    """The error of a file that is another program's."""
    return ConfigurationError(
        f"{path} is not a file of the json backend and is left alone: move it away, "
        "or set 'backends.json.path' to another file"
    )


def _is_text(text: bytes) -> bool:
    """Whether there are no control characters in it but line ends, and what a power loss leaves."""
    return min(text.replace(b"\0", b" ").replace(b"\n", b" ")) >= ord(" ")


def _is_whole(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
