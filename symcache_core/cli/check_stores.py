"""Where a backend under check may work without touching what anyone keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORE = "{store}"
"""Stands, in the value of an option, for a name that is new for each store."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """The options of as many stores as there are folders.

    Args:
        given: What all of them have in common.
        has_path: Whether the option ``path`` says which store it is.
    """

    given: Mapping[str, Any]
    has_path: bool

    def of(self, folder: Path) -> Mapping[str, Any]:
        """The options of the store of a folder."""
        if self.has_path:
            return {**self.given, "path": str(folder / "store")}
        store = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        return {
            name: value.replace(STORE, store) if isinstance(value, str) else value for name, value in self.given.items()
        }

    def where(self, folder: Path) -> str:
        """In words, where the stores are."""
        named = [f"{name}={value}" for name, value in self.given.items() if isinstance(value, str) and STORE in value]
        return "in " + ", ".join(named) if named and not self.has_path else f"in {folder}"
