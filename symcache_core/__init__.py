"""symcache keeps what a data provider said about a trading symbol, so that it is asked once."""

from .factory import open_symbol_cache
from .lookup.explain import Explanation
from .models import (
    CachedSymbolInfo,
    CacheStats,
    ContractInfo,
    Lookup,
    Outcome,
    ProviderAnswer,
    SymbolLookup,
    ValidationResult,
)
from .plugin import Backend, StorePath, hookimpl
from .protocols import BulkSymbolCache, ExternalDataProvider, StorageBackend, SymbolCache
from .settings import SymcacheSettings

__all__ = [
    "Backend",
    "BulkSymbolCache",
    "CacheStats",
    "CachedSymbolInfo",
    "ContractInfo",
    "Explanation",
    "ExternalDataProvider",
    "Lookup",
    "Outcome",
    "ProviderAnswer",
    "StorageBackend",
    "StorePath",
    "SymbolCache",
    "SymbolLookup",
    "SymcacheSettings",
    "ValidationResult",
    "hookimpl",
    "open_symbol_cache",
]
