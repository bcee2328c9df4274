"""Entries as JSON Lines, which any tool reads: what ``symcache export`` writes.

A line names its form, the storage key, and the entry with its own version and checksum, byte for byte::

    {"symcache":1,"key":"ib||AAPL||","entry":{"v":1,"sum":"1f2e3d4c","entry":{...}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ..entries.items import Found, Item, Unreadable, understood

SCHEMA_VERSION = 1

_START = re.compile(rb'\{"symcache":\d')
_LINE = re.compile(rb'\{"symcache":(\d{1,9}),"key":("(?:[^"\\]|\\.)*"),"entry":(.*)\}')


def write_line(item: Item) -> bytes:
    """The line of an entry, with its end."""
    key = json.dumps(item.key, ensure_ascii=False).encode()
    return b'{"symcache":%d,"key":%b,"entry":%b}\n' % (SCHEMA_VERSION, key, item.line)


def are_lines(text: bytes) -> bool:
    """Whether a file is of this form; one without any line is."""
    return not text.strip() or _START.match(text) is not None


def read_lines(text: bytes) -> Iterator[Found]:
    """The entry of each line."""
    for number, line in enumerate(text.split(b"\n"), 1):
        if line := line.strip():
            yield _read(line, f"line {number}")


def _read(line: bytes, name: str) -> Found:
    match = _LINE.fullmatch(line)
    if match is None:
        return Unreadable(name, "it is cut short, damaged or laid out anew, not as 'symcache export' wrote it")
    if int(match[1]) > SCHEMA_VERSION:
        return Unreadable(name, f"it has form {int(match[1])}; this symcache reads up to {SCHEMA_VERSION}: upgrade it")
    try:
        key = json.loads(match[2])
    except ValueError:
        return Unreadable(name, "its key is damaged")
    return understood(key, match[3])
