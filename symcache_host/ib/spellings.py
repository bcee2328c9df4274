"""In which forms Interactive Brokers may know a symbol, the most likely one first.

A canonical symbol has lost its separators and repeated spaces, and people write what other sources call an instrument.
So a symbol stands for several forms, each of which is asked for only where the one before is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from ..preferred import preferred_shares

SEPARATORS = (" ", ".", "/", "-")
"""Between a symbol and its class: a space in the United States, a point in London, a slash or a hyphen elsewhere."""

# How the SEC and Yahoo end the symbols of warrants, units and rights, and how Interactive Brokers does, which goes by
# the suffixes of the exchanges' messages: http://www.cbsx.com/transservices/symbology.aspx
_SUFFIXES: Mapping[str, str] = MappingProxyType({"WT": "WS", "WTA": "WSA", "WTB": "WSB", "UN": "U", "RI": "RT"})

_LONDON, _STERLING = "LSE", "GBP"
_HONG_KONG, _HONG_KONG_DOLLAR = "SEHK", "HKD"
_SHORT = 2
"""Letters; London fills up codes that have no more than that with a point: https://www.londonstockexchange.com, BP."""

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
LETTERS = "FGHJKMNQUVXZ"
"""The letter of each month in the codes of futures."""

ROOT_WIDTH = 5
"""Characters to which the local symbols of some exchanges fill up a root: ``ZN   MAR 13``."""

YEARS_BACK = 2
"""For how many years an expired future is known: https://interactivebrokers.github.io/tws-api/historical_limitations.html"""

_CENTURY, _DECADE = 2000, 10

_AT = re.compile(r"(?P<root>.+?)[ _-](?P<year>20\d\d)[-/.]?(?P<month>0[1-9]|1[0-2])(?:[-/.]?(?P<day>[0-3]\d))?")
_IN_WORDS = re.compile(rf"(?P<root>\S+)[ _-](?P<month>{'|'.join(MONTHS)})[ '_-]?(?:20)?(?P<year>\d\d)")
_CODE = re.compile(rf"(?P<root>\S+?) ?(?P<letter>[{LETTERS}])(?P<year>20\d\d|\d{{1,2}})")


T = TypeVar("T")


class FutureName(NamedTuple):
    """What names a future to Interactive Brokers: a local symbol or a symbol, and when it ends if that is known."""

    local: str = ""
    symbol: str = ""
    expiry: str = ""


class _Named(NamedTuple):
    """A future as its symbol says it: ``expiry`` is its month, or its day where the symbol has that."""

    root: str
    expiry: str

    @property
    def code(self) -> str:
        return LETTERS[int(self.expiry[4:6]) - 1]

    @property
    def words(self) -> str:
        return f"{self.root:<{ROOT_WIDTH}}{MONTHS[int(self.expiry[4:6]) - 1]} {self.expiry[2:4]}"


def share_forms(symbol: str, venue: str, currency: str) -> tuple[str, ...]:
    """The forms of a share's symbol.

    Args:
        symbol: The canonical one.
        venue: Where it is listed, if that was said.
        currency: In what it is traded; empty if any will do.
    """
    preferred = [f"{root} PR{series}" for root, series in preferred_shares(symbol)]
    if not symbol.isupper() and preferred:  # CpK: as the exchange writes it
        return (*preferred, symbol.upper())
    forms = [*preferred, symbol]
    if symbol.isdigit() and (venue == _HONG_KONG or currency == _HONG_KONG_DOLLAR):
        forms.insert(0, symbol.lstrip("0") or symbol)
    root, space, share_class = symbol.partition(" ")
    if space:
        forms += [f"{root} {_SUFFIXES[share_class]}"] if share_class in _SUFFIXES else []
        forms += [symbol.replace(" ", separator) for separator in SEPARATORS]
    if len(symbol) <= _SHORT and (venue == _LONDON or currency == _STERLING):
        forms.append(f"{symbol}.")
    return _each_once(forms)


def future_forms(symbol: str, today: date) -> tuple[FutureName, ...]:
    """The forms of a future's symbol; none if it says neither its local symbol nor when it ends.

    Args:
        symbol: The canonical one.
        today: The present, from which the decade is told of a year of one digit.
    """
    if match := _AT.fullmatch(symbol):
        named = _Named(match["root"], f"{match['year']}{match['month']}{match['day'] or ''}")
        return _each_once([*_as_written(symbol, " " in symbol), *_dated(named), *_local(named)])
    if match := _IN_WORDS.fullmatch(symbol):
        year, month = _CENTURY + int(match["year"]), MONTHS.index(match["month"]) + 1
        named = _Named(match["root"], f"{year}{month:02}")
        words, *others = _local(named)
        return _each_once([words._replace(expiry=""), FutureName(symbol), *_dated(named), *others])
    if match := _CODE.fullmatch(symbol):
        year = _year(match["year"], today)
        named = _Named(match["root"], f"{year}{LETTERS.index(match['letter']) + 1:02}")
        return _each_once([FutureName(symbol.replace(" ", "")), FutureName(symbol), *_dated(named), *_local(named)])
    if " " in symbol:
        first, _, rest = symbol.partition(" ")
        return _each_once([FutureName(symbol), FutureName(f"{first:<{ROOT_WIDTH}}{rest}")])
    return ()


def is_asked_in_every_form(symbol: str) -> bool:
    """Whether a future's symbol is asked for in every form that can be meant.

    Of words that are no month, nobody knows how many spaces the local symbol has between them.
    """
    return " " not in symbol or any(shape.fullmatch(symbol) for shape in (_AT, _IN_WORDS, _CODE))


def coin_and_currency(symbol: str) -> tuple[str, str] | None:
    """A coin and what it is priced in, of the forms that are written for both: ``BTC/USD``, ``BTC.USD``."""
    for separator in SEPARATORS:
        coin, found, currency = symbol.partition(separator)
        if found and coin.isalnum() and currency.isalpha():
            return coin, currency
    return None


def _as_written(symbol: str, is_usual: bool) -> list[FutureName]:
    return [] if is_usual else [FutureName(symbol)]


def _dated(named: _Named) -> list[FutureName]:
    return [FutureName(symbol=named.root, expiry=named.expiry)]


def _local(named: _Named) -> list[FutureName]:
    """Local symbols that are made of a root and a month; the expiry tells the decade, which they do not say."""
    year = int(named.expiry[:4])
    codes = (f"{named.root}{named.code}{year % _DECADE}", f"{named.root}{named.code}{year % (_DECADE * _DECADE):02}")
    return [FutureName(local, expiry=named.expiry) for local in (named.words, *codes)]


def _year(digits: str, today: date) -> int:
    if len(digits) > 1:
        return _CENTURY + int(digits[-2:])
    first = today.year - YEARS_BACK
    return first + (int(digits) - first) % _DECADE


def _each_once(forms: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(forms))
