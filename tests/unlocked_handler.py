"""A logging handler without the lock that logging gives to each, which would keep other threads from logging."""

import logging
from contextlib import nullcontext


class _NoLock(nullcontext):
    def acquire(self):
        """Nothing is taken."""

    def release(self):
        """Nothing was taken."""


class UnlockedHandler(logging.Handler):
    """Subclasses define ``emit``; several threads may be in it at once."""

    def createLock(self):  # noqa: N802  # the name is the base class's
        self.lock = _NoLock()
