"""SymbolCacheContract: what a symbol cache promises over whatever storage backend, as tests."""

from __future__ import annotations

from .cache_answers import AnswerPromises
from .cache_lookups import LookupPromises
from .cache_provider import ProviderPromises
from .cache_storage import StoragePromises


class SymbolCacheContract(StoragePromises, ProviderPromises, AnswerPromises, LookupPromises):
    """Subclass it, set ``backend``, return the options from ``settings``; pytest does the rest, the last base first."""
