"""Reads what is whole of a damaged JSON file; caches that rewrote theirs in place left many a one cut short."""

from __future__ import annotations

import json
import re
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_HOST = re.compile(r'\s*\{\s*"cache"\s*:')
_decode = json.JSONDecoder().raw_decode

THE_REST = "the rest of the file"


def whole_part(text: bytes) -> tuple[dict[str, Any], str]:
    """What comes before the damage in a backend's file, or in the table of a host's, which is its first member.

    Returns:
        What there is, and the name of the first member that is lost.
    """
    # What is no UTF-8 becomes what no symbol and no field may have.
    document = text.decode(errors="surrogateescape")
    host = _HOST.match(document)
    members, lost = _whole_members(document, host.end() if host else 0)
    return ({"cache": members} if host else members), lost


def _whole_members(text: str, at: int) -> tuple[dict[str, Any], str]:
    members: dict[str, Any] = {}
    name = THE_REST
    try:
        sign, at = _sign(text, at, "{")
        while sign != "}":
            name = THE_REST
            _, at = _sign(text, at, '"')
            name, at = _decode(text, at - 1)
            _, at = _sign(text, at, ":")
            value, at = _decode(text, _skip(text, at))
            sign, at = _sign(text, at, ",}")  # without it, even a number may be cut short
            members[name] = value
    except (ValueError, RecursionError):
        return members, name
    return members, THE_REST


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _sign(text: str, at: int, expected: str) -> tuple[str, int]:
    at = _skip(text, at)
    sign = text[at : at + 1]
    if not sign or sign not in expected:
        raise ValueError(f"no {expected!r} at {at}")
    return sign, at + 1
