"""What each code of Interactive Brokers means, and which error of the core it becomes.

The codes are those of https://interactivebrokers.github.io/tws-api/message_codes.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from symcache_core.errors import (
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)


class Meaning(StrEnum):
    """What a code says."""

    NO_CONTRACT = "no such contract, if a second look agrees"
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
    NOTICE = "nothing that matters here"
    CANCELLED = "given up by this side"
    UNKNOWN = "not known, so taken for passing"


class Row(NamedTuple):
    """One line of the table; ``says`` is a part of the text, in lower case, and ``retry_after`` in seconds."""

    code: int
    says: str
    meaning: Meaning
    retry_after: float | None = None


# Of several lines for a code, the first one whose words are in the text holds.
TABLE = (
    Row(200, "ambiguous", Meaning.BAD_REQUEST),
    Row(200, "", Meaning.NO_CONTRACT),
    Row(162, "pacing violation", Meaning.PACING, 15.0),
    Row(162, "no data", Meaning.NO_DATA),
    Row(162, "no head time stamp", Meaning.NO_DATA),
    Row(162, "no historical market data", Meaning.NO_DATA),
    Row(162, "exceed max", Meaning.BAD_REQUEST),
    Row(162, "cancelled", Meaning.CANCELLED),
    Row(162, "permission", Meaning.PERMISSION),
    Row(162, "different ip address", Meaning.PERMISSION),
    Row(366, "", Meaning.CANCELLED),
    Row(321, "", Meaning.BAD_REQUEST),
    Row(100, "", Meaning.PACING, 1.0),
    Row(420, "", Meaning.PACING, 15.0),
    Row(354, "", Meaning.PERMISSION),
    Row(10090, "", Meaning.PERMISSION),
    Row(10197, "", Meaning.PERMISSION),
    Row(326, "", Meaning.NO_SOCKET),
    Row(502, "", Meaning.NO_SOCKET),
    Row(504, "", Meaning.NO_SOCKET),
    Row(1100, "", Meaning.LINK_LOST),
    Row(2110, "", Meaning.LINK_BROKEN),
    Row(1101, "", Meaning.DATA_LOST),
    Row(1102, "", Meaning.RESTORED),
    Row(2103, "", Meaning.FARM_DOWN),
    Row(2105, "", Meaning.FARM_DOWN),
    Row(2157, "", Meaning.FARM_DOWN),
    Row(2104, "", Meaning.FARM_UP),
    Row(2106, "", Meaning.FARM_UP),
    Row(2158, "", Meaning.FARM_UP),
    Row(2107, "", Meaning.NOTICE),  # a farm that sleeps until it is asked: whether it could be reached, nobody knows
    Row(2108, "", Meaning.NOTICE),
    Row(165, "", Meaning.NOTICE),
    Row(10167, "", Meaning.NOTICE),
)

WARNINGS = range(2100, 2200)
"""The codes of warnings; those that are not in the table are notices."""

# What a request ends in when it is told a code; where a meaning has no line, it goes on.
ERRORS: Mapping[Meaning, type[ProviderError]] = MappingProxyType(
    {
        Meaning.NO_CONTRACT: ProviderUnavailableError,  # a verdict only if confirmed, and then no error
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
        Meaning.CANCELLED: ProviderTimeoutError,
        Meaning.UNKNOWN: ProviderUnavailableError,
    }
)


def classify(code: int, text: str) -> Row:
    """The line of the table for a code, and for the text that came with it."""
    said = text.lower()
    for row in TABLE:
        if row.code == code and row.says in said:
            return row
    return Row(code, "", Meaning.NOTICE if code in WARNINGS else Meaning.UNKNOWN)


def ends_a_request(code: int, text: str) -> bool:
    """Whether a request that is told a code gets no other answer any more."""
    return classify(code, text).meaning in ERRORS


def error_of(code: int, text: str) -> ProviderError:
    """The error of a request that ended with a code."""
    row = classify(code, text)
    error = ERRORS[row.meaning]
    said = " ".join(text.split()) or row.meaning
    return error(f"Interactive Brokers: {said} (code {code})", code=str(code), retry_after=row.retry_after)
