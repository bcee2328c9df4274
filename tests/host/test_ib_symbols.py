"""However a symbol is written, it is the contract that it means, or an error that says how to write that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from functools import partial

import pytest
from broker import NOW, Broker, everything, future, other, share
from hypothesis import given
from hypothesis import strategies as st
from tws.looptime import run

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import AmbiguousSymbolError, InvalidSymbolError, SymbolNotFoundError
from symcache_core.symbols import Instrument
from symcache_host.gateway import Caller
from symcache_host.ib.contracts import candidates, choose
from symcache_host.ib.exchanges import present_name
from symcache_host.ib.gateway import IbGateway
from symcache_host.ib.session import IbError
from symcache_host.service import HostService
from symcache_host.wire import HistoricalRequest

CALLER = Caller()
TODAY = date(2013, 3, 1)


def gateway(broker):
    return IbGateway(broker, clock=NOW.timestamp, sleep=lambda _seconds: asyncio.sleep(0))


def answer(symbol, broker=None):
    return run(gateway(broker or everything()).validate(symbol, [], CALLER))


def local(symbol, broker=None):
    """The local symbol, the market and the currency of what a symbol is found to be."""
    found = answer(symbol, broker)
    assert found.result.is_valid, found
    contract = found.result.contract_info.contract
    return contract["localSymbol"], contract.get("primaryExchange") or contract["exchange"], contract["currency"]


@pytest.mark.parametrize(
    ("symbol", "found"),
    [
        # a future by its local symbol, as the exchange writes it and as it was read
        ("FUT:FESX MAR 13@EUREX", "FESX MAR 13"),
        ("FUT:fesx mar 13", "FESX MAR 13"),
        ("FUT:FDAX MAR 13@EUREX:EUR", "FDAX MAR 13"),
        ("FUT:FDXM MAR 13@DTB", "FDXM MAR 13"),
        ("FUT:ZN   MAR 13@CBOT", "ZN   MAR 13"),
        ("FUT:ZN MAR 13@CBOT", "ZN   MAR 13"),
        ("FUT:ZN MAR13@CBOT", "ZN   MAR 13"),
        ("FUT:ZN MAR 2013@ECBOT", "ZN   MAR 13"),
        ("FUT:ESH3@CME", "ESH3"),
        ("FUT:SILH3@COMEX", "SILH3"),
        ("FUT:SIH3@COMEX", "SIH3"),
        ("FUT:VX10H3", "VX10H3"),
        ("FUT:VXH3@CFE", "VXH3"),
        # by another exchange's way to write one
        ("FUT:ESH13@CME", "ESH3"),
        ("FUT:ESH2013@CME", "ESH3"),
        ("FUT:ES H3", "ESH3"),
        ("FUT:ZNH3@CBOT", "ZN   MAR 13"),
        ("FUT:FESXH3@EUREX", "FESX MAR 13"),
        ("FUT:ES MAR 13@CME", "ESH3"),
        # by its symbol and expiry
        ("FUT:ES 201303@CME", "ESH3"),
        ("FUT:ES 20130315@CME", "ESH3"),
        ("FUT:ES-201303", "ESH3"),
        ("FUT:ES 2013-03", "ESH3"),
        ("FUT:ESTX50 201303@EUREX", "FESX MAR 13"),
        ("FUT:ESTX50 MAR 13", "FESX MAR 13"),
        ("FUT:CL 201304@NYMEX", "CLJ3"),
        ("FUT:VIX 20130320@CFE", "VXH3"),
        # by its trading class in place of the symbol
        ("FUT:SIL 201303@COMEX", "SILH3"),
        ("FUT:FDXM 201303@EUREX", "FDXM MAR 13"),
        ("FUT:FESX 201303", "FESX MAR 13"),
        # of several the one whose trading class is the symbol, or whose class or multiplier was said
        ("FUT:SI 201303@COMEX", "SIH3"),
        ("FUT:SI 201303@COMEX,class=SIL", "SILH3"),
        ("FUT:SI 201303,multiplier=1000", "SILH3"),
        ("FUT:SI 201303,multiplier=5000.0", "SIH3"),
        ("FUT:DAX 201303@EUREX,class=fdxm", "FDXM MAR 13"),
        ("FUT:DAX 201303,multiplier=25", "FDAX MAR 13"),
        ("FUT:VIX 201303@CFE,class=VX", "VXH3"),
        # at an exchange that had, or has, another name
        ("FUT:ES 201303@GLOBEX", "ESH3"),
        ("FUT:FDAX MAR 13@DTB", "FDAX MAR 13"),
        ("FUT:FESX MAR 13@SOFFEX", "FESX MAR 13"),
        ("FUT:GC 201304@NYMEX", "GCJ3"),
        ("FUT:GCJ3@NYMEX", "GCJ3"),
        ("FUT:N225 201303@OSE", "NKH3"),
        ("FUT:C 201303@ICEEU", "C     H3"),
        ("FUT:C 201303@ICEEUSOFT", "CH3"),
        ("IND:DAX@DTB", "DAX"),
        ("IND:DAX@EUREX", "DAX"),
        ("IND:ESTX50@DTB", "ESTX50"),
        ("AAPL@ISLAND", "AAPL"),
        ("MSFT@NASDAQ", "MSFT"),
        ("MSFT@ISLAND:USD", "MSFT"),
        # shares with a separator, whichever it is
        ("BRK.B", "BRK B"),
        ("BT.A@LSE:GBP", "BT.A"),
        ("BT-A@LSE", "BT.A"),
        ("BT/A@LSE:GBP", "BT.A"),
        ("NOVO-B@CPH:DKK", "NOVO.B"),
        ("bbd/b@tse", "BBD.B"),
        ("SHEL/A@AEB:EUR", "SHEL/A"),
        ("SHEL A@AEB", "SHEL/A"),
        ("SHEL.A@:EUR", "SHEL/A"),
        ("BAJAJ-AUT@NSE:INR", "BAJAJ-AUT"),
        ("BAJAJ AUT@NSE", "BAJAJ-AUT"),
        ("CCIV-WT", "CCIV WS"),
        ("CCIV.WS", "CCIV WS"),
        # preferred shares, as every source writes them
        ("BAC PRK", "BAC PRK"),
        ("BAC.PRK", "BAC PRK"),
        ("BAC-PK", "BAC PRK"),
        ("BAC PR K", "BAC PRK"),
        ("BAC.PR.K", "BAC PRK"),
        ("bac-pr-k@nyse:usd", "BAC PRK"),
        ("BAC/PRK", "BAC PRK"),
        ("BACpK", "BAC PRK"),
        ("F-P", "F PR"),
        ("Fp", "F PR"),
        # exchanges that fill up symbols
        ("BP@LSE:GBP", "BP."),
        ("BP.@LSE:GBP", "BP."),
        ("BP@:GBP", "BP."),
        ("0700@SEHK:HKD", "700"),
        ("700@SEHK", "700"),
        ("00700@:HKD", "700"),
        ("7203@TSE.JPN", "7203"),
        # what is no share
        ("BTC.USD", "BTC.USD"),
        ("BTC-USD", "BTC.USD"),
        ("LTC/USD", "LTC.USD"),
        ("CRYPTO:BTC/USD", "BTC.USD"),
        ("CRYPTO:BTC.USD@PAXOS", "BTC.USD"),
        ("CRYPTO:BTCUSD", "BTC.USD"),
        ("XAU/USD", "XAUUSD"),
        ("CMDTY:XAU/USD", "XAUUSD"),
        ("CMDTY:XAU", "XAUUSD"),
        ("XAUEUR", "XAUEUR"),
        ("CMDTY:XAUEUR", "XAUEUR"),
        ("IND:SPX", "SPX"),
        ("IND:SPX@CBOE:USD", "SPX"),
        ("CFD:IBUS500", "IBUS500"),
        ("CFD:AAPL@SMART:EUR", "AAPL"),
        ("CFD:BRK.B", "BRK B"),
        ("CFD:EURUSD", "EUR"),
        ("EUR.USD", "EUR.USD"),
        # several listings, of which one is the primary one
        ("INTC", "INTC"),
        ("EQQU", "EQQU"),
        ("EXUS", "EXUS"),
    ],
)
def test_a_symbol_is_the_contract_that_it_means(symbol, found):
    assert local(symbol)[0] == found


@pytest.mark.parametrize(
    ("symbol", "market", "currency"),
    [
        ("INTC", "NASDAQ", "USD"),
        ("INTC@EBS", "EBS", "USD"),
        ("EXUS@LSEETF", "LSEETF", "USD"),
        ("AAPL@EBS", "EBS", "CHF"),
        ("CFD:AAPL@SMART:EUR", "SMART", "EUR"),
        ("CFD:AAPL@:USD", "SMART", "USD"),
    ],
)
def test_a_venue_and_a_currency_choose_among_listings(symbol, market, currency):
    assert local(symbol)[1:] == (market, currency)


@pytest.mark.parametrize(
    ("symbol", "alternatives"),
    [
        (
            "FUT:DAX 201303@EUREX",
            {"FUT:DAX 201303@EUREX:EUR,class=FDXM", "FUT:DAX 201303@EUREX:EUR,class=FDAX"},
        ),
        ("FUT:DAX MAR 13", {"FUT:DAX MAR 13@EUREX:EUR,class=FDXM", "FUT:DAX MAR 13@EUREX:EUR,class=FDAX"}),
        ("FUT:DAXH3@DTB", {"FUT:DAXH3@EUREX:EUR,class=FDXM", "FUT:DAXH3@EUREX:EUR,class=FDAX"}),
        ("FUT:VIX 201303", {"FUT:VIX 201303@CFE:USD,class=VX10", "FUT:VIX 201303@CFE:USD,class=VX"}),
        ("KWEB", {"KWEB@EBS:USD", "KWEB@LSEETF:USD"}),
        ("STK:KWEB", {"STK:KWEB@EBS:USD", "STK:KWEB@LSEETF:USD"}),
        ("CFD:AAPL", {"CFD:AAPL@SMART:USD", "CFD:AAPL@SMART:EUR"}),
    ],
)
def test_what_fits_several_names_each_in_the_spelling_that_chooses_it(symbol, alternatives):
    broker = everything()
    with pytest.raises(AmbiguousSymbolError, match="ambiguous: ask for ") as raised:
        answer(symbol, broker)
    assert set(raised.value.alternatives) == alternatives
    assert all(each in str(raised.value) for each in alternatives)
    assert len({local(each, broker) for each in alternatives}) == len(alternatives)


@pytest.mark.parametrize(
    ("classes", "alternatives", "says"),
    [
        (["N,M", "N@M"], (), "2 of what it fits cannot be told apart"),
        (["NM", "NM"], (), "2 of what it fits cannot be told apart"),
        (["NM2", "NM2", "NM3"], ("FUT:NMH3@CME:USD,class=NM3",), "2 more of what it fits cannot be told apart"),
    ],
)
def test_futures_that_no_spelling_tells_apart_are_ambiguous_all_the_same(classes, alternatives, says):
    broker = Broker(*[future("NMH3", "NM", name, "10", "20130315", "CME") for name in classes])
    with pytest.raises(AmbiguousSymbolError, match=says) as raised:
        answer("FUT:NMH3", broker)
    assert raised.value.alternatives == alternatives


@pytest.mark.parametrize(
    ("symbol", "chosen", "also"),
    [
        ("FUT:LCH3", "FUT:LCH3@CME:USD,class=LC", "FUT:LCH3@CME:USD,class=LCM"),
        ("FUT:LC 201303", "FUT:LC 201303@CME:USD,class=LC", "FUT:LC 201303@CME:USD,class=LCM"),
    ],
)
def test_a_note_about_futures_with_one_local_symbol_tells_them_apart(symbol, chosen, also):
    broker = Broker(*[future("LCH3", "LC", name, "10", "20130315", "CME") for name in ("LC", "LCM")])
    details = answer(symbol, broker).result.contract_info.details
    assert details["note"] == (
        f"{symbol} is ambiguous: this is {chosen}, the one whose trading class is the symbol; there is also {also}"
    )
    assert details["alternatives"] == (also,)


@pytest.mark.parametrize("kind", ["IND", "CMDTY", "CFD"])
def test_whatever_is_no_share_and_no_future_is_ambiguous_if_there_are_several(kind):
    broker = Broker(other("X", kind, "SMART" if kind != "IND" else "A", "USD"), other("X", kind, "SMART,B", "CHF"))
    symbol = f"{kind}:X"
    if kind == "CMDTY":  # in dollars, unless another currency is said
        assert local(symbol, broker)[2] == "USD"
        return
    with pytest.raises(AmbiguousSymbolError) as raised:
        answer(symbol, broker)
    assert {local(each, broker)[2] for each in raised.value.alternatives} == {"USD", "CHF"}


# -- the property ------------------------------------------------------------------------------------------------------

EXCHANGES = st.sampled_from(
    ["CME", "GLOBEX", "EUREX", "DTB", "NYMEX", "COMEX", "OSE.JPN", "ICEEU", "ICEEUSOFT", "QBALGO,CME"]
)
MARKETS = st.sampled_from(["EBS", "LSE", "LSEETF", "NASDAQ", "ISLAND", "NYSE", "PINK", "TSE", "ENEXT.BE", "SEHK"])
CURRENCIES = st.sampled_from(["USD", "EUR", "GBP", "HKD"])
CLASSES = st.sampled_from(["X", "XM", "X 2", "x/3", "X,Y", "X@Y"])
MULTIPLIERS = st.sampled_from(["5", "5.0", "25", "0.1", "1000"])
ENDS = st.sampled_from(["20130315", "20130327", "20130306 08:30 MET"])
FUTURES = st.lists(
    st.builds(
        partial(future, month="201303"),
        st.sampled_from(["XH3", "X MAR 13", "X    MAR 13", "XMH3"]),
        st.just("X"),
        CLASSES,
        MULTIPLIERS,
        ENDS,
        EXCHANGES,
        CURRENCIES,
    ),
    min_size=1,
    max_size=5,
)
SHARES = st.lists(
    st.builds(share, st.sampled_from(["X", "X B", "X.B", "X PRB"]), MARKETS, CURRENCIES, trading_class=CLASSES),
    min_size=1,
    max_size=5,
)
OTHERS = st.lists(
    st.builds(other, st.just("X"), st.sampled_from(["IND", "CFD", "CMDTY", "CRYPTO"]), MARKETS, CURRENCIES),
    min_size=1,
    max_size=5,
)
ASKED = st.one_of(
    st.tuples(
        FUTURES,
        st.sampled_from(["X 201303", "X 20130315", "XH3", "XH13", "X MAR 13", "XM 201303"]).map("FUT:{}".format),
    ),
    st.tuples(SHARES, st.sampled_from(["X", "X.B", "X-PB", "XpB", "STK:X"])),
    st.tuples(OTHERS, st.sampled_from(["IND:X", "CFD:X", "CMDTY:X", "CRYPTO:X/EUR"])),
)
NARROWED = st.sampled_from(["", "", "", "@EUREX", "@NYMEX", "@:EUR", "@LSE", "@SMART", ",class=X", "@CME,multiplier=5"])


def found_as(symbol, broker):
    """What the first form of a symbol that is known stands for."""
    instrument = Instrument.parse(symbol)
    return next(
        (
            listing
            for contract in candidates(instrument, TODAY)
            if (listing := choose(broker.find(contract), instrument)) is not None
        ),
        None,
    )


def resolved(symbol, broker):
    """The contract of that."""
    listing = found_as(symbol, broker)
    return listing and listing.contract


def refusal(symbol, broker):
    """The error about a symbol that fits several contracts, if it does."""
    try:
        resolved(symbol, broker)
    except AmbiguousSymbolError as error:
        return error
    return None


def cannot_be_named(contracts):
    """Whether a symbol cannot say the class of one of several contracts, or two are the same but for a number."""
    if any(mark in each.contract.tradingClass for each in contracts for mark in ",@"):
        return True
    said = [
        (
            present_name(each.validExchanges.rpartition(",")[2]),
            each.contract.currency,
            each.contract.tradingClass,
            float(each.contract.multiplier or 0),
            each.contract.lastTradeDateOrContractMonth[:8],
        )
        for each in contracts
    ]
    return len(set(said)) < len(said)


@given(ASKED, NARROWED)
def test_each_alternative_is_exactly_one_of_the_contracts_and_all_of_them_are_apart(asked, narrowed):
    contracts, spelling = asked
    broker = Broker(*contracts)
    error = refusal(spelling + narrowed, broker)
    if error is None:
        return
    found = [resolved(each, broker) for each in error.alternatives]
    assert None not in found
    assert len({contract.conId for contract in found}) == len(found)
    assert len(found) > 1 or cannot_be_named(contracts)
    assert all(each in str(error) for each in error.alternatives)


@given(ASKED, NARROWED)
def test_a_note_names_the_contract_and_no_other_and_each_of_the_others_by_its_own_symbol(asked, narrowed):
    contracts, spelling = asked
    instrument, broker = Instrument.parse(spelling + narrowed), Broker(*contracts)
    listing = None if refusal(str(instrument), broker) else found_as(str(instrument), broker)
    if listing is None or not listing.others:
        return
    for each in listing.others:
        other = resolved(each, broker)
        assert other is not None
        assert other.conId != listing.contract.conId
        assert each in listing.note
    chosen = listing.note.partition("this is ")[2].partition(", the ")[0]
    assert chosen not in listing.others
    assert resolved(chosen, broker).conId == listing.contract.conId


@given(ASKED, NARROWED)
def test_whatever_is_chosen_has_what_was_said(asked, narrowed):
    contracts, spelling = asked
    instrument, broker = Instrument.parse(spelling + narrowed), Broker(*contracts)
    contract = None if refusal(str(instrument), broker) else resolved(str(instrument), broker)
    if contract is not None:
        assert instrument.currency in ("", contract.currency)
        assert instrument.trading_class in ("", contract.tradingClass.upper())
        assert contract.secType == (instrument.asset_type or "STK")


# -- preferred shares --------------------------------------------------------------------------------------------------


def test_case_tells_a_preferred_share_from_another_company():
    assert local("CpK")[0] == "C PRK"
    assert local("CPK")[0] == local("cpk")[0] == "CPK"


def test_where_there_is_no_such_preferred_share_the_case_does_not_count():
    assert local("CpK", Broker(share("CPK", "NYSE")))[0] == "CPK"
    assert local("AApL")[0] == "AAPL"
    assert local("AApL@NASDAQ:USD")[0] == "AAPL"


# -- negatives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "forms", "hints"),
    [
        ("ZZZZ", 1, 0),
        ("ZZZ.B", 4, 4),
        ("ZZZ@TSE", 2, 1),
        ("ZZZ@LSE", 2, 3),
        ("FUT:ZZZ 201303", 4, 0),
        ("FUT:ZZZ 201303@CFE", 4, 4),
        ("FUT:ZZZ MAR 13", 5, 0),
        ("FUT:ZZZZH3", 5, 0),
        ("IND:ZZZ@CBOE", 1, 1),
        ("EURNOK", 1, 1),
    ],
)
def test_a_negative_is_confirmed_once_every_form_was_asked_for_twice(symbol, forms, hints):
    broker = everything()
    found = answer(symbol, broker)
    assert (found.result.is_valid, found.confirmed) == (False, True)
    assert broker.asked == 2 * forms + hints


@pytest.mark.parametrize("symbol", ["AAPL", "FUT:ESH3@CME", "FUT:ES 201303@CME", "BAC-PK", "BRK.B", "FUT:FESX MAR 13"])
def test_what_is_known_in_its_most_likely_form_costs_one_message(symbol):
    broker = everything()
    assert answer(symbol, broker).result.is_valid
    assert broker.asked == 1


def test_a_future_is_told_at_its_exchange_and_not_at_the_one_that_repeats_it():
    assert local("FUT:ESH3") == local("FUT:ES 201303") == ("ESH3", "CME", "USD")


def test_words_that_are_no_month_may_be_written_with_more_spaces_than_anyone_knows():
    found = answer("FUT:X 26 M")
    assert (found.result.is_valid, found.confirmed) == (False, False)


@pytest.mark.parametrize(
    ("symbol", "suggested"),
    [
        ("USD.EUR", "EURUSD"),
        ("JPYUSD", "USDJPY"),
        ("XAGEUR", None),
        ("SPX", "IND:SPX@CBOE"),
        ("^GSPC", "IND:SPX@CBOE"),
        ("^GDAXI", "IND:DAX@EUREX"),
        ("^ESTX50", "IND:ESTX50"),
        ("BAC-K", "BAC PRK"),
        ("BACPRK", "BAC PRK"),
        ("BAC^K", "BAC PRK"),
        ("BTCUSD", "CRYPTO:BTC"),
        ("ESH3", "FUT:ESH3"),
        ("EURUSD=X", "EURUSD"),
        ("0700.HK", "0700@SEHK:HKD"),
        ("BP.L", "BP@LSE:GBP"),
        ("7203.T", "7203@TSEJ:JPY"),
        ("NASDAQ:AAPL", "AAPL@NASDAQ"),
        ("CME_MINI:ESH3", "FUT:ESH3@CME"),
        ("BP@XLON", "BP@LSE"),
        ("EQQU@LSE", "EQQU@LSEETF"),
        ("AAPL@BATS", "AAPL@NASDAQ:USD"),
        ("AAPL@LSE", None),
        ("FUT:ESH3@EUREX", "FUT:ESH3@CME:USD"),
        ("FUT:ES 20130314@CME", "FUT:ES 201303@CME"),
        ("/AAPL", "AAPL"),
        ("AAPL/", "AAPL"),
        ("AAPL.", "AAPL"),
        ("-EUR/USD-", "EURUSD"),
        ("FUT:/ESH3@CME", "FUT:ESH3@CME"),
        ("BP/@LSE", "BP@LSE"),
        ("/", None),
        ("ZZZZ.", None),
        ("ZZZZ", None),
        ("KWEB@XYZ", None),
    ],
)
def test_what_an_unknown_symbol_was_plainly_meant_to_be_is_suggested(symbol, suggested):
    broker = everything()
    found = answer(symbol, broker)
    assert (found.result.is_valid, found.result.suggested_symbol) == (False, suggested)
    assert suggested is None or answer(suggested, broker).result.is_valid


def test_a_suggestion_keeps_what_sets_it_apart():
    broker = Broker(*[future("LCH3", "LC", "LC", size, "20130315", "CME") for size in ("10", "20")])
    assert answer("FUT:LCH3@EUREX,multiplier=10", broker).result.suggested_symbol == "FUT:LCH3@CME:USD,multiplier=10"


@pytest.mark.parametrize("symbol", ["XNAS:" + "A" * 123, "A" * 120 + ".TO", "A" * 120 + "@XLON", "." + "A" * 127])
def test_an_unknown_symbol_of_nearly_the_greatest_length_is_a_negative_like_any_other(symbol):
    found = answer(symbol)
    assert (found.result.is_valid, found.result.suggested_symbol, found.confirmed) == (False, None, True)


def test_a_suggestion_goes_with_the_failure_of_bars_too():
    async def story():
        day = NOW.replace(hour=0)
        with pytest.raises(SymbolNotFoundError) as raised:
            await gateway(everything()).bars("JPYUSD", "1d", day, day, CALLER)
        return raised.value.suggested_symbol

    assert run(story()) == "USDJPY"


# -- what cannot be asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "says"),
    [
        ("CONTFUT:ES@CME", r"FUT:ES 202612@CME.*FUT:ESZ6@CME"),
        ("OPT:AAPL 240119C00150000", r"options"),
        ("AAPL  240119C00150000", r"options"),
        ("FOP:ES", r"options on futures"),
        ("BOND:912828C57", r"bonds"),
        ("WAR:X", r"warrants"),
        ("FUND:VFIAX", r"funds"),
        ("BAG:X", r"combination"),
        ("NEWS:BRF", r"news"),
    ],
)
def test_a_type_that_has_no_verdict_is_refused_with_what_to_ask_for(symbol, says):
    broker = everything()
    with pytest.raises(InvalidSymbolError, match=rf"{says}.*STK, CASH, FUT, CRYPTO, IND, CMDTY, CFD"):
        answer(symbol, broker)
    assert broker.asked == 0


# -- an ambiguous symbol at the host -----------------------------------------------------------------------------------


@pytest.fixture
def hosted(tmp_path):
    """Tells a story about a host service over a broker, with its cache."""

    def tell(story, broker):
        async def main():
            settings = SymcacheSettings(provider="ib", backend="json", data_dir=tmp_path)
            cache = open_symbol_cache(settings, clock=NOW.timestamp)
            try:
                return await story(HostService(gateway(broker), cache), cache)
            finally:
                await cache.aclose()

        return run(main())

    return tell


def test_the_host_says_so_on_the_wire_and_stores_nothing(hosted):
    symbol = "FUT:DAX 201303@EUREX"

    async def story(host, cache):
        alone = await host.validate(symbol, ["1d"])
        many = await host.validate_many([symbol, "AAPL"], [])
        bars = await host.historical(
            HistoricalRequest(symbol=symbol, timeframe="1d", start="2013-01-01", end="2013-02-01")
        )
        head = await host.head_timestamp(symbol, "1d")
        return alone, many.results[symbol], bars, head, many.results["AAPL"].is_valid, list(cache.symbols())

    *answers, other_is_valid, stored = hosted(story, everything())
    for each in answers:
        assert (each.success, each.error_kind, each.error_code) == (False, "permanent", "ambiguous")
        assert each.alternatives == [f"{symbol}:EUR,class={name}" for name in ("FDXM", "FDAX")]
    assert other_is_valid
    assert stored == ["AAPL"]


@pytest.mark.parametrize("symbol", ["CONTFUT:ES@CME", "OPT:AAPL", "FUT:ES"])
def test_the_host_says_of_what_cannot_be_asked_for_that_the_symbol_is_at_fault(hosted, symbol):
    async def story(host, cache):
        alone = await host.validate(symbol, ["1d"])
        many = await host.validate_many([symbol, "AAPL"], [])
        bars = await host.historical(
            HistoricalRequest(symbol=symbol, timeframe="1d", start="2013-01-01", end="2013-02-01")
        )
        return alone, many.results[symbol], bars, await host.head_timestamp(symbol, "1d"), list(cache.symbols())

    *answers, stored = hosted(story, everything())
    for each in answers:
        assert (each.success, each.error_kind, each.error_code) == (False, "permanent", "invalid_symbol")
        assert "ask for" in each.error or "needs" in each.error or "not kept" in each.error
    assert stored == ["AAPL"]


@pytest.mark.parametrize(
    "text",
    [
        "The contract description specified for SI is ambiguous; you must specify the multiplier or trading class.",
        "The contract description specified for AAPL is ambiguous.",
    ],
)
def test_a_broker_that_says_ambiguous_and_no_more_is_understood(text):
    broker = everything()
    broker.refusal = IbError(200, text)
    with pytest.raises(AmbiguousSymbolError, match=r"multiplier=") as raised:
        answer("FUT:SI 201303", broker)
    assert (raised.value.alternatives, raised.value.code) == ((), "ambiguous")


def test_what_has_become_ambiguous_is_not_remembered_as_what_it_was():
    mini = next(each for each in everything().contracts if each.contract.tradingClass == "SIL")
    broker = Broker(mini)
    day = NOW.replace(hour=0)

    async def story():
        asked = gateway(broker)
        await asked.validate("FUT:SI 201303", [], CALLER)
        broker.contracts = (mini, replace(mini, contract=replace(mini.contract, conId=1, tradingClass="SI1")))
        for call in (
            asked.validate("FUT:SI 201303", [], CALLER),
            asked.bars("FUT:SI 201303", "1d", day, day, CALLER),
        ):
            with pytest.raises(AmbiguousSymbolError):
                await call

    run(story())
