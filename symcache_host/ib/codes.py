"""What each code of Interactive Brokers means, and which error of the core it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from symcache_core.errors import (
    AmbiguousSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)


class Meaning(StrEnum):
    """What a code says."""

    NO_CONTRACT = "no such contract, if a second look agrees"
    AMBIGUOUS = "several contracts, of which one has to be chosen"
    NO_DATA = "the contract has no such data"
    BAD_REQUEST = "the request was wrong, which proves nothing about the symbol"
    PACING = "asked too often"
    PERMISSION = "not for this account or session; the symbol is valid all the same"
    NO_SOCKET = "no connection to TWS or IB Gateway"
    LINK_LOST = "TWS or IB Gateway has lost its way to the broker"
    LINK_BROKEN = "its way to the broker is broken, and will be mended"
    RESTORED = "the way to the broker is open again"
    DATA_LOST = "it is open again, but what was asked for is lost"
    FARM_DOWN = "a data farm is out of reach"
    FARM_UP = "a data farm is well"
    FARM_ASLEEP = "a data farm is not at work, and will be as soon as it is asked"
    NOTICE = "nothing that matters here"
    CANCELLED = "given up by this side"
    UNREACHABLE = "the servers that have the answer are out of reach for now"
    UNKNOWN = "not known, so taken for passing"


class Row(NamedTuple):
    """One line of the table.

    Args:
        code: The number.
        says: Parts of texts, in lower case, one of which has to be in what comes with it; with none, any text will do.
        meaning: What it means then.
        retry_after: Seconds after which asking again makes sense, where that is known.
        source: Where it is to be read.
    """

    code: int
    says: tuple[str, ...]
    meaning: Meaning
    retry_after: float | None = None
    source: str = ""

    def fits(self, code: int, text: str) -> bool:
        """Whether it is the line of a code and its text, which is in lower case."""
        return self.code == code and (not self.says or any(words in text for words in self.says))


_CODES = "https://interactivebrokers.github.io/tws-api/message_codes.html"
_NEWER_CODES = "https://www.interactivebrokers.com/docs/tws-api/doc/error-handling/error-codes"
_PACING = "https://interactivebrokers.github.io/tws-api/historical_limitations.html"

# TWS speaks the language that it was started in, unless it is set to show API messages in English: then the code has to
# do, and for 162 it does not. What the servers behind TWS say mostly stays in English; the words of other languages are
# those of a dictionary. A text that has none of these is not understood, and that is never taken for a verdict.
_NO_DATA_IN_ENGLISH = ("no data", "no head time stamp", "no historical market data")
_NO_DATA_ELSEWHERE = (
    *("keine daten", "aucune donnée", "nessun dato", "sin datos", "ningún dato", "нет данных"),
    *("没有数据", "无数据", "沒有數據", "無數據", "沒有資料", "データがありません", "データなし"),
)
_NO_PERMISSION = (
    *("permission", "subscri", "different ip address"),
    *("berechtigung", "abonn", "autorisation", "autorizzazion", "permess", "abbonament", "permiso", "suscri"),
    *("разрешени", "подпис", "权限", "權限", "订阅", "訂閱", "権限"),
)
_AMBIGUOUS = (
    *("ambigu", "ambígu", "mehrdeutig", "eindeutig", "неоднозначн"),
    *("不明确", "不明確", "歧义", "歧義", "曖昧", "あいまい"),
)

# Of several lines for a code, the first one whose words are in the text holds.
TABLE = (
    Row(200, _AMBIGUOUS, Meaning.AMBIGUOUS, source=_CODES),
    Row(200, ("not available", "farm"), Meaning.UNREACHABLE, source="https://github.com/erdewit/ib_insync/issues/330"),
    Row(200, (), Meaning.NO_CONTRACT, source="https://github.com/erdewit/ib_insync/issues/330"),
    Row(203, (), Meaning.PERMISSION, source=_CODES),
    Row(
        162,
        ("pacing violation", "pacing-verletzung"),
        Meaning.PACING,
        15.0,
        "https://github.com/QuantConnect/Lean/issues/607",
    ),
    Row(
        162,
        _NO_PERMISSION,
        Meaning.PERMISSION,
        source="https://github.com/Jake0303/InteractiveBrokersPythonBot/issues/3",
    ),
    Row(162, ("cancelled",), Meaning.CANCELLED, source="https://github.com/erdewit/ib_insync/issues/268"),
    Row(162, ("invalid step", "exceed max", "rejected", "setting is invalid"), Meaning.BAD_REQUEST, source=_PACING),
    Row(162, ("disconnect", "connection attempt failed"), Meaning.UNREACHABLE, source=_CODES),
    Row(162, _NO_DATA_IN_ENGLISH, Meaning.NO_DATA, source="https://github.com/QuantConnect/Lean/issues/4344"),
    Row(162, _NO_DATA_ELSEWHERE, Meaning.NO_DATA, source="a dictionary"),
    Row(166, (), Meaning.BAD_REQUEST, source=_CODES),
    Row(366, (), Meaning.CANCELLED, source=_CODES),
    Row(320, (), Meaning.BAD_REQUEST, source=_CODES),
    Row(321, (), Meaning.BAD_REQUEST, source=_CODES),
    Row(322, ("simultaneous",), Meaning.PACING, 1.0, _PACING),
    Row(322, (), Meaning.BAD_REQUEST, source=_CODES),
    Row(478, (), Meaning.BAD_REQUEST, source=_CODES),
    Row(323, (), Meaning.UNREACHABLE, source=_CODES),
    Row(100, (), Meaning.PACING, 1.0, _CODES),
    Row(420, ("permission", "not subscribed"), Meaning.PERMISSION, source=_CODES),
    Row(420, (), Meaning.PACING, 15.0, _CODES),
    Row(10190, (), Meaning.PACING, 15.0, _NEWER_CODES),
    Row(354, (), Meaning.PERMISSION, source=_CODES),
    Row(10089, (), Meaning.PERMISSION, source="https://github.com/wboayue/rust-ibapi/pull/677"),
    Row(10090, (), Meaning.PERMISSION, source="https://github.com/wboayue/rust-ibapi/issues/768"),
    Row(10091, (), Meaning.PERMISSION, source="https://github.com/wboayue/rust-ibapi/pull/804"),
    Row(10168, (), Meaning.PERMISSION, source="https://github.com/erdewit/ib_insync/issues/198"),
    Row(10186, (), Meaning.PERMISSION, source=_NEWER_CODES),
    Row(10187, (), Meaning.PERMISSION, source=_NEWER_CODES),
    Row(10189, (), Meaning.PERMISSION, source=_NEWER_CODES),
    Row(10197, (), Meaning.PERMISSION, source=_CODES),
    Row(10299, (), Meaning.BAD_REQUEST, source="https://github.com/wboayue/rust-ibapi/pull/693"),
    Row(10314, (), Meaning.BAD_REQUEST, source="https://github.com/atreyuxtrading/atreyu-backtrader-api/issues/6"),
    Row(326, (), Meaning.NO_SOCKET, source=_CODES),
    Row(502, (), Meaning.NO_SOCKET, source=_CODES),
    Row(503, (), Meaning.NO_SOCKET, source=_CODES),
    Row(504, (), Meaning.NO_SOCKET, source=_CODES),
    Row(1300, (), Meaning.NO_SOCKET, source=_CODES),
    Row(1100, (), Meaning.LINK_LOST, source=_CODES),
    Row(2110, (), Meaning.LINK_BROKEN, source=_CODES),
    Row(1101, (), Meaning.DATA_LOST, source=_CODES),
    Row(1102, (), Meaning.RESTORED, source=_CODES),
    Row(2103, (), Meaning.FARM_DOWN, source=_CODES),
    Row(2105, (), Meaning.FARM_DOWN, source=_CODES),
    Row(2157, (), Meaning.FARM_DOWN, source=_CODES),
    Row(2104, (), Meaning.FARM_UP, source=_CODES),
    Row(2106, (), Meaning.FARM_UP, source=_CODES),
    Row(2158, (), Meaning.FARM_UP, source=_CODES),
    Row(2107, (), Meaning.FARM_ASLEEP, source=_CODES),
    Row(2108, (), Meaning.FARM_ASLEEP, source=_CODES),
    Row(165, (), Meaning.NOTICE, source=_CODES),
    Row(10167, (), Meaning.NOTICE, source="https://github.com/wboayue/rust-ibapi/pull/677"),
)

IN_ENGLISH = "TWS can say that in English: Global Configuration, API, Settings, Show API error messages in English"
"""What makes a text readable that is not; see https://interactivebrokers.github.io/tws-api/error_handling.html"""

