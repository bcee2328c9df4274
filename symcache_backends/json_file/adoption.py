"""Takes over a file that an unversioned symbol cache wrote: ``{"AAPL": {"validation_result": ..., ...}}``."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import time
from itertools import count
from pathlib import Path
from typing import Any

from symcache_core.entries import unversioned
from symcache_core.entries.items import Item, Unreadable
from symcache_core.files import sync_folder
from symcache_core.protocols import FOREVER

from . import records
from .compaction import set_aside
from .files import beside, open_file, replace
from .late_log import LateLog


def adopt(path: Path, log: LateLog) -> None:
    """Rewrite such a file as a snapshot, and keep the original as ``.bak``; leave any other file alone.

    What cannot be read goes to ``.quarantine``; what could not even bridge an outage any more is left out. The caller
    holds the store's lock.

    Raises:
        OSError: The folder cannot be written.
    """
    text = _read(path, unless=records.HEADER)
    table = None if text is None else _parse(text)
    if text is None or table is None:
        return
    found = list(unversioned.entries_of(table))
    rejected = [each for each in found if isinstance(each, Unreadable)]
    members = unversioned.by_key((each for each in found if isinstance(each, Item)), time.time())
    _back_up(path, text)
    set_aside(path, [json.dumps({each.name: table[each.name]}).encode() for each in rejected])
    # How long an outage may last that an entry bridges is a setting, which a backend does not know.
    dumped = (records.dump(records.name_of(key), members[key].line, FOREVER) for key in sorted(members))
    replace(path, records.dump_snapshot(dumped))
    aside = beside(path, ".quarantine").name
    for each in rejected:
        log.add(logging.WARNING, "%s: %a: %s; it is set aside in %s", path, each.name, each.why, aside)
    log.add(logging.INFO, "%s: took over %d symbols of an unversioned cache", path, len(members))


def is_unversioned(path: Path) -> bool:
    """Whether there is such a file."""
    text = _read(path, unless=records.HEADER)
    return text is not None and _parse(text) is not None


def _read(path: Path, *, unless: re.Pattern[bytes] | None = None) -> bytes | None:
    """A file's content; none if it is not there, or begins as it should not."""
    try:
        file = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with file:
        return None if unless is not None and unless.match(os.pread(file.fileno(), 64, 0)) else file.read()


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        table = json.loads(text)
    except ValueError:
        return None
    return table if unversioned.is_table(table) else None


def _back_up(path: Path, text: bytes) -> None:
    for number in count():
        backup = beside(path, f".bak{number or ''}")
        try:
            there = _read(backup)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            continue  # a folder, say
        if there is None:
            replace(backup, [text])
        elif there == text:
            sync_folder(path.parent)  # who made it may have been killed before its name was safe
        else:
            continue
        return
