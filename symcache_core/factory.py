"""Opens what the settings describe: the symbol cache, or the storage alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .clocks import checked
from .lookup.cache import PolicyCache
from .protocols import Clock, StorageBackend
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
    checked(clock)()  # before anything is open
    backend = open_backend(settings)
    return PolicyCache(
        backend,
        name=settings.backend,
        provider=settings.provider,
        policy=settings.policy,
        clock=clock,
        near_cache_size=settings.near_cache_size,
        near_cache_age=settings.near_cache_age,
        storage_retry=settings.storage_retry,
    )


def open_backend(
    settings: SymcacheSettings, name: str | None = None, options: Mapping[str, Any] | None = None
) -> StorageBackend:
    """Open a storage backend.

    Args:
        settings: Have the plug-ins and the configured options.
        name: The backend's name; the configured one's when left out.
        options: What goes before the configured ones.

    Raises:
        ConfigurationError: The name or an option is wrong.
        BackendError: The storage is there and cannot be used.
    """
    name = name or settings.backend
    return Registry(settings.plugins).open(
        name,
        {**settings.backends.get(name, {}), **(options or {})},
        base_dir=settings.base_dir,
        data_dir=settings.data_dir,
        lock_timeout=settings.lock_timeout,
    )
