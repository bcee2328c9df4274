"""Where and when contracts are traded, in the words of contract details."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS_TOLD = 7
SATURDAY = 5
HOUR = 3600


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

    def stamps(self, day, rth, seconds):
        """When each bar of a day's session begins (UTC): the first with it, the others at multiples of their length.

        The multiples are counted from midnight there, so that an hour's bars of a market that opens at 9:30 begin at
        9:30, 10:00, 11:00: https://github.com/erdewit/ib_insync/issues/607 (a currency's at 17:15, 18:00, 19:00).
        """
        moment, end = (each.astimezone(UTC) for each in self.session(day, rth))
        length = self._to_next_multiple(moment, seconds)
        while moment < end:
            yield moment
            moment += length
            # What divides an hour stays even when the clocks are changed.
            length = timedelta(seconds=seconds) if seconds <= HOUR else self._to_next_multiple(moment, seconds)

    def _to_next_multiple(self, moment, seconds):
        there = moment.astimezone(self.zone)
        passed = (there.hour * 60 + there.minute) * 60 + there.second
        return timedelta(seconds=seconds - passed % seconds)

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
US_INDICES = _venue("US/Eastern", "America/New_York", "09:30-16:00")
TORONTO = _venue("US/Eastern", "America/Toronto", "09:30-16:00")
LONDON = _venue("GB", "Europe/London", "08:00-16:30")
FRANKFURT = _venue("MET", "Europe/Berlin", "09:00-17:30")
AMSTERDAM = _venue("MET", "Europe/Amsterdam", "09:00-17:30")
COPENHAGEN = _venue("MET", "Europe/Copenhagen", "09:00-17:00")
ZURICH = _venue("MET", "Europe/Zurich", "09:00-17:30")
EUREX = _venue("MET", "Europe/Berlin", "08:00-22:00", "09:00-17:30")
MEXICO = _venue("America/Mexico_City", "America/Mexico_City", "08:30-15:00")
HONG_KONG = _venue("Hongkong", "Asia/Hong_Kong", "09:30-16:00")
MUMBAI = _venue("Asia/Calcutta", "Asia/Kolkata", "09:15-15:30")
CHICAGO = _venue("US/Central", "America/Chicago", "17:00-16:00", "08:30-15:15")
METALS = _venue("US/Eastern", "America/New_York", "18:00-17:00")
BANKS = _venue("US/Eastern", "America/New_York", "17:15-17:00")
COINS = _venue("US/Eastern", "America/New_York", "00:00-23:59", weekends=True)
