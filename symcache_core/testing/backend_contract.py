"""BackendContract: what every storage backend promises, as tests."""

from __future__ import annotations

from .backend_atomicity import AtomicityPromises
from .backend_capabilities import BatchPromises, UpdatePromises, UpkeepPromises
from .backend_damage import DamagePromises
from .backend_disturbance import DisturbancePromises
from .backend_entries import EntryPromises
from .backend_errors import ErrorPromises
from .backend_forks import ForkPromises
from .backend_full import FullPromises
from .backend_generation import GenerationPromises
from .backend_keys import KeyPromises
from .backend_leases import LeasePromises
from .backend_opening import OpeningPromises
from .backend_outage_beside import OutageBesidePromises
from .backend_paths import PathPromises
from .backend_resources import ResourcePromises
from .backend_sharing import SharingPromises
from .backend_stores import StoresApartPromises
from .backend_times import TimePromises
from .backend_waiting import WaitingPromises


class BackendContract(
    OutageBesidePromises,
    DisturbancePromises,
    ForkPromises,
    ResourcePromises,
    LeasePromises,
    GenerationPromises,
    AtomicityPromises,
    UpkeepPromises,
    UpdatePromises,
    BatchPromises,
    TimePromises,
    WaitingPromises,
    SharingPromises,
    DamagePromises,
    PathPromises,
    FullPromises,
    StoresApartPromises,
    ErrorPromises,
    OpeningPromises,
    KeyPromises,
    EntryPromises,
):
    """Subclass it, set ``backend``, return the options from ``settings``; pytest does the rest, the last base first."""
