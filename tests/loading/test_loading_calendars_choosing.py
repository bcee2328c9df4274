"""Which calendar is an instrument's: by its kind, by the hours that its contract tells, and by its exchange."""

import csv
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from symcache_core import ContractInfo
from symcache_core.loading.calendars import Calendar, calendar_of, rules
from symcache_core.timeframes import timeframe_of

TOLD = "the contract's trading hours"


def told(zone, regular, extended=(), days=(0, 1, 2, 3, 4), holidays=()):
    def named(hours):
        start, _, end = hours.partition("-")
        return {"start": start, "end": end, "name": "Hours"}

    return {
        "timezone": zone,
        "regular_hours": named(regular),
        "extended_hours": [named(hours) for hours in extended],
        "trading_days": list(days),
        "holidays": list(holidays),
    }


def contract(kind="", exchange="", currency="", hours=None, **fields) -> ContractInfo:
    return ContractInfo(
        asset_type=kind, exchange=exchange, currency=currency, trading_hours=hours, contract=fields, symbol="X"
    )


def hours_of(calendar: Calendar, day: str, timeframe: str = "1h") -> list[str]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    found = calendar.slots(timeframe_of(timeframe), start, start.replace(hour=23, minute=59))
    return [f"{stamp:%H:%M}" for stamp in found.stamps]


@pytest.mark.parametrize(
    ("given", "asset_type", "name"),
    [
        (contract("CASH"), "", "forex"),
        (contract("CASH", "IDEALPRO", hours=told("America/New_York", "09:30-16:00")), "", "forex"),
        (contract("CRYPTO", "PAXOS"), "", "24/7"),
        (contract("CMDTY", "SMART"), "", "spot metals"),
        (contract("STK", "NASDAQ"), "", "XNYS"),
        (contract("STK", "TSE"), "", "XTSE"),
        (contract("STK", "SMART", primaryExchange="LSE"), "", "XLON"),
        (contract("STK", "SMART", "USD"), "", "XNYS"),
        (contract("FUT", "CME"), "", "CMES"),
        (contract("FUT", "EUREX"), "", "hours of EUREX"),
        (contract("", "EUREX"), "", "hours of EUREX"),
        (contract("FOP", "EUREX"), "", "hours of EUREX"),
        (contract("WAR", "IBIS"), "", "XETR"),
        (contract("IND", "HKFE"), "", "XHKG"),
        (contract("IND", "CBOE"), "", "XCBF"),
        (contract("STK", "CBOE"), "", "XNYS"),
        (contract("ETF", "", "USD"), "", "XNYS"),
        (contract(), "CASH", "forex"),
        (contract(), "CRYPTO", "24/7"),
        (None, "CASH", "forex"),
        (None, "CMDTY", "spot metals"),
        (None, "STK", "unknown"),
        (None, "", "unknown"),
        (contract("", "", "USD"), "", "unknown"),
    ],
)
def test_the_contract_says_which_calendar(given, asset_type, name):
    calendar = calendar_of(given, asset_type)
    assert calendar.name == name
    assert calendar.is_known == (name != "unknown")


@pytest.mark.parametrize(
    ("given", "asset_type"),
    [
        (contract("STK", "NO SUCH EXCHANGE", "USD"), ""),
        (contract("STK", "SMART", "USD", primaryExchange="NO SUCH EXCHANGE"), ""),
        (contract("STK", currency="EUR"), ""),
        (contract("FUT", "LSE"), ""),
        (contract("FUT"), ""),
        (contract("IND"), ""),
        (contract("CFD", "SMART", "USD"), ""),
        (contract("BOND", "SMART", "USD"), ""),
        (contract("OPT", "SMART", "USD"), ""),
        (contract("WAR"), ""),
        (None, "FUT"),
        (None, "IND"),
        (None, "CFD"),
    ],
)
def test_a_market_that_nobody_knows_is_unknown_and_never_new_york(given, asset_type):
    for session in (None, "regular", "extended"):
        assert calendar_of(given, asset_type, session) == Calendar()


