"""Whatever a host service sends, what comes out is an answer or an error of the core."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core.errors import ProviderError
from symcache_core.models import ProviderAnswer
from symcache_core.providers.wire import read_answer, read_answers, read_bars

START, END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
URL = "http://127.0.0.1:5001/data/validate"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))
FIELDS = ["success", "is_valid", "contract_info", "head_timestamps", "error_kind", "provenance", "confirmed", "data"]
ANSWERS = st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(["permanent", "{}"]), max_size=8)


def with_success(answer):
    return json.dumps({"success": True, **answer}).encode()


@settings(max_examples=60)
@given(ANSWERS)
def test_any_json_is_a_verdict_or_a_provider_error(answer):
    try:
        read = read_answer(with_success(answer), symbol="AAPL", provider="ib", url=URL)
    except ProviderError:
        return
    assert isinstance(read, ProviderAnswer)
    assert read.result.is_valid or not read.confirmed or answer["error_kind"] == "permanent"


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["AAPL", "IBM", "MSFT"]), JSON | ANSWERS))
def test_any_json_is_a_verdict_or_a_provider_error_for_each_of_many(results):
    content = with_success({"results": results})
    for symbol, read in read_answers(content, symbols=("AAPL", "IBM", "GOOG"), provider="ib", url=URL).items():
        try:
            alone = read_answer(json.dumps(results.get(symbol)).encode(), symbol=symbol, provider="ib", url=URL)
        except ProviderError:
            assert isinstance(read, ProviderError)
        else:
            assert read == alone


@settings(max_examples=60)
@given(st.binary(max_size=64))
def test_any_bytes_are_a_verdict_or_a_provider_error(content):
    with pytest.raises(ProviderError):
        read_answer(content, symbol="AAPL", provider="ib", url=URL)


FIGURES = st.floats(0, 1e9) | SCALARS
BAR = st.fixed_dictionaries(dict.fromkeys(("open", "high", "low", "close", "volume"), FIGURES))
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)) | st.datetimes()  # noqa: DTZ001  # a naive one is UTC


@settings(max_examples=60)
@given(st.dictionaries(TIMES.map(lambda moment: moment.isoformat()) | st.text(max_size=12), BAR, max_size=5))
def test_any_bars_are_a_sorted_frame_or_a_provider_error(bars):
    try:
        frame = read_bars(with_success({"data": json.dumps(bars)}), start=START, end=END, provider="ib", url=URL)
    except ProviderError:
        return
    for name in frame.columns:
        told = [bar[name] for bar in bars.values()]
        assert frame[name].isna().sum() <= sum(figure is None or str(figure) == "nan" for figure in told), (
            "none is lost"
        )
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique
    assert set(map(str, frame.dtypes)) == {"float64"}


def test_the_same_moment_written_twice_is_one_bar_and_the_last_wins():
    bar = dict.fromkeys(("open", "high", "low", "close", "volume"), 1)
    twice = {"2024-01-02T00:00:00Z": bar, "2024-01-02T01:00:00+01:00": bar | {"close": 2}}
    frame = read_bars(with_success({"data": json.dumps(twice)}), start=START, end=END, provider="ib", url=URL)
    assert frame["close"].tolist() == [2.0]


def test_importing_the_providers_brings_neither_pandas_nor_a_server():
    code = "import sys, symcache_core.providers; print(*{'pandas', 'fastapi', 'uvicorn'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert shown.stdout.strip() == ""


HEAD = "1980-12-12T14:30:00+00:00"
TOLD = {
    "is_valid": True,
    "contract_info": {"symbol": "AAPL", "exchange": "NASDAQ", "contract": {"conId": 265598}, "trading_hours": None},
    "head_timestamps": {"1d": HEAD},
}
OURS = {"provenance": {"gateway": "ib", "host": "symcache 1"}}
ODD = {
    "hours as text": {"contract_info": TOLD["contract_info"] | {"trading_hours": "20261127:0930-1600"}},
    "hours as empty text": {"contract_info": TOLD["contract_info"] | {"trading_hours": ""}},
    "a moment as empty text": {"contract_info": TOLD["contract_info"] | {"validated_at": ""}},
    "a moment in words and hours as a list": {
        "contract_info": TOLD["contract_info"] | {"validated_at": "today", "trading_hours": [1]}
    },
    "a head timestamp of the broker's form": {"head_timestamps": {"1d": HEAD, "1h": "19801212  14:30:00"}},
    "a head timestamp as empty text": {"head_timestamps": {"1d": HEAD, "1h": ""}},
    "a head timestamp as an object": {"head_timestamps": {"1d": HEAD, "1h": {}}},
    "an error message that is a list": {"error_message": ["none"]},
    "a suggestion that is an object": {"suggested_symbol": {}},
}


def both_ways(answer):
    """What is read of an answer, and of the same one among many."""
    about = {"provider": "ib", "url": URL}
    many = read_answers(
        with_success({"results": {"AAPL": {"success": True, **answer}}, **OURS}), symbols=["AAPL"], **about
    )
    try:
        alone = read_answer(with_success(answer), symbol="AAPL", **about)
    except ProviderError as error:
        alone = error
    return alone, many["AAPL"]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_field_of_an_older_host_is_left_out_and_its_verdict_stays(odd):
    plain, _ = both_ways(TOLD)
    for read in both_ways(TOLD | odd):
        assert read == plain


@pytest.mark.parametrize("contract", ["AAPL", [], 7, {"symbol": {}, "exchange": []}])
def test_an_older_host_s_contract_that_cannot_be_read_is_left_out(contract):
    for read in both_ways(TOLD | {"contract_info": contract, "head_timestamps": "never"}):
        assert (read.result.is_valid, read.result.head_timestamps) == (True, None)
        assert read.result.contract_info is None or read.result.contract_info.exchange == ""


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_field_of_a_host_of_ours_is_an_error(odd):
    for read in both_ways(TOLD | odd | OURS):
        assert isinstance(read, ProviderError)


@pytest.mark.parametrize("needed", [{"is_valid": "perhaps"}, {"is_valid": None}, {"success": None}])
@pytest.mark.parametrize("odd", [{}, ODD["hours as text"]], ids=["plain", "odd"])
def test_without_a_verdict_an_older_host_s_answer_is_an_error_all_the_same(needed, odd):
    for read in both_ways(TOLD | odd | needed):
        assert isinstance(read, ProviderError)
