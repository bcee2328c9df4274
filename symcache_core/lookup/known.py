"""What is known of a symbol without asking anyone: in this process, or in the storage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .. import merging
from ..entries.reliable import ReliableStore
from ..entries.store import EntryStore, Merge
from ..errors import InvalidSymbolError
from ..models import CachedSymbolInfo, ProviderAnswer
from ..policy import Policy
from ..protocols import Clock, StorageBackend, Validate
from ..symbols import Instrument, check_text, key_prefix
from .near_cache import NearCache, Version, Watch

log = logging.getLogger("symcache")

Find = Callable[[str, CachedSymbolInfo | None], CachedSymbolInfo | None]
"""Finds the entry under a key, or else has the one that is known."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a lookup wants to know, and whom to ask."""

    symbol: str
    instrument: Instrument
    key: str
    wanted: tuple[str, ...]
    validate: Validate


class Known:
    """The entries of one provider: decoded in the near cache, the others in the storage behind it.

    Args:
        backend: The storage.
        provider: Whose entries.
        policy: How long answers live.
        clock: Seconds since the epoch.
        near: The near cache.
        storage_retry: How long a failed storage is left alone, in seconds.
    """

    def __init__(
        self,
        backend: StorageBackend,
        provider: str,
        policy: Policy,
        clock: Clock,
        *,
        near: NearCache,
        storage_retry: float,
    ) -> None:
        self.storage = ReliableStore(EntryStore(backend, key_prefix(provider)), policy, clock, storage_retry)
        self.near = near
        self.reach = self.storage.reach
        self._watch = Watch(backend, self.reach)
        self._provider = provider
        self._policy = policy
        self._clock = clock

    def near_hit(self, symbol: str, wanted: tuple[str, ...], now: float) -> CachedSymbolInfo | None:
        """The entry of a symbol, if the near cache has it and it answers without a look at the storage."""
        try:
            slot = self.near.slots.get(symbol)
        except Exception:  # noqa: BLE001  # not even something that a dict can have; whoever reads it next says so
            return None
        if slot is None or not slot.version.is_current():
            return None
        hit = since, until, _word, _number, info = slot.hit(wanted)
        if not since <= now < until:
            return None
        if info.validation_result.is_valid and not log.isEnabledFor(logging.INFO):
            # From now on nothing but the count has to be done for it.
            slot.hits[wanted] = hit
        return info

    def find(self, symbol: str, instrument: Instrument, key: str) -> CachedSymbolInfo | None:
        """The entry of a symbol, over or not; looks at the storage, and never fails.

        Args:
            symbol: As the caller wrote it.
            instrument: What it means.
            key: Its storage key.
        """
        # Before the storage is read: what is written meanwhile must not make an older entry pass for the present one.
        writes, version, now = self.near.writes, self._watch.version(), self._clock()
        slot = self.near.slots.get(symbol)
        if slot is not None and slot.is_trusted(now) and slot.version.generation == version.generation is not None:
            slot.version = version  # others may have looked at the storage, and nobody has written
            return slot.info
        info = self.stored(instrument, key)
        if info is not None and _stands_alone(instrument, info):
            self.near.keep(key, symbol, info, now=now, version=version, writes=writes)
        return info

    def stored(self, instrument: Instrument, key: str) -> CachedSymbolInfo | None:
        """The entry in the storage, or while that is out of reach the last one seen; never fails."""
        return self._judged(instrument, key, self.storage.read)

    def remembered(self, instrument: Instrument, key: str) -> CachedSymbolInfo | None:
        """The last entry seen, or the one that waits to be written; does not look at the storage."""
        return self._judged(instrument, key, self.storage.remembered)

    def read_ahead(self, symbols: Sequence[str]) -> None:
        """Bring what is stored of many symbols into the near cache."""
        if not self.near.size:
            return
        spellings: dict[str, str] = {}
        for symbol in symbols:
            with suppress(InvalidSymbolError):  # its own lookup says so
                check_text(symbol)
                if symbol not in self.near.slots:
                    spellings[Instrument.parse(symbol).key(self._provider)] = symbol
        if not spellings:
            return
        writes, version, now = self.near.writes, self._watch.version(), self._clock()
        for key, info in self.storage.find_many(list(spellings)).items():
            if info.validation_result.is_valid:
                self.near.keep(key, spellings[key], info, now=now, version=version, writes=writes)

    def keep(
        self, question: Question, merge: Merge, known: CachedSymbolInfo | None, done: Callable[[], None]
    ) -> CachedSymbolInfo:
        """Keep an answer, merged with what is there, now or as soon as the storage can; never fails.

        Args:
            question: What was asked.
            merge: Makes an entry of the answer and of what is there.
            known: What was found before, for when the storage is out of reach.
            done: Is called when it is stored.
        """
        return self._keep(question, merge, known, done, self._watch.version(), self.storage.keep)

    def keep_for_later(
        self, question: Question, merge: Merge, known: CachedSymbolInfo | None, done: Callable[[], None]
    ) -> CachedSymbolInfo:
        """The same as soon as the storage can; does not wait for it, and may be called while :meth:`keep` does."""
        return self._keep(question, merge, known, done, self._watch.last_version(), self.storage.keep_for_later)

    def merging(self, key: str, answer: ProviderAnswer, asked: Sequence[str]) -> Merge:
        """Make what makes an entry of an answer and of what is there; of an entry that it has made it makes no other.

        Args:
            key: Where the entry is.
            answer: What the provider has just said.
            asked: The timeframes that it was asked for.
        """
        now, policy = self._clock(), self._policy
        made: list[CachedSymbolInfo] = []

        def merge(old: CachedSymbolInfo | None) -> CachedSymbolInfo:
            if old is not None and made and any(old is info for info in made):
                return old
            made.append(merging.merge(old, answer, asked, key, now, policy))
            return made[-1]

        return merge

    def _keep(
        self,
        question: Question,
        merge: Merge,
        known: CachedSymbolInfo | None,
        done: Callable[[], None],
        version: Version,
        keep: Callable[[str, Merge, CachedSymbolInfo | None], CachedSymbolInfo],
    ) -> CachedSymbolInfo:
        key, writes = question.key, self.near.writes
        try:
            info = keep(key, merge, known)
        finally:
            try:
                self.near.forget(key)
            except BaseException:  # an interrupt
                self.near.forget(key)
                raise
            finally:
                done()
        if _stands_alone(question.instrument, info):
            # Even if it is not stored, as beside an entry of a newer schema; unless someone else has written, too.
            self.near.keep(key, question.symbol, info, now=self._clock(), version=version, writes=writes + 1)
        return info

    def store(self, key: str, answer: ProviderAnswer) -> CachedSymbolInfo:
        """Keep an answer, merged with what is there, now.

        Raises:
            BackendError: The storage did not take it.
        """
        self.near.forget(key)  # an interrupt may come before the second time
        try:
            return self.storage.change(key, self.merging(key, answer, ()))
        finally:
            try:
                self.near.forget(key)
            except BaseException:  # an interrupt
                self.near.forget(key)
                raise

    def delete(self, key: str) -> bool:
        """Drop an entry; tells whether it was there.

        Raises:
            BackendError: The storage did not do it.
        """
        self.near.forget(key)
        try:
            return self.storage.delete(key)
        finally:
            try:
                self.near.forget(key)
            except BaseException:  # an interrupt
                self.near.forget(key)
                raise

    def clear(self) -> int:
        """Drop every entry; tells how many there were.

        Raises:
            BackendError: The storage did not do it.
        """
        self.near.clear()
        try:
            return self.storage.clear()
        finally:
            try:
                self.near.clear()
            except BaseException:  # an interrupt
                self.near.clear()
                raise

    def spellings(self) -> Iterator[str]:
        """The canonical spelling of every symbol of which there is an entry."""
        for key in self.storage.keys():
            with suppress(ValueError):  # a key that someone else has put there
                yield str(Instrument.from_key(key))

    def _judged(self, instrument: Instrument, key: str, find: Find) -> CachedSymbolInfo | None:
        """What is found, unless it is a negative about an alias of what has been found valid since."""
        info = find(key, self.near.last(key))
        if info is None or _stands_alone(instrument, info):
            return info
        plain = find(instrument.unqualified().key(self._provider), None)
        return None if plain is not None and merging.overrules(plain, info, instrument) else info


def _stands_alone(instrument: Instrument, info: CachedSymbolInfo) -> bool:
    """Whether an entry is true on its own; what a qualified negative is worth depends on its plain symbol's."""
    return info.validation_result.is_valid or not instrument.is_qualified
