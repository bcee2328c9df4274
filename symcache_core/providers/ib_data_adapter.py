"""The data provider that asks a host service, one that runs already or one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from ..errors import ProviderError
from ..models import ProviderAnswer
from ..settings import EMBEDDED, SymcacheSettings
from .embedded import EmbeddedHost
from .host_client import HostClient
from .wire import as_utc, read_answer, read_answers, read_bars

if TYPE_CHECKING:
    import pandas as pd

REPLAY = "replay"
REPLAY_ENDS = date(2013, 3, 1)

LARGEST_BATCH = 500
"""How many symbols a host service takes at once."""

AT_ONCE = 8
"""How many requests are under way to a host service that takes one symbol at a time."""

NOT_OFFERED = ("404", "405")
REFUSED = "422"


class IbDataAdapter:
    """An :class:`~symcache_core.protocols.ExternalDataProvider` over a host service's HTTP interface.

    Nothing is connected or started before the first question.

    Args:
        url: The host service's base URL, or a host to start when it is first needed.
        provider: Whose answers are wanted; an answer from another gateway is an error.
        token: The bearer token of a host service that asks for one.
        timeout: Seconds that one request may take.
        as_of: The provider's present (UTC), when it is not the wall clock's; ``replay`` has one of its own.

    Raises:
        ConfigurationError: The URL or the token cannot be used.
    """

    def __init__(
        self,
        url: str | EmbeddedHost,
        *,
        provider: str = "ib",
        token: SecretStr | None = None,
        timeout: float = 60.0,
        as_of: datetime | None = None,
    ) -> None:
        self._client = HostClient(url, token=token, timeout=timeout)
        self._provider = provider
        self._takes_batches = True
        self._as_of = as_of or (datetime.combine(REPLAY_ENDS, time.max, UTC) if provider == REPLAY else None)

    @classmethod
    def from_settings(cls, settings: SymcacheSettings) -> Self:
        """The adapter that the settings describe."""
        host: str | EmbeddedHost = settings.host_service_url
        if host == EMBEDDED:
            host = EmbeddedHost(
                gateway=settings.provider, data_dir=settings.data_dir, as_of=REPLAY_ENDS, token=settings.host_token
            )
        return cls(host, provider=settings.provider, token=settings.host_token, timeout=settings.timeout)

    def as_of(self) -> datetime:
        """The provider's present (UTC), known without asking it."""
        return self._as_of or datetime.now(UTC)

    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
        """Ask whether a symbol is valid, which contract it is, and since when each timeframe has data.

        Raises:
            ProviderError: There is no verdict; the kind of error says why.
        """
        content, url = await self._client.post(
            "/data/validate", {"symbol": symbol, "timeframes": list(timeframes) or None}
        )
        return read_answer(content, symbol=symbol, provider=self._provider, url=url)

    async def validate_many(
        self, symbols: Sequence[str], timeframes: Sequence[str]
    ) -> Mapping[str, ProviderAnswer | ProviderError]:
        """Ask the same about many symbols, in batches; one by one where the host is too old to take any.

        Returns:
            For each symbol, what :meth:`validate_and_get_metadata` would have given or raised.
        """
        answers: dict[str, ProviderAnswer | ProviderError] = {}
        for start in range(0, len(symbols), LARGEST_BATCH):
            some = list(dict.fromkeys(symbols[start : start + LARGEST_BATCH]))
            ask = self._validate_batch if self._takes_batches else self._validate_each
            answers |= await ask(some, timeframes)
        return answers

    async def _validate_batch(
        self, symbols: Sequence[str], timeframes: Sequence[str]
    ) -> dict[str, ProviderAnswer | ProviderError]:
        try:
            content, url = await self._client.post(
                "/data/validate-batch", {"symbols": symbols, "timeframes": list(timeframes) or None}
            )
        except ProviderError as error:
            if error.code in NOT_OFFERED:
                self._takes_batches = False
            elif error.code != REFUSED:  # perhaps for the sake of one symbol
                return dict.fromkeys(symbols, error)
            return await self._validate_each(symbols, timeframes)
        try:
            return read_answers(content, symbols=symbols, provider=self._provider, url=url)
        except ProviderError as error:
            return dict.fromkeys(symbols, error)

    async def _validate_each(
        self, symbols: Sequence[str], timeframes: Sequence[str]
    ) -> dict[str, ProviderAnswer | ProviderError]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(symbol: str) -> ProviderAnswer | ProviderError:
            async with slots:
                try:
                    return await self.validate_and_get_metadata(symbol, timeframes)
                except ProviderError as error:
                    return error

        return dict(zip(symbols, await asyncio.gather(*map(ask, symbols)), strict=True))

    async def fetch_historical_data(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, instrument_type: str | None = None
    ) -> pd.DataFrame:
        """Fetch the bars of one timeframe from ``start`` to ``end``, both included; a naive time is UTC.

        Returns:
            A frame with a UTC index named ``timestamp`` in rising order and float64 columns open, high, low, close,
            volume; ``attrs["provider"]`` says whose bars they are.

        Raises:
            ProviderError: The bars could not be had; the kind of error says why.
        """
        start, end = as_utc(start), as_utc(end)
        question = {
            "symbol": symbol,
            "timeframe": timeframe,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "instrument_type": instrument_type,
        }
        content, url = await self._client.post("/data/historical", question)
        return read_bars(content, start=start, end=end, provider=self._provider, url=url)

    async def aclose(self) -> None:
        """Close the connections of the running loop, and end the host if it was started here."""
        await self._client.aclose()
