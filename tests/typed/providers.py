"""A provider as its author writes it; mypy has to take what is right in it, and to refuse what is marked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import pandas as pd

from symcache_core import ExternalDataProvider, ProviderAnswer, ValidationResult
from symcache_core.errors import ProviderError, ProviderUnavailableError
from symcache_core.protocols import CanClose, CanValidateMany, HasAsOf
from symcache_core.providers import IbDataAdapter


class Archive:
    """All that a provider needs."""

    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> ValidationResult:
        return ValidationResult(is_valid=True, symbol=symbol)

    async def fetch_historical_data(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, instrument_type: str | None = None
    ) -> pd.DataFrame:
        return pd.DataFrame()


class LargeArchive(Archive):
    """All that a provider can do besides."""

    def as_of(self) -> datetime:
        return datetime.now(UTC)

    async def aclose(self) -> None: ...

    async def validate_many(
        self, symbols: Sequence[str], timeframes: Sequence[str]
    ) -> dict[str, ProviderAnswer | ProviderError]:
        return {symbol: ProviderUnavailableError("closed for today", retry_after=60.0) for symbol in symbols}


def what_the_loader_sees(archive: Archive, large: LargeArchive, adapter: IbDataAdapter) -> None:
    providers: Sequence[ExternalDataProvider] = [archive, large, adapter]
    dated: Sequence[HasAsOf] = [large, adapter]
    closing: Sequence[CanClose] = [large, adapter]
    asked: Sequence[CanValidateMany] = [large, adapter]
    print(providers, dated, closing, asked)


class Blocking(Archive):
    def validate_and_get_metadata(  # type: ignore[override]  # a provider is asynchronous
        self, symbol: str, timeframes: Sequence[str]
    ) -> ValidationResult:
        return ValidationResult(is_valid=False, symbol=symbol)


class Verdicts(Protocol):
    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> ValidationResult: ...


class Short(Protocol):
    async def validate_many(self, symbols: Sequence[str]) -> Mapping[str, ProviderAnswer]: ...


def what_is_refused(verdicts: Verdicts, archive: Archive, short: Short) -> None:
    a_provider: ExternalDataProvider = verdicts  # type: ignore[assignment]  # it has no bars
    a_present: HasAsOf = archive  # type: ignore[assignment]  # its present is everyone's
    many: CanValidateMany = short  # type: ignore[assignment]  # it does not hear of timeframes
    ProviderAnswer(True)  # type: ignore[arg-type]  # an answer has a verdict
    print(a_provider, a_present, many)
