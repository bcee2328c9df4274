"""A symbol that the gateway cannot be asked about is the asker's mistake: no outage, and nothing to try again."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from failing_host import FailingHost

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import InvalidSymbolError, ProviderError, RefusedSymbolError, may_pass
from symcache_core.loading import DataManager
from symcache_core.providers import IbDataAdapter

SYMBOL = "OPT:AAPL"
MESSAGE = "OPT:AAPL: options are not kept: ask for what they are on, such as AAPL"
START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)


@pytest.fixture
def host():
    with FailingHost(SYMBOL, error=MESSAGE, error_code="invalid_symbol") as running:
        yield running


def check(error):
    assert (str(error), error.code) == (MESSAGE, "invalid_symbol")
    assert isinstance(error, RefusedSymbolError)
    assert isinstance(error, InvalidSymbolError)
    assert isinstance(error, ProviderError)
    assert isinstance(error, ValueError)
    assert not may_pass(error)


def test_a_refused_symbol_is_an_invalid_one_and_is_asked_about_once(host, validate):
    with pytest.raises(RefusedSymbolError) as raised:
        validate(IbDataAdapter(host.url), SYMBOL, "1d")
    check(raised.value)
    assert host.asked == ["/data/validate"]


def test_of_many_it_is_the_one_symbols_error_alone(host, validate_many):
    answers = validate_many(IbDataAdapter(host.url), [SYMBOL, "AAPL"], "1d")
    check(answers[SYMBOL])
    assert answers["AAPL"].result.is_valid
    assert host.asked == ["/data/validate-batch"]


def test_it_is_so_for_bars_too(host, fetch):
    with pytest.raises(RefusedSymbolError) as raised:
        fetch(IbDataAdapter(host.url), SYMBOL, START, END)
    check(raised.value)


def test_no_cache_stores_it_and_a_load_ends_with_it(host, tmp_path):
    settings = SymcacheSettings(backend="json", data_dir=tmp_path, host_service_url=host.url, provider="ib")
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
