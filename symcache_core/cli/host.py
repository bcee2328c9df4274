"""``symcache host``: the host service in the foreground."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Annotated

import typer

from ..errors import ConfigurationError
from .session import Session

HOST = "symcache_host"


def host(
    _session: Session,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION]...", help="Options of the host service.")
    ] = None,
) -> None:
    """Run the host service in the foreground; what symcache does not know is an option of the host service."""
    if importlib.util.find_spec(HOST) is None:
        raise ConfigurationError(f"{HOST} is not installed: pip install 'symcache[host]'")
    # In place of this process, so that signals and the exit status are the host service's own. No shell reads the list.
    os.execv(sys.executable, [sys.executable, "-P", "-m", HOST, *(arguments or [])])  # noqa: S606  # see above
