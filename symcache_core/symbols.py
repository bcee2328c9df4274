"""One spelling and one storage key for each instrument, however its symbol was typed.

A symbol may be qualified, as ``[TYPE:]SYMBOL[@VENUE[:CURRENCY]][,class=NAME][,multiplier=NUMBER]``: ``RY`` is what
the provider makes of it, ``RY@TSE:CAD`` the one in Toronto, ``FUT:ESZ6@CME`` a future, ``FUT:DAX 202612,class=FDXM``
that of several which has this trading class.

>>> str(Instrument.parse(" eur/usd ")), str(Instrument.parse("brk.b"))
('EURUSD', 'BRK B')
>>> Instrument.parse("stk:ry@tse:cad").key("ib")
'ib|STK|RY|TSE|CAD'
>>> str(Instrument.parse("fut:dax 202612@eurex, multiplier=5.0, class=fdxm"))
'FUT:DAX 202612@EUREX,class=FDXM,multiplier=5'
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self
from urllib.parse import quote, unquote

from .errors import InvalidSymbolError
from .messages import shown

MAX_LENGTH = 128

MAX_KEY_BYTES = 511
"""How long a storage key may be, in bytes of UTF-8; what LMDB takes, and of all common storage it takes the least."""

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
_OPTION = re.compile(r"(?P<rest>.*[^,\s])\s?,\s?(?P<name>CLASS|MULTIPLIER)\s?=(?P<value>[^,@=]*)", re.DOTALL)
_MULTIPLIER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15}")

# As the New York Stock Exchange writes preferred shares: a root, a small p, the letter of a series if there is one. CpK
# is a preferred share of Citigroup, CPK another company.
# https://www.marketdata.app/education/stocks/how-to-look-up-preferred-stock-symbols/
_PREFERRED = re.compile(r"(?:[A-Za-z]+:)?\s*(?P<symbol>[A-Z]{1,4}p[A-Z]?)\s*(?:[@,].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol with what qualifies it; an empty field means: as the provider sees fit."""

    symbol: str
    asset_type: str = ""
    venue: str = ""
    currency: str = ""
    trading_class: str = ""
    multiplier: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a symbol as people and programs write it.

        Surrounding space never matters, and case matters only in a preferred share as the New York Stock Exchange
        writes it (``CpK``, which is not ``CPK``). Two ISO 4217 codes, joined or parted by one of ``. / -`` or a space,
        are a currency pair; a class share's separator (``BRK.B``, ``BRK-B``) becomes the space that Interactive Brokers
        uses.

        Raises:
            InvalidSymbolError: It is no text, or one that is empty, longer than 128 characters, or has control
                characters; or its trading class or multiplier cannot be one.
        """
        symbol = _clean(text)
        if symbol.isalnum() and len(symbol) != 6 and "p" not in text:  # most are: nothing has to be taken apart
            return cls(symbol)
        symbol, options = _without_options(symbol, {})
        venue = currency = asset_type = ""
        if match := _QUALIFIED.fullmatch(symbol):
            symbol, venue, currency = match["left"].strip(), match["venue"], match["currency"] or ""
            symbol, options = _without_options(symbol, options)
        prefix, colon, rest = symbol.partition(":")
        if colon and prefix in ASSET_TYPES and rest.strip():
            asset_type, symbol = prefix, rest.strip()
        if asset_type in ("", "CASH") and (pair := _PAIR.fullmatch(symbol)) and currency in ("", pair["quote"]):
            base, quoted = pair["base"], pair["quote"]
            if base != quoted and {base, quoted} <= CURRENCIES:
                return cls(base, "CASH", venue, quoted, **options)
        if asset_type in ("", "STK"):
            symbol = _CLASS_SHARE.sub(r"\1 \2", symbol) if _CLASS_SHARE.fullmatch(symbol) else symbol
            symbol = _with_its_case(symbol, text)
        return cls(symbol, asset_type, venue, currency, **options)

    def __str__(self) -> str:
        """The canonical spelling: what a provider is asked for, and what ``parse`` reads back."""
        if self.asset_type == "CASH" and {self.symbol, self.currency} <= CURRENCIES and self.symbol != self.currency:
            return f"{self.symbol}{self.currency}" + (f"@{self.venue}" if self.venue else "") + self._options()
        prefix = f"{self.asset_type}:" if self.asset_type else ""
        suffix = f"@{self.venue}" if self.venue or self.currency else ""
        return f"{prefix}{self.symbol}{suffix}" + (f":{self.currency}" if self.currency else "") + self._options()

    def _options(self) -> str:
        trading_class = f",class={self.trading_class}" if self.trading_class else ""
        return trading_class + (f",multiplier={self.multiplier}" if self.multiplier else "")

    def key(self, provider: str) -> str:
        """The storage key: ``provider|type|symbol|venue|currency``, percent-escaped.

        ``|class|multiplier`` follows where the symbol says one of them.

        Raises:
            InvalidSymbolError: The key would be longer than 511 bytes: each letter that is not ASCII takes several.
        """
        is_narrow = bool(self.trading_class or self.multiplier)
        if not (self.asset_type or self.venue or self.currency or is_narrow):  # as most are, and storing is to be fast
            key = f"{_escaped(provider)}||{_escaped(self.symbol)}||"
        else:
            fields = (provider, self.asset_type, self.symbol, self.venue, self.currency)
            narrower = (self.trading_class, self.multiplier) if is_narrow else ()
            key = "|".join(map(_escaped, fields + narrower))
        if len(key) > MAX_KEY_BYTES:  # it is ASCII: a character is a byte
            raise InvalidSymbolError(
                f"symbol {str(self)!a} takes {len(key)} bytes as a key: at most {MAX_KEY_BYTES} are allowed, and each "
                "letter that is not ASCII takes several"
            )
        return key

    def unqualified(self) -> Self:
        """The same symbol as the provider makes of it without being told more; a currency pair is told by its two."""
        if self.asset_type == "CASH":
            return type(self)(self.symbol, "CASH", "", self.currency)
        return type(self)(self.symbol)

    @property
    def is_qualified(self) -> bool:
        """Whether it says more than its plain symbol does."""
        return self != self.unqualified()

    def folded(self) -> Self:
        """The same without regard to case: ``CPK`` for ``CpK``."""
        return replace(self, symbol=_upper(self.symbol))

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The instrument of a storage key.

        Raises:
            ValueError: It is not a key that :meth:`key` made.
        """
        _provider, asset_type, symbol, venue, currency, *narrower = map(unquote, key.split("|"))
        if narrower and not (len(narrower) == 2 and any(narrower)):
            raise ValueError(f"{key!r} is no key of an instrument")
        return cls(symbol, asset_type, venue, currency, *narrower)


