"""Takes over a file that an unversioned symbol cache wrote: ``{"AAPL": {"validation_result": ..., ...}}``."""

from __future__ import annotations

import json
import logging
import os
import time
from itertools import count
from pathlib import Path
from typing import Any

from symcache_core.entries import unversioned
from symcache_core.entries.items import Item, Unreadable
from symcache_core.protocols import FOREVER

from . import records
from .files import beside, open_private, replace

log = logging.getLogger("symcache")


def adopt(path: Path) -> None:
    """Rewrite such a file as a snapshot, and keep the original as ``.bak``; leave any other file alone.

    What cannot be read goes to ``.quarantine``; what could not even bridge an outage any more is left out.

    Raises:
        OSError: The folder cannot be written.
    """
    with path.open("rb") as file:
        if records.HEADER.match(file.read(64)):
            return
        file.seek(0)
        text = file.read()
    table = _parse(text)
    if table is None:
        return
    found = list(unversioned.entries_of(table))
    rejected = [each for each in found if isinstance(each, Unreadable)]
    for each in rejected:
        log.warning("%s: %a: %s; it is set aside in %s", path, each.name, each.why, beside(path, ".quarantine").name)
    members = unversioned.by_key((each for each in found if isinstance(each, Item)), time.time())
    _back_up(path, text)
    if rejected:
        with open(open_private(beside(path, ".quarantine"), os.O_WRONLY | os.O_APPEND), "ab") as quarantine:
            quarantine.writelines(json.dumps({each.name: table[each.name]}).encode() + b"\n" for each in rejected)
    # How long an outage may last that an entry bridges is a setting, which a backend does not know.
    dumped = (records.dump(records.name_of(key), members[key].line, FOREVER) for key in sorted(members))
    replace(path, records.dump_snapshot(dumped))
    log.info("%s: took over %d symbols of an unversioned cache", path, len(members))


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        table = json.loads(text)
    except ValueError:
        return None
    return table if unversioned.is_table(table) else None


def _back_up(path: Path, text: bytes) -> None:
    for number in count():
        backup = beside(path, f".bak{number or ''}")
        if not backup.exists():
            replace(backup, [text])
        elif backup.read_bytes() != text:
            continue
        return
