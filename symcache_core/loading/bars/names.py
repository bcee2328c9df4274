"""The names that each series of a provider has borne, as far as they were seen: one file of JSON lines."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from ...errors import LockTimeoutError
from ...files import open_regular, replacing, sync_folder
from .files import LOCK_TIMEOUT, load, status_of, writing_alone

SEEN_AGAIN_AFTER = timedelta(days=1)
"""How long a name has not been seen, by what is written, before it is written that it was seen again."""

ALL = "*"

_SPARE_LINES = 1000


@dataclass(frozen=True, slots=True)
class Bearing:
    """That a series was seen under a name.

    Args:
        series: Its identity.
        name: The symbol, canonical.
        first: When it was first seen under it (UTC).
        last: When it was last seen under it (UTC), to a day.
        permanent_id: The provider's permanent id, if the identity is one.
        bound: The series that the bars of this one were taken into, once it was known whose they are.
        aside: In which timeframes its bars have turned out not to be those of who bears the name now; ``*`` for all.
    """

    series: str
    name: str
    first: datetime
    last: datetime
    permanent_id: str | None = None
    bound: str | None = None
    aside: tuple[str, ...] = ()

    def is_aside(self, timeframe: str = ALL) -> bool:
        """Whether its bars of a timeframe are not those of who bears the name now."""
        return timeframe in self.aside or ALL in self.aside


class Names:
    """The file; of what has been added to it since it was last read, only that is read.

    Args:
        path: Where it is; made with the first name.
        lock_timeout: Seconds to wait for the lock of those who write it.
    """

    def __init__(self, path: Path, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._in_vain_until = 0.0
        self._lock = threading.Lock()
        self._known = _Known()

    def of(self, name: str) -> list[Bearing]:
        """Those that bore a name, the one that was last seen under it at the end."""
        return sorted(self._read().by_name.get(name, {}).values(), key=_last)

    def borne_by(self, series: str) -> list[Bearing]:
        """The names of a series, the one that was last seen at the end."""
        return sorted(self._read().by_series.get(series, {}).values(), key=_last)

    def all(self) -> list[Bearing]:
        """Every one that is known."""
        return self._read().all()

    def saw(self, series: str, name: str, now: datetime, permanent_id: str | None = None) -> Bearing:
        """Take note that a series was seen under a name; it is on disk when this returns, if it was news."""
        known, latest = self._read().by_series.get(series, {}).get(name), self.of(name)[-1:]
        if known is not None and [known] == latest and abs(now - known.last) < SEEN_AGAIN_AFTER:
            return known
        seen = Bearing(series, name, now, now, permanent_id) if known is None else replace(known, last=now)
        self.put(seen)
        return seen

    def put(self, bearing: Bearing) -> None:
        """Write down what is known of a series and a name, in place of what was."""

        def write(check: Callable[[], None]) -> None:
            known = self._read()
            if known.lines >= 2 * known.count + _SPARE_LINES:
                self._write([*known.all(), bearing], check)
            else:
                check()
                self._append(bearing)

        self._alone(write)

    def forget(self, series: str) -> None:
        """Drop a series with all its names."""

        def write(check: Callable[[], None]) -> None:
            self._write((each for each in self._read().all() if each.series != series), check)

        self._alone(write)

    def _alone(self, write: Callable[[Callable[[], None]], None]) -> None:
        # Of many symbols whose names are news, only the first waits for whoever does not give the lock back.
        timeout = self._lock_timeout if time.monotonic() >= self._in_vain_until else 0.0
        try:
            writing_alone(self._path.with_suffix(".lock"), self._path, timeout, write)
        except LockTimeoutError:
            self._in_vain_until = time.monotonic() + self._lock_timeout
            raise

    def _read(self) -> _Known:
        with self._lock:
            status = status_of(self._path)
            if status is None:
                self._known = _Known()
                return self._known
            mark = status.st_ino, status.st_mtime_ns, status.st_size
            if self._known.mark != mark:
                is_longer = self._known.mark[0] == mark[0] and self._known.offset <= mark[2]
                known = self._known if is_longer else _Known()
                self._known = known.with_lines(load(self._path, known.offset) or b"", mark)
            return self._known

    def _append(self, bearing: Bearing) -> None:
        is_new = not self._path.exists()
        with open_regular(self._path, "a+") as file:
            size = file.seek(0, os.SEEK_END)
            # A line that a crash tore ends here, so that the next one is whole.
            file.seek(max(size - 1, 0))
            line = (b"\n" if size and file.read(1) != b"\n" else b"") + _line(bearing)
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._path.parent)

    def _write(self, bearings: Iterable[Bearing], check: Callable[[], None]) -> None:
        path = Path(os.path.realpath(self._path))
        with replacing(path, temporary=path.with_suffix(".tmp"), before=check) as file:
            file.writelines(map(_line, bearings))
        sync_folder(path.parent)


@dataclass(slots=True)
class _Known:
    """What a file says up to some place; the later of two lines about the same wins."""

    by_series: dict[str, dict[str, Bearing]] = field(default_factory=dict)
    by_name: dict[str, dict[str, Bearing]] = field(default_factory=dict)
    count: int = 0
    lines: int = 0
    offset: int = 0
    mark: tuple[int, int, int] = (0, 0, 0)

    def all(self) -> list[Bearing]:
        return [each for names in tuple(self.by_series.values()) for each in tuple(names.values())]

    def with_lines(self, content: bytes, mark: tuple[int, int, int]) -> _Known:
        """The same and what follows; a last line without an end is read again, as someone may still be writing it."""
        whole = content[: content.rfind(b"\n") + 1]
        self.lines += whole.count(b"\n")
        for line in content.splitlines():
            if (bearing := _bearing(line)) is not None:
                names = self.by_series.setdefault(bearing.series, {})
                self.count += bearing.name not in names
                names[bearing.name] = bearing
                self.by_name.setdefault(bearing.name, {})[bearing.series] = bearing
        self.offset += len(whole)
        self.mark = mark
        return self


def _last(bearing: Bearing) -> datetime:
    return bearing.last


def _line(bearing: Bearing) -> bytes:
    told = {name: value for name, value in asdict(bearing).items() if value}
    return json.dumps(told, default=datetime.isoformat).encode() + b"\n"


def _bearing(line: bytes) -> Bearing | None:
    try:
        told = json.loads(line)
        times = {name: datetime.fromisoformat(told[name]) for name in ("first", "last")}
        known = {name: value for name, value in told.items() if name in Bearing.__slots__}
        bearing = Bearing(**{**known, **times, "aside": tuple(told.get("aside", ()))})
    except (ValueError, TypeError, KeyError, AttributeError):  # torn by a crash
        return None
    is_whole = all(isinstance(text, str) and text for text in (bearing.series, bearing.name))
    return bearing if is_whole and None not in (bearing.first.tzinfo, bearing.last.tzinfo) else None
