"""Stores that are already filled, each contender's in a folder of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .contenders import CONTENDERS, Opened, Place
from .entries import Entry, make


class Shelf:
    """Fills a store of each kind and size once, and hands out copies.

    Args:
        folder: Where; a local disk, for what is measured is a local disk.
        since: When the entries were made, in seconds since the epoch.
        redis_url: The server for those that need one, or ``None``.
    """

    def __init__(self, folder: Path, since: float, redis_url: str | None) -> None:
        self.since = since
        self._folder = folder
        self._redis_url = redis_url
        self._entries: list[Entry] = []

    def available(self, *names: str) -> tuple[str, ...]:
        """Those of the contenders that this machine can run."""
        return tuple(name for name in names if self._redis_url is not None or not CONTENDERS[name].needs_server)

    def entries(self, count: int, first: int = 0) -> list[Entry]:
        """Entries with consecutive numbers; those of a filled store come first."""
        missing = first + count - len(self._entries)
        if missing > 0:
            self._entries.extend(make(missing, self.since, len(self._entries)))
        return self._entries[first : first + count]

    @contextmanager
    def place(self, name: str, size: int) -> Iterator[Place]:
        """A folder of a contender's own with so many entries, if it keeps any in files."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            filler = CONTENDERS[name].filled_by
            if filler is not None and size:
                shutil.copytree(self._filled(filler, size), folder, dirs_exist_ok=True)
            yield Place(Path(folder), self._redis_url)

    @contextmanager
    def opened(self, name: str, size: int) -> Iterator[Opened]:
        """A contender, open, with so many entries."""
        with self.place(name, size) as place:
            opened = CONTENDERS[name].open(place)
            try:
                if CONTENDERS[name].filled_by is None:
                    self._fill(opened, size)
                yield opened
            finally:
                opened.close()

    def _filled(self, name: str, size: int) -> Path:
        folder = self._folder / f"{name} {size}"
        if not folder.exists():
            folder.mkdir()
            opened = CONTENDERS[name].open(Place(folder))
            self._fill(opened, size)
            opened.close()
        return folder

    def _fill(self, opened: Opened, size: int) -> None:
        for entry in self.entries(size):
            opened.store(entry)
