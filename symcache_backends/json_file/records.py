"""The text of both files: one record a line, each with a checksum.

The snapshot is one JSON object with a record a line, sorted by key::

    {"symcache":{"schema":1},"entries":{
    "ib||AAPL||":{"until":1793000000,"sum":"1f2e3d4c","entry":{...}},
    "ib||MSFT||":{"until":1793000000,"sum":"5a6b7c8d","entry":{...}}
    }}

A line of the journal is an object with one such member; ``"gone":true`` in place of the entry says that it was deleted.
An entry's own text is embedded byte for byte and never interpreted.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from symcache_core.errors import CorruptEntryError
from symcache_core.protocols import FOREVER

SCHEMA_VERSION = 1
HEADER = re.compile(rb'\{"symcache":\{"schema":(\d{1,9})\},"entries":\{')
FOOTER = b"}}"

AFTER_NAME = b':{"until":'
"""What follows a name; within one it cannot stand, because there its quote would be escaped."""

_LINE_END = ord("\n")
_GONE = b'"gone":true'
_REST = re.compile(rb':\{"until":(\d{1,12}),"sum":"([0-9a-f]{8})",("entry":(.*)|"gone":true)\}')


@dataclass(frozen=True, slots=True)
class Record:
    """What one line says: an entry and until when to keep it, or ``None`` for one that is gone."""

    entry: bytes | None
    keep_until: int


def name_of(key: str) -> bytes:
    """The name of a member, as it stands in the files: the key as a JSON string."""
    if key.isascii() and key.isprintable() and '"' not in key and "\\" not in key:
        return f'"{key}"'.encode()
    return json.dumps(key, ensure_ascii=False).encode()


def key_of(name: bytes) -> str:
    """The key that a name stands for.

    Raises:
        CorruptEntryError: It is damaged.
    """
    try:
        return str(json.loads(name))
    except ValueError:
        raise CorruptEntryError("the key of a record is not JSON") from None


def dump(name: bytes, entry: bytes, keep_until: float) -> bytes:
    """The member of a JSON object that puts an entry under a name.

    Raises:
        ValueError: The entry is more than one line.
    """
    if _LINE_END in entry:
        raise ValueError("an entry is one line")
    if not 0.0 <= keep_until <= FOREVER:
        keep_until = min(max(keep_until, 0.0), FOREVER)
    until, content = b"%d" % math.ceil(keep_until), b'"entry":' + entry
    checksum = zlib.crc32(content, zlib.crc32(name + until))
    return b'%b:{"until":%b,"sum":"%08x",%b}' % (name, until, checksum, content)


def dump_gone(name: bytes) -> bytes:
    """The member of a JSON object that says that a name has no entry any more."""
    return b'%b:{"until":0,"sum":"%08x",%b}' % (name, zlib.crc32(_GONE, zlib.crc32(name + b"0")), _GONE)


def parse(name: bytes, member: bytes) -> Record:
    """Read the member of a name, and check it against its checksum.

    Raises:
        CorruptEntryError: It is damaged, or another's.
    """
    match = _REST.fullmatch(member, len(name)) if member.startswith(name) else None
    if match is None:
        raise CorruptEntryError(f"the record of {name.decode(errors='replace')!a} is incomplete")
    until, checksum, content, entry = match.groups()
    if int(checksum, 16) != zlib.crc32(content, zlib.crc32(name + until)):
        raise CorruptEntryError(f"the record of {name.decode(errors='replace')!a} does not match its checksum")
    return Record(entry, int(until))


def dump_snapshot(members: Iterable[bytes]) -> Iterable[bytes]:
    """The pieces of a snapshot of these members, which come sorted."""
    yield b'{"symcache":{"schema":%d},"entries":{' % SCHEMA_VERSION
    separator = b"\n"
    for member in members:
        yield separator + member
        separator = b",\n"
    yield b"\n" + FOOTER + b"\n"
