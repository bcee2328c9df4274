"""A symbol that the gateway cannot be asked about is the asker's mistake: no outage, and nothing to try again."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import pytest

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import InvalidSymbolError, ProviderError, RefusedSymbolError, may_pass
from symcache_core.loading import DataManager
from symcache_core.providers import IbDataAdapter

SYMBOL = "OPT:AAPL"
MESSAGE = "OPT:AAPL: options are not kept: ask for what they are on, such as AAPL"
ORIGIN = {"provenance": {"gateway": "ib", "host": "symcache 0.1.0"}}
REFUSED = {
    **ORIGIN,
    "success": False,
    "is_valid": False,
    "error": MESSAGE,
    "error_kind": "permanent",
    "error_code": "invalid_symbol",
}
VALID = {**ORIGIN, "success": True, "is_valid": True}
START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)


@pytest.fixture
def asked():
    """The paths of the requests so far."""
    return []


@pytest.fixture
def host(serve_with, asked):
    """A host that refuses one symbol and finds every other one valid."""

    def answer(path, question):
        asked.append(path)
        results = {symbol: REFUSED if symbol == SYMBOL else VALID for symbol in question.get("symbols", ())}
        alone = REFUSED if question.get("symbol") == SYMBOL else VALID
        return 200, json.dumps({**ORIGIN, "success": True, "results": results} if results else alone).encode()

    return serve_with(answer)


def check(error):
    assert (str(error), error.code) == (MESSAGE, "invalid_symbol")
    assert isinstance(error, RefusedSymbolError)
    assert isinstance(error, InvalidSymbolError)
    assert isinstance(error, ProviderError)
    assert isinstance(error, ValueError)
    assert not may_pass(error)


def test_a_refused_symbol_is_an_invalid_one_and_is_asked_about_once(host, asked, validate):
    with pytest.raises(RefusedSymbolError) as raised:
        validate(IbDataAdapter(host), SYMBOL, "1d")
    check(raised.value)
    assert asked == ["/data/validate"]


def test_of_many_it_is_the_one_symbols_error_alone(host, asked, validate_many):
    answers = validate_many(IbDataAdapter(host), [SYMBOL, "AAPL"], "1d")
    check(answers[SYMBOL])
    assert answers["AAPL"].result.is_valid
    assert asked == ["/data/validate-batch"]


def test_it_is_so_for_bars_too(host, fetch):
    with pytest.raises(RefusedSymbolError) as raised:
        fetch(IbDataAdapter(host), SYMBOL, START, END)
    check(raised.value)


def test_no_cache_stores_it_and_a_load_ends_with_it(host, tmp_path):
    settings = SymcacheSettings(backend="json", data_dir=tmp_path, host_service_url=host, provider="ib")
    with DataManager(settings) as manager:
        with pytest.raises(RefusedSymbolError) as raised:
            manager.load(SYMBOL, "1d")
        check(raised.value)
    cache = open_symbol_cache(settings)
    assert (cache.peek(SYMBOL), list(cache.symbols())) == (None, [])
    cache.close()


def test_it_survives_being_copied_and_pickled():
    error = RefusedSymbolError(MESSAGE)
    for each in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        check(each)
