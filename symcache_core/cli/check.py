"""``symcache backends --check``: whether a backend keeps the contract, tried on stores made for the purpose."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, SymcacheError
from ..registry import Registry
from .exits import Status
from .extras import needs
from .output import Columns
from .session import Session

if TYPE_CHECKING:
    from .contract_suite import CaseResult

STORE = "{store}"
"""Stands, in the value of an option, for a name that is new for each store."""

PROMISES: Columns = {
    "state": lambda line: line["state"],
    "promise": lambda line: line["promise"],
    "why": lambda line: line["reason"],
}


def check(session: Session, name: str, given: Iterable[str]) -> None:
    """Try every promise of the contract on a backend, and say which it keeps.

    Args:
        session: Ends with NO when a promise is broken.
        name: The backend's.
        given: Options for the stores to try it on, as ``name=value``.

    Raises:
        ConfigurationError: There is no such backend, nothing says where it may work, or pytest is not installed.
    """
    with needs("testing"):
        from .contract_suite import FAILED, run_contract_suite
    stores = Stores(session, name, dict(map(_parse, given)))
    with tempfile.TemporaryDirectory(prefix="symcache-check-") as folder, session.output.spinner(f"checking {name}"):
        try:
            results = run_contract_suite(
                name, plugins=session.settings.plugins, options=stores.options, folder=Path(folder)
            )
        finally:
            stores.empty()
    session.output.show(PROMISES, map(_line, results))
    if any(result.state == FAILED for result in results):
        session.end_with(Status.NO)
    counts = Counter(result.state for result in results)
    session.output.note(f"{name}: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


class Stores:
    """Where a backend may work without touching what anyone keeps.

    Args:
        session: Has the configuration.
        name: The backend's name.
        given: The options that go before the configured ones.
    """

    def __init__(self, session: Session, name: str, given: Mapping[str, str]) -> None:
        settings = session.settings
        self._registry = Registry(settings.plugins)
        self._name = name
        self._options = {**settings.backends.get(name, {}), **given}
        self._used: dict[str, Path] = {}
        record = self._registry.backend(name)
        self._has_path = "path" in record.settings.model_fields
        if record.persistent and not self._has_path and not any(STORE in value for value in given.values()):
            raise ConfigurationError(
                f"backend {name!r} has no option 'path' to point to a temporary folder, and checking it fills and "
                f"clears stores: say with --option where it may, such as --option namespace=check-{STORE}"
            )

    def options(self, folder: Path) -> Mapping[str, Any]:
        """The options of the store of a folder."""
        if self._has_path:
            return {**self._options, "path": str(folder / "store")}
        store = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self._used[store] = folder
        return {
            name: value.replace(STORE, store) if isinstance(value, str) else value
            for name, value in self._options.items()
        }

    def empty(self) -> None:
        """Leave nothing behind where no temporary folder takes it along."""
        for folder in [] if self._has_path else list(self._used.values()):
            with suppress(SymcacheError):
                store = self._registry.open(self._name, self.options(folder), base_dir=folder, data_dir=folder)
                store.clear()
                store.close()


def _parse(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigurationError("--option takes NAME=VALUE")
    return name, value


def _line(result: CaseResult) -> dict[str, str]:
    return {"promise": result.promise, **asdict(result)}
