"""One spelling and one storage key for each instrument, however its symbol was typed.

A symbol may be qualified, as ``[TYPE:]SYMBOL[@VENUE[:CURRENCY]]``: ``RY`` is what the provider makes of it,
``RY@TSE:CAD`` the one in Toronto, ``FUT:ESZ6@CME`` a future.

>>> str(Instrument.parse(" eur/usd ")), str(Instrument.parse("brk.b"))
('EURUSD', 'BRK B')
>>> Instrument.parse("stk:ry@tse:cad").key("ib")
'ib|STK|RY|TSE|CAD'
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

from .errors import InvalidSymbolError

MAX_LENGTH = 128

# Security types of the Interactive Brokers API, https://ibkrcampus.com/campus/ibkr-api-page/contracts/
ASSET_TYPES = frozenset("STK CASH FUT CONTFUT OPT FOP IND CFD BOND CMDTY CRYPTO FUND WAR BAG NEWS".split())

# Active codes of ISO 4217 (currencies, and the four metals that trade as such), and CNH, the yuan traded offshore.
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNH CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA
    MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
    USD UYU UZS VED VES VND VUV WST XAF XAG XAU XCD XOF XPD XPF XPT YER ZAR ZMW ZWG
    """.split()
)

_QUALIFIED = re.compile(r"(?P<left>[^@]+)@(?P<venue>[A-Z0-9.]*)(?::(?P<currency>[A-Z]{3}))?")
_PAIR = re.compile(r"(?P<base>[A-Z]{3})[./ -]?(?P<quote>[A-Z]{3})")
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # control, format, surrogate, private use, line and paragraph ends
_CLASS_SHARE = re.compile(r"([A-Z0-9]+)[./ -]([A-Z0-9]+)")


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol with what qualifies it; an empty field means: as the provider sees fit."""

    symbol: str
    asset_type: str = ""
    venue: str = ""
    currency: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a symbol as people and programs write it.

        Case and surrounding space never matter. Two ISO 4217 codes, joined or parted by one of ``. / -`` or a
        space, are a currency pair; a class share's separator (``BRK.B``, ``BRK-B``) becomes the space that
        Interactive Brokers uses.

        Raises:
            InvalidSymbolError: The text is empty, longer than 128 characters, or has control characters.
        """
        symbol = _clean(text)
        if symbol.isalnum() and len(symbol) != 6:  # most are: neither qualified nor a pair nor a class share
            return cls(symbol)
        venue = currency = asset_type = ""
        if match := _QUALIFIED.fullmatch(symbol):
            symbol, venue, currency = match["left"].strip(), match["venue"], match["currency"] or ""
        prefix, colon, rest = symbol.partition(":")
        if colon and prefix in ASSET_TYPES and rest.strip():
            asset_type, symbol = prefix, rest.strip()
        if asset_type in ("", "CASH") and (pair := _PAIR.fullmatch(symbol)) and currency in ("", pair["quote"]):
            base, quoted = pair["base"], pair["quote"]
            if base != quoted and {base, quoted} <= CURRENCIES:
                return cls(base, "CASH", venue, quoted)
        if asset_type in ("", "STK"):
            symbol = _CLASS_SHARE.sub(r"\1 \2", symbol) if _CLASS_SHARE.fullmatch(symbol) else symbol
        return cls(symbol, asset_type, venue, currency)

    def __str__(self) -> str:
        """The canonical spelling: what a provider is asked for, and what ``parse`` reads back."""
        if self.asset_type == "CASH" and {self.symbol, self.currency} <= CURRENCIES and self.symbol != self.currency:
            return f"{self.symbol}{self.currency}" + (f"@{self.venue}" if self.venue else "")
        prefix = f"{self.asset_type}:" if self.asset_type else ""
        suffix = f"@{self.venue}" if self.venue or self.currency else ""
        return f"{prefix}{self.symbol}{suffix}" + (f":{self.currency}" if self.currency else "")

    def key(self, provider: str) -> str:
        """The storage key: ``provider|type|symbol|venue|currency``, percent-escaped."""
        if not (self.asset_type or self.venue or self.currency):  # as most are, and storing is to be fast
            return f"{_escaped(provider)}||{_escaped(self.symbol)}||"
        fields = (provider, self.asset_type, self.symbol, self.venue, self.currency)
        return "|".join(map(_escaped, fields))

    def unqualified(self) -> Self:
        """The same symbol as the provider makes of it without being told more; a currency pair is told by its two."""
        if self.asset_type == "CASH":
            return type(self)(self.symbol, "CASH", "", self.currency)
        return type(self)(self.symbol)

    @property
    def is_qualified(self) -> bool:
        """Whether it says more than its plain symbol does."""
        return self != self.unqualified()

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The instrument of a storage key.

        Raises:
            ValueError: It is not a key that :meth:`key` made.
        """
        _provider, asset_type, symbol, venue, currency = map(unquote, key.split("|"))
        return cls(symbol, asset_type, venue, currency)


def key_prefix(provider: str) -> str:
    """What every storage key of a provider, and no other's, begins with."""
    return _escaped(provider) + "|"


def _escaped(field: str) -> str:
    return field if field.isascii() and field.isalnum() else quote(field, safe=" /")


def _clean(text: str) -> str:
    stripped = text.strip(" \t\r\n")
    if len(stripped) > MAX_LENGTH:
        raise InvalidSymbolError(f"symbol of {len(stripped)} characters: at most {MAX_LENGTH} are allowed")
    plain = stripped.isascii() and stripped.isprintable()
    if not plain and any(unicodedata.category(char) in _INVISIBLE for char in stripped):
        raise InvalidSymbolError(f"symbol {text!a} has control or invisible characters: remove them")
    symbol = stripped.upper() if plain else _upper(stripped)
    symbol = " ".join(symbol.split())
    if not symbol:
        raise InvalidSymbolError("empty symbol: give a ticker such as AAPL, BRK.B or EURUSD")
    return symbol


def _upper(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).upper())
