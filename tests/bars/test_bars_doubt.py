"""What one answer does not prove: glitches during a comparison or a renewal, moving heads, late adjustments."""

import numpy as np
import pandas as pd
import pytest
from bars.truth import PRICES, Clock, Daily, Listing, TruthProvider, at, same, sessions, walk

from symcache_core import ValidationResult
from symcache_core.errors import ProviderError, ProviderNoDataError
from symcache_core.loading import LoadReport

FIRST, LAST = "2018-01-02", "2023-12-29"
THEN, SPLIT, NOW = "2023-01-07T12:00", "2023-01-10", "2023-01-14T12:00"
HEAD = f"{FIRST}T14:30:00+00:00"
CON_ID = 4391


def split(daily, now):
    if now < at(SPLIT):
        return daily
    daily = daily.copy()
    old = daily.index < at(SPLIT)
    daily.loc[old, PRICES] = (daily.loc[old, PRICES] / 4).round(4)
    return daily


def share(change=split, *, con_id=CON_ID, head=HEAD, **options):
    truth = Daily(FIRST, LAST, change)
    return truth, TruthProvider(Clock(THEN), {"AMD": Listing(truth, con_id=con_id, head=head)}, **options)


def once(provider, answer, is_meant=lambda _asked: True):
    """Have the next request that is meant answered otherwise, and only that one."""
    left = [answer]
    provider.trouble = lambda _number, asked: left.pop() if left and is_meant(asked) else None


def nothing(truth):
    return truth(at(THEN), "1d").iloc[:0]


@pytest.mark.parametrize("glitch", ["empty", "no data"])
def test_one_answer_without_the_bars_to_compare_lets_no_other_basis_in(glitch, folder):
    truth, provider = share()
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", "2019-01-02", "2019-06-28")
        provider.clock.set(NOW)
        once(provider, nothing(truth) if glitch == "empty" else ProviderNoDataError("No data returned for AMD 1d"))
        frame = manager.load("AMD", "1d", "2022-01-03", "2022-06-30")
        assert frame.empty
        assert LoadReport.of(frame).missing > 0
        provider.clock.advance(minutes=11)
        same(manager.load("AMD", "1d", "2019-01-02", "2022-06-30"), truth(at(NOW), "1d").loc["2019-01-02":"2022-06-30"])


def test_a_renewal_takes_one_empty_answer_for_no_proof(folder):
    truth, provider = share()
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", mode="full")
        provider.clock.set(NOW)
        once(provider, nothing(truth), lambda asked: asked.start < at("2018-06-01"))
        frame = manager.load("AMD", "1d", mode="tail")
        assert LoadReport.of(frame).renewing
        same(frame, truth(at(THEN), "1d"))
        provider.clock.advance(minutes=11)
        frame = manager.load("AMD", "1d", mode="tail")
        assert "renewed" in LoadReport.of(frame).happened
        same(frame, truth(at(NOW), "1d"))


def test_what_the_provider_no_longer_has_is_named_with_the_generation_that_has_it(folder):
    truth, provider = share()
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", mode="full")
        provider.clock.set(NOW)
        gone = at("2020-01-01")
        provider.trouble = lambda _number, asked: truth(at(NOW), "1d").loc[max(gone, asked.start) : asked.end]
        manager.load("AMD", "1d", mode="tail")
        provider.clock.advance(minutes=11)
        report = LoadReport.of(manager.load("AMD", "1d", mode="tail"))
        assert f"ib:{CON_ID}#1" in report.others
        old = manager.load(series=f"ib:{CON_ID}#1", timeframe="1d")
        same(old.loc[:"2019"], truth(at(THEN), "1d").loc[:"2019"])


def test_a_day_that_was_provisional_is_compared_too(folder):
    truth, provider = share()
    provider.clock.set("2023-01-06T21:30")
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", "2023-01-06", "2023-01-06")
        provider.clock.set("2023-03-01T12:00")
        manager.load("AMD", "1d", "2023-02-01", "2023-02-10")
        stored = manager.load("AMD", "1d", mode="local")
        same(stored, truth(at("2023-03-01T12:00"), "1d").loc[stored.index])


def minutes(first, last):
    days = [
        pd.date_range(day + pd.Timedelta("14:30:00"), periods=390, freq="1min") for day in sessions("XNYS", first, last)
    ]
    return walk(pd.DatetimeIndex(np.concatenate([day.to_numpy() for day in days]), tz="UTC", name="timestamp"))


def test_minutes_that_are_adjusted_over_night_are_noticed_within_a_day_or_two(folder):
    bars = minutes("2023-01-09", "2023-01-18")

    def truth(now, _timeframe):
        known = bars[bars.index < now].copy()
        if now >= at("2023-01-11T18:00"):  # at noon of the day before which everything is adjusted
            known.loc[known.index < at("2023-01-11"), PRICES] /= 4
        return known

    provider = TruthProvider(
        Clock("2023-01-10T22:00"), {"AMD": Listing(truth, con_id=CON_ID, head="2023-01-09T14:30:00+00:00")}
    )
    with provider.manager(folder) as manager:
        for moment in (
            "2023-01-10T23:00",
            "2023-01-11T17:00",
            "2023-01-11T23:00",
            "2023-01-12T23:00",
            "2023-01-13T23:00",
        ):
            provider.clock.set(moment)
            frame = manager.load("AMD", "1m", mode="full")
        np.testing.assert_array_equal(frame["close"], truth(at(moment), "1m").loc[frame.index, "close"])


