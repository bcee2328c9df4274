"""A ticker is a name that a series has for a while: what passes on is kept apart, and what is renamed goes on."""

import numpy as np
import pandas as pd
import pytest
from bars.truth import Clock, Daily, Listing, TruthProvider, at, of_one_truth, same, weekly

from symcache_core.errors import ConfigurationError, ProviderError
from symcache_core.loading import LoadReport

FIRST, LAST = "2020-01-02", "2022-12-30"


def days(seed, level, *, since=None, until=None):
    """The truth of a share that was listed from one day to another."""
    return Daily(FIRST, LAST, lambda daily, _now: daily.loc[since:until], seed=seed, level=level)


def passing_on(*holders):
    """Whose a name is at a moment: ``(since, listing)``, rising."""

    def holder(now):
        return [listing for since, listing in holders if at(since) <= now][-1]

    return holder


def report_of(frame):
    return LoadReport.of(frame)


@pytest.fixture
def fund():
    return Listing(days(1, 15.0, until="2022-01-28"), con_id=1, exchange="ARCA", head="2021-06-30T13:30:00+00:00")


@pytest.fixture
def company():
    return Listing(days(2, 200.0), con_id=2, exchange="NASDAQ", head=f"{FIRST}T14:30:00+00:00")


@pytest.fixture
def meta(fund, company):
    """META is a fund until January 2022, and from June the company that was FB."""
    fund.truth = days(1, 15.0, since="2021-06-30", until="2022-01-28")
    names = {"META": passing_on((FIRST, fund), ("2022-06-09", company)), "FB": company}
    return TruthProvider(Clock("2021-12-15T22:00"), names)


def test_meta_is_the_fund_until_it_is_the_company_and_both_are_whole(meta, fund, company, folder):
    with meta.manager(folder) as manager:
        before = manager.load("META", "1d", mode="full")
        same(before, fund.truth(meta.clock.now, "1d"))
        assert (report_of(before).series, report_of(before).others) == ("ib:1", [])
        meta.clock.set("2022-07-09T12:00")
        after = manager.load("META", "1d", mode="full")
        same(after, company.truth(meta.clock.now, "1d"))
        report = report_of(after)
        assert report.series == "ib:2"
        assert report.others == ["ib:1"], "the dates reach before the day on which META was first seen to be this one"
        assert pd.Timestamp(report.since) == meta.clock.now
        assert "reused" in report.happened
        asked = len(meta.asked)
        old = manager.load(series="ib:1", timeframe="1d")
        same(old, before)
        assert report_of(old).series == "ib:1"
        assert len(meta.asked) == asked


def test_dates_since_a_name_is_this_series_tell_of_no_other(meta, company, folder):
    with meta.manager(folder) as manager:
        manager.load("META", "1d", mode="full")
        meta.clock.set("2022-07-09T12:00")
        manager.load("META", "1d", mode="full")
        meta.clock.set("2022-09-10T12:00")
        frame = manager.load("META", "1d", "2022-08-01", "2022-08-31")
        same(frame, company.truth(meta.clock.now, "1d").loc["2022-08-01":"2022-08-31"])
        assert report_of(frame).others == []
        assert pd.Timestamp(report_of(frame).since) == at("2022-07-09T12:00")


def test_a_renamed_share_goes_on_with_its_series(meta, company, folder):
    meta.clock.set("2022-05-14T12:00")
    with meta.manager(folder) as manager:
        fb = manager.load("FB", "1d", mode="full")
        asked = len(meta.asked)
        meta.clock.set("2022-06-18T12:00")
        frame = manager.load("META", "1d", mode="full")
        same(frame, company.truth(meta.clock.now, "1d"))
        report = report_of(frame)
        assert report.series == report_of(fb).series == "ib:2"
        assert "renamed" in report.happened
        assert "reused" not in report.happened
        assert meta.times_asked(fb.index, since=asked).sum() <= 10, "what FB had is not fetched again"
        assert len(meta.asked) - asked <= 2


def test_renamed_and_reused_at_once_is_told_and_right(meta, fund, company, folder):
    with meta.manager(folder) as manager:
        before = manager.load("META", "1d", mode="full")
        meta.clock.set("2022-05-14T12:00")
        fb = manager.load("FB", "1d", mode="full")
        asked = len(meta.asked)
        meta.clock.set("2022-06-18T12:00")
        frame = manager.load("META", "1d", mode="full")
        same(frame, company.truth(meta.clock.now, "1d"))
        assert report_of(frame).series == "ib:2"
        assert report_of(frame).others == ["ib:1"]
        assert {"renamed", "reused"} & set(report_of(frame).happened)
        assert meta.times_asked(fb.index, since=asked).sum() <= 10
        same(manager.load(series="ib:1", timeframe="1d"), before)


