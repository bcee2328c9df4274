"""A symbol cache as its user sees it; mypy has to take what is right in it, and to refuse what is marked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import assert_never, assert_type

from symcache_core import (
    CachedSymbolInfo,
    CacheStats,
    ContractInfo,
    Explanation,
    Lookup,
    Outcome,
    ProviderAnswer,
    SymbolCache,
    SymbolLookup,
    SymcacheSettings,
    ValidationResult,
    open_symbol_cache,
)
from symcache_core.errors import ProviderError, SymbolNotFoundError


async def validate(symbol: str, timeframes: Sequence[str]) -> ValidationResult:
    return ValidationResult(is_valid=True, symbol=symbol, head_timestamps=dict.fromkeys(timeframes))


async def answer(symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
    return ProviderAnswer(await validate(symbol, timeframes), confirmed=False, valid_until=0.0)


def validate_at_once(symbol: str, timeframes: Sequence[str]) -> ValidationResult:
    return ValidationResult(is_valid=False, symbol=symbol)


async def ask(symbol: str) -> ValidationResult:
    return ValidationResult(is_valid=False, symbol=symbol)


async def is_valid(symbol: str, timeframes: Sequence[str]) -> bool:
    return bool(symbol)


@dataclass
class TheirVerdict:
    """Another program's."""

    is_valid: bool
    symbol: str
    error_message: str | None = None
    contract_info: dict[str, str] | None = None
    head_timestamps: dict[str, str] | None = None
    suggested_symbol: str | None = None


@dataclass
class NoVerdict:
    """It has no symbol, and more is missing."""

    is_valid: bool


async def validate_theirs(symbol: str, timeframes: Sequence[str]) -> TheirVerdict:
    return TheirVerdict(is_valid=True, symbol=symbol)


async def what_a_program_with_verdicts_of_its_own_hands_in(cache: SymbolCache) -> None:
    theirs = TheirVerdict(is_valid=True, symbol="AAPL")
    await cache.get_or_validate("AAPL", ["1d"], validate_theirs)
    assert_type(cache.store("AAPL", theirs), CachedSymbolInfo)
    assert_type(cache.store("AAPL", asdict(theirs)), CachedSymbolInfo)
    assert_type(CachedSymbolInfo(theirs, 0.0).ttl_seconds, float)
    assert_type(ValidationResult.of(theirs), ValidationResult)
    assert_type(ProviderAnswer.of(theirs), ProviderAnswer)
    cache.store("AAPL", NoVerdict(is_valid=True))  # type: ignore[arg-type]  # a verdict has six fields


async def what_a_lookup_tells() -> None:
    settings = SymcacheSettings(backend="json", backends={"json": {"path": "symbols.json"}}, ttl="30d")
    assert_type(settings.ttl, float)
    with open_symbol_cache(settings, clock=lambda: 0.0) as cache:
        lookup = await cache.get_or_validate("AAPL", ["1d"], validate)
        assert_type(lookup, Lookup)
        assert_type(lookup.result, ValidationResult)
        assert_type(lookup.outcome, Outcome)
        assert_type(lookup.age, float)
        assert_type(lookup.info, CachedSymbolInfo)
        assert_type(lookup.missing, tuple[str, ...])
        assert_type(lookup.error, Exception | None)
        await cache.get_or_validate("AAPL", ("1d", "1h"), answer)
        async for each in cache.get_or_validate_many(["AAPL"], ["1d"], validate, concurrency=2):
            assert_type(each, SymbolLookup)
            assert_type(each.lookup, Lookup | None)


def what_a_verdict_tells(result: ValidationResult) -> None:
    assert_type(result.is_valid, bool)
    assert_type(result.symbol, str)
    assert_type(result.error_message, str | None)
    assert_type(result.contract_info, ContractInfo | None)
    assert_type(result.head_timestamps, Mapping[str, str | None] | None)
    assert_type(result.suggested_symbol, str | None)
    assert_type(result.head_timestamp("1d"), datetime | None)


def what_an_entry_tells(info: CachedSymbolInfo) -> None:
    assert_type(info.validation_result, ValidationResult)
    assert_type((info.cached_at, info.ttl_seconds), tuple[float, float])
    assert_type((info.is_expired(), info.confirmed), tuple[bool, bool])
    assert_type(info.to_validation_result(), ValidationResult)
    assert_type(info.parts["1d"].head_timestamp, str | None)
    assert_type(info.provenance.provider, str | None)


async def what_a_cache_can_do(settings: SymcacheSettings) -> None:
    with open_symbol_cache() as opened:
        cache: SymbolCache = opened
        assert_type(cache.get("AAPL"), CachedSymbolInfo | None)
        assert_type(cache.get("AAPL", ["1d"]), CachedSymbolInfo | None)
        assert_type(cache.peek("AAPL"), CachedSymbolInfo | None)
        assert_type(cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL")), CachedSymbolInfo)
        assert_type(cache.forget("AAPL"), bool)
        assert_type(cache.symbols(), Iterator[str])
        assert_type(cache.clear(), int)
        assert_type(cache.get_stats(), CacheStats)
        assert_type(opened.explain("AAPL", ["1d"]), Explanation)
        assert_type(opened.get("AAPL"), CachedSymbolInfo | None)
        await cache.aclose(drain=1.0)


def what_figures_tell(stats: CacheStats) -> None:
    assert_type((stats.hits, stats.misses, stats.cached_symbols), tuple[int, int, int])
    assert_type((stats.hit_ratio, stats.totals.hit_ratio), tuple[float | None, float | None])


def all_there_is_to_an_outcome(outcome: Outcome) -> str:
    match outcome:
        case Outcome.HIT | Outcome.MISS | Outcome.COALESCED:
            return "fresh"
        case Outcome.STALE | Outcome.PARTIAL:
            return "better than nothing"
        case _:
            assert_never(outcome)


def what_an_error_tells(error: Exception) -> None:
    if isinstance(error, ProviderError):
        assert_type((error.code, error.retry_after), tuple[str | None, float | None])
    if isinstance(error, SymbolNotFoundError):
        assert_type(error.suggested_symbol, str | None)


async def what_is_refused(lookup: Lookup) -> None:
    with open_symbol_cache() as cache:
        await cache.get_or_validate("AAPL", ["1d"], validate_at_once)  # type: ignore[arg-type]  # it is no coroutine
        await cache.get_or_validate("AAPL", ["1d"], ask)  # type: ignore[arg-type]  # it does not hear of timeframes
        await cache.get_or_validate("AAPL", ["1d"], is_valid)  # type: ignore[arg-type]  # a bool is no verdict
        await cache.get_or_validate("AAPL", validate)  # type: ignore[call-arg]  # which timeframes?
        cache.store("AAPL", True)  # type: ignore[arg-type]  # nor is it an answer
    open_symbol_cache("json")  # type: ignore[arg-type]  # settings, not a backend's name
    open_symbol_cache(clock=datetime.now)  # type: ignore[arg-type]  # a clock tells seconds
    ValidationResult(is_valid=True)  # type: ignore[call-arg]  # of which symbol?
    ValidationResult(is_valid=True, symbol="AAPL", name="Apple")  # type: ignore[call-arg]  # it has six fields
    lookup.age = 0.0  # type: ignore[misc]  # what a caller gets cannot be changed
    lookup.result.is_valid = False  # type: ignore[misc]  # nor what is in it
    print(lookup.result.contract_info.symbol)  # type: ignore[union-attr]  # of an invalid symbol there is none
