"""A broker that knows a few contracts of each odd kind, in the place of a connection to TWS."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from ib_async import Contract, ContractDetails

from symcache_host.ib.connectivity import Connectivity
from symcache_host.ib.session import IbError

NOW = datetime(2013, 3, 1, 22, tzinfo=UTC)
FIRST = datetime(2005, 3, 10, 14, 30, tzinfo=UTC)
UNKNOWN = "No security definition has been found for the request"
MONTH, DAY = 6, 8


class Broker:
    """What a gateway needs of a connection, over a list of contracts; ``asked`` counts the requests for details."""

    def __init__(self, *contracts: ContractDetails) -> None:
        self.contracts = contracts
        self.asked = 0
        self.refusal: IbError | None = None
        self.connectivity = Connectivity(client_id=1)
        self.open_requests = 0

    async def open(self) -> None:
        """It is."""

    async def aclose(self) -> None:
        """It may stay as it is."""

    async def ready(self) -> None:
        """It always is."""

    async def contract_details(self, contract: Contract, _slot: object = None) -> list[ContractDetails]:
        """Every contract that fits a description."""
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        if found := self.find(contract):
            return found
        raise IbError(200, UNKNOWN)

    async def head_timestamp(self, _contract: Contract, _what: str, _rth: bool, _slot: object = None) -> datetime:
        """The same for all."""
        return FIRST

    def find(self, query: Contract) -> list[ContractDetails]:
        """One answer for each exchange of each contract that fits, or for the one that was asked for."""
        return [
            replace(known, contract=replace(known.contract, exchange=exchange))
            for known in self.contracts
            if fits(known, query)
            for exchange in ([query.exchange] if query.exchange else known.validExchanges.split(","))
        ]


def fits(known: ContractDetails, query: Contract) -> bool:
    """Whether a description is one of a contract, by the rules of TWS: what is left open fits everything."""
    contract = known.contract
    same = ("symbol", "secType", "currency", "localSymbol", "tradingClass", "multiplier", "primaryExchange")
    if not (query.symbol or query.localSymbol):
        return False
    if query.exchange and query.exchange not in known.validExchanges.split(","):
        return False
    expiry = query.lastTradeDateOrContractMonth
    ends = known.contractMonth if len(expiry) == MONTH else contract.lastTradeDateOrContractMonth[:DAY]
    return expiry in ("", ends) and all(getattr(query, name) in ("", getattr(contract, name)) for name in same)


NUMBERS = Counter()


def share(symbol, primary, currency="USD", exchanges=None, trading_class=None, number=None):
    """A share listed at an exchange."""
    contract = Contract(
        conId=number or _number(),
        symbol=symbol,
        secType="STK",
        primaryExchange=primary,
        currency=currency,
        localSymbol=symbol,
        tradingClass=trading_class or symbol.replace(" ", ""),
    )
    return ContractDetails(contract=contract, validExchanges=exchanges or f"SMART,{primary}", longName=symbol)


def future(local, symbol, trading_class, multiplier, expiry, exchange, currency="USD", month=None):
    """A future; ``exchange`` may be several."""
    contract = Contract(
        conId=_number(),
        symbol=symbol,
        secType="FUT",
        lastTradeDateOrContractMonth=expiry,
        multiplier=multiplier,
        currency=currency,
        localSymbol=local,
        tradingClass=trading_class,
    )
    return ContractDetails(contract=contract, validExchanges=exchange, contractMonth=month or expiry[:MONTH])


def other(symbol, kind, exchange, currency="USD", local=None):
    """Any other contract."""
    contract = Contract(
        conId=_number(),
        symbol=symbol,
        secType=kind,
        currency=currency,
        localSymbol=local or symbol,
        tradingClass=symbol,
    )
    return ContractDetails(contract=contract, validExchanges=exchange)


def _number():
    NUMBERS["contracts"] += 1
    return NUMBERS["contracts"]


def everything():
    """Contracts as users report them: several of one symbol, names with separators, exchanges with former names."""
    return Broker(
        future("SILH3", "SI", "SIL", "1000", "20130327", "COMEX"),
        future("SIH3", "SI", "SI", "5000", "20130327", "COMEX"),
        future("FDXM MAR 13", "DAX", "FDXM", "5", "20130315", "EUREX", "EUR"),
        future("FDAX MAR 13", "DAX", "FDAX", "25", "20130315", "EUREX", "EUR"),
        future("FESX MAR 13", "ESTX50", "FESX", "10", "20130315", "DTB", "EUR"),
        future("VX10H3", "VIX", "VX10", "1000", "20130306", "CFE"),
        future("VXH3", "VIX", "VX", "1000", "20130320", "CFE"),
        future("VXJ3", "VIX", "VX", "1000", "20130417", "CFE"),
        future("ZN   MAR 13", "ZN", "ZN", "1000", "20130319", "CBOT"),
        future("ESH3", "ES", "ES", "50", "20130315", "CME,QBALGO"),
        future("ESM3", "ES", "ES", "50", "20130621", "CME,QBALGO"),
        future("CLJ3", "CL", "CL", "1000", "20130320", "NYMEX", month="201304"),
        future("GCJ3", "GC", "GC", "100", "20130426", "COMEX"),
        future("Z     H3", "Z", "Z", "10", "20130315", "ICEEU", "GBP"),
        future("NKH3", "N225", "N225", "1000", "20130308", "OSE.JPN", "JPY"),
        future("C     H3", "C", "C", "10", "20130315", "ICEEU", "GBP"),
        future("CH3", "C", "C", "10", "20130315", "ICEEUSOFT", "GBP"),
        share("AAPL", "NASDAQ", exchanges="SMART,AMEX,NASDAQ,BATS", number=265598),
        share("AAPL", "EBS", "CHF"),
        share("MSFT", "ISLAND"),
        share("INTC", "EBS"),
        share("INTC", "NASDAQ"),
        share("KWEB", "EBS"),
        share("KWEB", "LSEETF"),
        share("EQQU", "LSEETF"),
        share("EXUS", "LSEETF"),
        share("EXUS", "NASDAQ"),
        share("BRK B", "NYSE"),
        share("BAC", "NYSE"),
        share("BAC PRK", "NYSE"),
        share("C PRK", "NYSE"),
        share("CPK", "NYSE"),
        share("F PR", "NYSE"),
        share("AA", "NYSE"),
        share("CCIV WS", "NYSE"),
        share("BT.A", "LSE", "GBP"),
        share("BP.", "LSE", "GBP"),
        share("NOVO.B", "CPH", "DKK"),
        share("BBD.B", "TSE", "CAD"),
        share("SHEL/A", "AEB", "EUR"),
        share("BAJAJ-AUT", "NSE", "INR", exchanges="NSE"),
        share("700", "SEHK", "HKD"),
        share("7203", "TSEJ", "JPY"),
        other("SPX", "IND", "CBOE"),
        other("DAX", "IND", "DTB", "EUR"),
        other("ESTX50", "IND", "EUREX", "EUR"),
        other("IBUS500", "CFD", "SMART"),
        other("AAPL", "CFD", "SMART", "USD"),
        other("AAPL", "CFD", "SMART", "EUR"),
        other("BRK B", "CFD", "SMART"),
        other("EUR", "CFD", "SMART", "USD"),
        other("XAUUSD", "CMDTY", "SMART"),
        other("XAUEUR", "CMDTY", "SMART", "EUR"),
        other("BTC", "CRYPTO", "PAXOS", local="BTC.USD"),
        other("BTC", "CRYPTO", "ZEROHASH", local="BTC.USD"),
        other("LTC", "CRYPTO", "ZEROHASH", local="LTC.USD"),
        other("EUR", "CASH", "IDEALPRO", "USD", local="EUR.USD"),
        other("USD", "CASH", "IDEALPRO", "JPY", local="USD.JPY"),
    )
