"""The contracts that the simulated TWS knows: US listings, some abroad, currencies, futures, coins."""

import calendar
import csv
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from itertools import count

from . import venues
from .venues import Venue

PRIMARY = {"Nasdaq": "NASDAQ", "NYSE": "NYSE", "NYSE Arca": "ARCA", "CBOE": "BATS", "OTC": "PINK", "": "PINK"}

# Symbol, primary exchange, currency, name, where. INTC is ambiguous even at SMART in USD.
ABROAD = [
    ("RY", "TSE", "CAD", "ROYAL BANK OF CANADA", venues.TORONTO),
    ("SHOP", "TSE", "CAD", "SHOPIFY INC - CLASS A", venues.TORONTO),
    ("AAPL", "MEXI", "MXN", "APPLE INC", venues.MEXICO),
    ("AAPL", "EBS", "CHF", "APPLE INC", venues.ZURICH),
    ("INTC", "EBS", "USD", "INTEL CORP", venues.ZURICH),
    ("VOD", "LSE", "GBP", "VODAFONE GROUP PLC", venues.LONDON),
    ("BMW", "IBIS", "EUR", "BAYERISCHE MOTOREN WERKE AG", venues.FRANKFURT),
]
PAIRS = "EUR.USD GBP.USD AUD.USD NZD.USD USD.JPY USD.CHF USD.CAD EUR.GBP EUR.JPY EUR.CHF GBP.JPY AUD.CAD".split()
COINS = [("BTC", "PAXOS"), ("BTC", "ZEROHASH"), ("ETH", "PAXOS"), ("LTC", "ZEROHASH")]
FUTURES = [("ES", "CME", "50", "E-mini S&P 500"), ("NQ", "CME", "20", "E-mini NASDAQ 100")]
MONTH_LETTERS = {3: "H", 6: "M", 9: "U", 12: "Z"}
YEARS_AHEAD = 5


@dataclass(frozen=True)
class Listing:
    """One contract."""

    con_id: int
    symbol: str
    sec_type: str
    currency: str
    primary: str
    exchanges: tuple[str, ...]
    name: str
    venue: Venue
    local_symbol: str
    trading_class: str
    stock_type: str = ""
    expiry: str = ""
    multiplier: str = ""
    min_tick: str = "0.01"

    @property
    def last_trade(self):
        """The day, hour and zone of its last trade, as contract details carry them."""
        return f"{self.expiry} 08:30 {self.venue.zone_id}" if self.expiry else ""

    def fits(self, query):
        """Whether a description is one of this contract."""
        if query.con_id not in ("", "0"):
            return str(self.con_id) == query.con_id
        return (
            bool(query.symbol or query.local_symbol)
            and query.symbol in ("", self.symbol)
            and query.sec_type in ("", self.sec_type)
            and query.currency in ("", self.currency)
            and query.exchange in ("", *self.exchanges)
            and query.primary in ("", self.primary)
            and query.local_symbol in ("", self.local_symbol)
            and query.trading_class in ("", self.trading_class)
            and query.multiplier in ("", self.multiplier)
            and self.expiry.startswith(query.expiry)
        )


@cache
def known_on(today):
    """Every contract known on a day, by symbol."""
    numbers = count(10_000)
    by_symbol = {}
    for make in (_stocks, _abroad, _pairs, _coins):
        for listing in make(numbers):
            by_symbol.setdefault(listing.symbol, []).append(listing)
    for listing in _futures(numbers, today):
        by_symbol.setdefault(listing.symbol, []).append(listing)
    return by_symbol


def _stocks(numbers):
    with files("symcache_host").joinpath("data", "us_symbols.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            symbol, exchange = row["symbol"].replace("-", " "), PRIMARY[row["exchange"]]
            kind = "ETF" if row["asset_type"] == "ETF" else "COMMON"
            yield _stock(next(numbers), symbol, exchange, row["currency"], row["name"], venues.UNITED_STATES, kind)


def _abroad(numbers):
    for symbol, exchange, currency, name, venue in ABROAD:
        yield _stock(next(numbers), symbol, exchange, currency, name, venue, "COMMON")


def _stock(number, symbol, exchange, currency, name, venue, kind):
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


def _futures(numbers, today):
    for symbol, exchange, multiplier, name in FUTURES:
        for expiry in _quarterly_expiries(today):
            local = f"{symbol}{MONTH_LETTERS[expiry.month]}{expiry.year % 10}"
            yield Listing(
                next(numbers),
                symbol,
                "FUT",
                "USD",
                "",
                (exchange,),
                name,
                venues.CHICAGO,
                local_symbol=local,
                trading_class=symbol,
                expiry=f"{expiry:%Y%m%d}",
                multiplier=multiplier,
                min_tick="0.25",
            )


def _quarterly_expiries(today):
    for year in range(today.year, today.year + YEARS_AHEAD):
        for month in MONTH_LETTERS:
            first = date(year, month, 1)
            third_friday = first + timedelta(days=(calendar.FRIDAY - first.weekday()) % 7 + 14)
            if third_friday >= today:
                yield third_friday
