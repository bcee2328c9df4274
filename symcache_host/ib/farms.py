"""Which data farms a notice names, in whatever language: its words are another program's, but a farm's name is not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

_SEPARATOR = r"[;,\uff1b\uff0c、]"
_STOP = r"[.;。\uff1b]"
_COLON = r"[:\uff1a]"

_FARM = re.compile(rf"(?:{_COLON}|on demand\.)\s*(?P<farm>\S+)$")
"""The name comes last."""

_FARM_OF_LIST = rf"[\w.-]+(?:(?<=\.)(?=\s)|(?=\s*(?:{_SEPARATOR}|。|$)))"
_LIST = re.compile(rf"\s*{_FARM_OF_LIST}(?:\s*{_SEPARATOR}\s*{_FARM_OF_LIST})*", re.ASCII)
_NAME = re.compile(r"[\w.-]+", re.ASCII)

_CONNECTED = re.compile(
    r"\b(?:connected|connectée?s?|connesse|collegate|conectad[ao]s)\b|verbunden|подключен|已连接|已連接|已連線|接続されて|接続済",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:not|no|non|nicht|keine|pas|не|нет)\b|n't|disconn|déconn|desconect|sconness|getrennt|отключен"
    r"|未|没有|沒有|不|断|斷|ません",
    re.IGNORECASE,
)
"""What makes the opposite of it, as far as it is known. A list of which neither is clear names no farm as connected."""

_ALL = re.compile(r"(?<!not )\ball data farms are connected", re.IGNORECASE)


def farm_of(text: str) -> str:
    """The farm that a notice is about; one that names none in a way that is known is its own name."""
    named = _FARM.search(text.strip())
    return named["farm"] if named else text.strip()


def is_about(text: str, farms: Iterable[str]) -> set[str]:
    """Which of some farms a notice about one is about.

    >>> sorted(is_about("connection is inactive but should be available upon demand.usfarm", ["usfarm", "farm"]))
    ['usfarm']
    """
    named, said = farm_of(text), text.strip()
    return {farm for farm in farms if farm == named or re.search(rf"(?:{_COLON}|[.。\s]){re.escape(farm)}$", said)}


def connected_farms(text: str, farms: Iterable[str]) -> set[str]:
    """Which of some farms a notice about all of them says to be connected.

    >>> text = "restored. The following farms are connected: usfarm.nj; ushmds. Not connected: eufarm."
    >>> sorted(connected_farms(text, ["usfarm.nj", "ushmds", "eufarm", "cashfarm"]))
    ['usfarm.nj', 'ushmds']
    """
    if _ALL.search(text):
        return set(farms)
    named: set[str] = set()
    parts = re.split(_COLON, text)
    for before, after in pairwise(parts):
        said, listed = re.split(_STOP, before)[-1], _LIST.match(after)
        if listed and _CONNECTED.search(said) and not _NOT.search(said):
            named.update(name.rstrip(".") for name in _NAME.findall(listed[0]))
    return named.intersection(farms)
