"""The contracts that the simulated TWS knows: US listings, some abroad, currencies, futures, indices, and odd ones."""

import csv
import re
from datetime import date
from functools import cache
from importlib.resources import files
from itertools import count

from . import venues
from .futures import futures
from .listing import Listing

PRIMARY = {"Nasdaq": "NASDAQ", "NYSE": "NYSE", "NYSE Arca": "ARCA", "CBOE": "BATS", "OTC": "PINK", "": "PINK"}
PREFERRED = re.compile(r"(?P<symbol>.+)-P(?P<series>[A-Z])")

# Symbol, primary exchange, currency, name, where. INTC is ambiguous even at SMART in USD, and so are KWEB and EXUS, of
# which none is in the United States.
ABROAD = [
    ("RY", "TSE", "CAD", "ROYAL BANK OF CANADA", venues.TORONTO),
    ("SHOP", "TSE", "CAD", "SHOPIFY INC - CLASS A", venues.TORONTO),
    ("AAPL", "MEXI", "MXN", "APPLE INC", venues.MEXICO),
    ("AAPL", "EBS", "CHF", "APPLE INC", venues.ZURICH),
    ("INTC", "EBS", "USD", "INTEL CORP", venues.ZURICH),
    ("VOD", "LSE", "GBP", "VODAFONE GROUP PLC", venues.LONDON),
    ("BMW", "IBIS", "EUR", "BAYERISCHE MOTOREN WERKE AG", venues.FRANKFURT),
    ("BT.A", "LSE", "GBP", "BT GROUP PLC", venues.LONDON),
    ("BP.", "LSE", "GBP", "BP PLC", venues.LONDON),
    ("SHEL/A", "AEB", "EUR", "SHELL PLC", venues.AMSTERDAM),
    ("NOVO.B", "CPH", "DKK", "NOVO NORDISK A/S-B", venues.COPENHAGEN),
    ("RCI.B", "TSE", "CAD", "ROGERS COMMUNICATIONS INC-B", venues.TORONTO),
    ("700", "SEHK", "HKD", "TENCENT HOLDINGS LTD", venues.HONG_KONG),
    ("BAJAJ-AUT", "NSE", "INR", "BAJAJ AUTO LTD", venues.MUMBAI),
    ("EQQU", "LSEETF", "USD", "INVESCO EQQQ NASDAQ-100", venues.LONDON),
    ("KWEB", "EBS", "USD", "KRANESHARES CSI CHINA INTERNET", venues.ZURICH),
    ("KWEB", "LSEETF", "USD", "KRANESHARES CSI CHINA INTERNET", venues.LONDON),
    ("EXUS", "LSEETF", "USD", "XTRACKERS MSCI WORLD EX USA", venues.LONDON),
    ("EXUS", "EBS", "USD", "XTRACKERS MSCI WORLD EX USA", venues.ZURICH),
]

# Symbol, exchange, and the last day: none is known after it (https://github.com/iexg/IEX-API/issues/206).
DELISTED = [
    ("GENZ", "NASDAQ", "GENZYME CORP", date(2011, 4, 8)),
    ("CEPH", "NASDAQ", "CEPHALON INC", date(2011, 10, 14)),
    ("CVH", "NYSE", "COVENTRY HEALTH CARE INC", date(2013, 5, 6)),
    ("HNZ", "NYSE", "HJ HEINZ CO", date(2013, 6, 7)),
]
WITHOUT_DATA = [("EKDKQ", "PINK", "EASTMAN KODAK CO")]

PAIRS = "EUR.USD GBP.USD AUD.USD NZD.USD USD.JPY USD.CHF USD.CAD EUR.GBP EUR.JPY EUR.CHF GBP.JPY AUD.CAD".split()
COINS = [("BTC", "PAXOS"), ("BTC", "ZEROHASH"), ("ETH", "PAXOS"), ("LTC", "ZEROHASH")]

