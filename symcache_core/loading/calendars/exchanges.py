"""When the exchanges trade, by the names that Interactive Brokers gives them: the table ``exchanges.csv``.

A row is a market: stocks (``STK``), futures (``FUT``) and indices (``IND``) of one name trade at different hours. It
names a calendar of the package exchange_calendars, or hours, which are rather too wide than too narrow: a moment
without trading is asked for once, a moment that is left out never. With both, the calendar says the days and the hours
say when.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from exchange_calendars import get_calendar_names

from .hours import Hours

ANY_KIND = "*"
_LISTED = frozenset({"", "STK", "IND"})
_CODE_LENGTH = 4
_FUTURES = frozenset({"XCBF", "XEEE", "XEUR"})
"""Codes of markets on which no stocks are listed."""
_FURTHER_CODES = MappingProxyType(dict.fromkeys(("ARCX", "XNCM", "XNGS", "XNMS", "XCHI", "XPHL"), "XNYS"))
"""Codes of markets and segments that have New York's hours, and no calendar of their own."""
_KINDS = MappingProxyType({"ETF": "STK", "WAR": "STK", "CONTFUT": "FUT", "FOP": "FUT"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """A row of the table.

    Args:
        exchange: What Interactive Brokers calls it.
        kind: Of which kind of instruments it says the hours, or ``*``.
        calendar: The name of a calendar of exchange_calendars, or nothing.
        hours: Its hours, if no calendar has them.
        source: A public page that says so.
    """

    exchange: str
    kind: str
    calendar: str
    hours: Hours | None
    source: str


@lru_cache(maxsize=1)
def exchanges() -> Mapping[tuple[str, str], Exchange]:
    """All rows, by exchange and kind."""
    text = files(__package__).joinpath("exchanges.csv").read_text("utf-8")
    return MappingProxyType(
        {(row["exchange"], row["kind"]): _exchange(row) for row in csv.DictReader(text.split("\n"))}
    )


def market_kind(kind: str) -> str:
    """Whose hours an instrument has: those of stocks, futures, indices, or of its own kind."""
    return _KINDS.get(kind, kind)


def exchange_of(name: str, kind: str) -> Exchange | None:
    """The market of an exchange where instruments of a kind trade, if it is known.

    Args:
        name: The exchange, in any case.
        kind: Whose hours an instrument has; without one, the exchange's stocks are meant, if it has any.
    """
    rows, name = exchanges(), name.upper()
    kinds = (kind, ANY_KIND) if kind else ("STK", "FUT", "IND", ANY_KIND)
    found = next((rows[name, each] for each in kinds if (name, each) in rows), None)
    return found or (_by_code(name) if kind in _LISTED else None)


def _by_code(name: str) -> Exchange | None:
    """The market that a provider names by its code of ISO 10383, which most calendars are named by."""
    calendar = _FURTHER_CODES.get(name, name)
    is_code = len(calendar) == _CODE_LENGTH and calendar.startswith("X") and calendar not in _FUTURES
    if not is_code or calendar not in get_calendar_names():
        return None
    return Exchange(name, "STK", calendar, None, "https://www.iso20022.org/market-identifier-codes")


def _exchange(row: Mapping[str, str]) -> Exchange:
    hours = Hours.parse(row["hours"]) if row["hours"] else None
    return Exchange(row["exchange"], row["kind"], row["calendar"], hours, row["source"])
