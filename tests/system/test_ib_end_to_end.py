"""The whole way to Interactive Brokers: loader, cache, HTTP, host process, ib_async, and a TWS that is simulated."""

import pandas as pd
import pytest
from host_process import HostProcess
from tws.process import TwsProcess

from symcache_core import Outcome, SymcacheSettings
from symcache_core.errors import ProviderUnavailableError, SymbolNotFoundError
from symcache_core.loading import DataManager, LoadReport

backend = "json"
YEAR = {"start_date": "2012-01-01", "end_date": "2012-12-31"}
SESSIONS = 250


@pytest.fixture(scope="module")
def tws():
    with TwsProcess() as tws:
        yield tws


@pytest.fixture(scope="module")
def host(tws, tmp_path_factory):
    host = HostProcess(tmp_path_factory.mktemp("host"), "--gateway", "ib", "--ib-port", str(tws.port))
    yield host
    host.close()


@pytest.fixture
def new_manager(host, tmp_path):
    """Makes managers over one folder, as one program after another would."""
    settings = SymcacheSettings(backend="json", data_dir=tmp_path, host_service_url=host.url)
    return lambda: DataManager(settings)


def requests(tws):
    return tws.counts()["requests"]


def test_a_miss_asks_interactive_brokers_and_a_hit_nobody(tws, host, new_manager):
    with new_manager() as manager:
        first = manager.load("AAPL", "1d", **YEAR)
        report = LoadReport.of(first)
        assert (report.outcome, report.provider, report.replay) == ("miss", "ib", False)
        assert (len(first), report.fetched, report.missing) == (SESSIONS, SESSIONS, 0)
        lookup = manager.validate("AAPL", ["1d", "1h"])
        assert lookup.result.contract_info.contract["conId"] > 0
    asked, calls = requests(tws), host.calls()
    with new_manager() as manager:
        again = manager.load("aapl", "1d", **YEAR)
        assert manager.validate("AAPL", ["1h"]).outcome is Outcome.HIT
    assert LoadReport.of(again).outcome == "hit"
    pd.testing.assert_frame_equal(again, first)
    assert requests(tws) == asked
    assert host.calls() == calls


def test_one_ticker_in_new_york_and_in_toronto_is_two_instruments(new_manager):
    with new_manager() as manager:
        new_york, toronto = (manager.validate(symbol).result.contract_info for symbol in ("RY", "RY@TSE:CAD"))
        assert (new_york.currency, toronto.currency) == ("USD", "CAD")
        assert new_york.contract["conId"] != toronto.contract["conId"]
        assert set(manager.symbol_cache.symbols()) == {"RY", "RY@TSE:CAD"}


def test_what_interactive_brokers_does_not_know_is_not_found_and_asked_once(tws, new_manager):
    with new_manager() as manager:
        with pytest.raises(SymbolNotFoundError, match="NOSUCHSYM"):
            manager.load("NOSUCHSYM", **YEAR)
        asked = requests(tws)
        with pytest.raises(SymbolNotFoundError):
            manager.load("NOSUCHSYM", **YEAR)
    assert requests(tws) == asked


def test_while_interactive_brokers_is_away_what_is_at_hand_loads_and_nothing_becomes_invalid(tws, new_manager):
    with new_manager() as manager:
        bars = manager.load("IBM", "1d", **YEAR)
    tws.do("notice", code=1100)
    try:
        with new_manager() as manager:
            pd.testing.assert_frame_equal(manager.load("IBM", "1d", **YEAR), bars)
            with pytest.raises(ProviderUnavailableError):
                manager.validate("MSFT")
    finally:
        tws.do("notice", code=1102)
    with new_manager() as manager:
        assert manager.validate("MSFT").result.is_valid
