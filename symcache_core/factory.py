"""Opens the symbol cache that the settings describe."""

from __future__ import annotations

import time
from dataclasses import fields

from .lookup.cache import PolicyCache
from .policy import Policy
from .protocols import Clock
from .registry import Registry
from .settings import SymcacheSettings


def open_symbol_cache(settings: SymcacheSettings | None = None, *, clock: Clock = time.time) -> PolicyCache:
    """Open the configured backend and put the cache over it.

    Args:
        settings: Read from file and environment when left out.
        clock: Seconds since the epoch; another one makes time pass in a test.

    Raises:
        ConfigurationError: A setting is wrong, or the backend's name is unknown.
        BackendError: The storage is there and cannot be used.
    """
    settings = settings or SymcacheSettings()
    backend = Registry(settings.plugins).open(
        settings.backend,
        settings.backends.get(settings.backend, {}),
        base_dir=settings.base_dir,
        data_dir=settings.data_dir,
    )
    return PolicyCache(
        backend,
        name=settings.backend,
        provider=settings.provider,
        policy=Policy(**{field.name: getattr(settings, field.name) for field in fields(Policy)}),
        clock=clock,
        near_cache_size=settings.near_cache_size,
        near_cache_age=settings.near_cache_age,
        storage_retry=settings.storage_retry,
    )
