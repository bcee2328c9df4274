"""What a provider changes between two loads: a frame is its truth of then or of now, and never of both."""

import numpy as np
import pandas as pd
import pytest
from bars.truth import PRICES, Clock, Daily, Listing, TruthProvider, at, is_beginning, of_one_truth, same, walk

from symcache_core.errors import ProviderError, ProviderPermissionError
from symcache_core.loading import LoadReport

FIRST, LAST = "2021-01-04", "2024-03-28"
THEN, CHANGED, NOW = "2024-01-06T12:00", "2024-01-10", "2024-01-16T12:00"
CON_ID = 265598
SERIES = f"ib:{CON_ID}"


def earlier_prices(make, *, before=CHANGED, told=CHANGED, volume=1.0):
    """From a moment on, all prices before a day are told as something else."""

    def change(daily, now):
        if now < at(told):
            return daily
        daily = daily.copy()
        old = daily.index < at(before)
        daily.loc[old, PRICES] = make(daily.loc[old, PRICES])
        daily.loc[old, "volume"] *= volume
        return daily

    return change


def revised(*days):
    """From a moment on, the closes of some days are told a little higher."""

    def change(daily, now):
        if now < at(CHANGED):
            return daily
        daily = daily.copy()
        those = daily.index.isin([at(day) for day in days])
        daily.loc[those, "close"] = (daily.loc[those, "close"] + 0.37).round(2)
        daily.loc[those, "high"] = daily.loc[those, ["high", "close"]].max(axis="columns")
        return daily

    return change


ADJUSTMENTS = {
    "a split, ten for one": earlier_prices(lambda prices: (prices / 10).round(4), volume=10),
    "a split, four for one": earlier_prices(lambda prices: (prices / 4).round(4), volume=4),
    "a special dividend, in cents": earlier_prices(lambda prices: (prices * 0.97).round(2)),
    "a special dividend, not rounded": earlier_prices(lambda prices: prices * 0.97),
    "an additive adjustment": earlier_prices(lambda prices: (prices - 2.35).round(2)),
    "a split told of too late": earlier_prices(
        lambda prices: (prices / 4).round(4), before="2024-01-04", told="2024-01-09", volume=4
    ),
}


def share(change, folder, **options):
    """A share whose bars the provider changes, its provider, its truth, and a loader."""
    truth = Daily(FIRST, LAST, change)
    listing = Listing(truth, con_id=CON_ID, head=f"{FIRST}T14:30:00+00:00")
    provider = TruthProvider(Clock(THEN), {"NVDA": listing}, **options)
    return truth, provider, provider.manager(folder)


def load_until_renewed(manager, timeframe, then, now):
    """Load until the history is renewed, looking at each frame; the last frame, and what the reports say."""
    happened = []
    for _ in range(3):
        frame = manager.load("NVDA", timeframe, mode="full")
        of_one_truth(frame, then, now)
        report = LoadReport.of(frame)
        happened += report.happened
        if not report.renewing:
            return frame, happened
        assert is_beginning(frame, then), "while it is renewed, the frame is the truth of then"
    pytest.fail("the history is still not renewed")


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
@pytest.mark.parametrize("change", ADJUSTMENTS.values(), ids=ADJUSTMENTS.keys())
def test_after_an_adjustment_a_frame_is_the_truth_of_now(change, timeframe, folder):
    truth, provider, manager = share(change, folder)
    with manager:
        first = manager.load("NVDA", timeframe, mode="full")
        then = truth(at(THEN), timeframe)
        same(first, then)
        segments = LoadReport.of(first).requests
        provider.clock.set(NOW)
        now = truth(at(NOW), timeframe)
        frame, happened = load_until_renewed(manager, timeframe, then, now)
        same(frame, now)
        assert len(provider.asked) - segments <= segments + 1
        assert "renewed" in happened
        assert LoadReport.of(frame).series == SERIES
        asked = len(provider.asked)
        same(manager.load("NVDA", timeframe, mode="full"), now)
        assert len(provider.asked) == asked, "all is final, and renewed"


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_a_renewal_asks_for_every_stamp_that_the_old_bars_had(timeframe, folder):
    truth, provider, manager = share(ADJUSTMENTS["a split, ten for one"], folder)
    with manager:
        then = manager.load("NVDA", timeframe, mode="full")
        before = len(provider.asked)
        provider.clock.set(NOW)
        load_until_renewed(manager, timeframe, then, truth(at(NOW), timeframe))
        times = provider.times_asked(then.index, since=before)
        assert times.min() >= 1
        assert times.iloc[:-5].max() <= 1 + 1, "a segment takes in five bars of its neighbour at most"


