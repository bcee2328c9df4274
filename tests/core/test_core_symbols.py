"""One spelling and one key for each instrument."""

import re
import unicodedata
from decimal import Decimal
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.errors import InvalidSymbolError
from symcache_core.symbols import Instrument, canonical_multiplier, key_prefix


def has_capital(char):
    """Whether its capital letter is one, and the same in another form."""
    return len(char.upper()) == 1 and (char.isascii() or not char.upper().isascii())


LETTERS = st.characters(exclude_categories=("C", "Zl", "Zp"))
TEXT = st.text(LETTERS, min_size=1, max_size=40).filter(
    lambda text: text.strip() and all(map(has_capital, unicodedata.normalize("NFC", text)))
)
TICKERS = st.from_regex(r"\A[A-Z]{1,5}([.\- /][A-Z]{1,2})?\Z")
NARROWED = ["", ",class=FDXM", ",multiplier=5", " , Multiplier = 05.0,CLASS=e 4/a", ",class=,", ",multiplier=1000,x=1"]
QUALIFIED = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "STK:", "FUT:", "cash:"]),
    TICKERS | st.sampled_from(["CpK", "BACpK", "Fp", "USDJpY"]),
    st.sampled_from(["", "@TSE", "@TSE:CAD", "@:USD", "@", "@TSE:"]),
    st.sampled_from(NARROWED),
)
PREFERRED = re.compile(r"(?:stk:)?[A-Z]{1,4}p[A-Z]?", re.IGNORECASE)


def parsed(text):
    """What a text means, if it can mean anything."""
    try:
        return Instrument.parse(text)
    except InvalidSymbolError:
        return None


@given(TEXT | QUALIFIED)
def test_the_canonical_spelling_is_read_back_as_the_same_instrument(text):
    instrument = parsed(text)
    assert instrument is None or Instrument.parse(str(instrument)) == instrument


@given(TEXT | QUALIFIED)
def test_surrounding_space_never_matters_and_case_only_in_a_preferred_share(text):
    assert parsed(f"  {text}\t\n") == parsed(text)
    instrument = parsed(text)
    if text.isascii() and instrument is not None:
        assert Instrument.parse(text.lower()) == instrument.folded()
        assert instrument == instrument.folded() or PREFERRED.fullmatch(instrument.symbol)


@pytest.mark.parametrize(
    "text", ["CpK", " CpK ", "CpK@nyse:usd", "stk:CpK", "CpK,class=C PRK", "Fp", "BACpK", "SCHWpD"]
)
def test_a_preferred_share_as_the_exchange_writes_it_keeps_its_case(text):
    instrument = Instrument.parse(text)
    assert instrument.symbol in ("CpK", "Fp", "BACpK", "SCHWpD")
    assert instrument.key("ib") != instrument.folded().key("ib")
    assert Instrument.from_key(instrument.key("ib")) == instrument


@pytest.mark.parametrize(
    "text", ["cpk", "CPK", "Cpk", "cPK", "aApL", "Aapl", "eurusd", "USDJpY", "FUT:CpK", "C.pK", "ABCDEpK", "CpKK"]
)
def test_whatever_else_is_written_in_small_letters_is_folded(text):
    assert Instrument.parse(text) == Instrument.parse(text.upper())
    assert Instrument.parse(text).symbol.isupper()


