"""The door to the loader: blocking and asynchronous calls over parts that open when they are first needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pandas as pd

from ..errors import ClosedError
from ..factory import open_symbol_cache
from ..models import Lookup
from ..protocols import CanClose, Clock, ExternalDataProvider, HasAsOf, SymbolCache
from ..providers import IbDataAdapter
from ..settings import SymcacheSettings
from .bar_store import BarStore
from .cancellation import Cancellable
from .loop_thread import LoopThread
from .orchestrator import DataLoadingOrchestrator
from .progress import ProgressCallback
from .ranges import DateLike, Mode


class DataManager:
    """Loads bars and looks symbols up, from any thread, with or without a running event loop.

    Making one costs next to nothing: the cache and the provider open with the first call that needs them, and run on
    an event loop that the manager owns. It closes what it opened; what was passed in belongs to its caller.

    Args:
        settings: What to open; read from the configuration when left out.
        symbol_cache: To use in place of the one that the settings name.
        external_provider: To use in place of the one that the settings name.
        clock: Tells the time in seconds since the epoch.
    """

    def __init__(
        self,
        settings: SymcacheSettings | None = None,
        *,
        symbol_cache: SymbolCache | None = None,
        external_provider: ExternalDataProvider | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._settings = SymcacheSettings() if settings is None else settings
        self._clock = clock
        self._symbol_cache = symbol_cache
        self._external_provider = external_provider
        self._bar_store = BarStore(self._settings.data_dir / "bars", self._settings.provider)
        self._opened: list[SymbolCache | ExternalDataProvider] = []
        self._loop = LoopThread("symcache-loader")
        self._lock = threading.Lock()
        self._closed = False

    def load(
        self,
        symbol: str,
        timeframe: str = "1d",
        start_date: DateLike | None = None,
        end_date: DateLike | None = None,
        *,
        mode: Mode = "tail",
        cancellation_token: Cancellable | None = None,
        progress: ProgressCallback | None = None,
    ) -> pd.DataFrame:
        """Load the bars of a symbol; blocks, and works inside a running event loop too.

        See :meth:`DataLoadingOrchestrator.load_with_fallback` for what comes back and what can go wrong.

        Args:
            symbol: As people write it.
            timeframe: The length of a bar.
            start_date: Where to start, in place of what the mode says.
            end_date: Where to end, included, in place of what the mode says.
            mode: ``tail`` looks for bars after the local ones, ``backfill`` before them, ``full`` everywhere.
            cancellation_token: Anything with ``cancelled()``; ends the load within 100 ms.
            progress: Is called after the lookup and after each request for bars, on the manager's thread.

        Raises:
            ClosedError: The manager is closed.
        """
        orchestrator = self._orchestrator()
        return self._loop.run(
            orchestrator.load_with_fallback(symbol, timeframe, start_date, end_date, mode, cancellation_token, progress)
        )

    async def aload(
        self,
        symbol: str,
        timeframe: str = "1d",
        start_date: DateLike | None = None,
        end_date: DateLike | None = None,
        *,
        mode: Mode = "tail",
        cancellation_token: Cancellable | None = None,
        progress: ProgressCallback | None = None,
    ) -> pd.DataFrame:
        """Load like :meth:`load`, awaitable on any event loop; cancelling the await cancels the load."""
        orchestrator = self._orchestrator()
        return await self._loop.arun(
            orchestrator.load_with_fallback(symbol, timeframe, start_date, end_date, mode, cancellation_token, progress)
        )

    def validate(self, symbol: str, timeframes: Sequence[str] = ()) -> Lookup:
        """Look a symbol up, asking the provider only for what the cache does not know.

        Args:
            symbol: As people write it.
            timeframes: Those whose head timestamp is wanted too.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
            ProviderError: The provider gave no verdict and the cache has none. An invalid symbol is a verdict.
        """
        cache, provider = self.symbol_cache, self.external_provider
        return self._loop.run(_look_up(cache, provider, symbol, timeframes))

    async def avalidate(self, symbol: str, timeframes: Sequence[str] = ()) -> Lookup:
        """Look a symbol up like :meth:`validate`, awaitable on any event loop."""
        cache, provider = self.symbol_cache, self.external_provider
        return await self._loop.arun(_look_up(cache, provider, symbol, timeframes))

    def clear_symbol_cache(self, symbol: str | None = None) -> int:
        """Forget one symbol, or all of this provider; tells how many were known. Bars stay."""
        return self.symbol_cache.clear() if symbol is None else int(self.symbol_cache.forget(symbol))

    def get_symbol_cache_stats(self) -> dict[str, Any]:
        """What the symbol cache has answered so far, as plain JSON values."""
        return self.symbol_cache.get_stats().model_dump(mode="json")

    @property
    def symbol_cache(self) -> SymbolCache:
        """The cache that answers lookups; opened here if need be."""
        with self._lock:
            self._check_open()
            if self._symbol_cache is None:
                self._symbol_cache = open_symbol_cache(self._settings, clock=self._clock)
                self._opened.append(self._symbol_cache)
            return self._symbol_cache

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
            if self._opened:
                self._loop.run(self._close_opened())
        finally:
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this DataManager is closed")

    def _orchestrator(self) -> DataLoadingOrchestrator:
        return DataLoadingOrchestrator(self.symbol_cache, self.external_provider, self._bar_store, self._now)

    def _now(self) -> datetime:
        provider = self.external_provider
        return provider.as_of() if isinstance(provider, HasAsOf) else datetime.fromtimestamp(self._clock(), UTC)

    async def _close_opened(self) -> None:
        # The cache first, which is the last one in: work that it has in the background still uses the provider.
        async with AsyncExitStack() as parts:
            for part in sorted(self._opened, key=lambda part: part is self._symbol_cache):
                if isinstance(part, CanClose):
                    parts.push_async_callback(part.aclose)


async def _look_up(
    cache: SymbolCache, provider: ExternalDataProvider, symbol: str, timeframes: Sequence[str]
) -> Lookup:
    return await cache.get_or_validate(symbol, timeframes, provider.validate_and_get_metadata)
