"""Which bars there are to be follows from the exchange's calendar: its holidays, early closes, pauses and clock."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from symcache_core import ContractInfo
from symcache_core.errors import ConfigurationError
from symcache_core.loading.calendars import Calendar, Slots, calendar_of
from symcache_core.timeframes import TIMEFRAMES, Timeframe, timeframe_of

LATER = datetime(2020, 1, 1, tzinfo=UTC)
MONTH = Timeframe("1M", timedelta(days=31), timedelta(days=5 * 365))


def listed(exchange: str, kind: str = "STK", **more) -> Calendar:
    return calendar_of(ContractInfo(asset_type=kind, exchange=exchange, **more))


XNYS, FOREX, ALWAYS, XHKG = (
    calendar_of(ContractInfo(exchange="NYSE")),
    calendar_of(None, "CASH"),
    calendar_of(None, "CRYPTO"),
    listed("SEHK"),
)


def slots(calendar: Calendar, timeframe: str, start: str, end: str) -> Slots:
    first, last = (pd.Timestamp(moment, tz="UTC").to_pydatetime() for moment in (start, end))
    return calendar.slots(MONTH if timeframe == "1M" else timeframe_of(timeframe), first, last)


def stamps(
    timeframe: str, start: str, end: str, *, calendar: Calendar = XNYS, now: datetime = LATER
) -> pd.DatetimeIndex:
    found = slots(calendar, timeframe, start, end)
    return found.stamps[found.ends <= now]


def days(start: str, end: str, **options) -> list[str]:
    return [f"{stamp:%m-%d}" for stamp in stamps("1d", start, end, **options)]


def times(timeframe: str, day: str, **options) -> list[str]:
    return [f"{stamp:%H:%M}" for stamp in stamps(timeframe, day, f"{day} 23:59", **options)]


def test_the_closure_after_9_11_has_no_bars():
    assert days("2001-09-10", "2001-09-17") == ["09-10", "09-17"]


def test_the_closure_for_hurricane_sandy_has_no_bars():
    assert days("2012-10-26", "2012-10-31") == ["10-26", "10-31"]


def test_sessions_of_long_ago_are_known():
    assert days("1980-12-11", "1980-12-15") == ["12-11", "12-12", "12-15"]


def test_daily_bars_are_the_sessions_of_the_recorded_stocks(source):
    for symbol, bars in source.items():
        expected = stamps("1d", str(bars.index[0].date()), "2013-03-01")
        assert expected.equals(bars.index.rename(None)), symbol


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2013-03-01T20:59", "02-28"),
        ("2013-03-01T21:00", "03-01"),
        ("2013-03-03T12:00", "03-01"),
        ("2012-11-23T17:59", "11-21"),
        ("2012-11-23T18:00", "11-23"),
    ],
)
def test_a_session_is_expected_once_its_market_has_closed(now, last):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert days("2012-11-19", "2013-12-31", now=moment)[-1] == last


def test_hours_are_those_of_the_exchanges_clock_and_the_first_begins_with_the_session():
    hours = ["14:30", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]
    assert times("1h", "2012-11-20") == hours
    assert times("1h", "2012-07-03") == ["13:30", "14:00", "15:00", "16:00"]  # daylight saving, and an early close
    assert times("4h", "2012-11-20") == ["14:30", "17:00"]
    assert times("2h", "2012-11-20") == ["14:30", "15:00", "17:00", "19:00"]


@pytest.mark.parametrize(("timeframe", "count"), [("1m", 390), ("5m", 78), ("15m", 26), ("30m", 13)])
def test_a_session_has_so_many_bars(timeframe, count):
    assert len(times(timeframe, "2012-11-20")) == count


def test_after_an_early_close_there_are_no_bars():
    assert times("30m", "2012-11-23")[-1] == "17:30"
    assert len(times("1m", "2012-11-23")) == 210


def test_a_bar_is_expected_once_it_is_over():
    at = datetime(2012, 11, 20, 15, 59, 59, tzinfo=UTC)
    assert times("1h", "2012-11-20", now=at) == ["14:30"]
    assert times("1h", "2012-11-20", now=at + timedelta(seconds=1)) == ["14:30", "15:00"]


def test_a_pause_at_noon_has_no_bars():
    assert times("30m", "2012-11-20", calendar=XHKG) == [
        *("01:30", "02:00", "02:30", "03:00", "03:30"),
        *("05:00", "05:30", "06:00", "06:30", "07:00", "07:30"),
    ]
    assert times("4h", "2012-11-20", calendar=XHKG) == ["01:30", "05:00"]


def test_a_week_is_its_monday_and_expected_once_its_last_session_is_over():
    friday_noon = datetime(2012, 11, 23, 17, 59, tzinfo=UTC)
    found = stamps("1w", "2012-11-01", "2012-12-31", now=friday_noon)
    assert [f"{stamp:%a %m-%d}" for stamp in found] == ["Mon 11-05", "Mon 11-12"]
    found = stamps("1w", "2012-11-01", "2012-12-31", now=friday_noon + timedelta(minutes=1))
    assert f"{found[-1]:%m-%d}" == "11-19"


def test_the_week_that_a_year_ends_with_is_not_over_before_its_last_session_in_the_next():
    new_years_eve = datetime(2012, 12, 31, 23, 30, tzinfo=UTC)
    assert stamps("1w", "2012-12-20", "2013-01-31", now=new_years_eve)[-1] == pd.Timestamp("2012-12-24", tz="UTC")
    friday = datetime(2013, 1, 4, 21, 0, tzinfo=UTC)
    assert stamps("1w", "2012-12-20", "2013-01-31", now=friday)[-1] == pd.Timestamp("2012-12-31", tz="UTC")
    hours = stamps("1h", "2012-12-31 20:00", "2013-01-02", calendar=FOREX, now=new_years_eve)
    assert [f"{stamp:%H:%M}" for stamp in hours] == ["20:00", "21:00", "22:00"]


@pytest.mark.parametrize(("exchange", "name"), [("SGX", "XSES"), ("BSE", "XBOM")])
def test_a_calendar_that_is_not_known_to_its_end_still_serves(exchange, name, caplog):
    calendar = listed(exchange)
    assert slots(calendar, "1d", "2024-06-03", "2024-06-14").known
    assert len(slots(calendar, "1d", "2024-06-03", "2024-06-14").stamps) >= 9
    beyond = slots(calendar, "1d", "2024-06-03", "2150-06-14")
    assert not beyond.known
    assert beyond.stamps.to_series().diff().max() < timedelta(days=11)
    assert f"calendar {name} ends on" in caplog.text


@pytest.mark.parametrize(
    ("timeframe", "first"),
    [("1h", "1997-01-06 00:00"), ("1d", "1997-01-06"), ("1w", "1997-01-06"), ("1M", "1997-01-01")],
)
def test_before_a_calendar_begins_there_is_a_grid_that_never_rests(timeframe, first):
    calendar = listed("TSEJ")
    both = slots(calendar, timeframe, "1996-10-01", "1997-03-01")
    begun = slots(calendar, timeframe, first, "1997-03-01")
    assert (both.known, begun.known) == (False, True)
    assert both.stamps.is_monotonic_increasing
    assert both.stamps.is_unique
    assert begun.stamps.isin(both.stamps).all()
    unknown = slots(Calendar(), timeframe, "1996-10-01", "1996-12-29 23:59")
    assert both.stamps[: len(unknown.stamps)].equals(unknown.stamps)
    assert both.ends[: len(unknown.ends)].equals(unknown.ends)


def test_of_an_unknown_market_every_moment_is_looked_at():
    unknown = Calendar()
    assert not unknown.is_known
    found = {
        timeframe: slots(unknown, timeframe, "2012-12-01", "2012-12-31 23:59")
        for timeframe in ("1m", "1h", "4h", "1d", "1w", "1M")
    }
    assert [len(each.stamps) for each in found.values()] == [44_640, 744, 186, 31, 5, 1]
    assert not any(each.known for each in found.values())
    assert {f"{stamp:%a}" for stamp in found["1w"].stamps} == {"Mon"}
    assert found["1M"].ends[0] == pd.Timestamp("2013-01-01", tz="UTC")


def test_a_month_is_its_first_day_and_over_with_its_last_session():
    found = slots(XNYS, "1M", "2012-10-02", "2012-12-31")
    assert [f"{stamp:%F}" for stamp in found.stamps] == ["2012-11-01", "2012-12-01"]
    assert [f"{end:%F %H:%M}" for end in found.ends] == ["2012-11-30 21:00", "2012-12-31 21:00"]


def test_a_day_is_over_with_the_close_of_its_session_and_a_week_with_that_of_its_last():
    assert [f"{end:%F %H:%M}" for end in slots(XNYS, "1d", "2012-11-21", "2012-11-23").ends] == [
        "2012-11-21 21:00",
        "2012-11-23 18:00",
    ]
    assert [f"{end:%F %H:%M}" for end in slots(XNYS, "1w", "2012-11-19", "2012-11-19").ends] == ["2012-11-23 18:00"]


@pytest.mark.parametrize("kind", ["CME", "EUREX", "NO SUCH EXCHANGE"])
def test_a_future_has_no_bars_after_its_last_day(kind):
    calendar = listed(kind, "FUT", last_trade_date="2013-03-14")
    endless = listed(kind, "FUT", last_trade_date="9999-12-31")
    for timeframe in ("1h", "1d", "1w", "1M"):
        found = slots(calendar, timeframe, "2013-02-25", "2013-06-30")
        without = slots(endless, timeframe, "2013-02-25", "2013-06-30")
        assert found.stamps.equals(without.stamps[: len(found.stamps)])
        assert found.stamps[-1] < pd.Timestamp("2013-03-16", tz="UTC") < without.stamps[-1]
        assert len(found.stamps) < len(without.stamps)
    assert slots(calendar, "1d", "2013-03-01", "2013-06-30").stamps[-1] == pd.Timestamp("2013-03-14", tz="UTC")
    assert slots(calendar, "1d", "2013-03-15", "2013-06-30").stamps.empty


def test_the_last_week_of_a_future_is_over_with_its_last_session():
    calendar = listed("EUREX", "FUT", last_trade_date="2013-03-13")
    assert f"{slots(calendar, '1w', '2013-03-11', '2013-03-30').ends[-1]:%a %H:%M}" == "Wed 21:00"


@pytest.mark.parametrize(
    ("exchange", "day", "first", "last"),
    [
        ("EUREX", "2025-01-15", "00:00", "20:00"),
        ("EUREX", "2025-07-15", "23:00", "19:00"),
        ("OSE.JPN", "2025-01-15", "07:30", "06:00"),
        ("HKFE", "2025-01-15", "09:00", "08:00"),
    ],
)
def test_the_sessions_of_futures_begin_in_the_night_before(exchange, day, first, last):
    found = slots(listed(exchange, "FUT"), "1h", f"{pd.Timestamp(day) - timedelta(hours=20)}", f"{day} 23:00")
    hours = [f"{stamp:%H:%M}" for stamp in found.stamps]
    assert found.known
    assert first in hours
    assert last in hours


@pytest.mark.parametrize(
    ("exchange", "kind", "zone", "pieces"),
    [
        ("EUREX", "FUT", "Europe/Berlin", ["01:10 22:00"]),
        ("DTB", "FUT", "Europe/Berlin", ["08:00 22:00"]),
        ("HKFE", "FUT", "Asia/Hong_Kong", ["17:15 27:00", "09:15 12:00", "13:00 16:30"]),
        ("OSE.JPN", "FUT", "Asia/Tokyo", ["16:30 30:00", "08:45 15:15"]),
        ("OSE.JPN", "FUT", "Asia/Tokyo", ["17:00 30:00", "08:45 15:45"]),
        ("SGX", "FUT", "Asia/Singapore", ["14:55 29:15", "07:30 14:30"]),
        ("SGX", "FUT", "Asia/Singapore", ["17:00 29:15", "09:00 16:35"]),
        ("SNFE", "FUT", "Australia/Sydney", ["17:10 31:00", "09:50 16:30"]),
        ("KSE", "FUT", "Asia/Seoul", ["18:00 30:00", "08:45 15:45"]),
        ("ICEUS", "FUT", "America/New_York", ["04:15 13:30"]),
        ("IPE", "FUT", "Europe/London", ["01:00 21:59"]),
        ("CFE", "FUT", "America/Chicago", ["08:30 15:15", "17:00 24:00"]),
        ("CBOT", "FUT", "America/Chicago", ["08:30 13:20", "19:00 23:59"]),
        ("IBIS", "STK", "Europe/Berlin", ["09:00 17:30"]),
        ("FWB", "STK", "Europe/Berlin", ["08:00 22:00"]),
        ("SEHKSZSE", "STK", "Asia/Shanghai", ["09:30 11:30", "13:00 15:00"]),
        ("BVME.ETF", "STK", "Europe/Rome", ["09:00 17:30"]),
    ],
)
def test_no_minute_of_a_market_that_new_york_does_not_know_is_left_out(exchange, kind, zone, pieces):
    found = slots(listed(exchange, kind), "1m", "2025-03-02", "2025-04-20")
    for day in pd.bdate_range("2025-03-03", "2025-03-28"):
        for begin, end in (piece.split() for piece in pieces):
            if day.day_of_week == 4 and end > "22:00" and zone.startswith("America"):
                continue  # what begins on a Friday's evening there is over for the week
            first, last = (
                (day + pd.Timedelta(f"{moment}:00")).tz_localize(zone, ambiguous=True) for moment in (begin, end)
            )
            minutes = pd.date_range(first, last, freq="min", inclusive="left").tz_convert("UTC").as_unit("ns")
            assert minutes.isin(found.stamps).all(), (day, begin)


def test_between_the_night_and_the_day_of_japanese_futures_there_are_no_bars():
    night_and_day = slots(listed("OSE.JPN", "FUT"), "1h", "2025-01-14 20:00", "2025-01-15 06:59")
    assert [f"{stamp:%H:%M}" for stamp in night_and_day.stamps] == [
        "20:00", "23:45", "00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00",
    ]  # fmt: skip


def test_spot_metals_rest_for_an_hour_a_day_and_on_weekends():
    gold = calendar_of(None, "CMDTY")
    hours = slots(gold, "1h", "2025-01-08 20:00", "2025-01-09 00:00")
    assert [f"{stamp:%H:%M}" for stamp in hours.stamps] == ["20:00", "21:00", "23:00", "00:00"]
    hours = slots(gold, "1h", "2025-01-10 21:00", "2025-01-12 23:30")
    assert [f"{stamp:%a %H:%M}" for stamp in hours.stamps] == ["Fri 21:00", "Sun 23:00"]
    assert [f"{stamp:%d}" for stamp in slots(gold, "1d", "2025-01-10", "2025-01-14").stamps] == ["10", "13", "14"]


def test_extended_hours_begin_before_the_regular_ones_and_end_early_when_those_do():
    extended = calendar_of(ContractInfo(exchange="NYSE"), session="extended")
    minutes = slots(extended, "1m", "2012-11-21 01:00", "2012-11-22 12:00")
    assert [f"{stamp:%d %H:%M}" for stamp in minutes.stamps[[0, -1]]] == ["21 09:00", "22 00:59"]
    early = slots(extended, "30m", "2012-11-23", "2012-11-24")
    assert [f"{stamp:%H:%M}" for stamp in early.stamps[[0, -1]]] == ["09:00", "21:30"]
    assert not len(slots(extended, "1m", "2012-11-22 01:00", "2012-11-23 08:59").stamps)


def test_what_is_asked_for_the_wrong_way_round_has_no_bars():
    for calendar in (XNYS, Calendar(), listed("TSEJ")):
        assert not len(slots(calendar, "1d", "2012-11-23", "2012-11-21").stamps)


def test_any_time_can_be_asked_for():
    for calendar in (XNYS, FOREX, Calendar()):
        assert slots(calendar, "1M", "2012-11-01", "2199-12-31").stamps.is_monotonic_increasing
        found = calendar.slots(timeframe_of("1w"), datetime.min.replace(tzinfo=UTC), datetime(1950, 1, 1, tzinfo=UTC))
        assert found.stamps[-1] <= pd.Timestamp("1950-01-01", tz="UTC")


def test_a_day_of_the_currency_market_ends_at_five_in_new_york():
    assert days("2012-12-24", "2012-12-30", calendar=FOREX) == ["12-24", "12-25", "12-26", "12-27", "12-28"]
    hours = stamps("1h", "2012-11-16 20:00", "2012-11-18 23:00", calendar=FOREX)
    assert [f"{stamp:%a %H:%M}" for stamp in hours] == ["Fri 20:00", "Fri 21:00", "Sun 22:00", "Sun 23:00"]
    evening = datetime(2012, 11, 20, 21, 59, tzinfo=UTC)
    assert days("2012-11-19", "2012-11-23", calendar=FOREX, now=evening) == ["11-19"]


def test_crypto_never_rests():
    assert len(days("2012-12-24", "2012-12-30", calendar=ALWAYS)) == 7
    assert len(times("1h", "2012-12-25", calendar=ALWAYS)) == 24


@pytest.mark.parametrize("timeframe", list(TIMEFRAMES))
def test_no_bar_is_outside_of_what_was_asked_and_they_rise(timeframe):
    first, last = pd.Timestamp("2012-03-05", tz="UTC"), pd.Timestamp("2012-04-16 16:00", tz="UTC")
    found = stamps(timeframe, "2012-03-05", "2012-04-16 16:00")
    assert found.is_monotonic_increasing
    assert found.is_unique
    assert first <= found[0]
    assert found[-1] <= last


def test_a_timeframe_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match=f"'7h': use one of {', '.join(TIMEFRAMES)}$"):
        timeframe_of("7h")
