"""Tells which extra to install when a command needs more than the base installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigurationError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import what an extra brings, within the block.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"this needs {error.name}: pip install 'symcache[{extra}]'") from None