def canonical_multiplier(text: str) -> str:
    """The one way to write a multiplier: ``5`` for ``5.0``.

    Raises:
        ValueError: It is no number above zero, written with digits and a point.
    """
    if not _MULTIPLIER.fullmatch(text) or not (number := Decimal(text)):
        raise ValueError(f"{text!a} is no multiplier")
    whole = f"{number:f}"
    return whole.rstrip("0").rstrip(".") if "." in whole else whole


def key_prefix(provider: str) -> str:
    """What every storage key of a provider, and no other's, begins with."""
    return _escaped(provider) + "|"


def _without_options(symbol: str, known: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A symbol without the trading class and the multiplier at its end, and these, with those that are known."""
    options = dict(known)
    while match := _OPTION.fullmatch(symbol):
        name, value = match["name"], match["value"].strip()
        field = "trading_class" if name == "CLASS" else "multiplier"
        if field in options:
            raise InvalidSymbolError(f"symbol {symbol!a} says {name.lower()}= twice")
        try:
            options[field] = canonical_multiplier(value) if field == "multiplier" else value
        except ValueError:
            raise InvalidSymbolError(f"symbol {symbol!a}: a multiplier is a number, as in ,multiplier=5") from None
        if not value:
            raise InvalidSymbolError(f"symbol {symbol!a}: a trading class has a name, as in ,class=FDXM")
        symbol = match["rest"]
    return symbol, options


def _with_its_case(symbol: str, text: str) -> str:
    """A symbol as it was written if only its case tells that it is a preferred share."""
    written = _PREFERRED.fullmatch(text.strip()) if "p" in text else None
    return written["symbol"] if written and written["symbol"].upper() == symbol else symbol


def _escaped(field: str) -> str:
    return field if field.isascii() and field.isalnum() else quote(field, safe=" /")


def check_text(symbol: object) -> None:
    """Refuse what is no text, or cannot be looked up: one such symbol of many is to have an error of its own.

    Raises:
        InvalidSymbolError: It is none; the message says what it is.
    """
    if not isinstance(symbol, str):
        plain = symbol is None or isinstance(symbol, bool | int | float)
        hint = ": dtype=str and keep_default_na=False let pandas read a column of symbols as text" if plain else ""
        raise InvalidSymbolError(f"a symbol is text, and {shown(symbol)} is none{hint}")
    if type(symbol) is not str:
        try:
            hash(symbol)
        except Exception as error:  # noqa: BLE001  # it is somebody's own text, and may fail in any way
            kind = type(symbol).__name__
            raise InvalidSymbolError(f"a symbol is text, and {kind} is a text that has no hash: {error!r}") from None


def _clean(text: str) -> str:
    check_text(text)
    stripped = text.strip(" \t\r\n")
    if len(stripped) > MAX_LENGTH:
        raise InvalidSymbolError(f"symbol of {len(stripped)} characters: at most {MAX_LENGTH} are allowed")
    plain = stripped.isascii() and stripped.isprintable()
    if not plain and any(unicodedata.category(char) in _INVISIBLE for char in stripped):
        raise InvalidSymbolError(f"symbol {stripped!a} has control or invisible characters: remove them")
    symbol = stripped.upper() if plain else _upper(stripped)
    symbol = " ".join(symbol.split())
    if not symbol:
        raise InvalidSymbolError("empty symbol: give a ticker such as AAPL, BRK.B or EURUSD")
    return symbol


def _upper(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    for char in composed:
        capital = char.upper()
        # In one of these a capital letter is not the same one: "\u00df" is "SS", and "\u017f" is "S".
        if len(capital) > 1 or (capital.isascii() and not char.isascii()):
            raise InvalidSymbolError(f"symbol {text!a} has {char!a}, which has no capital letter: write it in capitals")
    return unicodedata.normalize("NFC", composed.upper())
