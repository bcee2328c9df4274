"""The seams: what a cache, a storage backend and a data provider are to each other.

A backend implements :class:`StorageBackend`, and as many of the small capability protocols below it as its storage
truly offers; the core looks for them once, on the backend's class, and works without any of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import ProviderError
from .models import CachedSymbolInfo, CacheStats, Lookup, ProviderAnswer, SymbolLookup, ValidationResult

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

Clock = Callable[[], float]
"""Tells the time in seconds since the epoch."""

FOREVER = 253402300799.0
"""What to give as ``keep_until`` of an entry that is never to be dropped: the last second of the year 9999."""


class VerdictLike(Protocol):
    """A verdict of another program's class, with the six fields of :class:`~symcache_core.models.ValidationResult`."""

    @property
    def is_valid(self) -> bool:
        """Whether there is such an instrument."""
        ...

    @property
    def symbol(self) -> str:
        """Which symbol it is about."""
        ...

    @property
    def error_message(self) -> str | None:
        """Why it is not valid."""
        ...

    @property
    def contract_info(self) -> object:
        """Which contract it is: a mapping, or an object with the fields that a contract has on the wire."""
        ...

    @property
    def head_timestamps(self) -> Mapping[str, Any] | None:
        """Timeframe to the time of its first bar; ``None`` says that there is no data."""
        ...

    @property
    def suggested_symbol(self) -> str | None:
        """What may have been meant."""
        ...


AnyAnswer = ValidationResult | ProviderAnswer | VerdictLike | Mapping[str, Any]
"""What a provider may answer: values of ours, or of a program that has its own."""

Validate = Callable[[str, Sequence[str]], Awaitable[AnyAnswer]]
"""Asks a provider about a symbol and timeframes."""


class SymbolCache(Protocol):
    """All that a data loader sees of the cache."""

    def get(self, symbol: str, timeframes: Iterable[str] = ()) -> CachedSymbolInfo | None:
        """The entry of a symbol if it is fresh and knows every given timeframe, else ``None``."""
        ...

    def peek(self, symbol: str) -> CachedSymbolInfo | None:
        """Whatever is known of a symbol, over or not; counts as no lookup."""
        ...

    def store(self, symbol: str, answer: AnyAnswer) -> CachedSymbolInfo:
        """Keep a provider's answer, merged with what is already known of other timeframes."""
        ...

    async def get_or_validate(self, symbol: str, timeframes: Iterable[str], validate: Validate) -> Lookup:
        """Answer from the cache, or ask the provider once, however many callers are waiting."""
        ...

    def forget(self, symbol: str) -> bool:
        """Drop one symbol; tells whether it was there."""
        ...

    def symbols(self) -> Iterator[str]:
        """The canonical spelling of every symbol of this provider, in no particular order."""
        ...

    def clear(self) -> int:
        """Drop every symbol of this provider; tells how many there were."""
        ...

    def get_stats(self) -> CacheStats:
        """What this cache has answered so far, and how many symbols it holds."""
        ...

    def close(self) -> None:
        """Let go of the storage; a second call does nothing."""
        ...

    async def aclose(self, drain: float = 0.0) -> None:
        """Wait up to ``drain`` seconds for background work of the running loop, then close."""
        ...


class BulkSymbolCache(SymbolCache, Protocol):
    """A symbol cache in which many symbols can be looked up at once."""

    def get_or_validate_many(
        self, symbols: Iterable[str], timeframes: Iterable[str], validate: Validate, *, concurrency: int
    ) -> AsyncGenerator[SymbolLookup, None]:
        """Give each symbol's answer, or error, as soon as it is there."""
        ...


class StorageBackend(Protocol):
    """Bytes under keys. It knows no clock, no policy, no provider and no codec; any thread may call it.

    Keys are any text without lone surrogates, compared character by character. The core's are no longer than 511 bytes
    of UTF-8; a longer one is stored just as well, or refused with a BackendError. An entry is one line of UTF-8 JSON,
    given back byte for byte; one of a megabyte has to fit, and what is longer is stored or refused likewise. Every
    error that comes out is one of :mod:`symcache_core.errors`.
    """

    def read(self, key: str) -> bytes | None:
        """The entry under a key."""
        ...

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key, in place of any other; returns once it survives ``kill -9``.

        Args:
            key: Where.
            entry: What.
            keep_until: Seconds since the epoch (UTC), by this machine's clock, until which the entry must be there;
                after that the backend may drop it, and need not.
        """
        ...

    def delete(self, key: str) -> bool:
        """Drop the entry under a key; tells whether there was one."""
        ...

    def keys(self) -> Iterator[str]:
        """Every key, once each, in any order; others may write meanwhile."""
        ...

    def clear(self) -> int:
        """Drop every entry; tells how many there were."""
        ...

    def close(self) -> None:
        """Let go of files and connections; a second call does nothing, any other call raises ClosedError."""
        ...


class Lease(Protocol):
    """The right to be the only one at work on a key."""

    def release(self) -> None:
        """Give it back, from any thread."""
        ...


@runtime_checkable
class CanLock(Protocol):
    """Storage that can tell everyone who shares it that a key is being worked on."""

    def try_lock(self, key: str) -> Lease | None:
        """Take a key's lease, or ``None`` at once if another thread, process or machine has it.

        A lease is freed when its holder dies.
        """
        ...


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Who has a lease, as far as a storage can tell.

    Args:
        mark: Differs from one holder to the next, and from one time that the same holder has it to the next time.
        who: The process or machine, and where its lease is, for a message.
    """

    mark: str
    who: str


