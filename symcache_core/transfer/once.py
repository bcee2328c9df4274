"""Takes a file in once: a program that starts beside what its predecessor left."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

from ..protocols import FOREVER
from ..settings import SymcacheSettings
from .copying import Fate, Report, copy
from .sources import entries_in
from .stores import RECORD, open_store


def import_once(file: Path, settings: SymcacheSettings) -> Report | None:
    """Bring the entries of a file into the configured store, unless that was done before.

    The file stays as it is. That it is done stands in a record of the store, written last, so that what an interruption
    or a store that loses what it is given leaves undone is done the next time.

    Args:
        file: What :func:`~.sources.entries_in` understands.
        settings: Say which store.

    Returns:
        What became of each entry, or ``None`` if the file was taken in before.

    Raises:
        ConfigurationError: The file is nothing of the kind, or a setting is wrong.
        BackendError: The file or the store cannot be used.
    """
    with closing(open_store(settings, settings.backend)) as store:
        done = f"{RECORD}imported|{file.name}"
        if store.read(done) is not None:
            return None
        now = time.time()
        with entries_in(file, settings) as found:
            report = copy(found, store, policy=settings.policy, now=now)
        if not report.counts[Fate.UNVERIFIED]:
            store.write(done, json.dumps({"at": now, **report.counts}).encode(), FOREVER)
        return report
