"""Measures a load of bars that are all at hand, against pandas reading the same files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import pandas as pd

from symcache_core import SymcacheSettings
from symcache_core.loading import DataManager

from .bench import Bench
from .figures import Figure, median

_SYMBOL, _TIMEFRAME = "AAPL", "1d"
_NOBODY = "http://127.0.0.1:9"
"""A host service that is not there: whatever is loaded was at hand."""

_LOADS_A_ROUND = 10


def load(bench: Bench) -> Iterator[Figure]:
    """Load a covered range through ``load_with_fallback``, from an open manager."""
    task = bench.begin("load of bars at hand")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with DataManager(_settings(folder)) as filling:
            bars = filling.load(_SYMBOL, _TIMEFRAME, mode="full")
        with DataManager(_settings(folder).model_copy(update={"host_service_url": _NOBODY})) as manager:
            [files] = (folder / "bars" / "replay").glob(f"*/{_TIMEFRAME}/usual")
            contenders: dict[str, Callable[[], pd.DataFrame]] = {
                "DataManager.load": lambda: manager.load(_SYMBOL, _TIMEFRAME, mode="full"),
                "pandas.read_parquet": lambda: pd.read_parquet(files),
            }
            samples: dict[str, list[float]] = {contender: [] for contender in contenders}
            for contender in bench.turns(task, list(contenders), bench.scale.rounds * _LOADS_A_ROUND):
                start = perf_counter()
                loaded = contenders[contender]()
                samples[contender].append(perf_counter() - start)
                assert len(loaded) == len(bars)
    for contender, found in samples.items():
        yield Figure("load", contender, len(bars), median(found))


def _settings(folder: Path) -> SymcacheSettings:
    return SymcacheSettings(data_dir=folder, provider="replay")