@pytest.mark.parametrize(
    ("text", "canonical", "key"),
    [
        ("FUT:DAX 201303,class=FDXM", "FUT:DAX 201303,class=FDXM", "ib|FUT|DAX 201303|||FDXM|"),
        ("fut:dax 201303 , MULTIPLIER = 5.0", "FUT:DAX 201303,multiplier=5", "ib|FUT|DAX 201303||||5"),
        (
            "FUT:DAX 201303@eurex:eur,multiplier=05,class=fdxm",
            "FUT:DAX 201303@EUREX:EUR,class=FDXM,multiplier=5",
            "ib|FUT|DAX 201303|EUREX|EUR|FDXM|5",
        ),
        ("FUT:DAX 201303,class=FDXM@EUREX", "FUT:DAX 201303@EUREX,class=FDXM", "ib|FUT|DAX 201303|EUREX||FDXM|"),
        ("eurusd,class=EUR.USD", "EURUSD,class=EUR.USD", "ib|CASH|EUR||USD|EUR.USD|"),
        ("KWEB@EBS,class=A B/C", "KWEB@EBS,class=A B/C", "ib||KWEB|EBS||A B/C|"),
    ],
)
def test_a_trading_class_and_a_multiplier_narrow_a_symbol(text, canonical, key):
    instrument = Instrument.parse(text)
    assert (str(instrument), instrument.key("ib")) == (canonical, key)
    assert Instrument.from_key(key) == Instrument.parse(canonical) == instrument
    assert instrument.is_qualified


@pytest.mark.parametrize(
    "text", ["A,class=", "A,multiplier=", "A,multiplier=x", "A,multiplier=0", "A,multiplier=-5", "A,class=B,class=C"]
)
def test_what_can_be_no_class_and_no_multiplier_is_refused_with_an_example(text):
    with pytest.raises(InvalidSymbolError, match=r"multiplier=5|class=FDXM|twice"):
        Instrument.parse(text)


@pytest.mark.parametrize("text", ["A,B", ",class=A", "A,,class=B", "A,type=B"])
def test_other_commas_belong_to_the_symbol(text):
    assert Instrument.parse(text) == Instrument(text.upper())


@given(st.decimals(min_value="0.000001", max_value=10**9, places=6), st.integers(0, 3))
def test_a_multiplier_is_written_in_one_way(number, zeros):
    written = "0" * zeros + f"{number:f}" + "0" * zeros
    canonical = canonical_multiplier(written)
    assert Decimal(canonical) == number
    assert canonical_multiplier(canonical) == canonical


@pytest.mark.parametrize("key", ["ib||A", "ib||A|||B", "ib||A||||", "ib||A|||B|5|C"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match=r"."):
        Instrument.from_key(key)


@given(TEXT | QUALIFIED, st.sampled_from(["ib", "replay", "a-b"]))
def test_a_key_gives_its_instrument_back_and_names_its_provider(text, provider):
    instrument = parsed(text)
    if instrument is None:
        return
    key = instrument.key(provider)
    assert Instrument.from_key(key) == instrument
    assert key.startswith(key_prefix(provider))
    assert key.count("|") == (6 if instrument.trading_class or instrument.multiplier else 4)


@given(
    st.text("Ap@:/ .TSK", min_size=1, max_size=8).filter(str.strip)
    | st.lists(st.sampled_from(["A", "p", "@", ":USD", ",", "class=", "multiplier=", "5", ".0", " ", "="])).map("".join)
)
def test_whatever_is_made_of_marks_is_read_back_as_the_same_instrument(text):
    instrument = parsed(text)
    assert instrument is None or Instrument.parse(str(instrument)) == instrument


@given(TEXT, TEXT)
def test_two_instruments_never_share_a_key(one, other):
    first, second = Instrument.parse(one), Instrument.parse(other)
    assert (first == second) == (first.key("ib") == second.key("ib"))


@pytest.mark.parametrize("text", ["eurusd", "EUR.USD", "EUR/USD", "eur-usd", "EUR USD", "CASH:EUR@:USD", "CASH:EURUSD"])
def test_spellings_of_a_currency_pair_meet(text):
    assert Instrument.parse(text).key("ib") == "ib|CASH|EUR||USD"
    assert str(Instrument.parse(text)) == "EURUSD"


@pytest.mark.parametrize("text", ["BRK.B", "BRK B", "BRK-B", "brk/b", "BRK  B"])
def test_spellings_of_a_class_share_meet(text):
    assert str(Instrument.parse(text)) == "BRK B"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("BRKB", "BRK B"),
        ("RY", "RY@TSE"),
        ("RY@TSE", "RY@TSE:CAD"),
        ("RY@TSE", "RY@NYSE"),
        ("STK:EURUSD", "EURUSD"),
        ("EURUSD@IDEALPRO", "EURUSD"),
        ("BTCUSD", "BTC.USD"),
        ("USDUSD", "USD.USD"),
        ("A|B", "A%7CB"),
        ("A@B", "A"),
        ("CpK", "CPK"),
        ("FUT:DAX 201303", "FUT:DAX 201303,class=FDXM"),
        ("FUT:DAX 201303,multiplier=5", "FUT:DAX 201303,multiplier=25"),
        ("FUT:DAX 201303,class=A,multiplier=5", "FUT:DAX 201303,class=A"),
    ],
)
def test_what_differs_stays_apart(one, other):
    assert Instrument.parse(one).key("ib") != Instrument.parse(other).key("ib")


