"""Every error that symcache raises, on one page.

::

    SymcacheError
    ├── ConfigurationError            a setting is wrong; the message names it      (also a ValueError)
    │   ├── UnknownBackendError       no installed backend has that name
    │   └── DuplicateBackendError     two plug-ins claim one name
    ├── InvalidSymbolError            not usable as a symbol                        (also a ValueError)
    │   └── SymbolNotFoundError       well formed, and the provider says: no such instrument
    ├── ClosedError                   used after close()
    ├── BackendError                  storage did not do what was asked
    │   ├── BackendUnavailableError   out of reach for now (locked, full, disconnected)
    │   │   └── LockTimeoutError      another process held a lock for too long
    │   ├── CorruptStoreError         the store as a whole cannot be understood
    │   ├── CorruptEntryError         one entry cannot be understood
    │   └── NewerSchemaError          written by a newer symcache; never overwritten
    ├── ProviderError                 the provider gave no verdict; never cached
    │   ├── ProviderUnavailableError  unreachable, or disconnected from its market
    │   ├── ProviderTimeoutError      no answer in time
    │   ├── ProviderPacingError       asked too often; see ``retry_after``
    │   ├── ProviderPermissionError   not allowed to see this
    │   ├── AmbiguousSymbolError      there are several, and nothing says which; see ``alternatives``
    │   ├── RefusedSymbolError        not to be asked for in this form              (also an InvalidSymbolError)
    │   ├── InvalidAnswerError        what it gave is no verdict                    (also a ValueError)
    │   └── ProviderNoDataError       it says that there are no bars, which proves nothing
    └── LoadCancelledError            a load was told to stop
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

AMBIGUOUS = "ambiguous"
"""The code of a symbol that fits several instruments."""

INVALID_SYMBOL = "invalid_symbol"
"""The code of a symbol that the provider cannot be asked about."""


class SymcacheError(Exception):
    """The root: catch this to catch everything symcache raises on purpose."""


class ConfigurationError(SymcacheError, ValueError):
    """A setting, a plug-in or an option is wrong; the message says which and what to do."""


class UnknownBackendError(ConfigurationError):
    """No installed backend has the configured name."""


class DuplicateBackendError(ConfigurationError):
    """A plug-in claims a backend name that another one holds."""


class InvalidSymbolError(SymcacheError, ValueError):
    """The text cannot be a symbol: empty, over-long, or with control characters."""


class SymbolNotFoundError(InvalidSymbolError):
    """The provider says that there is no such instrument.

    Args:
        message: What to show.
        suggested_symbol: The spelling that the provider proposes, if any.
    """

    def __init__(self, message: str, *, suggested_symbol: str | None = None) -> None:
        super().__init__(message)
        self.suggested_symbol = suggested_symbol


class ClosedError(SymcacheError):
    """A cache, a backend or a manager was used after ``close()``."""


class BackendError(SymcacheError):
    """Storage did not do what was asked of it."""


class BackendUnavailableError(BackendError):
    """Storage is out of reach for now: locked, full, not permitted, or disconnected."""


class LockTimeoutError(BackendUnavailableError):
    """Another process held the lock of a file for longer than ``lock_timeout``; the message says which."""


class CorruptStoreError(BackendError):
    """The store as a whole cannot be understood; nothing in it was changed."""


class CorruptEntryError(BackendError):
    """One entry cannot be understood; a lookup takes it for a miss."""


class NewerSchemaError(BackendError):
    """A newer symcache wrote this; it is neither read nor overwritten."""


class ProviderError(SymcacheError):
    """The provider was asked and gave no verdict.

    Args:
        message: What to show.
        code: The provider's own code for what happened, as it wrote it.
        retry_after: Seconds after which asking again makes sense, when the provider said so.

    ``passes`` tells of a class whether what it stands for may be over in a moment, whatever was asked, and
    ``was_tried_again`` whether whoever failed has made several attempts by itself, so that nobody else should.
    """

    passes: ClassVar[bool] = False
    was_tried_again: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class ProviderUnavailableError(ProviderError):
    """The provider cannot be reached, or is itself cut off from its market."""

    passes = True


class ProviderTimeoutError(ProviderError):
    """The provider did not answer in time."""

    passes = True


class ProviderPacingError(ProviderError):
    """The provider was asked more often than it allows."""

    passes = True


class ProviderPermissionError(ProviderError):
    """The provider does not let this account see the answer."""


class AmbiguousSymbolError(ProviderError):
    """The symbol fits several instruments, and nothing says which of them is meant.

    Args:
        message: What to show; it names the alternatives.
        alternatives: For each of those instruments, the symbol that means it and no other; none if the provider does
            not say which they are.
        code: The provider's own code for what happened.
        retry_after: Never of use here: asking again changes nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        alternatives: Iterable[str] = (),
        code: str | None = AMBIGUOUS,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self.alternatives = tuple(alternatives)


class RefusedSymbolError(ProviderError, InvalidSymbolError):
    """The provider cannot be asked about such a symbol: options, say, or a future without its expiry.

    Args:
        message: What to show; it says what to ask for instead.
        code: The provider's own code for what happened.
        retry_after: Never of use here: asking again changes nothing.
    """

    def __init__(self, message: str, *, code: str | None = INVALID_SYMBOL, retry_after: float | None = None) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class InvalidAnswerError(ProviderError, ValueError):
    """What the provider gave, or a program wants to store, is no verdict; the message names what it lacks."""


class ProviderNoDataError(ProviderError):
    """The provider says that it has no bars there, in words that prove nothing.

    Of what was asked nothing follows but that asking again at once makes no sense. A provider that knows that there are
    none answers with no rows.
    """


class LoadCancelledError(SymcacheError):
    """A load was told to stop; what it had saved stays saved."""


def may_pass(error: BaseException) -> bool:
    """Whether a provider's failure may be over in a moment, and so is the provider's, not that of what it was asked.

    A connection refused and a timeout are an ``OSError`` where a provider does not say it in this family's words.
    """
    return getattr(error, "passes", False) or isinstance(error, OSError)
