"""One run of the command: its settings, what it opens, what it reports, and how it will end."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import AmbiguousSymbolError, SymcacheError
from ..factory import open_symbol_cache
from ..models import REPLAY, Lookup
from ..protocols import HasAsOf
from ..settings import SymcacheSettings
from .exits import Status, status_of
from .extras import needs
from .output import Output, Record, failure_record, plain

if TYPE_CHECKING:
    from ..loading import DataManager
    from ..lookup.cache import PolicyCache
    from ..providers import IbDataAdapter

LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""By how often ``-v`` was given."""

INTERRUPTED_CLOSE = 0.03
"""Seconds that closing may take after an interrupt; all that is left to it are counters and connections."""

Ask = Callable[[str, Sequence[str]], Lookup]
"""Looks up a symbol and timeframes."""


class Session:
    """What a command works with.

    Args:
        given: The settings that the command line names; the others come from where they always come from.
        as_json: Print JSON Lines.
        verbosity: 1 logs to standard error at INFO, 2 at DEBUG and shows the traceback of an error.
    """

    def __init__(self, given: Mapping[str, Any], *, as_json: bool, verbosity: int) -> None:
        self.given = given
        self._verbosity = min(verbosity, len(LOG_LEVELS) - 1)
        self.output = Output(as_json=as_json, animated=not verbosity)  # log lines would tear what moves
        self.status = Status.DONE

    @cached_property
    def settings(self) -> SymcacheSettings:
        """The settings in force.

        Raises:
            ConfigurationError: One of them is wrong.
        """
        return SymcacheSettings(**self.given)

    def open_cache(self) -> PolicyCache:
        """Open the symbol cache, and say so if what it holds is replayed."""
        cache = open_symbol_cache(self.settings)
        self._note_replay()
        return cache

    @contextmanager
    def open_lookup(self) -> Iterator[Ask]:
        """Open the symbol cache and the provider behind it, to look symbols up one by one.

        Raises:
            ConfigurationError: What asking a provider takes is not installed.
        """
        with self.open_parts() as (cache, provider, runner):
            yield lambda symbol, timeframes: runner.run(
                cache.get_or_validate(symbol, timeframes, provider.validate_and_get_metadata)
            )

    @contextmanager
    def open_parts(self) -> Iterator[tuple[PolicyCache, IbDataAdapter, asyncio.Runner]]:
        """Open the symbol cache, the provider behind it, and what runs both.

        The loader, which takes long to import, stays out of it.

        Raises:
            ConfigurationError: What asking a provider takes is not installed.
        """
        with needs("loading"):
            from ..providers import IbDataAdapter
        provider = IbDataAdapter.from_settings(self.settings)
        cache = open_symbol_cache(self.settings)
        self._note_replay(provider)
        runner = asyncio.Runner()

        def close() -> None:
            with runner:
                runner.run(cache.aclose())
                runner.run(provider.aclose())

        with _interrupted_at_once(), _closing(close, if_interrupted=cache.close):
            yield cache, provider, runner

    @contextmanager
    def open_manager(self) -> Iterator[DataManager]:
        """Make the data manager, and say so if what it loads is replayed.

        Raises:
            ConfigurationError: What loading takes is not installed.
        """
        with needs("loading"):
            from ..loading import DataManager
        manager = DataManager(self.settings)
        with _closing(manager.close, if_interrupted=manager.close):
            self._note_replay(manager.external_provider)
            yield manager

    def end_with(self, status: Status) -> None:
        """End with this status, unless something worse has happened."""
        self.status = max(self.status, status)

    @contextmanager
    def reporting(self, subject: str | None = None) -> Iterator[None]:
        """Turn an error into a message and an exit status; go on after the block.

        Args:
            subject: Which of several things the block is about.
        """
        try:
            yield
        except SymcacheError as error:
            self.output.error(f"{subject}: {error}" if subject else str(error))
            if isinstance(error, AmbiguousSymbolError) and self.output.as_json:  # people have read it in the message
                self.output.show({}, [failure_record(subject, error)])
            if self._verbosity > 1:
                traceback.print_exc()
            self.end_with(status_of(error))

    def each(self, subjects: Iterable[str], action: Callable[[str], Record | None]) -> Iterator[Record]:
        """Give what an action makes of each subject; one that fails is reported and hurts no other."""
        for subject in subjects:
            with self.reporting(subject):
                record = action(subject)
                if record is not None:
                    yield record

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Log to standard error while the block runs: warnings, and as much more as was asked for."""
        handler = _LogLines(self.output) if self.output.animated else logging.StreamHandler()
        handler.setFormatter(
            _OneLine("%(asctime)s %(levelname)s %(message)s" if self._verbosity else "warning: %(message)s")
        )
        logger = logging.getLogger("symcache")
        logger.addHandler(handler)
        logger.setLevel(LOG_LEVELS[self._verbosity])
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)

    def _note_replay(self, provider: object = None) -> None:
        if self.settings.provider == REPLAY:
            self.output.note_replay(provider.as_of().date() if isinstance(provider, HasAsOf) else None)


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Keep asyncio from cancelling hundreds of tasks, one by one, before it lets an interrupt through."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _closing(close: Callable[[], None], if_interrupted: Callable[[], None]) -> Iterator[None]:
    """Close something after the block.

    Args:
        close: Does it.
        if_interrupted: Does it after an interrupt, for a moment only, since a host may take a second to end.
    """
    try:
        yield
    except KeyboardInterrupt:
        closing = threading.Thread(target=if_interrupted, daemon=True)
        closing.start()
        closing.join(INTERRUPTED_CLOSE)
        raise
    except BaseException:
        close()
        raise
    close()


class _LogLines(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.log(self.format(record))


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return plain(super().formatMessage(record))