def test_a_head_that_moves_with_the_time_opens_no_series_however_long_nobody_loaded(folder):
    truth = Daily(FIRST, LAST)
    listing = Listing(truth, con_id=None, head=lambda now: (now - pd.Timedelta(days=30)).isoformat())
    provider = TruthProvider(Clock("2022-03-05T12:00"), {"AMD": listing}, provider="yahoo")
    with provider.manager(folder) as manager:
        series = LoadReport.of(manager.load("AMD", "1d", mode="full")).series
        provider.clock.set("2022-06-05T12:00")
        manager.load("AMD", "1d", mode="full")
        provider.clock.advance(minutes=11)
        report = LoadReport.of(manager.load("AMD", "1d", mode="full"))
        assert report.series == series
        assert "reused" not in report.happened


def test_bars_that_name_contracts_under_a_verdict_without_an_id_never_stand_together(folder):
    truth = Daily(FIRST, LAST)
    provider = TruthProvider(Clock(THEN), {"AMD": Listing(truth, con_id=None, head=HEAD)}, provider="mine")
    named = {"id": 1}

    def named_bars(_number, asked):
        frame = truth(asked.now, "1d").loc[asked.start : asked.end].copy() * named["id"]
        frame.attrs["contract"] = {"conId": named["id"]}
        return frame

    provider.trouble = named_bars
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", "2019-01-02", "2019-12-31")
        named["id"] = 2
        provider.clock.set(NOW)
        manager.load("AMD", "1d", "2020-01-02", "2020-12-31")
        stored = manager.load("AMD", "1d", mode="local")
        same(stored, truth(at(NOW), "1d").loc[stored.index] * 2)


def test_more_said_of_a_basis_is_the_same_basis_and_another_one_renews(folder):
    truth, provider = share(lambda daily, _now: daily)
    basis = {"adjustment": "split"}

    def told(_number, asked):
        frame = truth(asked.now, "1d").loc[asked.start : asked.end].copy()
        frame.attrs["basis"] = dict(basis)
        return frame

    provider.trouble = told
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", mode="full")
        basis["show"] = "TRADES"
        provider.clock.set(NOW)
        report = LoadReport.of(manager.load("AMD", "1d", mode="full"))
        assert (report.happened, report.basis) == ([], {"adjustment": "split", "show": "TRADES"})
        basis["adjustment"] = "none"
        provider.clock.set("2023-02-04T12:00")
        frame = manager.load("AMD", "1d", mode="full")
        assert LoadReport.of(frame).happened == ["renewed"]
        assert LoadReport.of(frame).basis == {"adjustment": "none", "show": "TRADES"}
        same(frame, truth(at("2023-02-04T12:00"), "1d"))


def test_an_instrument_of_which_nobody_says_anything_is_no_new_york_stock(folder):
    _, provider = share(lambda daily, _now: daily)

    async def silent(symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol, head_timestamps=dict.fromkeys(timeframes, HEAD))

    provider.validate_and_get_metadata = silent
    with provider.manager(folder) as manager:
        report = LoadReport.of(manager.load("AMD", "1d", mode="full"))
    assert (report.calendar, report.missing) == (None, None)


def test_a_covered_range_is_read_although_nothing_can_be_written(folder):
    truth, provider = share(lambda daily, _now: daily)
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", "2020-01-02", "2020-12-31")
        lock = folder / "bars" / "ib" / "names.lock"
        lock.unlink(missing_ok=True)
        lock.mkdir()  # which nobody can lock
        provider.clock.set("2023-01-20T12:00")
        frame = manager.load("AMD", "1d", "2020-01-02", "2020-12-31")
    same(frame, truth(at(NOW), "1d").loc["2020-01-02":"2020-12-31"])


def test_a_present_that_moved_back_asks_for_nothing_backwards_and_shows_nothing_later(folder):
    _, provider = share(lambda daily, _now: daily)
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", "2022-06-01", "2022-12-30")
        provider.clock.set("2021-01-09T12:00")
        frame = manager.load("AMD", "1d", mode="full")
        assert frame.index[-1] <= at("2021-01-09")
        assert all(asked.start <= asked.end for asked in provider.asked)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (lambda frame: frame[[*frame.columns, "close"]], "several columns close"),
        (lambda frame: frame.astype({"close": "complex128"}), "not all numbers"),
        (lambda frame: frame.set_axis(frame.index.astype(str)), "no index of times"),
    ],
)
def test_an_odd_frame_is_the_providers_error(odd, message, folder):
    truth, provider = share(lambda daily, _now: daily)
    provider.trouble = lambda _number, asked: odd(truth(asked.now, "1d").loc[asked.start : asked.end])
    with provider.manager(folder) as manager, pytest.raises(ProviderError, match=message):
        manager.load("AMD", "1d", "2022-01-03", "2022-02-28")


def test_another_companys_bar_in_the_place_of_one_is_no_revision(folder):
    _, provider = share(lambda daily, _now: daily)
    other = walk(sessions("XNYS", "2023-01-06", LAST), seed=9, level=15.0)
    with provider.manager(folder) as manager:
        manager.load("AMD", "1d", "2022-06-01", "2023-01-06")
        provider.clock.set("2023-02-04T12:00")
        provider.trouble = lambda _number, asked: other.loc[asked.start : min(asked.end, asked.now)]
        frame = manager.load("AMD", "1d", "2022-06-01", "2023-02-03")
        levels = {round(np.log10(close)) for close in frame["close"]}
        assert len(levels) == 1, "one company's"