def test_what_was_before_the_renewal_stays_loadable(folder):
    truth, provider, manager = share(ADJUSTMENTS["a split, ten for one"], folder)
    with manager:
        then = manager.load("NVDA", "1d", mode="full")
        provider.clock.set(NOW)
        load_until_renewed(manager, "1d", then, truth(at(NOW), "1d"))
        asked = len(provider.asked)
        same(manager.load(series=f"{SERIES}#1", timeframe="1d"), truth(at(THEN), "1d"))
        same(manager.load(series=SERIES, timeframe="1d"), truth(at(NOW), "1d"))
        assert len(provider.asked) == asked, "a series is read, and never asked for"


@pytest.mark.parametrize("mode", ["tail", "full", "backfill"])
def test_whatever_the_mode_no_frame_has_both(mode, folder):
    truth, provider, manager = share(ADJUSTMENTS["a split, ten for one"], folder)
    with manager:
        manager.load("NVDA", "1d", mode="full")
        provider.clock.set(NOW)
        for _ in range(3):
            frame = manager.load("NVDA", "1d", mode=mode)
            of_one_truth(frame, truth(at(THEN), "1d"), truth(at(NOW), "1d"))
        if mode != "backfill":
            same(frame, truth(at(NOW), "1d"))


def test_dates_within_the_old_bars_alone_are_of_one_truth_after_a_refresh(folder):
    truth, provider, manager = share(ADJUSTMENTS["a split, ten for one"], folder)
    with manager:
        manager.load("NVDA", "1d", mode="full")
        provider.clock.set(NOW)
        dates = "2022-03-01", "2022-03-31"
        asked = len(provider.asked)
        same(manager.load("NVDA", "1d", *dates), truth(at(THEN), "1d").loc[slice(*dates)])
        assert len(provider.asked) == asked, "what is covered and final is not asked for"
        for _ in range(3):
            frame = manager.load("NVDA", "1d", *dates, refresh=True)
            if not LoadReport.of(frame).renewing:
                break
        same(frame, truth(at(NOW), "1d").loc[slice(*dates)])
        same(manager.load("NVDA", "1d", mode="full"), truth(at(NOW), "1d"))


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_one_revised_bar_is_replaced_and_counted_and_the_history_left_alone(timeframe, folder):
    truth, provider, manager = share(revised("2024-01-05"), folder)
    with manager:
        manager.load("NVDA", timeframe, mode="full")
        provider.clock.set(NOW)
        frame = manager.load("NVDA", timeframe, mode="full")
        report = LoadReport.of(frame)
        same(frame, truth(at(NOW), timeframe))
        assert report.revised == 1
        assert report.requests <= 2
        assert "renewed" not in report.happened


