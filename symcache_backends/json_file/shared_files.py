"""The files of one open store: what has been read of them, who may write, and when they are compacted.

Compaction puts a new snapshot and then an empty journal in place of the old ones; a crash in between is harmless,
because a journal replayed over the snapshot that already holds it changes nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..shared_word import SharedWord
from . import records
from .adoption import adopt
from .files import beside, lock, locked, open_private, replace, unlock
from .view import News, View

log = logging.getLogger("symcache")


class SharedFiles:
    """A snapshot, its journal and the lock file, as this process has them open; :meth:`open` comes first.

    Its methods raise ``OSError``, and the errors of :mod:`symcache_core.errors` that :class:`.View` and ``adopt``
    raise. Only one thread may use it at a time.

    ``view`` is what has been read, ``generation`` a number that changes when others have written, ``cells`` the shared
    word, and ``known`` what stood in it when the view was brought up to date.

    Args:
        path: The snapshot.
        shares_memory: Whether all who have the store open share memory through the file ``.lock``.
    """

    def __init__(self, path: Path, *, shares_memory: bool) -> None:
        self.generation = 0
        self.cells: Sequence[int] | memoryview[int] = [-1]
        self.known: int | None = None
        self._path = path
        self._shares_memory = shares_memory

    def open(self) -> None:
        """Open the files; what was open before is the caller's to close."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            descriptor = open_private(beside(self._path, ".lock"), os.O_RDWR)
            undo.callback(os.close, descriptor)
            with locked(descriptor):
                if self._path.is_file():
                    adopt(self._path)
                view = self._look()
            undo.callback(view.close)
            word = SharedWord(descriptor)
            undo.pop_all()
        self._lock, self.view, self._word = descriptor, view, word
        self.generation += 1
        # Without shared memory the word is never the one that is known, and every look is one at the files.
        if self._shares_memory:
            self.cells = word.cells
            self.known = self.cells[0]

    def close(self) -> None:
        """Let go of them."""
        self.cells, self.known = [-1], None
        del self._word
        self.view.close()
        os.close(self._lock)

    def lock(self) -> None:
        """Keep every other writer out."""
        lock(self._lock)
        while not os.fstat(self._lock).st_nlink:
            # Someone deleted the store's files, and others may have made new ones: they go by another lock.
            self._open_anew()
            lock(self._lock)

    def unlock(self) -> None:
        """Let others write, and know that someone has written."""
        if self._shares_memory:
            self.known = self._word.renew()
        unlock(self._lock)

    def catch_up(self, *, holding_lock: bool = False) -> None:
        """Bring the view up to date.

        The word is read before the files, so that a write in between shows as a change the next time. An appended
        journal is read from where it was left; a replaced one means that someone has compacted, and then everything is
        opened anew, under the lock, as that is done in two steps. A torn tail is what a killed writer has left: only
        who holds the lock knows that nobody is still writing it, and cuts it off.

        Args:
            holding_lock: Whether the caller has locked the files.
        """
        word, news = self.cells[0], self.view.news()
        changed = word != self.known and self._shares_memory
        if news is News.APPENDED:
            changed |= self.view.replay()
            if holding_lock:
                self.view.cut_torn_tail()
        elif news is News.REPLACED:
            changed = True
            if holding_lock:
                self._renew()
            else:
                self.lock()
                try:
                    self._renew()
                finally:
                    unlock(self._lock)
        self.generation += changed
        if self._shares_memory:
            self.known = word

    def compact(self) -> None:
        """Fold the journal into the snapshot, and drop what is over; the caller holds the lock."""
        replace(self._path, records.dump_snapshot(self.view.kept(time.time())), before=self._quarantine)
        replace(beside(self._path, ".journal"), [])
        self._renew()

    def compact_if_outgrown(self) -> None:
        """Compact when the journal has become long, if that can be done; the caller holds the lock."""
        if self.view.has_outgrown():
            self._try_to_compact()

    def compact_at_the_end(self) -> None:
        """Compact when there is something to drop and nobody else has the store open; the caller holds the lock."""
        if self.view.has_waste() and not self.view.in_use_elsewhere():
            self._try_to_compact()

    def size(self) -> int:
        """Bytes of the snapshot and the journal."""
        return sum(file.stat().st_size for file in (self._path, beside(self._path, ".journal")) if file.exists())

    def _open_anew(self) -> None:
        old = self._lock, self.view
        self.open()
        os.close(old[0])
        old[1].close()

    def _look(self) -> View:
        return View(self._path, looks_at_path=not self._shares_memory)

    def _renew(self) -> None:
        view = self._look()
        self.view.close()
        self.view = view

    def _quarantine(self) -> None:
        if self.view.rejected:
            aside = open_private(beside(self._path, ".quarantine"), os.O_WRONLY | os.O_APPEND)
            with open(aside, "ab") as quarantine:
                quarantine.writelines(member + b"\n" for member in self.view.rejected)

    def _try_to_compact(self) -> None:
        try:
            self.compact()
        except OSError as error:
            # What was written is safe in the journal.
            log.warning("%s cannot be compacted: %s", self._path, error)
            self.view.put_off_compaction()