def test_every_listing_of_the_replayed_market_is_new_yorks():
    text = (files("symcache_host") / "data" / "us_symbols.csv").read_text("utf-8")
    kinds = {(row["exchange"], row["asset_type"], row["currency"]) for row in csv.DictReader(text.splitlines())}
    assert {calendar_of(contract(kind, exchange, currency)).name for exchange, kind, currency in kinds} == {"XNYS"}
    assert len(kinds) > 4


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (contract("STK", "SMART", hours=told("America/New_York", "09:30-16:00"), primaryExchange="NYSE"), "XNYS"),
        (contract("STK", "LSE", hours=told("Europe/London", "08:00-16:35")), "XLON"),
        (contract("STK", "SBF", hours=told("Europe/Brussels", "09:00-17:30")), "XPAR"),
        (contract("STK", "SEHK", hours=told("Asia/Hong_Kong", "09:30-16:00", days=[0, 1, 3])), "XHKG"),
        (contract("STK", "TADAWUL", hours=told("Asia/Riyadh", "10:00-15:00", days=[6, 0, 1])), "XSAU"),
        (contract("STK", "FWB", hours=told("Europe/Berlin", "08:00-22:00")), "XFRA"),
        (contract("STK", "IBIS", hours=told("Europe/Berlin", "08:00-22:00")), TOLD),
        (contract("STK", "LSE", hours=told("Europe/Berlin", "08:00-16:30")), TOLD),
        (contract("STK", "LSE", hours=told("Europe/London", "09:30-16:30")), TOLD),
        (contract("STK", "LSE", hours=told("Europe/London", "08:00-16:30", days=[0, 1, 2, 3, 4, 6])), TOLD),
        (contract("STK", "NO SUCH EXCHANGE", hours=told("Asia/Jakarta", "09:00-15:50")), TOLD),
        (contract("STK", "SMART", "USD", hours=told("Asia/Jakarta", "09:00-15:50")), TOLD),
        (contract("FUT", "CME", hours=told("America/Chicago", "08:30-16:00", ["17:00-08:30"])), TOLD),
        (contract("FUT", "EUREX", hours=told("Europe/Berlin", "01:10-22:00")), TOLD),
        (contract("CMDTY", "SMART", hours=told("America/New_York", "18:00-17:00")), "spot metals"),
        (contract("CMDTY", "SMART", hours=told("Europe/London", "08:00-16:30")), TOLD),
        (contract("CFD", "SMART", hours=told("Europe/Berlin", "01:00-22:00")), TOLD),
        (contract("CFD", "SMART", hours=told("America/New_York", "09:30-16:00"), primaryExchange="NYSE"), "XNYS"),
        (contract("CFD", "SMART", primaryExchange="IBIS"), "XETR"),
        (contract("CFD", "SMART", "USD", symbol="EUR", localSymbol="EUR.USD"), "forex"),
        (contract("CFD", "SMART", "USD", symbol="XAUUSD"), "spot metals"),
        (contract("BOND", "SMART", "USD", hours=told("America/New_York", "08:00-17:00")), TOLD),
        (contract("STK", "LSE", hours={"timezone": "Nowhere/At_All", "regular_hours": {}}), "XLON"),
        (contract("STK", "LSE", hours={"timezone": "Europe/London", "regular_hours": "all day"}), "XLON"),
    ],
)
def test_told_hours_confirm_the_exchanges_calendar_or_take_its_place(given, name):
    assert calendar_of(given).name == name


def test_told_hours_hold_on_weekdays_but_for_the_told_holidays():
    hours = told("Europe/Berlin", "08:00-18:30", ["01:10-08:00", "18:30-22:00"], [0, 1, 3], ["2025-01-15"])
    calendar = calendar_of(contract("FUT", "EUREX", hours=hours))
    start, end = datetime(2025, 1, 11, tzinfo=UTC), datetime(2025, 1, 20, tzinfo=UTC)
    found = calendar.slots(timeframe_of("1d"), start, end)
    assert [f"{stamp:%d}" for stamp in found.stamps] == ["13", "14", "16", "17", "20"]
    assert f"{found.ends[0]:%H:%M}" == "21:00"
    assert hours_of(calendar, "2025-01-14")[0] == "00:10"
    regular = calendar_of(contract("FUT", "EUREX", hours=hours), session="regular")
    assert hours_of(regular, "2025-01-14") == [f"{hour:02}:00" for hour in range(7, 18)]


def test_the_session_of_a_told_night_belongs_to_the_day_on_which_it_ends():
    calendar = calendar_of(contract("FUT", "X", hours=told("America/Chicago", "17:00-16:00")))
    found = calendar.slots(timeframe_of("1d"), datetime(2025, 1, 12, tzinfo=UTC), datetime(2025, 1, 13, tzinfo=UTC))
    assert [f"{end:%a %H:%M}" for end in found.ends] == ["Mon 22:00"]
    assert hours_of(calendar, "2025-01-12") == ["23:00"]


