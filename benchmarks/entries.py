"""Makes entries like a provider's: about 1 KB each, all distinct, the same in every process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from symcache_core import CachedSymbolInfo, ContractInfo, ProviderAnswer, ValidationResult
from symcache_core.entries.codec import encode
from symcache_core.models import Part, Provenance
from symcache_core.symbols import Instrument

PROVIDER = "benchmark"
TIMEFRAMES = ("1d",)
TTL = 30 * 86400.0
"""Seconds that an entry lives; no run takes as long."""

KEEP_UNTIL = 4102444800.0
"""When a backend may drop an entry, in seconds since the epoch: the year 2100."""

_HEAD_TIMESTAMPS = {"1d": "1980-12-12T14:30:00+00:00", "1h": "2004-01-23T14:30:00+00:00"}
_SESSION = {"start": "09:30", "end": "16:00", "name": "Regular"}


class Entry(NamedTuple):
    """A symbol, the key it is stored under, and the line that is stored."""

    symbol: str
    key: str
    line: bytes


def bare(number: int) -> Entry:
    """An entry to look up, without its line."""
    symbol = f"SYM{number:06d}"
    return Entry(symbol, Instrument.parse(symbol).key(PROVIDER), b"")


def make(count: int, since: float, first: int = 0) -> Iterator[Entry]:
    """Make entries with consecutive numbers.

    Args:
        count: How many.
        since: When the provider answered, in seconds since the epoch.
        first: The first one's number.
    """
    for number in range(first, first + count):
        entry = bare(number)
        yield entry._replace(line=encode(entry.key, _info(entry.symbol, since)))


def answer(symbol: str) -> ProviderAnswer:
    """What the provider says about a symbol."""
    return ProviderAnswer(_verdict(symbol), provenance=_provenance(symbol))


def _info(symbol: str, since: float) -> CachedSymbolInfo:
    parts = {
        timeframe: Part(head_timestamp=stamp, asked_at=since, ttl_seconds=TTL)
        for timeframe, stamp in _HEAD_TIMESTAMPS.items()
    }
    return CachedSymbolInfo(
        validation_result=_verdict(symbol),
        cached_at=since,
        ttl_seconds=TTL,
        parts=parts,
        provenance=_provenance(symbol),
    )


def _verdict(symbol: str) -> ValidationResult:
    contract = ContractInfo(
        symbol=symbol,
        asset_type="STK",
        exchange="NASDAQ",
        currency="USD",
        description=f"{symbol} INTERNATIONAL HOLDINGS INC - CLASS A",
        contract={
            "symbol": symbol,
            "secType": "STK",
            "exchange": "SMART",
            "localSymbol": symbol,
            "tradingClass": "NMS",
        },
        trading_hours={"timezone": "America/New_York", "regular_hours": _SESSION, "trading_days": [0, 1, 2, 3, 4]},
        head_timestamp=_HEAD_TIMESTAMPS["1d"],
    )
    return ValidationResult(is_valid=True, symbol=symbol, contract_info=contract, head_timestamps=_HEAD_TIMESTAMPS)


def _provenance(symbol: str) -> Provenance:
    return Provenance(provider=PROVIDER, gateway=PROVIDER, spelling=symbol)
