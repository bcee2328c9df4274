"""Which calendar is an instrument's: by its kind, by the hours that its contract tells, and by its exchange."""

from __future__ import annotations

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

from ...models import ContractInfo
from ...symbols import CURRENCIES
from .calendar import Calendar
from .exchanges import Exchange, exchange_of, market_kind
from .hours import DAY, WEEKDAYS, Hours, ToldHours
from .rules import ByCalendar, ByDaysAndHours, ByHours, usual_hours

NEW_YORK = "XNYS"
_METALS = Hours.parse("America/New_York 18:00-17:00")
UNKNOWN = Calendar()
FOREX = Calendar("forex", ByHours(Hours.parse("America/New_York 17:00-17:00")))
"""A day of the currency market ends at 17:00 in New York, and no day is on a weekend."""
METALS = Calendar("spot metals", ByHours(_METALS))
CRYPTO = Calendar("24/7", ByHours(Hours.parse("UTC 00:00-24:00 0123456")))
US_STOCKS = Calendar(NEW_YORK, ByCalendar(NEW_YORK))

_TOLD = "the contract's trading hours"
_ONLY_REGULAR = frozenset({"", "STK", "IND"})
"""The kinds whose usual hours are the regular ones; of all others it is all hours."""
_US_BY_DEFAULT = frozenset({"STK", "ETF"})
"""The kinds that are listed in New York when they are in US dollars and nobody says where."""
_ROUTERS = frozenset({"", "SMART", "BEST"})
"""Names of no exchange: an order goes wherever it is executed best."""
_PAIR = re.compile(r"([A-Z]{3})[./]?([A-Z]{3})")
_METAL_CODES = frozenset({"XAU", "XAG", "XPT", "XPD"})

_US_EXTENDED = Hours.parse("America/New_York 04:00-20:00")
_US_EXTENDED_EARLY = 17 * 60
_ALIKE = 10
"""Hours that differ by no more (minutes) are the same: some are told with the closing auction, some without."""


def calendar_of(contract: ContractInfo | None, asset_type: str = "", session: str | None = None) -> Calendar:
    """The calendar of an instrument; one that is not known is never taken for New York's.

    Args:
        contract: What the provider says it is.
        asset_type: What its symbol says it is, for a contract that the provider does not describe.
        session: ``regular`` or ``extended`` hours; ``None`` for those that are usual for the kind: the regular ones
            of stocks, funds and indices, all hours of anything else.
    """
    contract = ContractInfo() if contract is None else contract
    kind = (contract.asset_type or asset_type).upper()
    calendar = _of_kind(kind, contract, session)
    last = contract.last_trade_date
    return calendar if last is None or last == date.max else calendar.until(last)


def _of_kind(kind: str, contract: ContractInfo, session: str | None) -> Calendar:
    told = ToldHours.read(contract.trading_hours)
    match kind:
        case "CASH":
            return FOREX
        case "CRYPTO":
            return CRYPTO
        case "CMDTY":
            return METALS if told is None or _alike(_METALS, told.whole) else _by(told.whole)
        case "CFD":
            return _of_difference(contract, told, session)
        case _:
            return _of_exchange(kind, contract, told, session)


def _of_difference(contract: ContractInfo, told: ToldHours | None, session: str | None) -> Calendar:
    """The calendar of a CFD: its own hours, else those of the stock or the pair that it is on."""
    primary = str(contract.contract.get("primaryExchange") or "")
    if primary and exchange_of(primary, "STK") is not None:
        return _of_exchange("STK", contract, told, session)
    if told is not None:
        return _by(told.regular if session == "regular" else told.whole)
    names = (contract.contract.get("localSymbol"), contract.contract.get("symbol"), contract.symbol)
    pair = next(filter(None, (_PAIR.fullmatch(str(name or "").upper()) for name in names)), None)
    if pair is None or not {*pair.groups()} <= CURRENCIES:
        return UNKNOWN
    return METALS if pair[1] in _METAL_CODES else FOREX


def _of_exchange(kind: str, contract: ContractInfo, told: ToldHours | None, session: str | None) -> Calendar:
    exchange = _exchange_name(contract)
    row = exchange_of(exchange, market_kind(kind)) if exchange else None
    market = row.kind if row is not None and not kind else market_kind(kind)
    session = session or ("regular" if market in _ONLY_REGULAR else "extended")
    if market in _ONLY_REGULAR:
        regular = _regular(kind, contract, row, told)
        return regular if session == "regular" else _extended(regular, told)
    if told is not None:
        hours = told.regular if session == "regular" else told.whole
        if row is None or row.hours is not None or not _agrees(row.calendar, hours):
            return _by(hours)
    # Nobody tells the regular hours of a future but its contract.
    return UNKNOWN if row is None or (session == "regular" and told is None) else _by_row(row)


def _regular(kind: str, contract: ContractInfo, row: Exchange | None, told: ToldHours | None) -> Calendar:
    calendar = UNKNOWN if row is None else _by_row(row)
    if not _exchange_name(contract) and kind in _US_BY_DEFAULT and contract.currency.upper() == "USD":
        calendar = US_STOCKS
    if told is None or (isinstance(calendar.rule, ByCalendar) and _agrees(calendar.rule.name, told.regular)):
        return calendar
    if isinstance(calendar.rule, ByDaysAndHours) and _alike(calendar.rule.hours, told.regular):
        return calendar
    return _by(told.regular)


def _extended(regular: Calendar, told: ToldHours | None) -> Calendar:
    early = _US_EXTENDED_EARLY if regular == US_STOCKS else None
    if told is not None and told.whole != told.regular:
        if isinstance(regular.rule, ByCalendar):
            return Calendar(regular.name, ByDaysAndHours(regular.rule.name, told.whole, early))
        return _by(told.whole)
    if regular == US_STOCKS:
        return Calendar(NEW_YORK, ByDaysAndHours(NEW_YORK, _US_EXTENDED, early))
    return UNKNOWN if told is None else regular


def _exchange_name(contract: ContractInfo) -> str:
    names = (contract.contract.get("primaryExchange"), contract.exchange, contract.contract.get("exchange"))
    return next((name for name in (str(name or "").strip().upper() for name in names) if name not in _ROUTERS), "")


def _by(hours: Hours) -> Calendar:
    return Calendar(_TOLD, ByHours(hours))


def _by_row(row: Exchange) -> Calendar:
    if row.hours is None:
        return Calendar(row.calendar, ByCalendar(row.calendar))
    if not row.calendar:
        return Calendar(f"hours of {row.exchange}", ByHours(row.hours))
    return Calendar(row.calendar, ByDaysAndHours(row.calendar, row.hours))


def _agrees(name: str, told: Hours) -> bool:
    """Whether hours are those of an ordinary session of a calendar of exchange_calendars."""
    usual = usual_hours(name)
    return usual is not None and _alike(usual, told)


def _alike(usual: Hours, told: Hours) -> bool:
    return (
        _is_near(usual.begin, told.begin)
        and _is_near(usual.end, told.end)
        and {*told.days} - {*WEEKDAYS} <= {*usual.days}
        and (usual.zone == told.zone or _offsets(usual.zone) == _offsets(told.zone))
    )


def _is_near(one: int, other: int) -> bool:
    return min((one - other) % DAY, (other - one) % DAY) <= _ALIKE


def _offsets(zone: str) -> list[object]:
    """What a zone's clock is ahead of UTC, in each month of a year of these days."""
    return [datetime(2026, month, 15, tzinfo=ZoneInfo(zone)).utcoffset() for month in range(1, 13)]
