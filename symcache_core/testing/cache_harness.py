"""What each test of a symbol cache has at hand: a clock to move, a provider that counts, a cache over the backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..factory import open_symbol_cache
from ..lookup.cache import PolicyCache
from ..models import ContractInfo, Lookup, ValidationResult
from ..settings import SymcacheSettings
from .contract import Contract
from .harness import plain

DAY = 86400.0
HEAD = "1980-12-12T14:30:00+00:00"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; a negative amount sets the clock back."""
        self.now += seconds


class Provider:
    """A data provider that knows every symbol but those that begin with ``NO``, and counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.cancelled = 0

    async def validate(self, symbol: str, timeframes: Sequence[str]) -> ValidationResult:
        """Answer, or raise ``error``, once ``gate`` is open."""
        self.calls.append((symbol, tuple(timeframes)))
        try:
            await (asyncio.sleep(0.01) if self.gate is None else self.gate.wait())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return verdict(symbol, *timeframes)


def verdict(symbol: str, *timeframes: str) -> ValidationResult:
    """The answer of the test provider."""
    if symbol.startswith("NO"):
        return ValidationResult(is_valid=False, symbol=symbol, error_message=f"{symbol}: no such symbol")
    contract = ContractInfo(symbol=symbol, asset_type="STK", exchange="SMART", currency="USD")
    heads = {timeframe: None if timeframe == "1w" else HEAD for timeframe in timeframes}
    return ValidationResult(is_valid=True, symbol=symbol, contract_info=contract, head_timestamps=heads)


class CacheHarness(Contract):
    """A cache over the backend under test, its clock, and its provider."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The cache's clock."""
        return Clock()

    @pytest.fixture
    def provider(self) -> Provider:
        """Who is asked."""
        return Provider()

    @pytest.fixture
    def cache(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> PolicyCache:
        """An empty cache for provider ``ib``."""
        return self.open_cache(tmp_path / "store", clock, opened)

    def open_cache(self, folder: Path, clock: Clock, opened: ExitStack, **settings: Any) -> PolicyCache:
        """A cache over the store of a folder."""
        folder.mkdir(exist_ok=True)
        given = {"provider": "ib", **settings}
        options = {self.backend: plain(self.settings(folder))}
        cache = open_symbol_cache(
            SymcacheSettings(backend=self.backend, backends=options, plugins=self.plugins, data_dir=folder, **given),
            clock=clock,
        )
        opened.callback(cache.close)
        return cache


def ask(cache: PolicyCache, provider: Provider, symbol: str, *timeframes: str) -> Lookup:
    """What a lookup of a symbol gives."""
    return asyncio.run(cache.get_or_validate(symbol, timeframes, provider.validate))
