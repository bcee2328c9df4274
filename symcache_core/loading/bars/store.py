"""Bars on disk: a folder for each provider, timeframe and instrument, with a Parquet file for each period."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import CorruptStoreError
from ...symbols import Instrument
from ...timeframes import timeframe_of
from .files import BarFiles, Claim, rename
from .frames import ADJUSTMENT, COLUMNS, frame_of, index_of, stamps_of
from .partition import Origin, Partition, common_adjustment, encode, read_partition
from .rows import Rows, period_of

log = logging.getLogger("symcache")

# What nanoseconds since 1970 can tell, in whole years.
_EARLIEST = datetime(1678, 1, 1, tzinfo=UTC)
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)
_NOTHING = Rows.of_none(np.empty(0, "datetime64[ns]"), np.datetime64("NaT", "ns"))
_NO_STAMPS = pd.DatetimeIndex([], tz="UTC")


@dataclass(frozen=True, slots=True)
class LocalBars:
    """What is at hand.

    Args:
        bars: Conforming; ``attrs`` says how they are adjusted, if anybody does: ``mixed`` if not all alike.
        empty: Of stamps without a bar, when the provider said that it has none (both UTC).
    """

    bars: pd.DataFrame
    empty: pd.Series


class BarStore:
    """The bars of one provider, below a folder; threads and processes may share it.

    The provider's name is in the path and in every file, so that one provider's bars never pass for another's. A file
    that cannot be understood is set aside, with a warning, and counts as none. Timeframes go by their names.

    Args:
        root: The folder; it is made when there is something to write.
        provider: Whose bars these are.
    """

    def __init__(self, root: Path, provider: str) -> None:
        self.provider = provider
        self._root = root

    def folder(self, symbol: str, timeframe: str) -> Path:
        """Where the bars of an instrument are, however its symbol is written."""
        return self._at(symbol, timeframe)[1].folder

    def read(
        self, symbol: str, timeframe: str, start: datetime | None = None, end: datetime | None = None
    ) -> LocalBars:
        """The bars at hand, from files that others may be adding to.

        Args:
            symbol: Whose bars.
            timeframe: Their length.
            start: The first stamp wanted (UTC).
            end: The last stamp wanted, included (UTC).

        Raises:
            BackendUnavailableError: The files cannot be read.
            ConfigurationError: There is no such timeframe.
            NewerSchemaError: A newer symcache wrote one of them.
        """
        origin, files = self._at(symbol, timeframe)
        first, last = _moment(start or _EARLIEST), _moment(end or _LATEST)
        earliest, latest = period_of(first, timeframe), period_of(last, timeframe)
        wanted = [files.path(period) for period in files.periods() if earliest <= period <= latest]
        found = [partition for path in wanted if (partition := _read(path, origin, files)) is not None]
        inside = [Partition(partition.rows.between(first, last), partition.adjustment) for partition in found]
        return _local_bars(inside)

    def merge(
        self,
        symbol: str,
        timeframe: str,
        bars: pd.DataFrame,
        *,
        empty: pd.DatetimeIndex = _NO_STAMPS,
        asked: datetime,
    ) -> None:
        """Add what the provider said to what is at hand; it is on disk when this returns.

        The last bar of a stamp wins, and no stamp loses its bar. A crash leaves whole files, the earlier ones new.

        Args:
            symbol: Whose bars.
            timeframe: Their length.
            bars: Conforming.
            empty: The stamps (UTC) of which the provider has no bar.
            asked: When it said so (UTC).

        Raises:
            BackendUnavailableError: The files cannot be written, or somebody else keeps them locked.
            ConfigurationError: There is no such timeframe.
            NewerSchemaError: A newer symcache wrote one of them.
            ValueError: The bars do not conform.
        """
        origin, files = self._at(symbol, timeframe)
        rows = _rows(bars, empty, _moment(asked))
        if fault := rows.fault():
            raise ValueError(f"{symbol} {timeframe}: these bars cannot be stored, {fault}")
        if len(rows):
            with files.locked():
                _add(origin, files, Partition(rows, str(bars.attrs.get(ADJUSTMENT, ""))), asked)

    def claim(self, symbol: str, timeframe: str) -> Claim | None:
        """Become the one that fetches these bars, or ``None`` at once if someone is.

        It holds across threads and processes, and ends when its holder dies.

        Raises:
            BackendUnavailableError: The folder cannot be written.
        """
        return self._at(symbol, timeframe)[1].claim()

    def _at(self, symbol: str, timeframe: str) -> tuple[Origin, BarFiles]:
        canonical = str(Instrument.parse(symbol))
        parent = self._root / self.provider / timeframe_of(timeframe).name
        return Origin(self.provider, canonical, timeframe), BarFiles(parent, canonical)


def _read(path: Path, origin: Origin, files: BarFiles) -> Partition | None:
    try:
        return read_partition(path, origin)
    except CorruptStoreError:
        with files.locked():
            return _read_or_set_aside(path, origin)


def _read_or_set_aside(path: Path, origin: Origin) -> Partition | None:
    """What a file holds; the caller has the lock, so that no file is judged that somebody has just mended."""
    try:
        return read_partition(path, origin)
    except CorruptStoreError as error:
        aside = rename(path, "corrupt")
        log.warning("%s; it is set aside as %s and its bars are fetched again", error, aside.name)
        return None


def _add(origin: Origin, files: BarFiles, newer: Partition, asked: datetime) -> None:
    for period, rows in newer.rows.by_period(origin.timeframe):
        path, part = files.path(period), Partition(rows, newer.adjustment)
        older = _read_or_set_aside(path, origin)
        files.replace(path, encode(origin, part if older is None else older.updated(part), asked))


def _rows(bars: pd.DataFrame, empty: pd.DatetimeIndex, asked: np.datetime64) -> Rows:
    columns = [bars[column].to_numpy("float64") for column in COLUMNS]
    given = Rows.of_bars(stamps_of(pd.DatetimeIndex(bars.index)), columns)
    return given.updated(Rows.of_none(stamps_of(empty), asked))


def _local_bars(partitions: Sequence[Partition]) -> LocalBars:
    rows = Rows.join([_NOTHING, *(partition.rows for partition in partitions)])
    has_bar = rows.has_bar
    bars, empty = (rows, rows[:0]) if has_bar.all() else (rows[has_bar], rows[~has_bar])
    frame = frame_of(bars.stamps, bars.columns)
    if adjustment := common_adjustment(partitions):
        frame.attrs[ADJUSTMENT] = adjustment
    return LocalBars(frame, pd.Series(index_of(empty.asked), index=index_of(empty.stamps), name="asked"))


def _moment(time: datetime) -> np.datetime64:
    """A time as a stamp, or the nearest one that can be a stamp."""
    utc = min(max(time, _EARLIEST), _LATEST).astimezone(UTC)
    return np.datetime64(utc.replace(tzinfo=None), "ns")
