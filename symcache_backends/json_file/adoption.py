"""Takes over a file that an unversioned symbol cache wrote: ``{"AAPL": {"validation_result": ..., ...}}``."""

from __future__ import annotations

import json
import logging
import os
from itertools import count
from pathlib import Path
from typing import Any

from symcache_core import codec
from symcache_core.errors import BackendError, InvalidSymbolError

from . import records
from .files import beside, open_private, replace

log = logging.getLogger("symcache")


def adopt(path: Path) -> bool:
    """Rewrite such a file as a snapshot, and keep the original as ``.bak``; False if it is no such file.

    Of two spellings of one symbol the later answer is kept. What cannot be read goes to ``.quarantine``.

    Raises:
        OSError: The folder cannot be written.
    """
    with path.open("rb") as file:
        if records.HEADER.match(file.read(64)):
            return False
        file.seek(0)
        text = file.read()
    table = _parse(text)
    if table is None:
        return False
    members: dict[str, tuple[float, bytes]] = {}
    rejected = []
    for symbol, value in table.items():
        try:
            key, entry, since = codec.adopt(symbol, value)
        except (BackendError, InvalidSymbolError) as error:
            log.warning("%s: %s; it is set aside in %s", path, error, beside(path, ".quarantine").name)
            rejected.append(json.dumps({symbol: value}).encode() + b"\n")
            continue
        if key not in members or members[key][0] < since:
            # Such a file never forgot an entry; one that is over still bridges an outage.
            members[key] = (since, records.dump(records.name_of(key), entry, records.FOREVER))
    _back_up(path, text)
    if rejected:
        with open(open_private(beside(path, ".quarantine"), os.O_WRONLY | os.O_APPEND), "ab") as quarantine:
            quarantine.writelines(rejected)
    replace(path, records.dump_snapshot(members[key][1] for key in sorted(members)))
    log.info("%s: took over %d symbols of an unversioned cache", path, len(members))
    return True


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        table = json.loads(text)
    except ValueError:
        return None
    if isinstance(table, dict) and all(isinstance(value, dict) for value in table.values()):
        entries = [value for value in table.values() if "validation_result" in value]
        return table if entries or not table else None
    return None


def _back_up(path: Path, text: bytes) -> None:
    for number in count():
        backup = beside(path, f".bak{number or ''}")
        if not backup.exists():
            replace(backup, [text])
        elif backup.read_bytes() != text:
            continue
        return
