"""One spelling and one key for each instrument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.errors import InvalidSymbolError
from symcache_core.symbols import Instrument, key_prefix

TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=40).filter(str.strip)
TICKERS = st.from_regex(r"\A[A-Z]{1,5}([.\- /][A-Z]{1,2})?\Z")
QUALIFIED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "STK:", "FUT:", "cash:"]),
    TICKERS,
    st.sampled_from(["", "@TSE", "@TSE:CAD", "@:USD", "@", "@TSE:"]),
)


@given(TEXT | QUALIFIED)
def test_the_canonical_spelling_is_read_back_as_the_same_instrument(text):
    instrument = Instrument.parse(text)
    assert Instrument.parse(str(instrument)) == instrument


@given(TEXT | QUALIFIED)
def test_case_and_surrounding_space_never_matter(text):
    assert Instrument.parse(f"  {text}\t\n") == Instrument.parse(text)
    if text.isascii():
        assert Instrument.parse(text.lower()) == Instrument.parse(text)


@given(TEXT | QUALIFIED, st.sampled_from(["ib", "replay", "a-b"]))
def test_a_key_gives_its_instrument_back_and_names_its_provider(text, provider):
    instrument = Instrument.parse(text)
    key = instrument.key(provider)
    assert Instrument.from_key(key) == instrument
    assert key.startswith(key_prefix(provider))
    assert key.count("|") == 4


@given(st.text("A@:/ .TSK", min_size=1, max_size=8).filter(str.strip))
def test_whatever_is_made_of_marks_is_read_back_as_the_same_instrument(text):
    instrument = Instrument.parse(text)
    assert Instrument.parse(str(instrument)) == instrument


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
