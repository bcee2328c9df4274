"""Compaction: a new snapshot and then an empty journal in place of the old ones.

A crash in between is harmless, because a journal replayed over the snapshot that already holds it changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from symcache_core.files import Writer, sync_folder

from . import records
from .files import beside, open_file, replace


def rewrite(
    path: Path,
    members: Iterable[bytes],
    rejected: list[bytes],
    *,
    before_snapshot: Callable[[], None],
    before_journal: Callable[[], None],
) -> None:
    """Put a new snapshot and an empty journal in place; the caller holds the store's lock.

    Args:
        path: The snapshot.
        members: What it is to have, sorted.
        rejected: What goes to the quarantine; looked at when all members have been.
        before_snapshot: Called just before that is replaced; raises ``OSError`` if what is there was not read.
        before_journal: The same before that is.

    Raises:
        OSError: It could not be done, or only the snapshot.
    """

    def before() -> None:
        set_aside(path, rejected)
        before_snapshot()

    replace(path, records.dump_snapshot(members), before=before)
    replace(beside(path, ".journal"), [], before=before_journal)


def forget(path: Path, names: Iterable[bytes], *, before: Callable[[], None]) -> None:
    """Put a journal in place that says of names that they have no entry; the caller holds the store's lock.

    So a whole store is cleared in one step.

    Args:
        path: The snapshot.
        names: All that it has.
        before: Called just before the journal is replaced; raises ``OSError`` if what is there was not read.
    """
    replace(beside(path, ".journal"), (b"{%b}\n" % records.dump_gone(name) for name in names), before=before)


def set_aside(path: Path, lines: list[bytes]) -> None:
    """Append what cannot be read to the quarantine, and make it survive a power loss.

    Raises:
        OSError: It cannot be written.
    """
    if lines:
        file = open_file(beside(path, ".quarantine"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with file, Writer(file) as quarantine:
            quarantine.writelines(line + b"\n" for line in lines)
            quarantine.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
