"""The door to the loader: blocking and asynchronous calls over parts that open when they are first needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from ..clocks import checked
from ..concurrency.once import Once
from ..concurrency.workers import WorkerThreads, in_a_thread
from ..errors import ClosedError, ConfigurationError
from ..factory import open_symbol_cache
from ..messages import warn_unclosed
from ..models import Lookup
from ..paths import absolute_setting
from ..protocols import CanClose, Clock, ExternalDataProvider, HasAsOf, SymbolCache
from ..providers import IbDataAdapter
from ..settings import PROVIDER_NAME, SymcacheSettings
from ..symbols import Instrument
from .bars.listing import KeptSeries, drop_series, kept_series
from .bars.store import BarStore
from .cancellation import Cancellable
from .loop_thread import LoopThread
from .many import SYMBOLS_AT_ONCE, Loaded, LoadedMany, load_each, load_many
from .orchestrator import DataLoadingOrchestrator
from .plan.ranges import DateLike, Mode, Session
from .report import ProgressCallback
from .signatures import takes_arguments_of


class DataManager(AbstractContextManager["DataManager"]):
    """Loads bars and looks symbols up, from any thread, with or without a running event loop.

    Making one costs next to nothing: the cache and the provider open with the first call that needs them, and run on
    an event loop that the manager owns. It closes what it opened; what was passed in belongs to its caller.

    Args:
        settings: What to open; read from the configuration when left out.
        symbol_cache: To use in place of the one that the settings name.
        external_provider: To use in place of the one that the settings name. What it says is kept under its name: its
            attribute ``provider``, or the setting of that name.
        clock: Tells the time in seconds since the epoch.

    Raises:
        ConfigurationError: The external provider does not say its name, or another one than the settings.
    """

    _closed = True  # until it is open

    def __init__(
        self,
        settings: SymcacheSettings | None = None,
        *,
        symbol_cache: SymbolCache | None = None,
        external_provider: ExternalDataProvider | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._settings = _named(SymcacheSettings() if settings is None else settings, external_provider)
        self._clock = checked(clock)
        self._symbol_cache = symbol_cache
        self._opening = Once(self._open_cache, "the symbol cache")
        self._external_provider = external_provider
        self._bar_store = BarStore(
            _folder_of_bars(self._settings), self._settings.provider, self._settings.lock_timeout
        )
        self._opened: list[SymbolCache | ExternalDataProvider] = []
        self._loop = LoopThread("symcache-loader")
        self._threads = WorkerThreads("symcache-loading")
        self._lock = threading.Lock()
        self._closed = False

    @takes_arguments_of(DataLoadingOrchestrator.load_with_fallback)
    def load(self, *args: Any, **options: Any) -> pd.DataFrame:  # noqa: D417  # its arguments are those it shows
        """Load the bars of a symbol; blocks, and works inside a running event loop too.

        See :meth:`DataLoadingOrchestrator.load_with_fallback` for what comes back and what can go wrong.

        Args:
            symbol: As people write it.
            timeframe: The length of a bar: 1m, 5m, 15m, 30m, 1h, 2h, 3h, 4h, 1d, 1w or 1M.
            start_date: Where to start, in place of what the mode says.
            end_date: Where to end, included, in place of what the mode says.
            mode: ``tail`` looks for bars after the local ones, ``backfill`` before them, ``full`` everywhere, ``local``
                nowhere.
            cancellation_token: Anything with ``cancelled()``; ends the load within 100 ms.
            progress: Is called when the bars at hand are known, and after each request for others, on
                the manager's thread.
            session: ``regular`` or ``extended`` hours; those that the provider usually gives when left out.
            refresh: Whether bars at hand are asked for again and compared, too.
            series: The id of a series, as a report has it, in place of a symbol; nobody is asked for anything.

        Raises:
            ClosedError: The manager is closed.
        """
        self._check_open()
        return self._loop.run(self._load(*args, **options))

    @takes_arguments_of(DataLoadingOrchestrator.load_with_fallback)
    async def aload(self, *args: Any, **options: Any) -> pd.DataFrame:
        """Load like :meth:`load`, awaitable on any event loop; cancelling the await cancels the load."""
        self._check_open()
        return await self._loop.arun(self._load(*args, **options))

    def load_many(
        self,
        symbols: Iterable[str],
        timeframe: str = "1d",
        start_date: DateLike | None = None,
        end_date: DateLike | None = None,
        *,
        mode: Mode = "tail",
        concurrency: int = SYMBOLS_AT_ONCE,
        cancellation_token: Cancellable | None = None,
        progress: ProgressCallback | None = None,
        session: Session | None = None,
        refresh: bool = False,
    ) -> LoadedMany:
        """Load many symbols, several at a time, with one report at the end; one that fails hurts no other.

        Args:
            symbols: As people write them.
            timeframe: As for :meth:`load`, like all that is not named here.
            start_date: Of all of them.
            end_date: Of all of them.
            mode: Of all of them.
            concurrency: How many are loaded at the same time.
            cancellation_token: Ends all of it.
            progress: Is told of each step of each symbol.
            session: Of all of them.
            refresh: Whether bars at hand are asked for again and compared, too.

        Raises:
            ConfigurationError: The timeframe, the mode or a date is not usable.
            LoadCancelledError: The token was cancelled; what was fetched by then is saved.
            ClosedError: The manager is closed.
        """
        load = self._loads(
            timeframe, start_date, end_date, mode, cancellation_token, progress, session=session, refresh=refresh
        )
        return self._loop.run(load_many(list(symbols), load, concurrency))

    @takes_arguments_of(load_many)
    async def aload_many(
        self, symbols: Iterable[str], *args: Any, concurrency: int = SYMBOLS_AT_ONCE, **options: Any
    ) -> LoadedMany:
        """Load many like :meth:`load_many`, awaitable on any event loop; cancelling the await cancels all of it."""
        return await self._loop.arun(load_many(list(symbols), self._loads(*args, **options), concurrency))

    @takes_arguments_of(load_many)
    def load_each(
        self, symbols: Iterable[str], *args: Any, concurrency: int = SYMBOLS_AT_ONCE, **options: Any
    ) -> Generator[Loaded, None, None]:
        """Load many like :meth:`load_many`, and give each as soon as it is there, for more than fit into memory.

        Closing the iterator cancels what is under way. The symbols are taken as they are needed, in other threads.
        """
        return self._loop.iterate(load_each(symbols, self._loads(*args, **options), concurrency))

    def validate(self, symbol: str, timeframes: Sequence[str] = ()) -> Lookup:
        """Look a symbol up, asking the provider only for what the cache does not know.

        Args:
            symbol: As people write it.
            timeframes: Those whose head timestamp is wanted too.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
            ProviderError: The provider gave no verdict and the cache has none. An invalid symbol is a verdict.
        """
        self._check_open()
        return self._loop.run(self._look_up(symbol, timeframes))

    async def avalidate(self, symbol: str, timeframes: Sequence[str] = ()) -> Lookup:
        """Look a symbol up like :meth:`validate`, awaitable on any event loop."""
        self._check_open()
        return await self._loop.arun(self._look_up(symbol, timeframes))

    def series(self, symbol: str | None = None) -> list[KeptSeries]:
        """What is kept of bars, series by series, with the generations that were replaced; nobody is asked.

        Args:
            symbol: Only the series that have borne this one.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
            BackendUnavailableError: The files cannot be read.
        """
        self._check_open()
        name = None if symbol is None else str(Instrument.parse(symbol))
        return list(kept_series(self._bar_store, name))

    def drop_series(self, series: str, *, dry_run: bool = False) -> list[KeptSeries]:
        """Remove what is kept of a series; gives what that was, which is nothing if it is not known.

        Args:
            series: Its id, as a report has it. With the number of a generation, that alone is removed.
            dry_run: Only tell what would be removed.

        Raises:
            ConfigurationError: It is another provider's.
            BackendUnavailableError: It cannot be removed, or is being loaded at this moment.
        """
        self._check_open()
        return drop_series(self._bar_store, series, dry_run=dry_run)

    def clear_symbol_cache(self, symbol: str | None = None) -> int:
        """Forget one symbol, or all of this provider; tells how many were known. Bars stay."""
        return self.symbol_cache.clear() if symbol is None else int(self.symbol_cache.forget(symbol))

    def get_symbol_cache_stats(self) -> dict[str, Any]:
        """What the symbol cache has answered so far, as plain JSON values."""
        return self.symbol_cache.get_stats().model_dump(mode="json")

    @property
    def symbol_cache(self) -> SymbolCache:
        """The cache that answers lookups; opened here if need be."""
        self._check_open()
        return self._opening.get() if self._symbol_cache is None else self._symbol_cache

    @property
    def external_provider(self) -> ExternalDataProvider:
        """Who is asked for what is not at hand; made here if need be, and not contacted."""
        with self._lock:
            self._check_open()
            if self._external_provider is None:
                self._external_provider = IbDataAdapter.from_settings(self._settings)
                self._opened.append(self._external_provider)
            return self._external_provider

    def close(self) -> None:
        """Stop what is running and let go of what was opened; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._loop.cancel_all()
        finally:
            try:
                if self._opened:
                    with suppress(ClosedError):  # in a forked child: all of it is the parent's
                        self._loop.run(self._close_opened())
            finally:
                self._loop.close()
                self._threads.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and self._loop.is_running:
            warn_unclosed(self, "DataManager")

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this DataManager is closed")

    def _loads(self, *args: Any, **options: Any) -> Callable[[str], Coroutine[Any, Any, pd.DataFrame]]:
        self._check_open()
        return lambda symbol: self._load(symbol, *args, **options)

    async def _load(self, *args: Any, **options: Any) -> pd.DataFrame:
        cache, provider = await self._parts()
        orchestrator = DataLoadingOrchestrator(
            cache,
            provider,
            self._bar_store,
            self._now,
            clock=self._clock,
            timeout=self._settings.timeout,
            threads=self._threads,
        )
        return await orchestrator.load_with_fallback(*args, **options)

    async def _look_up(self, symbol: str, timeframes: Sequence[str]) -> Lookup:
        cache, provider = await self._parts()
        return await cache.get_or_validate(symbol, timeframes, provider.validate_and_get_metadata)

    async def _parts(self) -> tuple[SymbolCache, ExternalDataProvider]:
        if self._symbol_cache is None:  # opening a storage may take its time
            await in_a_thread(lambda: self.symbol_cache)
        return self.symbol_cache, self.external_provider

    def _open_cache(self) -> SymbolCache:
        cache = open_symbol_cache(self._settings, clock=self._clock)
        with self._lock:
            if not self._closed:
                self._symbol_cache = cache
                self._opened.append(cache)
                return cache
        cache.close()
        raise ClosedError("this DataManager was closed meanwhile")

    def _now(self) -> datetime:
        provider = self.external_provider
        return provider.as_of() if isinstance(provider, HasAsOf) else datetime.fromtimestamp(self._clock(), UTC)

    async def _close_opened(self) -> None:
        # The cache first, which is the last one in: work that it has in the background still uses the provider.
        async with AsyncExitStack() as parts:
            for part in sorted(self._opened, key=lambda part: part is self._symbol_cache):
                if isinstance(part, CanClose):
                    parts.push_async_callback(part.aclose)


