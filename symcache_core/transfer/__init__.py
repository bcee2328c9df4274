"""Moves entries between stores, and in from files: each as it is, every one accounted for."""

from ..entries.items import Found, Item, Unreadable
from .copying import Fate, Report, copy
from .lines import write_line
from .once import import_once
from .sources import entries_in, store_at
from .stores import StoredEntries, open_store
from .way_back import LeftOut, WayBack, export_unversioned, unversioned_form

__all__ = [
    "Fate",
    "Found",
    "Item",
    "LeftOut",
    "Report",
    "StoredEntries",
    "Unreadable",
    "WayBack",
    "copy",
    "entries_in",
    "export_unversioned",
    "import_once",
    "open_store",
    "store_at",
    "unversioned_form",
    "write_line",
]