# Symbol, type, currency, exchanges, name, where.
OTHERS = [
    ("SPX", "IND", "USD", ("CBOE",), "S&P 500 Stock Index", venues.US_INDICES),
    ("NDX", "IND", "USD", ("NASDAQ",), "NASDAQ 100 Stock Index", venues.US_INDICES),
    ("DAX", "IND", "EUR", ("EUREX", "DTB"), "DAX 40 Index", venues.FRANKFURT),
    ("XAUUSD", "CMDTY", "USD", ("SMART",), "London Gold", venues.METALS),
    ("IBDE40", "CFD", "EUR", ("SMART",), "Germany 40", venues.FRANKFURT),
]


@cache
def known_on(today):
    """Every contract known on a day, by symbol; of those that have expired, the last ones."""
    numbers = count(10_000)
    by_symbol = {}
    for make in (_stocks, _abroad, _pairs, _coins, _others, _odd_ones):
        for listing in make(numbers):
            if today <= listing.delisted:
                by_symbol.setdefault(listing.symbol, []).append(listing)
    for listing in futures(today):
        by_symbol.setdefault(listing.symbol, []).append(listing)
    return by_symbol


@cache
def numbered_on(today):
    """Every contract known on a day, by its number; a continuous future has that of the next one to expire."""
    by_number = {}
    for listings in known_on(today).values():
        for listing in listings:
            by_number.setdefault(str(listing.con_id), []).append(listing)
    return by_number


def as_written_there(symbol):
    """A US symbol as Interactive Brokers writes it: ``BRK B`` for BRK-B, ``BAC PRK`` for the preferred share BAC-PK."""
    if match := PREFERRED.fullmatch(symbol):
        return f"{match['symbol']} PR{match['series']}"
    return symbol.replace("-", " ")


def _stocks(numbers):
    with files("symcache_host").joinpath("data", "us_symbols.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            symbol, exchange = as_written_there(row["symbol"]), PRIMARY[row["exchange"]]
            kind = "ETF" if row["asset_type"] == "ETF" else "COMMON"
            yield _stock(next(numbers), symbol, exchange, row["currency"], row["name"], venues.UNITED_STATES, kind)


def _odd_ones(numbers):
    place = venues.UNITED_STATES
    yield _stock(next(numbers), "C PRK", "NYSE", "USD", "CITIGROUP INC", place, "PREFERRED")
    for symbol, exchange, name, last in DELISTED:
        yield _stock(next(numbers), symbol, exchange, "USD", name, place, "COMMON", delisted=last)
    for symbol, exchange, name in WITHOUT_DATA:
        yield _stock(next(numbers), symbol, exchange, "USD", name, place, "COMMON", has_data=False)


def _others(numbers):
    for symbol, sec_type, currency, exchanges, name, venue in OTHERS:
        yield Listing(
            next(numbers),
            symbol,
            sec_type,
            currency,
            "",
            exchanges,
            name,
            venue,
            local_symbol=symbol,
            trading_class=symbol,
        )


def _abroad(numbers):
    for symbol, exchange, currency, name, venue in ABROAD:
        yield _stock(next(numbers), symbol, exchange, currency, name, venue, "COMMON")


def _stock(number, symbol, exchange, currency, name, venue, kind, **more):
    return Listing(
        number,
        symbol,
        "STK",
        currency,
        exchange,
        ("SMART", exchange),
        name,
        venue,
        local_symbol=symbol,
        trading_class=symbol.replace(" ", ""),
        stock_type=kind,
        **more,
    )


def _pairs(numbers):
    for pair in PAIRS:
        base, quote = pair.split(".")
        yield Listing(
            next(numbers),
            base,
            "CASH",
            quote,
            "",
            ("IDEALPRO",),
            f"{base} against {quote}",
            venues.BANKS,
            local_symbol=pair,
            trading_class=pair,
            min_tick="0.00005",
        )


def _coins(numbers):
    for coin, exchange in COINS:
        yield Listing(
            next(numbers),
            coin,
            "CRYPTO",
            "USD",
            "",
            (exchange,),
            coin,
            venues.COINS,
            local_symbol=f"{coin}.USD",
            trading_class=coin,
        )