def test_a_friday_night_that_is_told_as_a_session_of_saturday_belongs_to_monday():
    hours = told("Asia/Tokyo", "08:45-15:45", ["17:00-08:45"], [0, 1, 2, 3, 4, 5])
    calendar = calendar_of(contract("FUT", "OSE.JPN", hours=hours))
    start, end = datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 1, 14, tzinfo=UTC)
    days = calendar.slots(timeframe_of("1d"), start, end)
    assert [f"{stamp:%a}" for stamp in days.stamps] == ["Fri", "Mon", "Tue"]
    assert f"{days.ends[1]:%a %H:%M}" == "Mon 06:45"
    assert {"08:00", "12:00", "20:00"} <= {*hours_of(calendar, "2025-01-10")}
    assert hours_of(calendar, "2025-01-11") == []
    assert (
        hours_of(calendar_of(contract("FUT", "OSE.JPN", hours=hours), session="regular"), "2025-01-10")[-1] == "06:00"
    )


def test_in_a_week_of_five_told_days_no_other_one_is_expected():
    hours = told("Asia/Riyadh", "10:00-15:00", days=[6, 0, 1, 2, 3])
    calendar = calendar_of(contract("FUT", "X", hours=hours))
    start, end = datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 1, 17, tzinfo=UTC)
    assert [f"{stamp:%a}" for stamp in calendar.slots(timeframe_of("1d"), start, end).stamps] == [
        *("Sun", "Mon", "Tue", "Wed", "Thu"),
    ]


@pytest.mark.parametrize(
    ("given", "day", "first", "last"),
    [
        (contract("STK", "NYSE"), "2025-01-14", "09:00", "23:00"),
        (contract("STK", "LSE", hours=told("Europe/London", "08:00-16:30", ["07:00-08:00"])), "2025-01-14", "07", "16"),
        (contract("STK", "X", hours=told("Asia/Jakarta", "09:00-15:00", ["15:00-18:00"])), "2025-01-14", "02", "10"),
        (contract("STK", "X", hours=told("Asia/Jakarta", "09:00-15:00")), "2025-01-14", "02:00", "07:00"),
        (contract("FUT", "EUREX"), "2025-01-14", "00:00", "20:00"),
        (contract("CASH"), "2025-01-14", "00:00", "23:00"),
    ],
)
def test_extended_hours_are_the_told_ones_or_those_of_us_stocks(given, day, first, last):
    calendar = calendar_of(given, session="extended")
    hours = [hour for hour in hours_of(calendar, day) if hour >= "01:00" or first < "01:00"]
    assert hours[0].startswith(first)
    assert hours[-1].startswith(last)


@pytest.mark.parametrize("given", [contract("STK", "LSE"), contract("STK", "FWB"), contract("IND", "CBOE")])
def test_extended_hours_that_nobody_tells_are_unknown(given):
    assert not calendar_of(given, session="extended").is_known


def test_the_regular_hours_of_a_future_are_known_from_its_contract_alone():
    assert not calendar_of(contract("FUT", "EUREX"), session="regular").is_known


def test_told_extended_hours_know_the_exchanges_holidays():
    hours = told("Europe/London", "08:00-16:30", ["07:00-08:00"])
    calendar = calendar_of(contract("STK", "LSE", hours=hours), session="extended")
    assert hours_of(calendar, "2024-12-25") == []
    assert calendar.name == "XLON"


def test_equal_contracts_have_equal_calendars():
    one, other = (calendar_of(contract("STK", "LSE", hours=told("Europe/London", "09:30-16:30"))) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != calendar_of(contract("STK", "LSE"))


def test_a_calendar_that_cannot_be_made_is_unknown(monkeypatch, caplog):
    def failing(*_args, **_options):
        raise NotImplementedError("not under this version")

    monkeypatch.setattr(rules.exchange_calendars, "get_calendar", failing)
    rules.usual_hours.cache_clear()
    calendar = Calendar("ASEX", rules.ByCalendar("ASEX"))
    found = calendar.slots(timeframe_of("1d"), datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 1, 17, tzinfo=UTC))
    assert not found.known
    assert len(found.stamps) == 8
    assert rules.usual_hours("ASEX") is None
    weeks = calendar.slots(timeframe_of("1w"), datetime(1899, 12, 1, tzinfo=UTC), datetime(1980, 1, 1, tzinfo=UTC))
    assert weeks.stamps.is_unique
    assert "cannot be made" in caplog.text