def _folder_of_bars(settings: SymcacheSettings) -> Path:
    return absolute_setting("data_dir", settings.data_dir, settings.base_dir) / "bars"


def _named(settings: SymcacheSettings, provider: ExternalDataProvider | None) -> SymcacheSettings:
    """The settings, with the name of a provider that was handed in: what it says never passes for another's."""
    if provider is None:
        return settings
    name = getattr(provider, "provider", None)
    chosen = settings.provider if "provider" in settings.model_fields_set else None
    if name is None and chosen is None:
        raise ConfigurationError(
            f"external_provider {type(provider).__name__} does not say whose answers it gives: give it an attribute "
            "`provider` with a name, or set it as SymcacheSettings(provider=...)"
        )
    if name is not None and chosen is not None and name != chosen:
        raise ConfigurationError(
            f"external_provider {type(provider).__name__} says that its answers are those of {name!r}, and the setting "
            f"'provider' is {chosen!r}: leave one of them out"
        )
    if name is None:
        return settings
    if not (isinstance(name, str) and PROVIDER_NAME.fullmatch(name)):
        raise ConfigurationError(
            f"external_provider {type(provider).__name__}: its attribute `provider` is {name!r}; a name has small "
            "letters, digits, - and _"
        )
    return settings.model_copy(update={"provider": name})
