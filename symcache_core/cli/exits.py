"""The exit statuses of the command, and which error ends in which."""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    AmbiguousSymbolError,
    BackendError,
    ConfigurationError,
    InvalidSymbolError,
    LoadCancelledError,
    ProviderError,
    SymbolNotFoundError,
    SymcacheError,
)


class Status(IntEnum):
    """How the command ended; of several, the greatest is the worst."""

    DONE = 0
    NO = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


# The first match counts: SymbolNotFoundError is an InvalidSymbolError, and yet an answer.
_STATUS_OF: tuple[tuple[type[SymcacheError], Status], ...] = (
    (SymbolNotFoundError, Status.NO),
    (ConfigurationError, Status.USAGE),
    (InvalidSymbolError, Status.USAGE),
    (AmbiguousSymbolError, Status.USAGE),
    (ProviderError, Status.UNAVAILABLE),
    (BackendError, Status.UNAVAILABLE),
    (LoadCancelledError, Status.INTERRUPTED),
)


def status_of(error: SymcacheError) -> Status:
    """The exit status that an error leads to."""
    return next((status for family, status in _STATUS_OF if isinstance(error, family)), Status.UNAVAILABLE)
