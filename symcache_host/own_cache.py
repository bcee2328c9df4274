"""The host's own cache: what its gateway said, and before that what a predecessor left."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from symcache_core import BulkSymbolCache, SymcacheSettings, open_symbol_cache
from symcache_core.errors import SymcacheError
from symcache_core.paths import absolute_setting, working_directory
from symcache_core.transfer import import_once

CACHE_FILE = "host_symbol_cache.json"

PREDECESSORS_FILE = "symbol_discovery_cache.json"
"""What an unversioned host service kept in the same folder; taken in once, and left as it is."""

log = logging.getLogger("symcache")


def open_own_cache(folder: Path, provider: str) -> BulkSymbolCache:
    """Open the cache, and take in what a predecessor left beside it.

    Args:
        folder: Where both keep their files.
        provider: Whose answers are cached; a predecessor's are those of Interactive Brokers.

    Raises:
        ConfigurationError: A setting of the cache is wrong.
        BackendError: The cache cannot be used.
    """
    folder = absolute_setting("data_dir", folder, working_directory())
    settings = SymcacheSettings(
        backend="json",
        backends={"json": {"path": folder / CACHE_FILE}},
        plugins=(),
        provider=provider,
        data_dir=folder,
    )
    if os.path.exists(folder / PREDECESSORS_FILE):
        _take_in(folder / PREDECESSORS_FILE, settings)
    return open_symbol_cache(settings)


def _take_in(file: Path, settings: SymcacheSettings) -> None:
    try:
        report = import_once(file, settings)
    except SymcacheError as error:
        log.warning("%s is not taken in: %s", file, error)
        return
    if report is not None:
        for problem in report.problems:
            log.warning("%s: %a: %s", file.name, problem.name, problem.why)
        figures = ", ".join(f"{count} {fate}" for fate, count in sorted(report.counts.items())) or "nothing in it"
        log.info("%s is taken in: %s", file, figures)
