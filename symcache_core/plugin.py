"""What a plug-in author imports: a record to fill in, and the hook that hands it over.

A backend's module ends with::

    @hookimpl
    def symcache_backends():
        yield Backend(name="sqlite", settings=SqliteSettings, open=SqliteBackend)

and its distribution names that module in the entry-point group ``symcache``, under the backend's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pluggy
from pydantic import AfterValidator, BaseModel, Field, ValidationInfo

from .paths import absolute
from .protocols import StorageBackend

API_VERSION = 1
ENTRY_POINT_GROUP = "symcache"

hookspec = pluggy.HookspecMarker(ENTRY_POINT_GROUP)
hookimpl = pluggy.HookimplMarker(ENTRY_POINT_GROUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the registry needs to know of a backend.

    Args:
        name: By which configuration chooses it; lower-case letters, digits, ``_`` and ``-``.
        settings: The model of its options, validated before ``open``. Use :data:`StorePath` for a path and
            ``pydantic.SecretStr`` for a secret.
        open: Gets an instance of ``settings``, gives the backend.
        persistent: Whether entries outlive the process.
        api: The version of this interface that the backend is written for.

    Raises:
        ValueError: The name does not fit.
    """

    name: str
    settings: type[BaseModel]
    open: Callable[[Any], StorageBackend]
    persistent: bool = True
    api: int = API_VERSION

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and re.fullmatch(r"[a-z][a-z0-9_-]*", self.name)):
            raise ValueError(f"backend name {self.name!r}: use lower-case letters, digits, '_' and '-'")


class BackendHooks:
    """The hooks that a plug-in may implement."""

    @hookspec
    def symcache_backends(self) -> Iterable[Backend]:
        """Hand over the backends of this plug-in."""
        raise AssertionError("pluggy calls implementations, never the specification")


def _resolve(path: Path, info: ValidationInfo) -> Path:
    context = info.context or {}
    base = Path(context.get("base_dir", ""))
    data_dir = Path(context.get("data_dir", base / "data"))
    return absolute(Path(str(path).replace("{data_dir}", str(data_dir))), base)


StorePath = Annotated[Path, Field(validate_default=True), AfterValidator(_resolve)]
"""A path in a backend's settings.

``~`` and ``{data_dir}`` are expanded; a relative path is relative to the configuration file, or without one to the
working directory. The result is absolute.
"""