def test_a_tenth_of_sixty_bars_revised_is_replaced_and_counted_when_all_are_compared(folder):
    days = Daily(FIRST, LAST).bars.loc[:"2024-01-05"].index[-60:]
    truth, provider, manager = share(revised(*days[4::10].strftime("%Y-%m-%d")), folder)
    dates = days[0].date(), days[-1].date()
    with manager:
        manager.load("NVDA", "1d", *dates)
        provider.clock.set(NOW)
        frame = manager.load("NVDA", "1d", *dates, refresh=True)
        report = LoadReport.of(frame)
        same(frame, truth(at(NOW), "1d").loc[days[0] : days[-1]])
        assert report.revised == 6
        assert report.requests <= 2
        assert "renewed" not in report.happened


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_the_noise_of_midpoints_renews_nothing(timeframe, folder):
    index = Daily(FIRST, LAST).bars.index
    prices = walk(index, level=1.08, digits=5)

    def noisy(daily, now):
        noise = np.random.default_rng(now.value // 10**9).choice([-1e-5, 0.0, 1e-5], (len(daily), 4))
        daily = daily.copy()
        daily[PRICES] = (daily[PRICES] + noise).round(5)
        daily["high"], daily["low"] = daily[PRICES].max(axis="columns"), daily[PRICES].min(axis="columns")
        daily["volume"] = -1.0
        return daily

    truth = Daily(FIRST, LAST, noisy, bars=prices)
    listing = Listing(truth, con_id=12087792, kind="CASH", exchange="IDEALPRO", head=f"{FIRST}T00:00:00+00:00")
    provider = TruthProvider(Clock(THEN), {"EURUSD": listing})
    with provider.manager(folder) as manager:
        manager.load("EURUSD", timeframe, f"{FIRST}", mode="full")
        for day in pd.date_range("2024-01-09T12:00", "2024-01-20T12:00", tz="UTC"):
            provider.clock.set(day)
            frame = manager.load("EURUSD", timeframe, FIRST, mode="full")
            report = LoadReport.of(frame)
            assert not {"renewed", "unstable", "reused"} & set(report.happened)
            assert not report.renewing
            assert report.requests <= 5, "not the history"
            now = truth(day, timeframe)
            assert frame.index.equals(now.index)
            assert np.abs(frame[PRICES] - now[PRICES]).to_numpy().max() < 2.5e-5


def test_a_renewal_that_fails_half_way_leaves_the_old_bars_and_goes_on_later(folder):
    fails = False

    def trouble(number, _asked):
        return ProviderPermissionError("no permission") if fails and number > allowed else None

    truth, provider, manager = share(ADJUSTMENTS["a split, ten for one"], folder, trouble=trouble)
    with manager:
        then = manager.load("NVDA", "1d", mode="full")
        segments = len(provider.asked)
        provider.clock.set(NOW)
        fails, allowed = True, segments + 2
        with pytest.raises(ProviderError):
            manager.load("NVDA", "1d", mode="full")
        local = manager.load("NVDA", "1d", mode="local")
        same(local, truth(at(THEN), "1d"))
        assert LoadReport.of(local).renewing
        fails = False
        before = len(provider.asked)
        frame, _ = load_until_renewed(manager, "1d", then, truth(at(NOW), "1d"))
        same(frame, truth(at(NOW), "1d"))
        assert len(provider.asked) - before <= segments + 1


def test_a_split_while_the_renewal_of_an_earlier_one_waits_is_never_mixed_in(folder):
    first, second = (
        ADJUSTMENTS["a split, four for one"],
        earlier_prices(lambda prices: (prices / 10).round(5), before="2024-02-07", told="2024-02-07", volume=10),
    )
    fails = False

    def trouble(number, _asked):
        return ProviderPermissionError("no permission") if fails and number > allowed else None

    truth, provider, manager = share(lambda daily, now: second(first(daily, now), now), folder, trouble=trouble)
    with manager:
        then = manager.load("NVDA", "1d", mode="full")
        provider.clock.set(NOW)
        fails, allowed = True, len(provider.asked) + 2
        with pytest.raises(ProviderError):
            manager.load("NVDA", "1d", mode="full")
        fails = False
        provider.clock.set("2024-02-10T12:00")
        now = truth(provider.clock.now, "1d")
        frame, _ = load_until_renewed(manager, "1d", then, now)
        same(frame, now)


def test_a_provider_of_two_minds_is_reported_as_unstable_and_not_asked_for_all_again(folder):
    halved = earlier_prices(lambda prices: (prices / 2).round(3))

    def change(daily, now):
        return halved(daily, now) if at("2024-01-10") <= now < at("2024-01-18") else daily

    truth, provider, manager = share(change, folder)
    with manager:
        then = manager.load("NVDA", "1d", mode="full")
        provider.clock.set(NOW)
        renewed, _ = load_until_renewed(manager, "1d", then, truth(at(NOW), "1d"))
        provider.clock.set("2024-01-19T12:00")
        before = len(provider.asked)
        frame = manager.load("NVDA", "1d", mode="full")
        report = LoadReport.of(frame)
        assert "unstable" in report.happened
        assert "renewed" not in report.happened
        of_one_truth(frame, renewed)
        assert len(provider.asked) - before <= 2
