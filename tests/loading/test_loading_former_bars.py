"""What 0.1.0 kept under a symbol is taken in where it agrees with the provider, and left aside elsewhere."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from stored_bars import former_file, rows_of

from symcache_core import ContractInfo, ValidationResult
from symcache_core.errors import ConfigurationError
from symcache_core.loading.bars.listing import drop_series, kept_series
from symcache_core.loading.report import LoadReport

FB = "107113386"
REAL = Path(__file__).parent / "data" / "former_bars.parquet"
"""Of FB in January 2013, written by symcache 0.1.0, which had been told that two of the days had no bar."""

LISTED = ContractInfo(asset_type="STK", exchange="NASDAQ")


def keep_former(loader, symbol, bars, absent=(), timeframe="1d", name="2010s"):
    folder = loader.store.folder / timeframe / symbol
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    path.write_bytes(former_file("ib", symbol, timeframe, bars, pd.DatetimeIndex(absent, tz="UTC")))
    return path


def scaled(bars, factor):
    prices = ["open", "high", "low", "close"]
    return bars.assign(**{name: (bars[name] * factor).round(2) for name in prices})


@pytest.fixture
def old(source):
    return source["FB"].loc["2012-06":"2012-12"]


@pytest.fixture(autouse=True)
def contracts(market):
    market.contracts["FB"] = ContractInfo(asset_type="STK", currency="USD", contract={"conId": int(FB)})


def test_bars_that_the_provider_confirms_are_taken_in(loader, market, source, old):
    path = keep_former(loader, "FB", old)
    content = path.read_bytes()
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    report = LoadReport.of(frame)
    assert (report.series, report.happened) == (f"ib:{FB}", ["bound"])
    assert not market.sessions_asked("FB").isin(old.index[5:-5]).any()
    pd.testing.assert_frame_equal(loader.kept(FB), source["FB"])
    assert path.read_bytes() == content, "0.1.0 may still read what it wrote"
    market.asked.clear()
    assert loader.load("FB", mode="full").attrs["happened"] == []
    assert market.asked == []


def test_bars_that_the_provider_contradicts_are_left_aside_and_stay_loadable(loader, source, old):
    other = source["IBM"].loc[old.index]
    keep_former(loader, "FB", other)
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    assert frame.attrs["happened"] == ["reused"]
    pd.testing.assert_frame_equal(loader.load(None, series="ib:FB#0"), other)
    part = loader.load(None, series="ib:FB#0", start_date="2012-07-01", end_date="2012-07-31")
    pd.testing.assert_frame_equal(part, other.loc["2012-07"])
    pd.testing.assert_frame_equal(loader.load("FB", mode="full"), source["FB"])


def test_bars_on_another_basis_are_taken_in_and_renewed(loader, market, source, old):
    keep_former(loader, "FB", scaled(old, 2.0))
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    assert set(frame.attrs["happened"]) == {"bound", "renewed"}
    pd.testing.assert_frame_equal(loader.load(None, series=f"ib:{FB}#1"), scaled(old, 2.0))


def test_bars_of_which_the_provider_has_none_are_not_taken_in(loader, market, source, old):
    keep_former(loader, "FB", old)
    market.bars["FB"] = source["FB"].loc["2013":]
    market.heads["FB"] = source["FB"].index[0].isoformat()
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, old)
    assert frame.attrs["missing"] > 0, "one answer without them proves nothing"
    loader.clock += timedelta(minutes=10).total_seconds()
    frame = loader.load("FB", mode="full")
    assert frame.index[0] >= pd.Timestamp("2013-01-01", tz="UTC")
    assert "bound" not in frame.attrs["happened"]
    pd.testing.assert_frame_equal(loader.load(None, series="ib:FB#0"), old)


def test_before_anybody_was_asked_a_local_load_gives_them(loader, market, old):
    keep_former(loader, "FB", old)
    frame = loader.load("FB", mode="local")
    pd.testing.assert_frame_equal(frame, old)
    assert frame.attrs["series"] == "ib:FB#0"
    assert market.lookups == market.asked == []


def test_what_0_1_0_believed_not_to_be_is_not_taken_over(loader, old):
    keep_former(loader, "FB", old, absent=["2013-01-02", "2013-01-03"])
    assert len(loader.store.former("FB", "1d")) == len(old)


@pytest.mark.parametrize("damage", [b"", b"PAR1", "cut", "symbol"])
def test_a_damaged_file_of_0_1_0_is_none_and_is_left_as_it_is(loader, source, old, caplog, damage):
    path = keep_former(loader, "FB", old)
    whole = path.read_bytes()
    damages = {"cut": whole[: len(whole) // 2], "symbol": former_file("ib", "IBM", "1d", old)}
    path.write_bytes(damages.get(damage, damage))
    content = path.read_bytes()
    pd.testing.assert_frame_equal(loader.load("FB", mode="full"), source["FB"])
    assert "it is left as it is" in caplog.text
    assert path.read_bytes() == content


def test_a_timeframe_is_bound_by_itself(loader, market, source, old):
    keep_former(loader, "FB", old)
    weeks = source["FB"].resample("W-MON", label="left", closed="left").last().rename_axis("timestamp").dropna()
    market.bars["FB", "1w"] = weeks.set_axis(pd.DatetimeIndex(weeks.index, freq=None).as_unit("ns"))
    loader.load("FB", "1w", mode="full")
    assert loader.load("FB", mode="full").attrs["happened"] == ["bound"]


def test_what_is_kept_of_them_is_listed_and_can_be_dropped(loader, old):
    path = keep_former(loader, "FB", old)
    [kept] = kept_series(loader.store)
    assert (kept.series, kept.timeframe, kept.bars, kept.size) == ("ib:FB#0", "1d", len(old), path.stat().st_size)
    drop_series(loader.store, "ib:FB#0")
    assert list(kept_series(loader.store)) == []


def test_a_series_of_which_nothing_is_kept_is_an_error(loader):
    for series in ("ib:FB#0", "ib:1", "ib:1#3"):
        with pytest.raises(ConfigurationError, match="nothing is kept of it"):
            loader.load(None, series=series)
    with pytest.raises(ConfigurationError, match="the provider is 'ib'"):
        loader.load(None, series="replay:FB")
    with pytest.raises(ConfigurationError, match="name a symbol"):
        loader.load("FB", series="ib:FB")


def test_a_renamed_symbol_takes_in_what_was_kept_under_it(loader, market, source, old):
    keep_former(loader, "META", old)
    market.bars["META"], market.contracts["META"] = source["FB"], market.contracts["FB"]
    frame = loader.load("META", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    assert frame.attrs["happened"] == ["bound"]


def test_without_ids_they_are_bound_in_the_same_way(loader, market, source, old):
    market.contracts["FB"] = ContractInfo(asset_type="STK", currency="USD")
    keep_former(loader, "FB", old)
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    assert (frame.attrs["series"], frame.attrs["happened"]) == ("ib:FB@:USD", ["bound"])


def test_they_are_bound_although_the_cached_verdict_is_older_than_ids(loader, market, source, old):
    keep_former(loader, "FB", old)
    head = source["FB"].index[0].isoformat()
    verdict = ValidationResult(is_valid=True, symbol="FB", contract_info=LISTED, head_timestamps={"1d": head})
    loader.symbol_cache.store("FB", verdict)
    frame = loader.load("FB", mode="full")
    pd.testing.assert_frame_equal(frame, source["FB"])
    assert "bound" in frame.attrs["happened"]


def test_a_real_file_of_0_1_0_is_read(loader, source):
    path = loader.store.folder / "1d" / "FB" / "2010s.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(REAL.read_bytes())
    january = source["FB"].loc["2013-01"]
    read = loader.store.former("FB", "1d")
    assert list(read.stamps) == list(rows_of(january.drop(january.index[[3, 4]])).stamps)
    frame = loader.load("FB", start_date="2013-01-01", end_date="2013-02-15")
    pd.testing.assert_frame_equal(frame, source["FB"].loc["2013-01-01":"2013-02-15"])
    assert frame.attrs["happened"] == ["bound"]