_ABOUT = re.compile(r"\S+@\S+")
"""What a text is about, as ``IBM@SMART``. A symbol may be any word."""

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")

WARNINGS = range(2100, 2200)
"""The codes of warnings; those that are not in the table are notices."""

LOOKS: Mapping[Meaning, int] = MappingProxyType({Meaning.NO_CONTRACT: 2, Meaning.NO_DATA: 2})
"""How often a request is made, apart in time, before such an answer is believed; with any other answer, once."""

# What a request ends in when it is told a code; where a meaning has no line, it goes on.
ERRORS: Mapping[Meaning, type[ProviderError]] = MappingProxyType(
    {
        Meaning.NO_CONTRACT: ProviderUnavailableError,  # a verdict only if confirmed, and then no error
        Meaning.AMBIGUOUS: AmbiguousSymbolError,
        Meaning.NO_DATA: ProviderUnavailableError,  # an answer if every farm is at work, and then no error
        Meaning.BAD_REQUEST: ProviderError,
        Meaning.PACING: ProviderPacingError,
        Meaning.PERMISSION: ProviderPermissionError,
        Meaning.NO_SOCKET: ProviderUnavailableError,
        Meaning.LINK_LOST: ProviderUnavailableError,
        Meaning.LINK_BROKEN: ProviderUnavailableError,
        Meaning.RESTORED: ProviderUnavailableError,
        Meaning.DATA_LOST: ProviderUnavailableError,
        Meaning.FARM_DOWN: ProviderUnavailableError,
        Meaning.UNREACHABLE: ProviderUnavailableError,
        Meaning.CANCELLED: ProviderTimeoutError,
        Meaning.UNKNOWN: ProviderUnavailableError,
    }
)


def readable(text: str) -> str:
    r"""A text of TWS with its letters in place: it tells those beyond ASCII by their numbers, as ``\u00fc``.

    >>> readable(r"Anfrage f\u00fcr 700")
    'Anfrage für 700'
    """
    units = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    # The numbers are those of UTF-16, in which some characters have two; half of one is no text.
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def classify(code: int, text: str) -> Row:
    """The line of the table for a code, and for the text that came with it."""
    said = _ABOUT.sub("", text).lower()
    for row in TABLE:
        if row.fits(code, said):
            return row
    return Row(code, (), Meaning.NOTICE if code in WARNINGS else Meaning.UNKNOWN)


def ends_a_request(code: int, text: str) -> bool:
    """Whether a request that is told a code gets no other answer any more."""
    return classify(code, text).meaning in ERRORS


def error_of(code: int, text: str) -> ProviderError:
    """The error of a request that ended with a code."""
    row = classify(code, text)
    said = " ".join(text.split()) or row.meaning
    hint = f"; {IN_ENGLISH}" if row.meaning is Meaning.UNKNOWN and not said.isascii() else ""
    return ERRORS[row.meaning](
        f"Interactive Brokers: {said} (code {code}){hint}", code=str(code), retry_after=row.retry_after
    )
