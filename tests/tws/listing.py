"""One contract that the simulated TWS knows, and which descriptions are its own."""

from dataclasses import dataclass, replace
from datetime import date

from .venues import Venue

CONTINUOUS = "CONTFUT"
"""The type of a future that stands for the next one to expire; nobody gets it without asking for that type."""


@dataclass(frozen=True)
class Listing:
    """One contract.

    Args:
        delisted: The last day on which it is known.
        has_data: Whether there are any bars of it.
    """

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
    delisted: date = date.max
    has_data: bool = True

    @property
    def last_trade(self):
        """The day, hour and zone of its last trade, as contract details carry them."""
        return f"{self.expiry} 08:30 {self.venue.zone_id}" if self.expiry else ""

    def is_expired(self, today):
        """Whether its last day is over."""
        return "" < self.expiry < f"{today:%Y%m%d}"

    def of_kind(self, sec_type):
        """The same under another type."""
        return replace(self, sec_type=sec_type)

    def fits(self, query, today):
        """Whether a description is one of this contract; one that has expired has to be asked for as such."""
        if today > self.delisted or (self.is_expired(today) and not query.expired):
            return False
        if query.sec_type != self.sec_type and (query.sec_type or self.sec_type == CONTINUOUS):
            return False
        if query.con_id not in ("", "0"):
            return str(self.con_id) == query.con_id
        return (
            bool(query.symbol or query.local_symbol)
            and query.symbol in ("", self.symbol)
            and query.currency in ("", self.currency)
            and query.exchange in ("", *self.exchanges)
            and query.primary in ("", self.primary)
            and query.local_symbol in ("", self.local_symbol)
            and query.trading_class in ("", self.trading_class)
            and query.multiplier in ("", self.multiplier)
            and self.expiry.startswith(query.expiry)
        )
