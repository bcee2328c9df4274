"""Moves entries between stores, and in from files: each as it is, every one accounted for."""

from ..entries.items import Found, Item, Unreadable
from .copying import Fate, Report, copy
from .lines import write_line
from .once import import_once
from .sources import entries_in
from .stores import StoredEntries, open_store

__all__ = [
    "Fate",
    "Found",
    "Item",
    "Report",
    "StoredEntries",
    "Unreadable",
    "copy",
    "entries_in",
    "import_once",
    "open_store",
    "write_line",
]
