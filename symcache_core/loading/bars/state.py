"""What is remembered of a series beside its bars: its basis, when it was compared, and which generation is the one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import NewerSchemaError
from ...messages import is_news
from .files import load

log = logging.getLogger("symcache")

Warn = Callable[..., object]
"""Logs a message with its values."""


class Renewal(BaseModel):
    """That a history was asked for anew.

    Args:
        at: When it began (UTC).
        why: What the comparison said.
        is_repeated: Whether another one, which was contradicted before it was over, came before it.
        basis: What the provider said that the new bars are.
        first: The stamp of the first of them (UTC).
        lost: How many bars of the old generation the new one does not have.
        ended: When the new generation took the place of the old one (UTC).
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    why: str
    is_repeated: bool = False
    basis: Mapping[str, Any] | None = None
    first: datetime | None = None
    lost: int = 0
    ended: datetime | None = None


class SeriesState(BaseModel):
    """All that is remembered.

    Args:
        version: Of the stored form.
        generation: The number of the one that callers get.
        switching: Whether a new one is taking the place of the old one at this moment.
        basis: What the provider said that the bars are.
        compared: When stored bars were last compared with the provider's (UTC).
        head: The head timestamp at that time.
        head_at: That time (UTC).
        is_rolling: Whether the head timestamp moves with the time: the provider keeps bars for so long, and no longer.
        listing: The exchange at that time.
        renewing: The renewal under way, if one is.
        renewals: Those that are over, oldest first.
        first: The stamp of the first bar that was stored (UTC).
        unseen: Since when the provider has not given the bars that new ones have to be compared with (UTC).
        is_uncompared: Whether bars were added without that, as it did not give them again.
        unstable: Since when the provider contradicts a history that has just been renewed (UTC).
        given_up: When a renewal was given up that was contradicted again and again (UTC).
    """

    model_config = ConfigDict(frozen=True)

    VERSION: ClassVar[int] = 1

    version: int = VERSION
    generation: int = 1
    switching: bool = False
    basis: Mapping[str, Any] | None = None
    compared: datetime | None = None
    head: str | None = None
    head_at: datetime | None = None
    is_rolling: bool = False
    listing: str | None = None
    renewing: Renewal | None = None
    renewals: tuple[Renewal, ...] = ()
    first: datetime | None = None
    unseen: datetime | None = None
    is_uncompared: bool = False
    unstable: datetime | None = None
    given_up: datetime | None = None

    def with_changes(self, **changes: Any) -> SeriesState:
        """The same, with other values in some fields."""
        return self.model_copy(update=changes)


NEW = SeriesState()


def read_state(content: bytes | None, path: Path, warn: Warn = log.warning) -> SeriesState:
    """Understand the content of a state file; without one, of a series that nothing is remembered of.

    Args:
        content: The bytes.
        path: Of which file.
        warn: Logs what is to be said.

    Raises:
        NewerSchemaError: A newer symcache wrote it.
    """
    if content is None:
        return NEW
    try:
        state = SeriesState.model_validate_json(content)
    except ValidationError:
        _say_that_it_is_lost(path, content, warn)
        return NEW
    if state.version > SeriesState.VERSION:
        raise NewerSchemaError(f"{path} was written by a newer symcache: upgrade, or move the file away")
    return state


def load_state(path: Path, warn: Warn = log.warning) -> tuple[SeriesState, bytes | None]:
    """Read a state file; also gives its content, which tells whether it has changed since.

    Args:
        path: The file.
        warn: Logs what is to be said.

    Raises:
        BackendUnavailableError: It cannot be read.
        NewerSchemaError: A newer symcache wrote it.
    """
    content = load(path)
    return read_state(content, path, warn), content


def _say_that_it_is_lost(path: Path, content: bytes, warn: Warn) -> None:
    """Once: a load reads a state several times."""
    if is_news(path, content):
        warn("%s cannot be understood, and what it remembers of its bars is lost: %.60r", path, content)
