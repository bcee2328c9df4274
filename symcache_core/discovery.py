"""Finds the plug-ins of installed distributions, whatever state the metadata of some of them is in."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata

from .errors import ConfigurationError
from .plugin import ENTRY_POINT_GROUP

OWN_DISTRIBUTION = "symcache"

_FILE = "entry_points.txt"
_HEADING = f"[{ENTRY_POINT_GROUP}]"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plug-in that may be loaded.

    Args:
        name: Its entry point's name, or its module's if a setting names it.
        source: The distribution and version it comes from, or the setting.
        module: The module to import.
        load: Imports it.
        is_installed: Whether a distribution names it, rather than a setting.
        is_ours: Whether that distribution is symcache itself.
        is_identified: Whether it says what it is; one without metadata does not.
    """

    name: str
    source: str
    module: str
    load: Callable[[], object]
    is_installed: bool = False
    is_ours: bool = False
    is_identified: bool = True


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Metadata that may name plug-ins, and does not say which.

    Args:
        name: The distribution's, as far as it can be told.
        source: The distribution and version, or the folder of its metadata.
        error: Why it cannot be read.
    """

    name: str
    source: str
    error: str


@dataclass(frozen=True, slots=True)
class _Identity:
    """A distribution's name, what to call it in a message, and whether it says so itself."""

    name: str
    source: str
    is_told: bool


def configured(module: str) -> Candidate:
    """The plug-in that the setting ``plugins`` names."""
    return Candidate(module, "setting 'plugins'", module, partial(importlib.import_module, module))


def installed() -> tuple[list[Candidate], list[Unreadable]]:
    """The plug-ins that distributions name, symcache's own first, and the distributions that cannot be read.

    Nothing is imported. A distribution that is installed twice counts as Python finds it: the first on the path.
    """
    candidates: list[Candidate] = []
    unreadable: list[Unreadable] = []
    seen: set[str] = set()
    for distribution in _distributions(unreadable):
        try:
            text = distribution.read_text(_FILE) or ""
            if _HEADING not in text:
                continue
            identity = _identity(distribution)
            key = re.sub(r"[-_.]+", "-", identity.name).lower()
            if key not in seen and _is_first(identity.name, text):
                candidates += _candidates(distribution, identity)
            seen.add(key)
        except Exception as error:  # noqa: BLE001  # whatever is in a foreign file must hurt nobody else
            identity = _identity(distribution)
            told = f"{_FILE} cannot be read: {describe(error)}"
            unreadable.append(Unreadable(identity.name, identity.source, told))
    # A backend that comes with symcache cannot be shadowed by installing something else.
    return sorted(candidates, key=lambda found: (not found.is_ours, found.source, found.name)), unreadable


def describe(error: BaseException) -> str:
    """An error of foreign code in one line, whatever its text does."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  # its text is made by foreign code, too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _distributions(unreadable: list[Unreadable]) -> Iterator[metadata.Distribution]:
    try:
        yield from metadata.distributions()
    except Exception as error:  # noqa: BLE001  # anyone may add a finder of distributions
        unreadable.append(Unreadable("metadata", "sys.meta_path", f"a finder of distributions: {describe(error)}"))


def _candidates(distribution: metadata.Distribution, identity: _Identity) -> list[Candidate]:
    entries = dict.fromkeys(distribution.entry_points.select(group=ENTRY_POINT_GROUP))
    return [
        Candidate(
            entry.name,
            identity.source,
            entry.value.partition(":")[0].strip(),
            partial(_load, entry),
            is_installed=True,
            is_ours=identity.name == OWN_DISTRIBUTION,
            is_identified=identity.is_told,
        )
        for entry in entries
    ]


def _load(entry: metadata.EntryPoint) -> object:
    if not entry.pattern.match(entry.value):
        raise ConfigurationError(f"its entry point is {entry.value!r}, which names no module")
    return entry.load()


def _identity(distribution: metadata.Distribution) -> _Identity:
    try:
        told = distribution.metadata
        if "Name" in told and "Version" in told:
            return _Identity(told["Name"], f"{told['Name']} {told['Version']}", is_told=True)
    except Exception:  # noqa: BLE001, S110  # there may be no METADATA, or anything in its place
        pass
    # Nothing public tells where a distribution is that has no metadata.
    folder: str = getattr(getattr(distribution, "_path", None), "name", "a distribution")
    name = folder.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")[0]
    return _Identity(name, f"{folder} without a readable METADATA", is_told=False)


def _is_first(name: str, text: str) -> bool:
    """Whether this is the distribution whose modules Python imports, and not one further down the path."""
    try:
        return metadata.distribution(name).read_text(_FILE) == text
    except Exception:  # noqa: BLE001  # another one of this name cannot be read
        return True