@runtime_checkable
class CanTellHolder(CanLock, Protocol):
    """Storage that can tell one holder of a lease from the next one."""

    def lease_holder(self, key: str) -> LeaseHolder | None:
        """Who has a key's lease; ``None`` if nobody has, or it cannot be told."""
        ...


@runtime_checkable
class CanUpdate(Protocol):
    """Storage with an atomic read-modify-write."""

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it, with nobody in between.

        Args:
            key: Where.
            change: Gets the entry, or ``None``; gives ``(entry, keep_until)``, or ``None`` to leave it as it is. It
                may be called more than once and must not use the backend.
        """
        ...


@runtime_checkable
class CanBatch(Protocol):
    """Storage for which many keys cost little more than one."""

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The entries under those of the keys that have one."""
        ...

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write each ``key: (entry, keep_until)``."""
        ...


@runtime_checkable
class CanSeeOthers(Protocol):
    """Storage that can tell cheaply that someone else wrote to it."""

    def generation(self) -> int:
        """A number that differs from the last one if another process or object has written in between."""
        ...


@runtime_checkable
class CanBeWatched(CanSeeOthers, Protocol):
    """Storage whose writes show in this process's memory, so that a near-cache hit need not even make a call."""

    def word(self) -> Sequence[int] | None:
        """Something whose first number changes with every write, this object's own included.

        It may stop to change when the storage opens its files anew, which is why the core asks for it again from time
        to time. ``None`` means that only :meth:`generation` can tell.
        """
        ...


@runtime_checkable
class CanCompact(Protocol):
    """Storage that gathers waste and can be told to drop it."""

    def compact(self) -> None:
        """Drop what is expired or superseded."""
        ...


@runtime_checkable
class CanBeReadOnly(Protocol):
    """Storage that can be read although it takes no writes."""

    def read_only(self) -> str | None:
        """Why it takes no writes, as far as that is known without a look; ``None`` if it does take them."""
        ...


@runtime_checkable
class CanSize(Protocol):
    """Storage that knows how much room it takes."""

    def size(self) -> int:
        """Bytes on disk or in memory."""
        ...


class ExternalDataProvider(Protocol):
    """Where verdicts and bars come from; asynchronous, because it is slow."""

    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> AnyAnswer:
        """Ask whether a symbol is valid, which contract it is, and since when each timeframe has data.

        Raises:
            ProviderError: There is no verdict. An invalid symbol is a verdict, not an error.
        """
        ...

    async def fetch_historical_data(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, instrument_type: str | None = None
    ) -> pd.DataFrame:
        """Fetch the bars of one timeframe from ``start`` to ``end``, both included (UTC).

        A provider that has the bars of more than one session takes a keyword ``session`` as well: ``"regular"``,
        ``"extended"``, or ``None`` for those that are usual for the instrument. It is passed only when a caller asks
        for one, and what was asked for counts as given only if ``basis`` says so.

        Returns:
            A frame with a UTC index in rising order and the columns open, high, low, close, volume. In its ``attrs``
            the provider may say more, in values that JSON can carry:

            - ``contract``: a mapping that tells which contract these bars are of, such as ``{"conId": 265598}``.
            - ``basis``: a mapping of the fields of :class:`~symcache_core.models.Basis`.
            - ``older_host``: true where failure and emptiness are told apart badly, and a range may be rounded down.

        Raises:
            ProviderNoDataError: The provider says that there are none, which proves nothing.
            ProviderError: The bars could not be had.
        """
        ...


@runtime_checkable
class HasAsOf(Protocol):
    """A provider with a "now" of its own, such as one that replays history."""

    def as_of(self) -> datetime:
        """The provider's present (UTC); nothing later exists for it."""
        ...


@runtime_checkable
class CanClose(Protocol):
    """A provider that holds a connection or a process."""

    async def aclose(self) -> None:
        """Let go of it, on the event loop that used it."""
        ...


@runtime_checkable
class CanValidateMany(Protocol):
    """A provider for which many symbols cost little more than one."""

    async def validate_many(
        self, symbols: Sequence[str], timeframes: Sequence[str]
    ) -> Mapping[str, ProviderAnswer | ProviderError]:
        """Ask about many symbols.

        Returns:
            For each symbol, as it was asked, its answer, or the error that kept it from one.
        """
        ...
