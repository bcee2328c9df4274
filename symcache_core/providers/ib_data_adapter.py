"""The data provider that asks a host service, one that runs already or one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import SecretStr

from ..errors import InvalidSymbolError, ProviderError, ProviderNoDataError, RefusedSymbolError
from ..messages import shown
from ..models import REPLAY, ProviderAnswer
from ..moments import as_utc
from ..settings import EMBEDDED, SymcacheSettings
from ..symbols import Instrument, check_text
from .deadline import Deadline
from .embedded import EmbeddedHost
from .host_client import HostClient
from .retrying import Sleep, ask_again
from .wire import OlderHostFailure, before_rounding, is_of_older_host, read_answer, read_answers, read_bars

if TYPE_CHECKING:
    import pandas as pd

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
        timeout: Seconds until a question is given up, all attempts together; the host is told how many are left.
        as_of: The provider's present (UTC), when it is not the wall clock's; ``replay`` has one of its own.
        sleep: Waits for a number of seconds, between one attempt and the next.

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
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = HostClient(url, token=token)
        self._timeout = timeout
        self._sleep = sleep
        self._provider = provider
        self._takes_batches = True
        self._rounds_down = False
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

    @property
    def provider(self) -> str:
        """Whose answers these are."""
        return self._provider

    def as_of(self) -> datetime:
        """The provider's present (UTC), known without asking it."""
        return self._as_of or datetime.now(UTC)

    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
        """Ask whether a symbol is valid, which contract it is, and since when each timeframe has data.

        Raises:
            InvalidSymbolError: It cannot be sent: it is no text, or one that no host takes.
            ProviderError: There is no verdict, asked once or as often as it made sense; the kind of error says why.
        """
        _check(symbol)
        return await self._validate(symbol, timeframes, Deadline(self._timeout), urgent=True)

    async def validate_many(
        self, symbols: Sequence[str], timeframes: Sequence[str]
    ) -> Mapping[str, ProviderAnswer | ProviderError]:
        """Ask the same about many symbols, in batches; one by one where the host is too old to take any.

        Returns:
            For each symbol, what :meth:`validate_and_get_metadata` would have given or raised; a failure of one symbol
            among others is not asked about again. What is not answered within the one timeout of all is a
            :class:`~symcache_core.errors.ProviderTimeoutError`.
        """
        deadline = Deadline(self._timeout)
        answers: dict[str, ProviderAnswer | ProviderError] = {}
        good = list[str]()
        for symbol in symbols:
            try:
                _check(symbol)
                good.append(symbol)
            except InvalidSymbolError as error:
                answers[shown(symbol)] = RefusedSymbolError(str(error))
        for start in range(0, len(good), LARGEST_BATCH):
            some = list(dict.fromkeys(good[start : start + LARGEST_BATCH]))
            ask = self._validate_batch if self._takes_batches else self._validate_each
            answers |= await ask(some, timeframes, deadline)
        return answers

    async def _validate(
        self, symbol: str, timeframes: Sequence[str], deadline: Deadline, *, urgent: bool
    ) -> ProviderAnswer:
        question = {"symbol": symbol, "timeframes": list(timeframes) or None}

        async def ask() -> ProviderAnswer:
            content, url = await self._client.post("/data/validate", question, deadline, urgent=urgent)
            answer = read_answer(content, symbol=symbol, provider=self._provider, url=url)
            self._rounds_down = is_of_older_host(answer)
            return answer

        return await ask_again(ask, deadline, self._sleep)

    async def _validate_batch(
        self, symbols: Sequence[str], timeframes: Sequence[str], deadline: Deadline
    ) -> dict[str, ProviderAnswer | ProviderError]:
        question = {"symbols": symbols, "timeframes": list(timeframes) or None}

        async def ask() -> dict[str, ProviderAnswer | ProviderError]:
            try:
                content, url = await self._client.post("/data/validate-batch", question, deadline, urgent=False)
            except ProviderError as error:
                if error.code in NOT_OFFERED:
                    self._takes_batches = False
                elif error.code != REFUSED:  # perhaps for the sake of one symbol
                    raise
                return await self._validate_each(symbols, timeframes, deadline)
            return read_answers(content, symbols=symbols, provider=self._provider, url=url)

        try:
            return await ask_again(ask, deadline, self._sleep)
        except ProviderError as error:
            return dict.fromkeys(symbols, error)

    async def _validate_each(
        self, symbols: Sequence[str], timeframes: Sequence[str], deadline: Deadline
    ) -> dict[str, ProviderAnswer | ProviderError]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(symbol: str) -> ProviderAnswer | ProviderError:
            async with slots:
                try:
                    return await self._validate(symbol, timeframes, deadline, urgent=False)
                except ProviderError as error:
                    return error

        return dict(zip(symbols, await asyncio.gather(*map(ask, symbols)), strict=True))

    async def fetch_historical_data(
        self,
        symbol: str,
        timeframe: str,
        start: datetime,
        end: datetime,
        instrument_type: str | None = None,
        *,
        session: Literal["regular", "extended"] | None = None,
    ) -> pd.DataFrame:
        """Fetch the bars of one timeframe from ``start`` to ``end``, both included; a naive time is UTC.

        They are asked for once: whoever loads many ranges knows better what to ask for again. Only a host that turns
        out to be an older one is asked once more, because it rounds a range down, which was not allowed for then.

        Args:
            symbol: Which instrument.
            timeframe: The length of a bar.
            start: When the first bar may begin.
            end: When the last bar may begin.
            instrument_type: Passed on; the symbol itself says it.
            session: The hours that the bars are to be of; those usual for the instrument when left out.

        Returns:
            A frame with a UTC index named ``timestamp`` in rising order and float64 columns open, high, low, close,
            volume. Its ``attrs`` say whose bars they are (``provider``), and, as far as the host does, of which
            ``contract``, on which ``basis``, and that it is an ``older_host``, which hears of no session.

        Raises:
            InvalidSymbolError: It cannot be sent: it is no text, or one that no host takes.
            ProviderNoDataError: An older host says that there are none, or that it got none.
            ProviderError: The bars could not be had; the kind of error says why.
        """
        _check(symbol)
        start, end = as_utc(start), as_utc(end)
        question: dict[str, Any] = {"symbol": symbol, "timeframe": timeframe, "instrument_type": instrument_type}
        if session is not None:
            question["session"] = session
        deadline = Deadline(self._timeout)
        is_allowed_for = self._rounds_down
        frame = await self._bars(question, start, end, deadline)
        if frame.attrs.get("older_host") and not is_allowed_for:
            frame = await self._bars(question, start, end, deadline)
        return frame

    async def _bars(self, question: dict[str, Any], start: datetime, end: datetime, deadline: Deadline) -> pd.DataFrame:
        begin = before_rounding(start, end) if self._rounds_down else start
        question = question | {"start": begin.isoformat(), "end": end.isoformat()}
        content, url = await self._client.post("/data/historical", question, deadline)
        url = f"{url}, asked for bars of {question['timeframe']},"
        try:
            frame = read_bars(content, start=start, end=end, provider=self._provider, url=url)
        except (OlderHostFailure, ProviderNoDataError):
            self._rounds_down = True
            raise
        self._rounds_down = "older_host" in frame.attrs
        return frame

    async def aclose(self) -> None:
        """Close the connections of the running loop, and end the host if it was started here."""
        await self._client.aclose()


def _check(symbol: str) -> None:
    check_text(symbol)
    if symbol:  # what to make of no symbol at all is for the host to say
        Instrument.parse(symbol)