@pytest.mark.parametrize(
    "text", ["", " \t", "A\x00B", "A\nB", "A\u200bB", "A\u202eB", "A\u2028B", "\ud800", "A" * 129], ids=ascii
)
def test_what_cannot_be_a_symbol_is_refused(text):
    with pytest.raises(InvalidSymbolError):
        Instrument.parse(text)


def test_a_symbol_may_have_128_characters_besides_surrounding_space():
    assert Instrument.parse(" " + "A" * 128 + " ").symbol == "A" * 128


@pytest.mark.parametrize("letter", ["A", "%", "\u00c9", "\u80a1", "\N{CHART WITH UPWARDS TREND}"])
@pytest.mark.parametrize("provider", ["ib", "replay", "p" * 400])
def test_a_key_is_at_most_511_bytes_long_or_the_symbol_is_invalid(letter, provider):
    for length in range(1, 129):
        instrument = Instrument.parse(letter * length)
        whole = "|".join((provider, "", quote(letter * length, safe=" /"), "", ""))
        if len(whole.encode()) <= 511:
            assert instrument.key(provider) == whole
        else:
            with pytest.raises(InvalidSymbolError, match=r"takes \d+ bytes as a key: at most 511"):
                instrument.key(provider)


def test_a_qualified_symbol_has_no_longer_a_key():
    fits = f"STK:{'A' * 80}@SMART:USD,class={'B' * 20}"
    assert len(Instrument.parse(fits).key("p" * 394)) == 511
    with pytest.raises(InvalidSymbolError, match="at most 511"):
        Instrument.parse(fits).key("p" * 395)


@pytest.mark.parametrize("text", ["\u00dfpx", "\u017fPX", "\ufb01x", "\u0131BM", "a\u00dfc@TSE"])
def test_a_letter_whose_capital_is_another_one_is_refused(text):
    with pytest.raises(InvalidSymbolError, match="capital"):
        Instrument.parse(text)


@pytest.mark.parametrize(("text", "symbol"), [("größe".replace("ß", ""), "GRÖE"), ("éa", "ÉA"), ("дэ", "ДЭ")])
def test_other_letters_have_their_capitals(text, symbol):
    assert Instrument.parse(text).symbol == symbol


NO_TEXT = [None, float("nan"), True, 7203, 10**5000, b"AAPL", ["AAPL"], {"symbol": "AAPL"}, object()]


@pytest.mark.parametrize("symbol", NO_TEXT, ids=lambda symbol: type(symbol).__name__)
def test_what_is_no_text_is_no_symbol_and_the_error_says_what_it_is(symbol):
    with pytest.raises(InvalidSymbolError, match=r"a symbol is text, and .{1,20} is none") as caught:
        Instrument.parse(symbol)
    assert len(str(caught.value)) < 150


def test_a_number_or_nothing_comes_with_the_usual_reason_for_it():
    with pytest.raises(InvalidSymbolError, match=r"nan is none: .*keep_default_na=False"):
        Instrument.parse(float("nan"))


@pytest.mark.parametrize("text", ["A" * 10**6, " " * 10**6, "\ud800", " " * 10**6 + "A\x07"])
def test_an_error_never_shows_more_of_a_symbol_than_it_may_have(text):
    with pytest.raises(InvalidSymbolError) as caught:
        Instrument.parse(text)
    assert len(str(caught.value)) < 200
