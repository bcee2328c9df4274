"""symcache keeps what a data provider said about a trading symbol, so that it is asked once."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .factory import open_symbol_cache

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


def __getattr__(name: str) -> Any:
    """Load what opens a cache, and all that is beneath it, when somebody asks for it (PEP 562)."""
    if name != "open_symbol_cache":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .factory import open_symbol_cache

    return open_symbol_cache