def test_the_old_name_of_a_renamed_share_is_still_its_own(meta, company, folder):
    meta.clock.set("2022-05-14T12:00")
    with meta.manager(folder) as manager:
        manager.load("FB", "1d", mode="full")
        meta.clock.set("2022-06-18T12:00")
        manager.load("META", "1d", mode="full")
        frame = manager.load("FB", "1d", mode="local")
        assert report_of(frame).series == "ib:2"
        same(frame, company.truth(meta.clock.now, "1d"))


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
@pytest.mark.parametrize("mode", ["full", "tail", "backfill"])
def test_a_reused_ticker_gives_one_contract_though_both_have_bars_on_the_same_dates(mode, timeframe, folder):
    old = Listing(days(3, 300.0), con_id=107113386, head=f"{FIRST}T14:30:00+00:00")
    new = Listing(days(4, 20.0), con_id=555, exchange="BATS", head=f"{FIRST}T14:30:00+00:00")
    provider = TruthProvider(Clock("2022-03-05T12:00"), {"FB": passing_on((FIRST, old), ("2022-06-09", new))})
    with provider.manager(folder) as manager:
        before = manager.load("FB", timeframe, mode="full")
        provider.clock.set("2022-09-10T12:00")
        frame = manager.load("FB", timeframe, mode=mode)
        truth = new.truth(provider.clock.now, timeframe)
        same(frame, truth.loc[frame.index[0] :] if mode == "tail" else truth)
        assert report_of(frame).series == "ib:555"
        assert "reused" in report_of(frame).happened
        same(manager.load(series="ib:107113386", timeframe=timeframe), before)
        full = manager.load("FB", timeframe, mode="full")
        same(full, truth)
        assert report_of(full).others == ["ib:107113386"]


def test_other_timeframes_of_a_reused_ticker_are_kept_apart_too(folder):
    old = Listing(days(3, 300.0), con_id=10, head=f"{FIRST}T14:30:00+00:00")
    new = Listing(days(4, 20.0), con_id=11, head=f"{FIRST}T14:30:00+00:00")
    provider = TruthProvider(Clock("2022-03-05T12:00"), {"FB": passing_on((FIRST, old), ("2022-06-09", new))})
    with provider.manager(folder) as manager:
        manager.load("FB", "1d", mode="full")
        weeks = manager.load("FB", "1w", mode="full")
        provider.clock.set("2022-09-10T12:00")
        manager.load("FB", "1d", mode="full")
        same(manager.load("FB", "1w", mode="full"), new.truth(provider.clock.now, "1w"))
        same(manager.load(series="ib:10", timeframe="1w"), weeks)


def test_bars_that_say_another_contract_than_the_cached_verdict_have_the_symbol_validated_anew(folder):
    old = Listing(days(3, 300.0), con_id=10, head=f"{FIRST}T14:30:00+00:00")
    new = Listing(days(4, 20.0), con_id=11, head=f"{FIRST}T14:30:00+00:00")
    provider = TruthProvider(Clock("2022-06-04T12:00"), {"FB": passing_on((FIRST, old), ("2022-06-09", new))})
    with provider.manager(folder) as manager:
        before = manager.load("FB", "1d", mode="full")
        validated = len(provider.validated)
        provider.clock.set("2022-06-18T12:00")  # the verdict of two weeks ago is fresh
        frame = manager.load("FB", "1d", mode="full")
        same(frame, new.truth(provider.clock.now, "1d"))
        assert len(provider.validated) == validated + 1
        assert report_of(frame).series == "ib:11"
        same(manager.load(series="ib:10", timeframe="1d"), before)
        asked = len(provider.asked)
        manager.load("FB", "1d", mode="full")
        assert len(provider.asked) == asked


