"""Keeps entries in a diskcache folder (SQLite), shared by processes; bytes only, never pickle."""

from __future__ import annotations

from collections.abc import Iterable

from symcache_core.plugin import Backend, hookimpl

from .backend import DiskBackend
from .settings import DiskSettings

__all__ = ["DiskBackend", "DiskSettings", "symcache_backends"]


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    """Register the backend ``diskcache``."""
    yield Backend(name="diskcache", settings=DiskSettings, open=DiskBackend)
