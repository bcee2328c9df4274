"""A load says what is not known: why there are no rows, whose bars they are, and what it makes of odd providers."""

from datetime import date, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from bars.truth import Clock, Daily, Listing, TruthProvider, at, same, sessions, walk

from symcache_core import SymcacheSettings
from symcache_core.errors import ConfigurationError, ProviderError, ProviderPermissionError
from symcache_core.loading import DataManager, LoadReport

FIRST, LAST, NOW = "2021-01-04", "2024-03-28", "2024-03-02T12:00"
HEAD = f"{FIRST}T14:30:00+00:00"
CON_ID = 8894


@pytest.fixture
def truth():
    return Daily(FIRST, LAST)


@pytest.fixture
def coke(truth):
    return TruthProvider(Clock(NOW), {"KO": Listing(truth, con_id=CON_ID, head=HEAD)})


def nothing(_now, _timeframe):
    return walk(sessions("XNYS", FIRST, LAST)).iloc[:0]


@pytest.mark.parametrize(
    ("head", "dates"),
    [
        (None, ()),
        (None, ("2023-01-03", "2023-06-30")),
        (HEAD, ("2023-01-03", "2023-06-30")),
        (HEAD, ("2024-02-24", "2024-02-25")),
        ("2024-02-01T14:30:00+00:00", ("2019-01-02", "2019-12-31")),
    ],
    ids=["no head", "no head, with dates", "nothing there", "a weekend", "before the head"],
)
def test_zero_rows_have_a_reason(head, dates, folder):
    provider = TruthProvider(Clock(NOW), {"KO": Listing(nothing, con_id=CON_ID, head=head)})
    with provider.manager(folder) as manager:
        for _ in range(2):
            frame = manager.load("KO", "1d", *dates, mode="full")
            assert frame.empty
            assert isinstance(LoadReport.of(frame).reason, str)
            assert LoadReport.of(frame).reason.strip()
            assert frame.attrs["reason"] == LoadReport.of(frame).reason
            provider.clock.advance(minutes=11)


def test_rows_need_no_reason(coke, folder):
    with coke.manager(folder) as manager:
        assert LoadReport.of(manager.load("KO", "1d", mode="full")).reason is None


def test_a_local_load_of_what_is_not_kept_has_a_reason_and_asks_nobody(coke, folder):
    with coke.manager(folder) as manager:
        frame = manager.load("KO", "1d", mode="local")
        assert frame.empty
        assert LoadReport.of(frame).reason
        assert coke.asked == coke.validated == []


@pytest.mark.parametrize("zone", [ZoneInfo("Asia/Tokyo"), timezone(-timedelta(hours=5)), ZoneInfo("Asia/Kolkata")])
def test_a_provider_may_tell_its_now_in_any_zone(zone, coke, truth, folder):
    coke.as_of = lambda: coke.clock.now.to_pydatetime(warn=False).astimezone(zone)
    with coke.manager(folder) as manager:
        for timeframe in ("1d", "1w"):
            same(manager.load("KO", timeframe, mode="full"), truth(at(NOW), timeframe))
        coke.clock.set("2024-03-09T12:00")
        for timeframe in ("1d", "1w"):
            same(manager.load("KO", timeframe, mode="tail"), truth(coke.clock.now, timeframe))


@pytest.mark.parametrize("timeframe", ["1d", "1w", "1h"])
def test_a_naive_index_is_taken_for_utc(timeframe, folder):
    daily = Daily(FIRST, LAST)
    hours = pd.date_range("2024-02-26T15:00", "2024-02-26T20:00", freq="h", tz="UTC", name="timestamp").as_unit("ns")
    hourly = walk(hours, level=60.0)
    fetch = TruthProvider.fetch_historical_data

    class Naive(TruthProvider):
        async def fetch_historical_data(self, *args, **options):
            given = await fetch(self, *args, **options)
            attrs = dict(given.attrs)
            given = given.tz_localize(None)
            given.attrs.update(attrs)
            return given

    def truth(now, asked):
        return hourly if asked == "1h" else daily(now, asked)

    head = "2024-02-26T15:00:00+00:00" if timeframe == "1h" else HEAD
    provider = Naive(Clock(NOW), {"KO": Listing(truth, con_id=CON_ID, head=head)})
    with provider.manager(folder) as manager:
        for _ in range(2):
            frame = manager.load("KO", timeframe, mode="full")
            same(frame, truth(at(NOW), timeframe))


def test_the_last_trade_date_of_a_future_ends_the_requests(folder):
    over = date(2022, 3, 18)
    truth = Daily(FIRST, LAST, lambda daily, _now: daily.loc[:"2022-03-18"])
    listing = Listing(truth, con_id=461318, kind="FUT", exchange="CME", head=HEAD, last_trade_date=over)
    provider = TruthProvider(Clock(NOW), {"FUT:ESH2@CME": listing})
    with provider.manager(folder) as manager:
        frame = manager.load("FUT:ESH2@CME", "1d", mode="full")
        same(frame, truth(at(NOW), "1d"))
        assert max(asked.start for asked in provider.asked) <= at("2022-03-19")
        assert LoadReport.of(frame).missing == 0
        asked = len(provider.asked)
        for days in (0, 1, 40):
            provider.clock.advance(days=days)
            manager.load("FUT:ESH2@CME", "1d", mode="full")
            manager.load("FUT:ESH2@CME", "1d", mode="tail")
        later = [each for each in provider.asked[asked:] if each.start > at("2022-03-19")]
        assert later == []


