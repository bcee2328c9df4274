"""What a symbol that Interactive Brokers does not know may have been meant to be.

Only what its shape says: every hint costs a message, and of most unknown symbols nothing follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from ib_async import Contract, ContractDetails

from symcache_core.symbols import CURRENCIES, Instrument

from .ambiguity import market

_SHARES = ("", "STK")
_METALS = ("XAU", "XAG", "XPT", "XPD")

# Indices, which are no shares, by their usual names and by those of Yahoo, https://finance.yahoo.com/world-indices:
# where Interactive Brokers has them, https://www.interactivebrokers.com/en/trading/products-exchanges.php
_INDICES: Mapping[str, str] = MappingProxyType(
    {
        "SPX": "SPX@CBOE",
        "^GSPC": "SPX@CBOE",
        "^SPX": "SPX@CBOE",
        "NDX": "NDX@NASDAQ",
        "^NDX": "NDX@NASDAQ",
        "^IXIC": "COMP@NASDAQ",
        "DJI": "INDU@CME",
        "DJIA": "INDU@CME",
        "^DJI": "INDU@CME",
        "RUT": "RUT@RUSSELL",
        "^RUT": "RUT@RUSSELL",
        "VIX": "VIX@CBOE",
        "^VIX": "VIX@CBOE",
        "DAX": "DAX@EUREX",
        "^GDAXI": "DAX@EUREX",
        "ESTX50": "ESTX50@EUREX",
        "^STOXX50E": "ESTX50@EUREX",
        "^SSMI": "SMI@EUREX",
        "^FCHI": "CAC40@MONEP",
        "^AEX": "EOE@FTA",
        "^FTSE": "Z@ICEEU",
        "^IBEX": "IBEX35@MEFFRV",
        "N225": "N225@OSE.JPN",
        "^N225": "N225@OSE.JPN",
        "HSI": "HSI@HKFE",
        "^HSI": "HSI@HKFE",
    }
)

# Yahoo's suffixes, https://help.yahoo.com/kb/SLN2310.html, and the exchange and currency that they stand for.
_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "AS": "AEB:EUR",
        "AX": "ASX:AUD",
        "BR": "ENEXT.BE:EUR",
        "CO": "CPH:DKK",
        "DE": "IBIS:EUR",
        "F": "FWB:EUR",
        "HE": "HEX:EUR",
        "HK": "SEHK:HKD",
        "L": "LSE:GBP",
        "LS": "BVL:EUR",
        "MC": "BM:EUR",
        "MI": "BVME:EUR",
        "MX": "MEXI:MXN",
        "NS": "NSE:INR",
        "OL": "OSE:NOK",
        "PA": "SBF:EUR",
        "SI": "SGX:SGD",
        "ST": "SFB:SEK",
        "SW": "EBS:CHF",
        "T": "TSEJ:JPY",
        "TO": "TSE:CAD",
        "V": "VENTURE:CAD",
        "VI": "VSE:EUR",
        "WA": "WSE:PLN",
    }
)

# What others call an exchange: in front of a symbol, as TradingView does, or as its venue (ISO 10383).
_EXCHANGES: Mapping[str, str] = MappingProxyType(
    {
        "BME": "BM",
        "CME_MINI": "CME",
        "CBOT_MINI": "CBOT",
        "COMEX_MINI": "COMEX",
        "HKEX": "SEHK",
        "MIL": "BVME",
        "NYMEX_MINI": "NYMEX",
        "OTC": "PINK",
        "SIX": "EBS",
        "TSX": "TSE",
        "TSXV": "VENTURE",
        "XAMS": "AEB",
        "XCBT": "CBOT",
        "XCME": "CME",
        "XETR": "IBIS",
        "XETRA": "IBIS",
        "XEUR": "EUREX",
        "XHKG": "SEHK",
        "XLON": "LSE",
        "XNAS": "NASDAQ",
        "XNYS": "NYSE",
        "XPAR": "SBF",
        "XSWX": "EBS",
        "XTKS": "TSEJ",
        "XTSE": "TSE",
    }
)

# Shares and funds of one exchange are listed under two names there.
_SIDES: Mapping[str, str] = MappingProxyType(
    {"IBIS": "IBIS2", "IBIS2": "IBIS", "LSE": "LSEETF", "LSEETF": "LSE", "BVME": "BVME.ETF", "BVME.ETF": "BVME"}
)

_SEPARATORS = " ./-"
"""What parts the pieces of a symbol, and is one too many at its beginning and, but in London, at its end."""

_COIN = re.compile(r"(?P<coin>[A-Z]{2,5}?)(?:USDT|USDC|USD)")
_LOCAL_SYMBOL = re.compile(r"[A-Z0-9]{2,4}[FGHJKMNQUVXZ]\d{1,2}")
_PREFERRED = re.compile(r"(?P<root>[A-Z]{1,5})(?: |[\^+$]|PR)(?P<series>[A-Z])")
_DAY = re.compile(r"(?P<month>.+ \d{6})\d\d")


def hints(instrument: Instrument) -> Iterator[Instrument]:
    """What may have been meant, the most likely first; each is to be tried before it is told."""
    symbol = instrument.symbol
    if (bare := symbol.strip(_SEPARATORS)) not in ("", symbol):
        yield Instrument.parse(str(replace(instrument, symbol=bare)))
    if instrument.asset_type == "CASH":
        yield from _pairs(instrument)
    if instrument.asset_type == "FUT" and (match := _DAY.fullmatch(symbol)):
        yield replace(instrument, symbol=match["month"])
    if instrument.asset_type in _SHARES and not (instrument.venue or instrument.currency):
        yield from _unqualified(symbol)
    if instrument.venue in _EXCHANGES:
        yield replace(instrument, venue=_EXCHANGES[instrument.venue])
    if instrument.venue in _SIDES:
        yield replace(instrument, venue=_SIDES[instrument.venue])
    if instrument.venue:
        yield replace(instrument, venue="", currency=instrument.currency if instrument.asset_type == "CASH" else "")


def fits(hint: Instrument, instrument: Instrument, details: ContractDetails) -> bool:
    """Whether a contract that was found by a hint is worth telling of.

    A share that is known, but at another venue than was asked for, is meant only if it is traded there, too.
    """
    if hint.venue or not instrument.venue or instrument.asset_type not in _SHARES:
        return True
    return instrument.venue in details.validExchanges.split(",")


def told(hint: Instrument, instrument: Instrument, contract: Contract) -> Instrument:
    """A hint as it is told of: with the market of what it means, if the symbol named another one."""
    if hint.venue or not instrument.venue:
        return hint
    return replace(hint, venue=market(contract), currency=contract.currency)


def _pairs(instrument: Instrument) -> Iterator[Instrument]:
    base, quote = instrument.symbol, instrument.currency
    if {base, quote} <= CURRENCIES and base != quote:
        yield Instrument(base, "CASH", "", "USD") if base in _METALS else Instrument(quote, "CASH", "", base)


def _unqualified(symbol: str) -> Iterator[Instrument]:
    root, _, suffix = symbol.rpartition(" ")
    if symbol in _INDICES:
        yield Instrument.parse(f"IND:{_INDICES[symbol]}")
    elif symbol.startswith("^") and symbol[1:].isalnum():
        yield Instrument.parse(f"IND:{symbol[1:]}")
    if root and suffix in _SUFFIXES:
        yield Instrument.parse(f"{root}@{_SUFFIXES[suffix]}")
    if match := _PREFERRED.fullmatch(symbol):
        yield Instrument.parse(f"{match['root']} PR{match['series']}")
    if match := _COIN.fullmatch(symbol):
        yield Instrument(match["coin"], "CRYPTO")
    if _LOCAL_SYMBOL.fullmatch(symbol):
        yield Instrument(symbol, "FUT")
    if symbol.endswith("=X"):
        yield Instrument.parse(symbol.removesuffix("=X"))
    exchange, colon, listed = symbol.partition(":")
    if colon and exchange.replace("_", "").isalnum() and listed:
        kind = "FUT:" if _LOCAL_SYMBOL.fullmatch(listed) and not listed.isalpha() else ""
        yield Instrument.parse(f"{kind}{listed}@{_EXCHANGES.get(exchange, exchange)}")
