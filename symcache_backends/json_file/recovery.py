"""What a power loss may have left at the end of a journal."""

from __future__ import annotations

import os
from pathlib import Path

from symcache_core.errors import CorruptEntryError

from . import records
from .compaction import set_aside
from .damage import Damage
from .files import beside, open_file, sync
from .late_log import LateLog

_LAST_LINES = 1 << 16
"""Bytes to read of the journal's end to find its last line."""


def cut_damaged_end(path: Path, log: LateLog) -> None:
    """Set the last lines of a journal aside, and cut them off, as far as they are damaged.

    A line may have come to the disk in part, with a hole in it; it would hide what it was to replace. The caller holds
    the store's lock.

    Args:
        path: The snapshot.
        log: Where to say so.

    Raises:
        OSError: The files cannot be written.
    """
    try:
        file = open_file(beside(path, ".journal"), os.O_RDWR)
    except FileNotFoundError:
        return
    with file:
        damage = Damage(path, log)
        size = end = os.fstat(file.fileno()).st_size
        while (found := _damaged_last_line(file.fileno(), end)) is not None:
            end, line, error = found
            damage.add(line, error)
        if end < size:
            damage.tell()
            set_aside(path, damage.lines[::-1])
            os.ftruncate(file.fileno(), end)
            sync(file.fileno())  # else what was cut off may come to light behind what is written next


def _damaged_last_line(journal: int, size: int) -> tuple[int, bytes, CorruptEntryError] | None:
    """Where the last whole line before a place begins, what it says, and what is wrong with it; none if nothing is."""
    for start in (max(0, size - _LAST_LINES), 0):
        text = os.pread(journal, size - start, start)
        end = text.rfind(b"\n")
        begin = text.rfind(b"\n", 0, max(end, 0)) + 1
        if begin:  # else the line may begin before what was read
            break
    member = text[begin + 1 : end - 1]
    try:
        if end >= 0:
            records.parse(member[: max(0, member.find(records.AFTER_NAME))], member)
    except CorruptEntryError as error:
        return start + begin, text[begin:end], error
    return None