def test_a_provider_that_contradicts_itself_about_the_contract_has_nothing_stored(folder):
    old = Listing(days(3, 300.0), con_id=10, head=f"{FIRST}T14:30:00+00:00", says_contract=False)
    other = days(4, 20.0)

    def other_contract(_number, asked):
        bars = other(asked.now, asked.timeframe).loc[asked.start : asked.end].copy()
        bars.attrs["contract"] = {"conId": 11}
        return bars

    provider = TruthProvider(Clock("2022-06-04T12:00"), {"FB": old})
    with provider.manager(folder) as manager:
        before = manager.load("FB", "1d", mode="full")
        provider.clock.set("2022-06-18T12:00")
        provider.trouble = other_contract
        try:
            frame = manager.load("FB", "1d", mode="full")
        except ProviderError:
            frame = None
        if frame is not None:
            of_one_truth(frame, before)
        assert 2 <= len(provider.validated) <= 3
        same(manager.load("FB", "1d", mode="local"), before)
        same(manager.load(series="ib:10", timeframe="1d"), before)


def without_ids(truth, **options):
    return Listing(truth, con_id=None, **options)


def test_a_head_timestamp_that_moves_each_day_opens_no_other_series(folder):
    truth = days(5, 80.0)

    def head(now):
        return (now - pd.Timedelta(days=365)).isoformat()

    provider = TruthProvider(Clock("2022-06-03T22:00"), {"SHEL": without_ids(truth, head=head)}, provider="yahoo")
    with provider.manager(folder, ttl="12h") as manager:
        first = manager.load("SHEL", "1d", mode="full")
        series, validated = report_of(first).series, len(provider.validated)
        assert series.startswith("yahoo:SHEL@")
        for _ in range(45):
            provider.clock.advance(days=1)
            frame = manager.load("SHEL", "1d", mode="tail")
            report = report_of(frame)
            assert report.series == series
            assert not set(report.happened) & {"reused", "renamed", "renewed", "unstable"}
            assert report.others == []
            same(frame, truth(provider.clock.now, "1d").loc[first.index[0] :])
        assert len(provider.validated) - validated >= 40, "the head was seen to move"
        assert len(provider.asked) <= 4 + 2 * 45


@pytest.mark.parametrize("venue", ["BATS", "ISLAND"])
def test_a_listing_that_is_renamed_opens_no_other_series(venue, folder):
    truth = days(5, 80.0)
    before, after = (without_ids(truth, exchange=name, head=f"{FIRST}T00:00:00+00:00") for name in ("NASDAQ", venue))
    provider = TruthProvider(
        Clock("2022-03-05T12:00"), {"SHEL": passing_on((FIRST, before), ("2022-06-09", after))}, provider="yahoo"
    )
    with provider.manager(folder) as manager:
        series = report_of(manager.load("SHEL", "1d", mode="full")).series
        for moment in ("2022-06-18T12:00", "2022-08-06T12:00"):
            provider.clock.set(moment)
            asked = len(provider.asked)
            frame = manager.load("SHEL", "1d", mode="full")
            same(frame, truth(provider.clock.now, "1d"))
            assert report_of(frame).series == series
            assert report_of(frame).others == []
            assert not set(report_of(frame).happened) & {"reused", "renewed", "unstable"}
            assert len(provider.asked) - asked <= 2


def test_a_head_after_the_last_stored_bar_is_another_series_and_the_old_one_loadable(folder):
    gone = days(6, 300.0, until="2022-02-25")
    fresh = days(7, 20.0, since="2022-06-27")
    old = without_ids(gone, head=f"{FIRST}T00:00:00+00:00")
    new = without_ids(fresh, exchange="BATS", head="2022-06-27T00:00:00+00:00")
    provider = TruthProvider(
        Clock("2022-02-26T12:00"), {"FB": passing_on((FIRST, old), ("2022-06-09", new))}, provider="yahoo"
    )
    with provider.manager(folder) as manager:
        before = manager.load("FB", "1d", mode="full")
        provider.clock.set("2022-10-01T12:00")
        frame = manager.load("FB", "1d", mode="full")
        same(frame, fresh(provider.clock.now, "1d"))
        report = report_of(frame)
        assert report.series != report_of(before).series
        assert "reused" in report.happened
        asked = len(provider.asked)
        same(manager.load(series=report_of(before).series, timeframe="1d"), before)
        same(manager.load(series=report.series, timeframe="1d"), frame)
        assert len(provider.asked) == asked
        reaching = manager.load("FB", "1d", "2022-01-03", "2022-09-30")
        assert report_of(reaching).others == [report_of(before).series]
        assert reaching.index[0] == at("2022-06-27")