def test_an_instrument_whose_calendar_nobody_knows_is_loaded_and_missing_is_unknown(truth, folder):
    listing = Listing(truth, con_id=77, exchange="NOWHERE", head=HEAD)
    provider = TruthProvider(Clock(NOW), {"ODD@NOWHERE": listing})
    with provider.manager(folder) as manager:
        frame = manager.load("ODD@NOWHERE", "1d", mode="full")
        same(frame, truth(at(NOW), "1d"))
        report = LoadReport.of(frame)
        assert report.calendar is None
        assert report.missing is None
        assert len(provider.asked) <= 8
        asked = len(provider.asked)
        for _ in range(4):
            provider.clock.advance(minutes=11)
            same(manager.load("ODD@NOWHERE", "1d", mode="full"), frame)
        assert len(provider.asked) - asked <= 2, "days that may not be any are looked at twice"


def test_a_known_calendar_is_named_and_nothing_is_missing(coke, folder):
    with coke.manager(folder) as manager:
        report = LoadReport.of(manager.load("KO", "1d", mode="full"))
        assert report.calendar
        assert report.missing == 0
        assert (report.provisional, report.revised, report.bad, list(report.bad_rows)) == (0, 0, 0, [])
        assert report.renewing is False
        assert report.series == f"ib:{CON_ID}"
        assert pd.Timestamp(report.since) == at(NOW)


def test_when_the_provider_fails_the_error_says_how_many_bars_are_at_hand_and_how_to_have_them(coke, truth, folder):
    with coke.manager(folder) as manager:
        kept = manager.load("KO", "1d", mode="full")
        coke.clock.set("2024-03-16T12:00")
        coke.trouble = lambda _number, _asked: ProviderPermissionError("no market data permission")
        with pytest.raises(ProviderError, match=f"{len(kept)}.*local|local.*{len(kept)}") as failed:
            manager.load("KO", "1d", mode="full")
        assert "no market data permission" in str(failed.value)
        same(manager.load("KO", "1d", mode="local"), kept)


class Nameless:
    """A provider that does not say who it is."""

    def __init__(self, other):
        self.validate_and_get_metadata = other.validate_and_get_metadata
        self.fetch_historical_data = other.fetch_historical_data


def load_with(settings, provider):
    clock = Clock(NOW)
    with DataManager(settings, external_provider=provider, clock=clock) as manager:
        return manager.load("KO", "1d", mode="full")


def test_an_external_provider_without_a_name_is_refused(coke, folder):
    with pytest.raises(ConfigurationError, match="provider="):
        load_with(SymcacheSettings(backend="memory", data_dir=folder), Nameless(coke))
    assert not folder.exists() or not any(folder.rglob("*.parquet"))


def test_an_external_provider_is_named_by_the_setting_or_by_itself(coke, truth, folder):
    named = SymcacheSettings(backend="memory", data_dir=folder / "setting", provider="mine")
    frame = load_with(named, Nameless(coke))
    same(frame, truth(at(NOW), "1d"))
    report = LoadReport.of(frame)
    assert (report.provider, report.replay) == ("mine", False)
    assert report.series.startswith("mine:")
    coke.provider = "yours"
    frame = load_with(SymcacheSettings(backend="memory", data_dir=folder / "itself"), coke)
    assert LoadReport.of(frame).provider == "yours"
    assert LoadReport.of(frame).series == f"yours:{CON_ID}"


def test_a_basis_that_changes_between_two_loads_is_never_mixed(truth, folder):
    fetch = TruthProvider.fetch_historical_data
    basis = {"show": "TRADES", "adjustment": "split", "session": "regular"}

    class Telling(TruthProvider):
        async def fetch_historical_data(self, *args, **options):
            given = await fetch(self, *args, **options)
            given.attrs["basis"] = dict(basis)
            return given

    shifted = Daily(FIRST, LAST, lambda daily, _now: daily.assign(volume=daily["volume"] + 1))

    def now_or_then(now, timeframe):
        return (truth if basis["session"] == "regular" else shifted)(now, timeframe)

    provider = Telling(Clock(NOW), {"KO": Listing(now_or_then, con_id=CON_ID, head=HEAD)})
    with provider.manager(folder) as manager:
        kept = manager.load("KO", "1d", mode="full")
        assert LoadReport.of(kept).basis == basis
        provider.clock.set("2024-03-16T12:00")
        basis["session"] = "extended"
        try:
            frame = manager.load("KO", "1d", mode="full")
        except ProviderError:
            frame = manager.load("KO", "1d", mode="local")
        told = LoadReport.of(frame).basis["session"]
        same(frame, kept if told == "regular" else shifted(provider.clock.now, "1d"))
