"""Where and when contracts are traded, in the words of contract details."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS_TOLD = 7
SATURDAY = 5


@dataclass(frozen=True)
class Venue:
    """A market's hours. A session that opens later in the day than it closes began the evening before."""

    zone_id: str
    zone: ZoneInfo
    trading: tuple[time, time]
    liquid: tuple[time, time]
    weekends: bool = False

    def is_open_on(self, day):
        """Whether a session ends on a day."""
        return self.weekends or day.weekday() < SATURDAY

    def session(self, day, rth):
        """When the session of a day begins and ends."""
        opens, closes = self.liquid if rth else self.trading
        begin, end = (datetime.combine(day, moment, self.zone) for moment in (opens, closes))
        return (begin - timedelta(days=1) if begin >= end else begin), end

    def hours(self, today):
        """Trading hours and liquid hours of the days to come, as contract details carry them."""
        return self._told(today, rth=False), self._told(today, rth=True)

    def _told(self, today, rth):
        first = self.session(today, rth)[0].date()  # yesterday's, if the session that ends today began there
        days = [first + timedelta(days=ahead) for ahead in range(DAYS_TOLD + 1)]
        sessions = [self.session(day, rth) for day in days if self.is_open_on(day)]
        by_day = {begin.date(): f"{begin:%Y%m%d:%H%M}-{end:%Y%m%d:%H%M}" for begin, end in sessions}
        return ";".join(by_day.get(day, f"{day:%Y%m%d}:CLOSED") for day in days[:DAYS_TOLD])


def _venue(zone_id, key, trading, liquid=None, weekends=False):
    def moments(span):
        return tuple(time.fromisoformat(moment) for moment in span.split("-"))

    return Venue(zone_id, ZoneInfo(key), moments(trading), moments(liquid or trading), weekends)


UNITED_STATES = _venue("US/Eastern", "America/New_York", "04:00-20:00", "09:30-16:00")
TORONTO = _venue("US/Eastern", "America/Toronto", "09:30-16:00")
LONDON = _venue("GB", "Europe/London", "08:00-16:30")
FRANKFURT = _venue("MET", "Europe/Berlin", "09:00-17:30")
ZURICH = _venue("MET", "Europe/Zurich", "09:00-17:30")
MEXICO = _venue("America/Mexico_City", "America/Mexico_City", "08:30-15:00")
CHICAGO = _venue("US/Central", "America/Chicago", "17:00-16:00", "08:30-15:15")
BANKS = _venue("US/Eastern", "America/New_York", "17:15-17:00")
COINS = _venue("US/Eastern", "America/New_York", "00:00-23:59", weekends=True)
