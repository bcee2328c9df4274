"""Finds the storage backends that are installed, and opens one by its name.

Each plug-in is loaded, checked and called by itself, in a plug-in manager of its own, so that a broken one is reported
and hurts no other; opening one backend imports no other.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy
from pydantic import ValidationError

from .conformance import faults_of_record, faults_of_store
from .discovery import Candidate, configured, describe, installed
from .errors import ConfigurationError, DuplicateBackendError, SymcacheError, UnknownBackendError
from .messages import did_you_mean, explain, is_news, unknown
from .plugin import ENTRY_POINT_GROUP, Backend, BackendHooks
from .protocols import StorageBackend

log = logging.getLogger("symcache")


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What came of one plug-in.

    Args:
        name: Its entry point's name, or its module's if a setting names it; the distribution's if it cannot be read.
        source: The distribution and version it comes from, or the setting.
        backends: What it registers.
        error: Why it cannot be used.
        file: Where its module is.
        is_identified: Whether its distribution says what it is.
    """

    name: str
    source: str
    backends: tuple[Backend, ...] = ()
    error: str | None = None
    file: str | None = None
    is_identified: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


class Registry:
    """The plug-ins of this environment, and those that configuration adds.

    Args:
        plugins: Modules to ask besides the installed entry points.
    """

    def __init__(self, plugins: Sequence[str] = ()) -> None:
        self._modules = [configured(module) for module in plugins]
        self._installed, self._unreadable = installed()

    def names(self) -> list[str]:
        """The names that configuration may choose from; imports only the modules that ``plugins`` names."""
        from_setting = {backend.name for report in map(_report, self._modules) for backend in report.backends}
        return sorted({candidate.name for candidate in self._installed} | from_setting)

    def reports(self) -> list[PluginReport]:
        """Load every plug-in and say what came of it, those that are broken or claim a taken name included.

        Distributions whose plug-ins cannot be told come last.
        """
        reports = [(candidate, _report(candidate)) for candidate in (*self._installed, *self._modules)]
        unreadable = [PluginReport(found.name, found.source, error=found.error) for found in self._unreadable]
        return [*self._with_rejected_claims(reports), *unreadable]

    def backend(self, name: str) -> Backend:
        """Load the plug-in that provides a backend, and no other.

        Raises:
            UnknownBackendError: There is none of that name; the message names those there are.
            ConfigurationError: Its plug-in is broken.
            DuplicateBackendError: Two distributions claim the name, or ``plugins`` claims one that an installed
                backend holds.
        """
        return self._found(name)[1]

    def _found(self, name: str) -> tuple[PluginReport, Backend]:
        # Only the plug-in whose entry point has the name is loaded, and those that are configured, whose names nobody
        # knows before: another one that is broken, or slow to import, is none of this caller's business.
        own, shadowed = self._claims(name)
        if len(own) > 1:
            raise _duplicate(name, [PluginReport(claim.name, claim.source) for claim in own])
        for claim in shadowed:
            if is_news("shadowed", name, claim.source):
                log.warning("backend %r of %s is not used: %s has one", name, claim.source, own[0].source)
        reports = [_report(candidate) for candidate in (*own, *self._modules)]
        found = [(report, backend) for report in reports for backend in report.backends if backend.name == name]
        if len(found) > 1:
            raise _duplicate(name, [report for report, _ in found])
        if found:
            return found[0]
        broken = [report for report in reports if report.error and (report.name == name or not own)]
        if broken:
            raise ConfigurationError(
                "; ".join(f"plug-in {report.name!r} ({report.source}): {report.error}" for report in broken)
            )
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownBackendError:
        names = self.names()
        told = [f"setting 'backend': no backend {name!r}", f"installed: {', '.join(names)}", did_you_mean(name, names)]
        told += [f"{found.source} may have one: {found.error}" for found in self._unreadable]
        return UnknownBackendError("; ".join(filter(None, told)))

    def _claims(self, name: str) -> tuple[list[Candidate], list[Candidate]]:
        """The installed plug-ins that claim a name, and those of them that do not count: ours keep theirs."""
        claims = [candidate for candidate in self._installed if candidate.name == name]
        return (claims[:1], claims[1:]) if claims and claims[0].is_ours else (claims, [])

    def _with_rejected_claims(self, reports: Sequence[tuple[Candidate, PluginReport]]) -> Iterator[PluginReport]:
        for candidate, report in reports:
            own, shadowed = self._claims(candidate.name)
            if candidate in shadowed:
                error = f"DuplicateBackendError: backend {candidate.name!r} is already provided by {own[0].source}"
                yield replace(report, backends=(), error=report.error or error)
                continue
            for backend in report.backends:
                if len(rivals := self._claimants(backend.name, reports)) > 1:
                    yield replace(report, backends=(), error=describe(_duplicate(backend.name, rivals)))
                    break
            else:
                yield report

    def _claimants(self, name: str, reports: Sequence[tuple[Candidate, PluginReport]]) -> list[PluginReport]:
        """Those for whom a name is refused when it is asked for, if there are several."""
        own, shadowed = self._claims(name)
        return [
            report
            for candidate, report in reports
            if candidate not in shadowed
            and ((candidate in own and len(own) > 1) or name in [backend.name for backend in report.backends])
        ]

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
        report, backend = self._found(name)
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
            store = backend.open(settings)
        except SymcacheError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"plug-in {report.name!r} ({report.source}): backend {name!r} failed to open with "
                f"{type(error).__name__}; this is a fault in the backend"
            ) from error
        try:
            if faults := _faults_of(store):
                raise ConfigurationError(f"plug-in {report.name!r} ({report.source}): backend {name!r}: {faults}")
        except BaseException:  # an interrupt, too, must leave nothing open
            with suppress(Exception):  # a malformed one may fail at anything
                store.close()
            raise
        return store


