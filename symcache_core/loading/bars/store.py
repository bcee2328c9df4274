"""Bars on disk: a folder for each provider, series, timeframe and basis, with a Parquet file for each period."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd

from ...concurrency.patience import Patience
from ...errors import CorruptStoreError
from ...timeframes import timeframe_of
from .answer import Answer
from .comparing import Agreement, Comparison, compare
from .files import LOCK_TIMEOUT, BarFiles, file_name, folder_of, is_folder, path_of, periods
from .frames import Stamps, frame_of
from .locks import Claim
from .moments import limits, moment
from .names import Names
from .partition import FORMER_VERSION, Origin, encode, read_partition
from .remembering import disagree, told_by
from .rows import APART, Rows, RowState, period_of
from .state import NEW, Renewal, SeriesState, load_state

log = logging.getLogger("symcache")

F = TypeVar("F", bound=Callable[..., Any])

USUAL = "usual"
"""The basis that a provider gives bars on when it is not asked for another."""

GONE_AFTER = timedelta(days=1)
"""For so long a renewal waits for bars that the provider neither gives nor is proven not to have."""

UNSTABLE_WITHIN = timedelta(days=7)
"""A renewal that is contradicted sooner than this is not repeated."""

_TRIES = 5


@dataclass(frozen=True, slots=True)
class LocalBars:
    """What is at hand.

    Args:
        rows: The bars, and what is known of those that are not there.
        state: What else is remembered of the series.
    """

    rows: Rows
    state: SeriesState

    @property
    def bars(self) -> pd.DataFrame:
        """The bars alone: float64 columns open, high, low, close, volume, and a rising UTC index."""
        has_bar = self.rows.has_bar
        bars = self.rows if has_bar.all() else self.rows[has_bar]
        return frame_of(bars.stamps, bars.columns)


class BarStore:
    """The bars of one provider, below a folder; threads and processes may share it.

    The provider's name is in the path and in every file, so that one provider's bars never pass for another's. A file
    that cannot be understood is set aside, with a warning, and counts as none. Timeframes go by their names.

    Args:
        root: The folder; it is made when there is something to write.
        provider: Whose bars these are.
        lock_timeout: Seconds to wait for a file that somebody else has locked.
    """

    def __init__(self, root: Path, provider: str, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self.provider = provider
        self.folder = root / provider
        self.names = Names(self.folder / "names.jsonl", lock_timeout)
        self._lock_timeout = lock_timeout

    def series(self, identity: str, timeframe: str, basis: str = USUAL) -> BarSeries:
        """The bars of one series; nothing is read yet.

        Raises:
            ConfigurationError: There is no such timeframe.
        """
        name = timeframe_of(timeframe).name
        origin = Origin(self.provider, name, (("series", identity), ("basis", basis)))
        return BarSeries(BarFiles(self.folder / folder_of(identity) / name, basis, self._lock_timeout), origin)

    def has_former(self, symbol: str, timeframe: str) -> bool:
        """Whether 0.1.0 kept bars under a symbol (canonical)."""
        return is_folder(self.folder / timeframe / file_name(symbol))

    def former(self, symbol: str, timeframe: str) -> Rows:
        """The bars that 0.1.0 kept under a symbol: nobody knows which instrument's, nor on which basis.

        Args:
            symbol: Canonical.
            timeframe: Their length.

        Raises:
            BackendUnavailableError: The files cannot be read.
        """
        folder = self.folder / timeframe / file_name(symbol)
        origin = Origin(self.provider, timeframe, (("symbol", symbol),), FORMER_VERSION)
        parts = list[Rows]()
        for period in periods(folder):
            try:
                rows = read_partition(path_of(folder, period), origin)
            except CorruptStoreError as error:
                log.warning("%s; it is left as it is", error)  # it is not this version's to move
                continue
            if rows is not None:
                parts.append(rows.of(RowState.BAR))
        return Rows.join([Rows.nothing(), *parts])


def _alone(method: F) -> F:
    """Have a method of a series keep others from writing it meanwhile."""

    @wraps(method)
    def alone(self: BarSeries, *args: Any, **options: Any) -> Any:
        return self._files.alone(partial(method, self, *args, **options))

    return cast("F", alone)


class BarSeries:
    """The bars of one series, timeframe and basis.

    Args:
        files: Where they are.
        origin: What each file has to say of itself.
    """

    def __init__(self, files: BarFiles, origin: Origin) -> None:
        self._files = files
        self._origin = origin

    @property
    def folder(self) -> Path:
        """Where the bars of the current generation are."""
        return self._files.folder

    @property
    def timeframe(self) -> str:
        """The name of the bars' length."""
        return self._origin.timeframe

    def exists(self) -> bool:
        """Whether anything is kept of it."""
        return is_folder(self._files.folder)

    def state(self) -> SeriesState:
        """What is remembered of the series.

        Raises:
            BackendUnavailableError: It cannot be read.
            NewerSchemaError: A newer symcache wrote it.
        """
        return self._load_state()[0]

    def read(self, start: datetime | None = None, end: datetime | None = None) -> LocalBars:
        """The rows of the current generation, all of one generation, whatever others are doing.

        Args:
            start: The first stamp wanted (UTC).
            end: The last stamp wanted, included (UTC).

        Raises:
            BackendUnavailableError: The files cannot be read.
            NewerSchemaError: A newer symcache wrote one of them.
        """
        for _ in range(_TRIES):
            state, content = self._load_state()
            if not state.switching:
                rows = self._rows(self._files.folder, start, end)
                after, seen = self._load_state()
                if seen == content or (after.generation == state.generation and not after.switching):
                    return LocalBars(rows, state)

        def settled() -> LocalBars:
            state = self._settled()
            return LocalBars(self._rows(self._files.folder, start, end, is_locked=True), state)

        return self._files.alone(settled)

    def generations(self) -> list[int]:
        """The numbers of those that were replaced, rising."""
        return self._files.replaced()

    def replaced(self, generation: int) -> Path:
        """Where the bars of a generation are that was replaced."""
        return self._files.old(generation)

    def read_generation(self, generation: int, start: datetime | None = None, end: datetime | None = None) -> LocalBars:
        """The rows of one generation, be it the current one or one that was replaced."""
        local = self.read(start, end)
        if local.state.generation == generation:
            return local
        return LocalBars(self._rows(self._files.old(generation), start, end), local.state)

    @_alone
    def save(self, answer: Answer, asset_type: str = "", beneath: Rows | None = None) -> Comparison:
        """Add what the provider said to what is at hand, unless its prices contradict it; on disk when this returns.

        Of a renewal under way, what is at hand is what it brought so far. A crash leaves whole files, the earlier ones
        new.

        Args:
            answer: What was said.
            asset_type: What kind of instrument it is.
            beneath: Bars of unknown identity, to be taken in if the answer agrees with them; nothing else is at hand.

        Returns:
            How the answer compares with what is at hand; nothing is stored if that does not hold.

        Raises:
            BackendUnavailableError: The files cannot be written, or somebody else keeps them locked.
            NewerSchemaError: A newer symcache wrote one of them.
            ValueError: The rows are not as rows have to be.
        """
        if fault := answer.rows.fault():
            raise ValueError(f"these bars cannot be stored: {fault}")
        state = self._settled()
        folder = self._files.folder if state.renewing is None else self._files.new
        near = self._rows(folder, answer.first, answer.last, is_locked=True) if beneath is None else beneath
        comparison = self._compared(state, near, answer, asset_type)
        if beneath is not None and not comparison.compared and comparison.agreement.holds:
            comparison = Comparison(Agreement.UNCLEAR)  # nothing shows that they are the same instrument's
        if comparison.agreement is Agreement.UNSEEN:
            if answer.failed and beneath is None:
                self._add(folder, answer.added_to(near))
            self._remember(state, unseen=min(state.unseen or answer.asked, answer.asked))
        if not comparison.agreement.holds:
            return comparison
        added = answer.added_to(near)
        added = added if beneath is None else beneath.updated(added)
        self._add(folder, added)
        self._remember(state, **told_by(state, answer, added, comparison))
        return comparison

    def _compared(self, state: SeriesState, near: Rows, answer: Answer, asset_type: str) -> Comparison:
        comparison = compare(near, answer.rows, asset_type)
        known = state.basis if state.renewing is None else state.renewing.basis
        if disagree(known, answer.basis):
            return Comparison(Agreement.ADJUSTED, comparison.compared, comparison.differing)
        if comparison.agreement is Agreement.NOTHING and answer.is_seam:
            is_late = state.unseen is not None and moment(answer.asked) - moment(state.unseen) >= APART
            is_proven = is_late and not answer.failed
            return comparison if is_proven else Comparison(Agreement.UNSEEN)
        return comparison

    @_alone
    def take_in(self, rows: Rows) -> None:
        """Add bars of unknown identity that have turned out to be this instrument's, on whatever basis."""
        self._settled()
        self._add(self._files.folder, rows)

    @_alone
    def remember(self, **changes: Any) -> None:
        """Change what is remembered beside the bars; see :class:`~.state.SeriesState` for what there is."""
        self._remember(self._settled(), **changes)

    @_alone
    def begin_renewal(self, why: str, now: datetime) -> bool:
        """Begin to ask for the whole history anew, or say that it is not done: a renewal has just been contradicted.

        Args:
            why: What the comparison said.
            now: The present (UTC).
        """
        state = self._settled()
        last = state.renewals[-1] if state.renewals else None
        again = state.renewing is not None and state.renewing.is_repeated
        ends = (state.given_up, None if last is None else last.ended)
        if again or any(end is not None and abs(now - end) < UNSTABLE_WITHIN for end in ends):
            given_up = now if again else state.given_up
            self._remember(state, unstable=state.unstable or now, given_up=given_up, renewing=None)
            self._files.drop_new()
            return False
        renewal = Renewal(at=now, why=why, is_repeated=state.renewing is not None)
        # First forgotten, then removed, then begun: what is left of another one never passes for this one's.
        self._remember(state, renewing=None)
        self._files.drop_new()
        self._remember(state, renewing=renewal, unstable=None, given_up=None)
        return True

    def still_to_renew(self, now: datetime) -> Stamps:
        """The stamps of the old generation's bars of which the renewal under way does not know what has become.

        Args:
            now: The present (UTC); what a provider fails to give for a day is taken for gone.
        """
        renewing = self.state().renewing
        gone = [RowState.NONE, RowState.BAD]
        if renewing is not None and abs(now - renewing.at) >= GONE_AFTER:
            gone.append(RowState.ABSENT_AGAIN)
        renewed = self._rows(self._files.new)
        held = self._rows(self._files.folder)
        is_known = renewed.has_bar | np.isin(renewed.states, gone)
        return np.setdiff1d(held.stamps[held.has_bar], renewed.stamps[is_known], assume_unique=True)

    def renewed(self) -> Rows:
        """What the renewal under way has brought so far."""
        return self._rows(self._files.new)

    @_alone
    def end_renewal(self, now: datetime) -> None:
        """Put the new generation in the place of the old one."""
        state = self._settled()
        if state.renewing is None:
            return
        held, renewed = (self._rows(each, is_locked=True) for each in (self._files.folder, self._files.new))
        lost = np.setdiff1d(held.stamps[held.has_bar], renewed.stamps[renewed.has_bar], assume_unique=True)
        over = state.renewing.model_copy(update={"ended": now, "lost": len(lost)})
        theirs = {"basis": over.basis, "first": over.first}
        self._remember(state, switching=True, renewing=None, renewals=(*state.renewals, over), **theirs)
        self._settled()

    def claim(self, patience: Patience | None = None) -> Claim | None:
        """Become the one that fetches these bars, or ``None`` at once if someone is.

        It holds across threads and processes, and ends when its holder dies.

        Args:
            patience: For how long someone is waited for who does not go on; without it, for ever.

        Raises:
            BackendUnavailableError: The folder cannot be written.
        """
        return self._files.claim(patience)

    def _settled(self) -> SeriesState:
        """What is remembered, once a switch that was interrupted is done; the caller has the lock."""
        state = self.state()
        if not state.switching:
            return state
        # By what is there: however often it was interrupted, what is left to do is told by which folders there are.
        files = self._files
        if is_folder(files.new):
            files.move(files.folder, files.old(max([state.generation - 1, *files.replaced()]) + 1))
            files.move(files.new, files.folder)
        generation = max([state.generation, *files.replaced()]) + 1
        return self._remember(state, switching=False, generation=generation)

    def _load_state(self) -> tuple[SeriesState, bytes | None]:
        state, content = load_state(self._files.state, self._files.warn)
        if state == NEW and (replaced := self._files.replaced()):  # what was remembered is lost
            is_torn = not is_folder(self._files.folder) and is_folder(self._files.new)
            state = state.with_changes(generation=replaced[-1] + (not is_torn), switching=is_torn)
        return state, content

    def _remember(self, state: SeriesState, **changes: Any) -> SeriesState:
        changed = state.with_changes(**changes)
        if changed != state:
            self._files.replace(self._files.state, changed.model_dump_json(exclude_defaults=True).encode())
        return changed

    def _rows(
        self, folder: Path, start: datetime | None = None, end: datetime | None = None, *, is_locked: bool = False
    ) -> Rows:
        first, last = limits(start, end)
        earliest, latest = period_of(first, self.timeframe), period_of(last, self.timeframe)
        wanted = [path_of(folder, period) for period in periods(folder) if earliest <= period <= latest]
        found = [rows for path in wanted if (rows := self._read(path, is_locked=is_locked)) is not None]
        return Rows.join([_NOTHING, *(rows.between(first, last) for rows in found)])

    def _read(self, path: Path, *, is_locked: bool) -> Rows | None:
        try:
            return read_partition(path, self._origin)
        except CorruptStoreError:
            act = partial(self._read_or_set_aside, path)
            return act() if is_locked else self._files.alone(act)

    def _read_or_set_aside(self, path: Path) -> Rows | None:
        """What a file holds; the caller has the lock, so that no file is judged that somebody has just mended."""
        try:
            return read_partition(path, self._origin)
        except CorruptStoreError as error:
            aside = self._files.set_aside(path)
            self._files.warn("%s; it is set aside as %s and its bars are fetched again", error, aside.name)
            return None

    def _add(self, folder: Path, newer: Rows) -> None:
        for period, rows in newer.by_period(self.timeframe):
            path = path_of(folder, period)
            older = self._read_or_set_aside(path)
            self._files.replace(path, encode(self._origin, rows if older is None else older.updated(rows)))


_NOTHING = Rows.nothing()
