"""Finds the storage backends that are installed, and opens one by its name.

Each plug-in is loaded, checked and called by itself, in a plug-in manager of its own, so that a broken one is reported
and hurts no other; opening one backend imports no other.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy
from pydantic import ValidationError

from .errors import ConfigurationError, DuplicateBackendError, SymcacheError, UnknownBackendError
from .messages import did_you_mean, explain, unknown
from .plugin import API_VERSION, ENTRY_POINT_GROUP, Backend, BackendHooks
from .protocols import StorageBackend

OWN_DISTRIBUTION = "symcache"


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What came of one plug-in.

    Args:
        name: Its entry point's name, or its module's if a setting names it.
        source: The distribution and version it comes from, or the setting.
        backends: What it registers.
        error: Why it cannot be used.
    """

    name: str
    source: str
    backends: tuple[Backend, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    source: str
    load: Callable[[], object]
    is_entry_point: bool


class Registry:
    """The plug-ins of this environment, and those that configuration adds.

    Args:
        plugins: Modules to ask besides the installed entry points.
    """

    def __init__(self, plugins: Sequence[str] = ()) -> None:
        self._modules = [
            _Candidate(module, "setting 'plugins'", partial(importlib.import_module, module), False)
            for module in plugins
        ]
        self._installed = [
            _Candidate(entry.name, _source(entry), entry.load, True) for entry in sorted(_installed(), key=_precedence)
        ]

    def names(self) -> list[str]:
        """The names that configuration may choose from; imports only the modules that ``plugins`` names."""
        configured = {backend.name for report in map(_report, self._modules) for backend in report.backends}
        return sorted({candidate.name for candidate in self._installed} | configured)

    def reports(self) -> list[PluginReport]:
        """Load every plug-in and say what came of it, broken ones and rejected duplicates included."""
        reports = [_report(candidate) for candidate in (*self._installed, *self._modules)]
        return list(_without_duplicates(reports))

    def backend(self, name: str) -> Backend:
        """Load the plug-in that provides a backend, and no other.

        Raises:
            UnknownBackendError: There is none of that name; the message names those there are.
            ConfigurationError: Its plug-in is broken.
            DuplicateBackendError: ``plugins`` claims a name that an installed backend holds.
        """
        # Only the plug-in whose entry point has the name is loaded, and those that are configured, whose names nobody
        # knows before: another one that is broken, or slow to import, is none of this caller's business.
        own = [candidate for candidate in self._installed if candidate.name == name]
        wanted = [*own[:1], *self._modules]
        reports = [_report(candidate) for candidate in wanted]
        found = [(report, backend) for report in reports for backend in report.backends if backend.name == name]
        if len(found) > 1:
            sources = " and ".join(f"{report.name} ({report.source})" for report, _ in found)
            raise DuplicateBackendError(f"backend {name!r} is claimed by {sources}; remove one")
        if found:
            return found[0][1]
        broken = [report for report in reports if report.error and (report.name == name or not own)]
        if broken:
            raise ConfigurationError("; ".join(f"plug-in {report.name!r}: {report.error}" for report in broken))
        names = self.names()
        hint = did_you_mean(name, names)
        raise UnknownBackendError(
            f"setting 'backend': no backend {name!r}; installed: {', '.join(names)}" + (f"; {hint}" if hint else "")
        )

    def open(
        self,
        name: str,
        options: Mapping[str, Any],
        *,
        base_dir: Path,
        data_dir: Path,
        lock_timeout: float | None = None,
    ) -> StorageBackend:
        """Open a backend with its options.

        Args:
            name: Which.
            options: As configuration has them.
            base_dir: What a relative :data:`~symcache_core.plugin.StorePath` is relative to.
            data_dir: What ``{data_dir}`` in one stands for.
            lock_timeout: Seconds to wait for a lock, for a backend that has an option of this name which is not set;
                ``None`` for the backend's own default.

        Raises:
            ConfigurationError: The name or an option is wrong.
            BackendError: The storage cannot be opened.
        """
        backend = self.backend(name)
        known = list(backend.settings.model_fields)
        if strange := sorted(set(options) - set(known)):
            raise ConfigurationError(unknown("setting", strange[0], known, within=f"backends.{name}."))
        shared = {"lock_timeout": lock_timeout} if lock_timeout and "lock_timeout" in known else {}
        try:
            settings = backend.settings.model_validate(
                {**shared, **options}, context={"base_dir": base_dir, "data_dir": data_dir}
            )
        except ValidationError as error:
            raise ConfigurationError(f"backends.{name}: {explain(error, 'setting', known)}") from None
        try:
            return backend.open(settings)
        except SymcacheError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"backend {name!r} failed to open with {type(error).__name__}; this is a fault in the backend"
            ) from error


def _installed() -> Iterator[EntryPoint]:
    return iter(entry_points(group=ENTRY_POINT_GROUP))


def _precedence(entry: EntryPoint) -> tuple[bool, str, str]:
    # A backend that comes with symcache cannot be shadowed by installing something else.
    return (entry.dist is None or entry.dist.name != OWN_DISTRIBUTION, _source(entry), entry.name)


def _source(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def _report(candidate: _Candidate) -> PluginReport:
    try:
        backends = _backends_of(candidate)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a foreign module does must hurt nobody else
        return PluginReport(candidate.name, candidate.source, error=f"{type(error).__name__}: {error}")
    return PluginReport(candidate.name, candidate.source, backends)


def _backends_of(candidate: _Candidate) -> tuple[Backend, ...]:
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(BackendHooks)
    plugin = candidate.load()
    manager.register(plugin, candidate.name)
    manager.check_pending()
    if not manager.hook.symcache_backends.get_hookimpls():
        raise ConfigurationError("it implements no hook: decorate a function 'symcache_backends' with @hookimpl")
    backends = tuple(backend for given in manager.hook.symcache_backends() for backend in given)
    for backend in backends:
        if not isinstance(backend, Backend):
            raise ConfigurationError(f"its hook gives a {type(backend).__name__}, not a Backend")
        if backend.api > API_VERSION:
            raise ConfigurationError(
                f"backend {backend.name!r} needs plug-in interface {backend.api}, this is {API_VERSION}"
            )
    if candidate.is_entry_point:
        backends = tuple(backend for backend in backends if backend.name == candidate.name)
        if not backends:
            raise ConfigurationError(f"its hook gives no backend {candidate.name!r}, as its entry point is named")
    if twice := [name for name, count in Counter(backend.name for backend in backends).items() if count > 1]:
        raise DuplicateBackendError(f"its hook gives backend {twice[0]!r} twice")
    return backends


def _without_duplicates(reports: Sequence[PluginReport]) -> Iterator[PluginReport]:
    holders: dict[str, str] = {}
    for report in reports:
        taken = [backend.name for backend in report.backends if backend.name in holders]
        if taken:
            error = f"DuplicateBackendError: backend {taken[0]!r} is already provided by {holders[taken[0]]}"
            yield PluginReport(report.name, report.source, error=error)
            continue
        holders.update((backend.name, report.source) for backend in report.backends)
        yield report
