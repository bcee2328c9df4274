"""The requests that bring what is to be asked for, each with some bars that are there already, to compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from ...timeframes import Timeframe
from ..bars.comparing import OVERLAP
from ..bars.frames import Stamps
from ..bars.moments import moment, time_of
from .outlook import Expected, Flags

GATHERED_WITHIN = 100
"""Bars between two second looks, which are asked for together if there are no more than so many."""

_SEVERAL = 3
"""So few requests without an overlap are made within moments of each other."""

_DAY = np.timedelta64(1, "D")
_TICK = np.timedelta64(1, "s")


@dataclass(frozen=True, slots=True)
class Segment:
    """One request for bars.

    Args:
        start: Where it begins (UTC).
        end: Where it ends, included (UTC).
        stamps: Those of the bars that it has to bring, rising; none if it is for comparing alone.
        is_seam: Whether it has to agree with what is stored before anything else is asked for.
    """

    start: datetime
    end: datetime
    stamps: Stamps
    is_seam: bool = False


def segments(
    expected: Expected,
    due: Flags,
    doubtful: Flags,
    stored: Stamps,
    timeframe: Timeframe,
    now: datetime,
    *,
    newest_first: bool,
    compare: bool = False,
    earlier: bool = False,
    lead: timedelta = timedelta(),
) -> list[Segment]:
    """Split what is due into requests, the most urgent one first.

    One that is next to stored bars takes in :data:`~..bars.comparing.OVERLAP` of them; one that follows another, or
    comes before it, as many of the bars that the other one brings. One that takes in stored bars comes first; if none
    does, some of those are asked for by themselves.

    Args:
        expected: The bars that there should be.
        due: Of each, whether it is to be asked for.
        doubtful: Of each, whether asking for it is only a second look; those are gathered.
        stored: The stamps of the final bars that are stored, rising.
        timeframe: The length of the bars, and what one request may span.
        now: The provider's present (UTC), past which nothing is asked for.
        newest_first: What the more urgent bars are.
        compare: Whether to compare even if nothing is due.
        earlier: Whether to compare bars of a day before the last ones, too: what is adjusted over night changes those.
        lead: How long before its stamp a bar may begin.
    """
    span = _span(timeframe, lead)
    cutter = _Cutter(expected, stored, span, np.timedelta64(timeframe.length), np.timedelta64(lead), moment(now))
    groups = list(_groups(expected.stamps, np.flatnonzero(due), doubtful, span))
    if newest_first:
        groups.reverse()
    found = [segment for group in groups for segment in cutter.cut(group, newest_first=newest_first)]
    if not len(stored) or not (found or compare):
        return found
    seam = next((segment for segment in found if segment.is_seam), None)
    if seam is None:
        seam = cutter.seam(expected.stamps[groups[0][0]] if groups else stored[-1])
    found = [seam, *(segment for segment in found if segment is not seam)]
    day_before = stored[stored <= stored[-1] - _DAY][-1:]
    if earlier and len(day_before) and moment(found[0].start) > day_before[0]:
        found.insert(0, cutter.seam(day_before[0]))
    return found


def are_apart(requests: Sequence[Segment]) -> bool:
    """Whether several requests neither overlap nor take in stored bars, so that nothing has compared them."""
    chains = list[list[Segment]]()
    made = [request for request in requests if len(request.stamps)]
    for request in sorted(made, key=lambda request: request.start):
        if chains and chains[-1][-1].end >= request.start:
            chains[-1].append(request)
        else:
            chains.append([request])
    alone = sum(not any(request.is_seam for request in chain) for chain in chains)
    return len(made) >= _SEVERAL and alone + any(request.is_seam for request in requests) > 1


def closing(requests: Sequence[Segment], stored: Stamps, timeframe: Timeframe, now: datetime) -> list[Segment]:
    """What is asked for after requests that were apart, to see that nothing has changed meanwhile.

    Args:
        requests: Those that were made.
        stored: The stamps of the final bars that are stored now, rising.
        timeframe: The length of the bars.
        now: The provider's present (UTC).
    """
    wanted = next(request.stamps for request in requests if len(request.stamps))
    first = stored[(stored >= wanted[0]) & (stored <= wanted[-1])]
    if not len(first):
        return []
    nothing = Expected.of_stamps(np.empty(0, "datetime64[ns]"))
    length, lead = np.timedelta64(timeframe.length), timedelta()
    return [_Cutter(nothing, first, _span(timeframe, lead), length, np.timedelta64(lead), moment(now)).seam(first[-1])]


def _span(timeframe: Timeframe, lead: timedelta) -> np.timedelta64:
    """How far apart the stamps of one request may be: its end is one bar after the last, which may be off the grid."""
    bars = 2 if timeframe.is_intraday else 1
    return np.timedelta64(timeframe.longest - bars * timeframe.length - lead)


def _groups(
    stamps: Stamps, due: npt.NDArray[np.intp], doubtful: Flags, span: np.timedelta64
) -> Iterator[npt.NDArray[np.intp]]:
    """What is due, in groups of what is asked for together."""
    if not len(due):
        return
    is_near = np.diff(due) <= OVERLAP + 1
    runs = np.split(due, np.flatnonzero(~is_near) + 1)
    gathered = [runs[0]]
    for run in runs[1:]:
        fits = stamps[run[-1]] - stamps[gathered[0][0]] <= span and run[0] - gathered[-1][-1] <= GATHERED_WITHIN
        if not (fits and doubtful[run].all() and doubtful[gathered[-1]].all()):
            yield np.concatenate(gathered)
            gathered = []
        gathered.append(run)
    yield np.concatenate(gathered)


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts groups of bars into requests."""

    expected: Expected
    stored: Stamps
    span: np.timedelta64
    length: np.timedelta64
    lead: np.timedelta64
    now: np.datetime64

    def cut(self, group: npt.NDArray[np.intp], *, newest_first: bool) -> list[Segment]:
        stamps = self.expected.stamps
        before = self._stored_before(stamps[group[0]])
        after = self._stored_after(stamps[group[-1]])
        if before is None and (after is not None or newest_first):
            return list(self._backward(group, after))
        return list(self._forward(group, before))

    def seam(self, near: np.datetime64) -> Segment:
        """The stored bars before a moment, or else those that are next to it, alone."""
        place = max(int(self.stored.searchsorted(near, side="right")), min(OVERLAP, len(self.stored)))
        some = self.stored[max(place - OVERLAP, 0) : place]
        some = some[some >= some[-1] - self.span]
        return self._segment(some[0], some[-1], np.empty(0, "datetime64[ns]"), is_alone=True)

    def _forward(self, group: npt.NDArray[np.intp], pad: np.datetime64 | None) -> Iterator[Segment]:
        stamps = self.expected.stamps
        while len(group):
            begin = stamps[group[0]] if pad is None else pad
            fits = int(stamps[group].searchsorted(begin + self.span, side="right"))
            if not fits:
                begin = stamps[group[0]]
                fits = int(stamps[group].searchsorted(begin + self.span, side="right"))
            wanted, group = group[:fits], group[fits:]
            yield self._segment(begin, stamps[wanted[-1]], stamps[wanted])
            if len(group):
                pad = stamps[max(group[0] - OVERLAP, wanted[0])]
                pad = pad if stamps[group[0]] - pad <= self.span // 2 else None

    def _backward(self, group: npt.NDArray[np.intp], pad: np.datetime64 | None) -> Iterator[Segment]:
        stamps = self.expected.stamps
        while len(group):
            end = stamps[group[-1]] if pad is None else pad
            fits = len(group) - int(stamps[group].searchsorted(end - self.span, side="left"))
            if not fits:
                end = stamps[group[-1]]
                fits = len(group) - int(stamps[group].searchsorted(end - self.span, side="left"))
            wanted, group = group[-fits:], group[:-fits]
            yield self._segment(stamps[wanted[0]], end, stamps[wanted])
            if len(group):
                pad = stamps[min(group[-1] + OVERLAP, wanted[-1])]
                pad = pad if pad - stamps[group[-1]] <= self.span // 2 else None

    def _stored_before(self, stamp: np.datetime64) -> np.datetime64 | None:
        place = int(self.stored.searchsorted(stamp, side="left"))
        pad = self.stored[max(place - OVERLAP, 0)] if place else None
        return pad if pad is not None and stamp - pad <= self.span // 2 else None

    def _stored_after(self, stamp: np.datetime64) -> np.datetime64 | None:
        place = int(self.stored.searchsorted(stamp, side="right"))
        pad = self.stored[min(place + OVERLAP, len(self.stored)) - 1] if place < len(self.stored) else None
        return pad if pad is not None and pad - stamp <= self.span // 2 else None

    def _segment(self, first: np.datetime64, last: np.datetime64, wanted: Stamps, *, is_alone: bool = False) -> Segment:
        stamps = self.expected.stamps
        following = int(stamps.searchsorted(last, side="right"))
        # A bar off the grid may begin anywhere before the next one that is expected.
        end = stamps[following] if following < len(stamps) and not is_alone else last + self.length
        end = min(max(end, last + _TICK), first + self.span + self.length) - _TICK
        inside = self.stored.searchsorted(last, side="right") - self.stored.searchsorted(first, side="left")
        is_seam = is_alone or 0 < min(OVERLAP, len(self.stored)) <= inside
        return Segment(time_of(first - self.lead), time_of(min(end, self.now)), wanted, bool(is_seam))
