"""What the notices of Interactive Brokers tell about the way to it: whether it is open, and which farms are down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from ..gateway import Problem
from .advice import problem_of_code, problem_of_farms
from .codes import Meaning, classify

SETTLING = timedelta(minutes=1)
"""For how long negative answers prove nothing after a reset: servers come back one by one, and not all say so."""

_FARM = re.compile(r"(?::|on demand\.)\s*(?P<farm>\S+)$")


class Notice(NamedTuple):
    """A message that answers no request."""

    code: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connectivity:
    """How things stand between this process and Interactive Brokers; never changed, only succeeded.

    Attributes:
        client_id: Under which id the socket is connected; None without a socket.
        since: Since when ``connected`` is what it is (UTC); None when it never was otherwise.
        lost: The notice that says that the socket's other end has lost its way to the broker, as long as that holds.
        farms_down: The code that put each farm out of order, by the farm's name.
        last_reset: When the way to the broker was last open again after it had been lost (UTC).
        settling: Whether that was so recently that a negative answer proves nothing yet.
        failure: Why there is no socket, as far as an attempt to have one has told; None with one.
        problem_since: Since when there is a problem without a break (UTC), whichever it was meanwhile.
        taken_ids: The client ids that others had when the socket was connected.
    """

    client_id: int | None = None
    since: datetime | None = None
    lost: Notice | None = None
    farms_down: Mapping[str, int] = field(default_factory=dict)
    last_reset: datetime | None = None
    settling: bool = False
    failure: Problem | None = None
    problem_since: datetime | None = None
    taken_ids: tuple[int, ...] = ()

    @property
    def connected(self) -> bool:
        """Whether requests reach the broker: a socket alone does not mean that."""
        return self.client_id is not None and self.lost is None

    @property
    def conclusive(self) -> bool:
        """Whether a negative answer proves something: requests reach the broker, and every farm there is at work."""
        return self.connected and not self.farms_down and not self.settling

    @property
    def problem(self) -> Problem | None:
        """What is wrong now, as far as it is known: before anything was tried, nothing is."""
        if self.lost is not None:
            return problem_of_code(*self.lost)
        if self.client_id is None:
            return self.failure
        return problem_of_farms(self.farms_down) if self.farms_down else None

    def at(self, now: datetime) -> Self:
        """As it is at a moment, if nothing has been said since."""
        # A clock that is set back does not make it last longer.
        settling = self.last_reset is not None and abs(now - self.last_reset) < SETTLING
        return self if settling == self.settling else replace(self, settling=settling)

    def opened(self, client_id: int, now: datetime, taken_ids: tuple[int, ...] = ()) -> Self:
        """With a socket; what was said during its handshake holds."""
        return self._changed(now, client_id=client_id, failure=None, taken_ids=taken_ids)

    def taken(self, taken_ids: tuple[int, ...]) -> Self:
        """With another knowledge of which client ids others have."""
        return replace(self, taken_ids=taken_ids)

    def closed(self, now: datetime, failure: Problem | None = None) -> Self:
        """Without a socket, and so without anything that was said on it; what failed before holds unless this did."""
        failure = failure or self.failure
        return self._changed(now, client_id=None, lost=None, farms_down={}, failure=failure, taken_ids=())

    def failed(self, failure: Problem, now: datetime) -> Self:
        """After an attempt that came to nothing; what was said in it holds until the next one begins."""
        # A lost link is why the login did not come to an end.
        failure = failure if self.lost is None else problem_of_code(*self.lost)
        return self._changed(now, client_id=None, failure=failure, taken_ids=())

    def after(self, notice: Notice, now: datetime) -> Self:
        """After a notice, whichever it is."""
        others = {farm: code for farm, code in self.farms_down.items() if farm != _farm(notice)}
        match classify(*notice).meaning:
            case Meaning.LINK_LOST:
                return self._changed(now, lost=notice)
            case Meaning.LINK_BROKEN:
                # 2110 after 1100 must not make the link one that any farm can restore, see below.
                return self._changed(now, lost=self.lost or notice)
            case Meaning.RESTORED | Meaning.DATA_LOST:
                # Some of these notices speak of farms. Only one that speaks of all says that none is down any more.
                farms_down = {} if "all data farms" in notice.text.lower() else self.farms_down
                return self._changed(now, lost=None, farms_down=farms_down, last_reset=now)
            case Meaning.FARM_DOWN:
                return self._changed(now, farms_down={**others, _farm(notice): notice.code})
            case Meaning.FARM_UP:
                # Nothing else is said when a broken link is mended; of a lost one 1101 or 1102 is.
                return self._changed(now, lost=self._still_lost(), farms_down=others)
            case _:
                return self

    def _still_lost(self) -> Notice | None:
        """What is lost although a farm is up: that restores a broken link, but not a lost one."""
        if self.lost is None or classify(*self.lost).meaning is Meaning.LINK_BROKEN:
            return None
        return self.lost

    def _changed(self, now: datetime, **changes: Any) -> Self:
        successor = replace(self, **changes)
        if successor.connected != self.connected:
            # The first connection of all is no reset: there was nothing before it that it could contradict.
            came_back = successor.connected and self.since is not None
            successor = replace(successor, since=now, last_reset=now if came_back else successor.last_reset)
        problem_since = None if successor.problem is None else self.problem_since or now
        return replace(successor, problem_since=problem_since).at(now)


def _farm(notice: Notice) -> str:
    named = _FARM.search(notice.text.strip())
    return named["farm"] if named else notice.text.strip()
