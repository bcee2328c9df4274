"""Keeps entries in one JSON file that any tool reads, with an append-only journal beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from symcache_core.errors import ConfigurationError
from symcache_core.plugin import Backend, StorePath, hookimpl
from symcache_core.protocols import (
    CanBatch,
    CanBeReadOnly,
    CanBeWatched,
    CanCompact,
    CanSize,
    CanTellHolder,
    CanUpdate,
    StorageBackend,
)


class JsonStorage(
    StorageBackend,
    CanUpdate,
    CanBeWatched,
    CanTellHolder,
    CanBatch,
    CanCompact,
    CanSize,
    CanBeReadOnly,
    Protocol,
):
    """What the store can do, said without importing it."""


class JsonSettings(BaseModel):
    """The options of the json backend."""

    model_config = ConfigDict(extra="forbid")

    path: StorePath = Field(Path("{data_dir}/backend_symbol_cache.json"), description="the file")
    fsync: Literal["never", "always"] = Field("never", description="'always' makes each store survive a power loss")
    coherence: Literal["memory", "stat"] = Field(
        "memory", description="how processes tell each other of writes; 'stat' for mounts that do not share memory"
    )
    lock_timeout: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="seconds to wait for whoever has the file locked"
    )


def open_json(settings: JsonSettings) -> JsonStorage:
    """Open the store.

    Raises:
        ConfigurationError: This system has no ``flock``.
        BackendError: The files cannot be used.
    """
    try:
        from .backend import JsonFileBackend  # it needs fcntl, which not every system has
    except ModuleNotFoundError as error:
        if error.name != "fcntl":
            raise
        raise ConfigurationError(
            "the json backend needs Linux or macOS: set backend = 'redis' or 'memory' on this system"
        ) from None
    return JsonFileBackend(
        settings.path,
        fsync=settings.fsync == "always",
        shares_memory=settings.coherence == "memory",
        lock_timeout=settings.lock_timeout,
    )


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    """Register the backend ``json``."""
    yield Backend(name="json", settings=JsonSettings, open=open_json)
