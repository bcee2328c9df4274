"""Where each record of the two files stands: one number for each name.

The number is the start above, the length below, and whether it is in the journal in the lowest bit. A tuple for each of
a million names would cost several times the memory, and the garbage collector would go through them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from symcache_core.errors import CorruptEntryError, CorruptStoreError, NewerSchemaError

from . import records

_CHUNK = 1 << 20
"""Bytes to read of the snapshot at a time; more at once would cost new memory for each."""

_LENGTH_BITS = 40
_START_AT = _LENGTH_BITS + 1

Places = dict[bytes, int]

Reject = Callable[[bytes, CorruptEntryError], None]
"""Sets aside what cannot be read."""


def in_journal(start: int, length: int) -> int:
    """Where a member of the journal is, as one number: of the snapshot it would be even."""
    return (start << _START_AT) + (length << 1 | 1)


def where(place: int) -> tuple[int, int, bool]:
    """The start and the length of a member, and whether it is in the journal."""
    return place >> _START_AT, place >> 1 & (1 << _LENGTH_BITS) - 1, bool(place & 1)


def index_snapshot(snapshot: FileIO, path: Path, places: Places, reject: Reject) -> bool:
    """Index a snapshot; tells whether it ends as one does that was not cut short.

    Raises:
        CorruptStoreError: It is something else.
        NewerSchemaError: A newer symcache wrote it.
    """
    descriptor = snapshot.fileno()
    size = os.fstat(descriptor).st_size
    header = records.HEADER.match(os.pread(descriptor, _CHUNK, 0))
    if header is None:
        if not os.pread(descriptor, size, 0).strip():  # as "touch" leaves it
            return True
        raise CorruptStoreError(
            f"{path} is not a store of the json backend and is left alone: move it away, "
            "or set 'backends.json.path' to another file"
        )
    if int(header[1]) > records.SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path} has schema {int(header[1])} and this symcache reads up to {records.SCHEMA_VERSION}: "
            "upgrade symcache, or set 'backends.json.path' to another file"
        )
    position, ends_well = header.end() + 1, False
    while position < size:
        text = os.pread(descriptor, _CHUNK, position)
        stop = text.rfind(b"\n") + 1
        if not stop:  # a line that is longer than what is read at once
            text = os.pread(descriptor, size - position, position)
            stop = text.find(b"\n") + 1 or len(text)
        if not text:  # it is being cut short
            return False
        ends_well = _index_lines(text, stop, position, places, reject)
        position += stop
    return ends_well


def index_appended(text: bytes, start: int, position: int, places: Places, reject: Reject) -> int:
    """Index the whole lines of the journal; what comes after the last line's end does not count yet.

    Each is checked, so that one that a crash has damaged does not hide the record that it was to replace.

    Args:
        text: A part of the journal.
        start: Where the first of the lines starts in it.
        position: Where the text starts in the journal.
        places: The index.
        reject: What to do with a damaged line.

    Returns:
        Where the last of them ends in the text.
    """
    while (end := text.find(b"\n", start)) >= 0:
        member = text[start + 1 : end - 1]
        name = member[: max(0, member.find(records.AFTER_NAME))]
        try:
            if not name:
                raise CorruptEntryError("a record has no key")
            if records.parse(name, member).entry is None:
                places.pop(name, None)
            else:
                places[name] = in_journal(position + start + 1, len(member))
        except CorruptEntryError as error:
            reject(member, error)
        start = end + 1
    return start


def _index_lines(text: bytes, stop: int, position: int, places: Places, reject: Reject) -> bool:
    """Index whole lines, which stand at a position of the snapshot; tells whether the last one ends it."""
    # The one loop over everything there is, written for speed: single bytes are found fastest.
    find, comma, backslash, start = text.find, ord(","), ord("\\"), 0
    while start < stop:
        end = find(b"\n", start, stop)
        if end < 0:
            end = stop
        quote = find(b'"', start + 1, end)
        # A name with an escaped quote in it is rare, and found by what follows the name.
        if quote > 0 and text[quote - 1] == backslash:
            quote = find(records.AFTER_NAME, start, end) - 1
        if quote > start:
            length = end - start - (text[end - 1] == comma)
            places[text[start : quote + 1]] = (position + start << _LENGTH_BITS | length) << 1
        elif text[start:end] == records.FOOTER:
            return True
        elif end > start:
            reject(text[start:end], CorruptEntryError("a record has no key"))
        start = end + 1
    return False
