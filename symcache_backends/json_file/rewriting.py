"""Compacts or clears an open store, for who holds its lock, and reads it anew."""

from __future__ import annotations

from time import time

from .compaction import forget, rewrite
from .files import ReplacedError
from .opening import Opened, Opener
from .view import View


class Rewriter:
    """Puts other files in the place of those that are open; what was not read is never replaced.

    Its methods raise ``OSError``, of which :class:`.ReplacedError` says that something else is at the path.

    Args:
        opener: Reads them anew.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def compact(self, opened: Opened) -> None:
        """Fold the journal into the snapshot, and drop what is over."""

        def before_snapshot() -> None:
            # Of a journal that a power loss cuts short, the lines that are left would undo what the snapshot has.
            view.sync()
            _check_current(opened)

        view = self._current_view(opened)
        rewrite(
            opened.path,
            view.kept(opened.see().over_before(time())),
            view.rejected,
            before_snapshot=before_snapshot,
            before_journal=opened.check_lock,
        )
        self._read_anew(opened)

    def clear(self, opened: Opened) -> None:
        """Drop every entry."""
        names = self._current_view(opened).names_in_snapshot()
        forget(opened.path, names, before=lambda: _check_current(opened))
        self._read_anew(opened)

    def _current_view(self, opened: Opened) -> View:
        if not opened.view.is_current():  # someone was stopped between replacing the one file and the other
            self._read_anew(opened)
        return opened.view

    def _read_anew(self, opened: Opened) -> None:
        if not self._opener.view_anew(opened):
            raise ReplacedError(opened.path)


def _check_current(opened: Opened) -> None:
    opened.check_lock()
    if not opened.view.is_current():
        raise ReplacedError(opened.path)
