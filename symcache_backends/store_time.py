"""What time it is by a store's own writes, so that a clock that is weeks ahead drops nothing that others still need.

What was dropped is lost to all, so an entry goes only when it has been over for a week, and a clock is believed only if
it goes on from the times at which the store was written. The store remembers two of those, in its lock file: that of
its last write, and since when each write has come within a week of the one before. A write that does not, be it later
or earlier, shows that a clock is wrong, or that the store was left alone. Nobody can tell the two apart at once, and so
nothing is dropped until the store has been written to for a week since. One process whose clock is far ahead cannot
make up that week, however often it writes, compacts or starts anew; the first write by a right clock begins it anew.

So nothing is ever dropped from a store that is written to less than once a week, which costs but space.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass

MARGIN = 7 * 86400.0
"""Seconds: how long an entry must have been over, how far two writes may lie apart, how long they must have gone on."""

_NOTE_EVERY = 3600.0
"""Seconds by which the last write must have become later to be remembered anew."""

_TIMES = struct.Struct("=2d")
_SUM = struct.Struct("=Q")
SIZE = _TIMES.size + _SUM.size
"""Bytes that the two times take in a file."""


@dataclass(frozen=True, slots=True)
class StoreTime:
    """When a store was written, in seconds since the epoch.

    Args:
        since: The first of the writes that followed each other; minus infinity if all did since it was made.
        latest: The last of them.
    """

    since: float
    latest: float

    def after(self, written: float) -> StoreTime:
        """The same once a write at some time has come."""
        if abs(written - self.latest) > MARGIN:
            return StoreTime(written, written)
        return StoreTime(min(self.since, written), written)

    def over_before(self, now: float) -> float:
        """A moment; what had to be kept until then, and no longer, may be dropped.

        Args:
            now: What this machine's clock says.
        """
        is_believed = self.latest - self.since >= MARGIN and now <= self.latest + MARGIN
        return now - MARGIN if is_believed else -math.inf


def see(descriptor: int, at: int, written: float, *, is_new: bool = False) -> StoreTime:
    """Take note that a store was written; the caller holds its lock. A disk that is full is no matter.

    Args:
        descriptor: Of the file that remembers it.
        at: Where in it.
        written: When that was, in seconds since the epoch, by the file system.
        is_new: Whether the store has just been made, so that nothing in it can be older.
    """
    noted = None if is_new else _noted(descriptor, at)
    if noted is None:
        seen = StoreTime(-math.inf if is_new else written, written)
    else:
        seen = noted.after(written)
        if seen.since == noted.since and 0 <= seen.latest - noted.latest < _NOTE_EVERY:
            return seen
    times = _TIMES.pack(seen.since, seen.latest)
    with suppress(OSError):
        os.pwrite(descriptor, times + _SUM.pack(zlib.crc32(times)), at)
    return seen


def is_noted(descriptor: int, at: int) -> bool:
    """Whether a file remembers when a store was written.

    Args:
        descriptor: Of the file.
        at: Where in it.
    """
    return _noted(descriptor, at) is not None


def _noted(descriptor: int, at: int) -> StoreTime | None:
    record = os.pread(descriptor, SIZE, at)
    times = record[: _TIMES.size]
    if record[_TIMES.size :] != _SUM.pack(zlib.crc32(times)) or len(record) != SIZE:
        return None
    since, latest = _TIMES.unpack(times)
    return StoreTime(since, latest)
