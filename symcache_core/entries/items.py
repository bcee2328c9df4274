"""What is found where entries are looked for: an entry with its very bytes, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CorruptEntryError, NewerSchemaError
from ..models import CachedSymbolInfo
from . import codec


@dataclass(frozen=True, slots=True)
class Item:
    """An entry.

    Args:
        key: The storage key that it belongs under.
        line: The bytes to store there.
        info: What they say.
    """

    key: str
    line: bytes
    info: CachedSymbolInfo

    @classmethod
    def made(cls, key: str, info: CachedSymbolInfo) -> Item:
        """An entry that has had no bytes of its own."""
        return cls(key, codec.encode(key, info), info)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that should have been an entry.

    Args:
        name: The key, the symbol or the line.
        why: What is wrong with it.
    """

    name: str
    why: str


Found = Item | Unreadable


def understood(key: str, line: bytes) -> Found:
    """The entry that a line is, if it belongs under the key, is whole, and is not of a newer symcache."""
    try:
        return Item(key, line, codec.decode(key, line))
    except (CorruptEntryError, NewerSchemaError) as error:
        return Unreadable(key, str(error))
