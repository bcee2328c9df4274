"""What a bar store keeps: each series with its names, spans, sizes and generations; and how one is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from ...errors import BackendUnavailableError
from ...timeframes import TIMEFRAMES
from .files import folder_of, folders_in, periods, remove_folder, size_of
from .ids import FORMER, SeriesId
from .locks import Claim
from .moments import time_of
from .names import Bearing
from .rows import Rows
from .state import SeriesState
from .store import BarStore


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSeries:
    """What is kept of one series in one timeframe and on one basis.

    Args:
        series: Its id: the provider, what it is known by, and the number of the generation if it was replaced.
        timeframe: The length of a bar.
        basis: Which of the provider's bases it is.
        names: The symbols that it has borne, the one that was last seen at the end.
        bars: How many bars there are.
        first: The stamp of the first one (UTC).
        last: That of the last one.
        size: Bytes on disk.
        folder: Where they are.
        state: What else is remembered; ``None`` of a generation that was replaced, and of what 0.1.0 kept.
    """

    series: str
    timeframe: str
    basis: str
    names: Sequence[Bearing]
    bars: int
    first: datetime | None
    last: datetime | None
    size: int
    folder: Path
    state: SeriesState | None


def kept_series(store: BarStore, symbol: str | None = None) -> Iterator[KeptSeries]:
    """Everything that a store keeps, series by series; blocks.

    Args:
        store: Which.
        symbol: Only the series that have borne this one (canonical).

    Raises:
        BackendUnavailableError: The files cannot be read.
    """
    known = {folder_of(bearing.series): bearing.series for bearing in store.names.all()}
    for folder in folders_in(store.folder):
        if folder.name in TIMEFRAMES:
            yield from _former(store, folder, symbol)
            continue
        identity = known.get(folder.name, unquote(folder.name))
        names = store.names.borne_by(identity)
        if symbol is None or any(name.name == symbol for name in names):
            for frame in folders_in(folder):
                if frame.name in TIMEFRAMES:
                    yield from _of_timeframe(store, identity, names, frame)


def drop_series(store: BarStore, series: str, *, dry_run: bool = False) -> list[KeptSeries]:
    """Remove what is kept of a series, or tell what that would be; blocks.

    Args:
        store: From which.
        series: Its id: all of it goes, with its names and the generations that were replaced. With the number of a
            generation, or the zero of what 0.1.0 kept, that alone.
        dry_run: Remove nothing.

    Returns:
        What was kept; nothing if the store does not know it.

    Raises:
        ConfigurationError: It is another provider's.
        BackendUnavailableError: It cannot be removed, or is being loaded at this moment.
    """
    wanted = SeriesId.parse(series, store.provider)
    kept = [each for each in kept_series(store) if _is_meant(SeriesId.parse(each.series, store.provider), wanted)]
    if kept and not dry_run:
        try:
            claims = _Claims(store, wanted.identity, [] if wanted.generation == FORMER else kept)
            claims.hold(lambda: _remove(store, wanted, kept))
        except OSError as error:
            raise BackendUnavailableError(f"series {series}: it cannot be removed: {error.strerror or error}") from None
    return kept


def _is_meant(kept: SeriesId, wanted: SeriesId) -> bool:
    is_whole = wanted.generation is None and kept.generation != FORMER
    return kept == wanted or (is_whole and kept.identity == wanted.identity)


class _Claims:
    """Keep loads of a series out; what each of them needs has one claim for all its generations."""

    def __init__(self, store: BarStore, identity: str, kept: Iterable[KeptSeries]) -> None:
        self._store = store
        self._identity = identity
        self._wanted = sorted({(each.timeframe, each.basis) for each in kept})
        self._claims = list[Claim]()

    def hold(self, act: Callable[[], None]) -> None:
        try:
            for timeframe, basis in self._wanted:
                self._take(timeframe, basis)
            for claim in self._claims:
                claim.check()
            act()
        finally:
            try:
                self._let_go()
            finally:
                self._let_go()  # an interrupt may have come before the first one did anything

    def _take(self, timeframe: str, basis: str) -> None:
        claim = self._store.series(self._identity, timeframe, basis).claim()
        if claim is None:
            series = f"{self._store.provider}:{self._identity}"
            raise BackendUnavailableError(f"series {series}: its {timeframe} bars are being loaded: try again later")
        self._claims.append(claim)

    def _let_go(self) -> None:
        for claim in self._claims:
            claim.release()


def _remove(store: BarStore, wanted: SeriesId, kept: Iterable[KeptSeries]) -> None:
    if wanted.generation is None:
        # First the names: what is left of a series without any is listed still, and nothing is loaded into it.
        store.names.forget(wanted.identity)
        remove_folder(store.folder / folder_of(wanted.identity))
        return
    for each in kept:
        remove_folder(each.folder)
    if wanted.generation == FORMER:
        store.names.forget(f"{wanted.identity}#{FORMER}")


def _of_timeframe(store: BarStore, identity: str, names: Sequence[Bearing], folder: Path) -> Iterator[KeptSeries]:
    for place in folders_in(folder):
        if "." in place.name:
            continue
        bars = store.series(identity, folder.name, place.name)
        local = bars.read()
        yield _kept(store, identity, folder.name, place.name, names, local.rows, place, local.state)
        for generation in bars.generations():
            old = bars.read_generation(generation)
            where = bars.replaced(generation)
            name = f"{identity}#{generation}"
            yield _kept(store, name, folder.name, place.name, names, old.rows, where, None)


def _former(store: BarStore, folder: Path, symbol: str | None) -> Iterator[KeptSeries]:
    for place in folders_in(folder):
        name = unquote(place.name)
        if symbol in (None, name) and periods(place):
            rows = store.former(name, folder.name)
            yield _kept(store, f"{name}#{FORMER}", folder.name, "usual", (), rows, place, None)


def _kept(
    store: BarStore,
    identity: str,
    timeframe: str,
    basis: str,
    names: Sequence[Bearing],
    rows: Rows,
    folder: Path,
    state: SeriesState | None,
) -> KeptSeries:
    stamps = rows.stamps[rows.has_bar]
    return KeptSeries(
        series=f"{store.provider}:{identity}",
        timeframe=timeframe,
        basis=basis,
        names=names,
        bars=len(stamps),
        first=time_of(stamps[0]) if len(stamps) else None,
        last=time_of(stamps[-1]) if len(stamps) else None,
        size=size_of(folder),
        folder=folder,
        state=state,
    )