def _faults_of(store: StorageBackend) -> str:
    try:
        return "; ".join(faults_of_store(store))
    except Exception as error:  # noqa: BLE001  # what looks like a method may be computed by foreign code
        return f"a look at its methods raises {describe(error)}: make them plain methods"


def _report(candidate: Candidate) -> PluginReport:
    backends: tuple[Backend, ...] = ()
    error = None
    try:
        backends = _backends_of(candidate)
    except (Exception, SystemExit) as raised:  # noqa: BLE001  # whatever a foreign module does must hurt nobody else
        error = describe(raised)
    return PluginReport(
        name=candidate.name,
        source=candidate.source,
        backends=backends,
        error=error,
        file=_file_of(candidate.module),
        is_identified=candidate.is_identified,
    )


def _file_of(module: str) -> str | None:
    """Where the module of a plug-in is, which may have failed to be imported."""
    try:
        loaded = sys.modules.get(module)
        return getattr(loaded, "__file__", None) if loaded is not None else getattr(find_spec(module), "origin", None)
    except (Exception, SystemExit):  # noqa: BLE001  # to find a module imports the packages that it is in
        return None


def _backends_of(candidate: Candidate) -> tuple[Backend, ...]:
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(BackendHooks)
    plugin = candidate.load()
    manager.register(plugin, candidate.name)
    manager.check_pending()
    if not manager.hook.symcache_backends.get_hookimpls():
        raise ConfigurationError("it implements no hook: decorate a function 'symcache_backends' with @hookimpl")
    backends = tuple(_given_by(manager.hook.symcache_backends()))
    for backend in backends:
        if not isinstance(backend, Backend):
            raise ConfigurationError(f"its hook gives a {type(backend).__name__}, not a Backend")
    if candidate.is_installed:
        backends = tuple(backend for backend in backends if backend.name == candidate.name)
        if not backends:
            raise ConfigurationError(f"its hook gives no backend {candidate.name!r}, as its entry point is named")
    for backend in backends:
        if faults := "; ".join(faults_of_record(backend)):
            raise ConfigurationError(f"backend {backend.name!r}: {faults}")
    if twice := [name for name, count in Counter(backend.name for backend in backends).items() if count > 1]:
        raise DuplicateBackendError(f"its hook gives backend {twice[0]!r} twice")
    return backends


def _given_by(answers: Iterable[object]) -> Iterator[Any]:
    for given in answers:
        if inspect.iscoroutine(given):
            given.close()  # else Python warns that nobody awaited it
        if not isinstance(given, Iterable):
            raise ConfigurationError(
                f"its hook gives a {type(given).__name__}: make 'symcache_backends' a plain 'def' that yields backends"
            )
        yield from given


def _duplicate(name: str, claimants: Sequence[PluginReport]) -> DuplicateBackendError:
    return DuplicateBackendError(f"backend {name!r} is claimed by {' and '.join(map(str, claimants))}; remove one")
