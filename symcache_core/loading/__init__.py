"""The data loader: bars of a symbol, from the local store and, for what is missing there, from the provider."""

from .cancellation import CancellationToken
from .manager import DataManager
from .orchestrator import DataLoadingOrchestrator
from .progress import Progress

__all__ = ["CancellationToken", "DataLoadingOrchestrator", "DataManager", "Progress"]
