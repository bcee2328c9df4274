"""A symbol that fits several instruments is a failure that names them: no verdict, and nothing to try again."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from failing_host import FailingHost

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import AmbiguousSymbolError, ProviderError, may_pass
from symcache_core.loading import DataManager
from symcache_core.providers import IbDataAdapter

SYMBOL = "FUT:DAX 201303@EUREX"
ALTERNATIVES = ("FUT:DAX 201303@EUREX:EUR,class=FDAX", "FUT:DAX 201303@EUREX:EUR,class=FDXM")
MESSAGE = f"{SYMBOL} is ambiguous: ask for {ALTERNATIVES[0]} or {ALTERNATIVES[1]}"
START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)


@pytest.fixture
def host():
    with FailingHost(SYMBOL, error=MESSAGE, error_code="ambiguous", alternatives=list(ALTERNATIVES)) as running:
        yield running


def check(error):
    assert (str(error), error.alternatives, error.code) == (MESSAGE, ALTERNATIVES, "ambiguous")
    assert isinstance(error, ProviderError)
    assert not may_pass(error)


def test_the_adapter_raises_it_once_with_the_alternatives(host, validate):
    with pytest.raises(AmbiguousSymbolError) as raised:
        validate(IbDataAdapter(host.url), SYMBOL, "1d")
    check(raised.value)
    assert host.asked == ["/data/validate"]


def test_of_many_it_is_the_one_symbols_error_alone(host, validate_many):
    answers = validate_many(IbDataAdapter(host.url), [SYMBOL, "AAPL"], "1d")
    check(answers[SYMBOL])
    assert answers["AAPL"].result.is_valid
    assert host.asked == ["/data/validate-batch"]


def test_it_is_so_for_bars_too(host, fetch):
    with pytest.raises(AmbiguousSymbolError) as raised:
        fetch(IbDataAdapter(host.url), SYMBOL, START, END)
    check(raised.value)


def test_a_host_that_names_no_alternatives_is_understood(host, serve, validate):
    url = serve({**host.failure, "alternatives": None})
    with pytest.raises(AmbiguousSymbolError) as raised:
        validate(IbDataAdapter(url), SYMBOL)
    assert raised.value.alternatives == ()


@pytest.mark.parametrize("backend", ["memory", "json", "diskcache"])
def test_no_cache_stores_it_and_the_next_lookup_asks_again(host, tmp_path, backend):
    settings = SymcacheSettings(backend=backend, data_dir=tmp_path, host_service_url=host.url, provider="ib")
    with DataManager(settings) as manager:
        for _ in range(2):
            with pytest.raises(AmbiguousSymbolError) as raised:
                manager.load(SYMBOL, "1d")
            check(raised.value)
    assert host.asked == ["/data/validate"] * 2
    cache = open_symbol_cache(settings)
    assert (cache.peek(SYMBOL), list(cache.symbols())) == (None, [])
    cache.close()


def test_it_survives_being_copied_and_pickled():
    error = AmbiguousSymbolError(MESSAGE, alternatives=ALTERNATIVES)
    for each in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        check(each)
