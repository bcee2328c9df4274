"""What the notices of Interactive Brokers tell about the way to it: whether it is open, and which farms are down."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from ..gateway import Problem
from .advice import problem_of_code, problem_of_farms
from .codes import Meaning, classify
from .farms import connected_farms, farm_of, is_about

SETTLING = timedelta(minutes=1)
"""For how long negative answers prove nothing after a reset: servers come back one by one, and not all say so."""

OUTAGE = timedelta(hours=6)
"""After which a farm counts as up though nobody said so: longer than any restart of the servers (see `resets`)."""


HELD = timedelta(minutes=1)
"""For how long TWS may not have noticed that a socket is lost, so that its client id is still in use there."""


class Notice(NamedTuple):
    """A message that answers no request."""

    code: int
    text: str


class Outage(NamedTuple):
    """That a farm is out of order: the code that said so, and when (UTC)."""

    code: int
    at: datetime


Disturbances = tuple[datetime | None, datetime | None]
"""When there was the last of each kind: a reset, and a farm that went down or came up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connectivity:
    """How things stand between this process and Interactive Brokers; never changed, only succeeded.

    Attributes:
        client_id: Under which id the socket is connected; None without a socket.
        since: Since when ``connected`` is what it is (UTC); None when it never was otherwise.
        lost: The notice that says that the socket's other end has lost its way to the broker, as long as that holds.
        outages: The farms that are out of order, by name.
        last_reset: When the way to the broker was last open again after it had been lost (UTC).
        farms_changed: When a farm last went down or came up (UTC).
        settling: Whether that was so recently that a negative answer proves nothing yet.
        failure: Why there is no socket, as far as an attempt to have one has told; None with one.
        problem_since: Since when there is a problem without a break (UTC), whichever it was meanwhile.
        taken_ids: The client ids that were in use when the socket was connected, as far as they still are.
        lost_ids: When a socket of this process was last lost under each client id (UTC).
    """

    client_id: int | None = None
    since: datetime | None = None
    lost: Notice | None = None
    outages: Mapping[str, Outage] = field(default_factory=dict)
    last_reset: datetime | None = None
    farms_changed: datetime | None = None
    settling: bool = False
    failure: Problem | None = None
    problem_since: datetime | None = None
    taken_ids: tuple[int, ...] = ()
    lost_ids: Mapping[int, datetime] = field(default_factory=dict)

    @property
    def connected(self) -> bool:
        """Whether requests reach the broker: a socket alone does not mean that."""
        return self.client_id is not None and self.lost is None

    @property
    def farms_down(self) -> dict[str, int]:
        """The code that put each farm out of order, by the farm's name."""
        return {farm: outage.code for farm, outage in self.outages.items()}

    @property
    def conclusive(self) -> bool:
        """Whether a negative answer proves something: requests reach the broker, and every farm there is at work."""
        return self.connected and not self.outages and not self.settling

    @property
    def disturbances(self) -> Disturbances:
        """What is another after anything that may have kept an answer from proving something, even if it is over."""
        return self.last_reset, self.farms_changed

    @property
    def problem(self) -> Problem | None:
        """What is wrong now, as far as it is known: before anything was tried, nothing is."""
        if self.lost is not None:
            return problem_of_code(*self.lost)
        if self.client_id is None:
            return self.failure
        return problem_of_farms(self.farms_down) if self.outages else None

    def others(self, now: datetime) -> tuple[int, ...]:
        """The client ids that other programs have: those in use, but for what a lost socket of ours may still hold."""
        own = {client_id for client_id, at in self.lost_ids.items() if abs(now - at) < HELD}
        return tuple(client_id for client_id in self.taken_ids if client_id not in own)

    def at(self, now: datetime) -> Self:
        """As it is at a moment, if nothing has been said since."""
        # A clock that is set back makes nothing last longer.
        over = {farm: outage.at + OUTAGE for farm, outage in self.outages.items() if abs(now - outage.at) >= OUTAGE}
        state = replace(self, **_came_up(self.outages, over, max(over.values(), default=now)))
        settling = any(moment is not None and abs(now - moment) < SETTLING for moment in state.disturbances)
        problem_since = None if state.problem is None else state.problem_since
        if (settling, problem_since) == (state.settling, state.problem_since):
            return state
        return replace(state, settling=settling, problem_since=problem_since)

    def opened(self, client_id: int, now: datetime, taken_ids: tuple[int, ...] = ()) -> Self:
        """With a socket; what was said during its handshake holds."""
        return self._changed(now, client_id=client_id, failure=None, taken_ids=taken_ids)

    def taken(self, taken_ids: tuple[int, ...]) -> Self:
        """With another knowledge of which client ids others have."""
        return replace(self, taken_ids=taken_ids)

    def closed(self, now: datetime, failure: Problem | None = None) -> Self:
        """Without a socket, and so without anything that was said on it; what failed before holds unless this did."""
        failure = failure or self.failure
        lost_ids = {client_id: at for client_id, at in self.lost_ids.items() if abs(now - at) < HELD}
        if self.client_id is not None:
            lost_ids[self.client_id] = now
        changes = {"lost": None, "outages": {}, "failure": failure, "taken_ids": (), "lost_ids": lost_ids}
        return self._changed(now, client_id=None, **changes)

    def failed(self, failure: Problem, now: datetime) -> Self:
        """After an attempt that came to nothing; what was said in it holds until the next one begins."""
        # A lost link is why the login did not come to an end.
        failure = failure if self.lost is None else problem_of_code(*self.lost)
        return self._changed(now, client_id=None, failure=failure, taken_ids=())

    def after(self, notice: Notice, now: datetime) -> Self:
        """After a notice, whichever it is."""
        outages = self.at(now).outages
        match classify(*notice).meaning:
            case Meaning.LINK_LOST:
                return self._changed(now, lost=notice)
            case Meaning.LINK_BROKEN:
                # 2110 after 1100 must not make the link one that any farm can restore, see below.
                return self._changed(now, lost=self.lost or notice)
            case Meaning.RESTORED | Meaning.DATA_LOST:
                up = _came_up(outages, connected_farms(notice.text, outages), now)
                return self._changed(now, lost=None, last_reset=now, **up)
            case Meaning.FARM_DOWN:
                outages = {**outages, farm_of(notice.text): Outage(notice.code, now)}
                return self._changed(now, outages=outages, farms_changed=now)
            case Meaning.FARM_UP | Meaning.FARM_ASLEEP as meaning:
                # Nothing else is said when a broken link is mended; of a lost one 1101 or 1102 is. A farm that sleeps
                # wakes when it is asked, which proves nothing about the link.
                lost = self._still_lost() if meaning is Meaning.FARM_UP else self.lost
                return self._changed(now, lost=lost, **_came_up(outages, is_about(notice.text, outages), now))
            case _:
                return self

    def _still_lost(self) -> Notice | None:
        """What is lost although a farm is up: that restores a broken link, but not a lost one."""
        if self.lost is None or classify(*self.lost).meaning is Meaning.LINK_BROKEN:
            return None
        return self.lost

    def _changed(self, now: datetime, **changes: Any) -> Self:
        before = self.at(now)
        successor = replace(before, **changes)
        if successor.connected != self.connected:
            # A first connection that just works is no reset: whatever is there has been there for a while. One after
            # an attempt that failed is: TWS has come up only now.
            was_away = self.since is not None or self.failure is not None or self.lost is not None
            came_back = successor.connected and was_away
            successor = replace(successor, since=now, last_reset=now if came_back else successor.last_reset)
        problem_since = None if successor.problem is None else before.problem_since or now
        return replace(successor, problem_since=problem_since).at(now)


def _came_up(outages: Mapping[str, Outage], farms: Collection[str], now: datetime) -> dict[str, Any]:
    """What changes when some farms are at work, as far as they were not."""
    left = {farm: outage for farm, outage in outages.items() if farm not in farms}
    return {} if len(left) == len(outages) else {"outages": left, "farms_changed": now}
