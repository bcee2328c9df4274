"""BackendContract: what every storage backend promises, as tests."""

from __future__ import annotations

from .backend_capabilities import BatchPromises, LeasePromises, UpdatePromises, UpkeepPromises
from .backend_entries import EntryPromises
from .backend_opening import OpeningPromises
from .backend_sharing import SharingPromises


class BackendContract(
    UpkeepPromises, LeasePromises, UpdatePromises, BatchPromises, SharingPromises, OpeningPromises, EntryPromises
):
    """Subclass it, set ``backend``, return the options from ``settings``; pytest does the rest, the last base first."""