def test_a_head_that_moved_and_prices_that_disagree_are_another_series(folder):
    gone, fresh = days(6, 300.0), days(7, 20.0, since="2021-09-01")
    old = without_ids(gone, head=f"{FIRST}T00:00:00+00:00")
    new = without_ids(fresh, exchange="BATS", head="2021-09-01T00:00:00+00:00")
    provider = TruthProvider(
        Clock("2022-03-05T12:00"), {"FB": passing_on((FIRST, old), ("2022-06-09", new))}, provider="yahoo"
    )
    with provider.manager(folder) as manager:
        before = manager.load("FB", "1d", mode="full")
        provider.clock.set("2022-10-01T12:00")
        frame = manager.load("FB", "1d", mode="full")
        same(frame, fresh(provider.clock.now, "1d"))
        assert report_of(frame).series != report_of(before).series
        same(manager.load(series=report_of(before).series, timeframe="1d"), before)


def test_without_ids_and_without_any_other_sign_disagreeing_prices_are_a_renewal(folder):
    bars = Daily(FIRST, LAST, seed=8, level=60.0).bars
    chaos = np.random.default_rng(9).uniform(0.5, 2.0, len(bars))

    def change(daily, now):
        if now < at("2022-06-09"):
            return daily
        factor = pd.Series(chaos, index=bars.index)[daily.index]
        return daily.mul(factor, axis="index").round(2).assign(volume=daily["volume"])

    truth = Daily(FIRST, LAST, change, bars=bars)
    listing = without_ids(truth, head=f"{FIRST}T00:00:00+00:00")
    provider = TruthProvider(Clock("2022-05-28T12:00"), {"SHEL": listing}, provider="yahoo")
    with provider.manager(folder) as manager:
        before = manager.load("SHEL", "1d", mode="full")
        validated = len(provider.validated)
        provider.clock.set("2022-06-18T12:00")
        for _ in range(3):
            frame = manager.load("SHEL", "1d", mode="full")
            if not report_of(frame).renewing:
                break
        same(frame, truth(provider.clock.now, "1d"))
        assert report_of(frame).series == report_of(before).series
        assert len(provider.validated) == validated + 1, "it might have been another contract"


def test_another_currency_is_another_series_from_the_start(folder):
    dollars, euros = Listing(days(5, 80.0), con_id=20), Listing(days(6, 70.0), con_id=21, currency="EUR")
    provider = TruthProvider(Clock("2022-06-03T22:00"), {"SHEL": dollars, "SHEL@:EUR": euros})
    with provider.manager(folder) as manager:
        frames = [manager.load(symbol, "1d", "2022-01-03", "2022-05-27") for symbol in ("SHEL", "SHEL@:EUR")]
        assert [report_of(frame).series for frame in frames] == ["ib:20", "ib:21"]
        for frame, listing in zip(frames, (dollars, euros), strict=True):
            same(frame, listing.truth(provider.clock.now, "1d").loc["2022-01-03":"2022-05-27"])


def test_local_reads_the_series_of_the_cached_verdict_and_says_when_it_was_compared(meta, fund, folder):
    with meta.manager(folder) as manager:
        before = manager.load("META", "1d", mode="full")
        meta.clock.set("2022-07-09T12:00")  # the name has passed on, and nobody has asked yet
        asked = len(meta.asked)
        local = manager.load("META", "1d", mode="local")
        same(local, before)
        assert report_of(local).series == "ib:1"
        assert len(meta.asked) == asked
        compared = report_of(local).compared
        assert compared is None or pd.Timestamp(compared) <= at("2021-12-15T22:00")


def test_a_series_that_nobody_keeps_is_an_error_that_names_it_and_nobody_is_asked(meta, folder):
    with meta.manager(folder) as manager:
        with pytest.raises(ConfigurationError, match="ib:99"):
            manager.load(series="ib:99", timeframe="1d")
        assert meta.asked == meta.validated == []


def test_a_week_that_two_holders_of_a_name_share_is_never_of_both(folder):
    old = Listing(days(3, 300.0, until="2022-06-08"), con_id=10, head=f"{FIRST}T14:30:00+00:00")
    new = Listing(days(4, 20.0, since="2022-06-09"), con_id=11, head="2022-06-09T13:30:00+00:00")
    provider = TruthProvider(Clock("2022-06-08T22:00"), {"FB": passing_on((FIRST, old), ("2022-06-09", new))})
    with provider.manager(folder) as manager:
        manager.load("FB", "1w", mode="full")
        provider.clock.set("2022-09-10T12:00")
        frame = manager.load("FB", "1w", mode="full")
        same(frame, weekly(new.truth(provider.clock.now, "1d")))
