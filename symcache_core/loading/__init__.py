"""The data loader: bars of a symbol, from the local store and, for what is missing there, from the provider."""

from .cancellation import CancellationToken
from .manager import DataManager
from .many import Loaded, LoadedMany, LoadManyReport
from .orchestrator import DataLoadingOrchestrator
from .report import LoadReport, Progress

__all__ = [
    "CancellationToken",
    "DataLoadingOrchestrator",
    "DataManager",
    "LoadManyReport",
    "LoadReport",
    "Loaded",
    "LoadedMany",
    "Progress",
]
