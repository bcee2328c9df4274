"""``symcache doctor``: whether everything that symcache stands on is in order."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ..errors import BackendError, BackendUnavailableError
from ..factory import open_backend
from ..paths import absolute_setting
from ..registry import Registry
from ..settings import SymcacheSettings
from .diagnosis import Check, attempt
from .doctor_host import provider_checks
from .exits import Status
from .output import Columns, span
from .session import Session

PROBE_KEY = "@doctor"
"""A storage key that no symbol has, since the key of one names a provider first."""

CHECKS: Columns = {
    "state": lambda check: check["state"],
    "what": lambda check: check["what"],
    "detail": lambda check: ": ".join(filter(None, (check["detail"], check["advice"]))),
}


def doctor(session: Session) -> None:
    """Check everything that symcache stands on, and say what is wrong."""
    checks = _checks(session)
    session.output.show(CHECKS, (check.record() for check in _setting_status(session, checks)))


def _setting_status(session: Session, checks: Iterator[Check]) -> Iterator[Check]:
    for check in checks:
        session.end_with(check.status)
        yield check


def _checks(session: Session) -> Iterator[Check]:
    yield Check("symcache", "ok", f"{version('symcache')} on Python {platform.python_version()}, {platform.system()}")
    yield _extras()
    configured = attempt("configuration", lambda: str(session.settings.config or "no file: environment and defaults"))
    yield configured
    if configured.status is not Status.DONE:
        return
    settings = session.settings
    yield attempt("data folder", lambda: _try_folder(settings.data_dir))
    yield attempt(f"backend {settings.backend}", lambda: _try_backend(settings))
    yield from _broken_plugins(settings)
    with session.output.spinner(f"looking at provider {settings.provider}"):
        yield from provider_checks(settings)


def _extras() -> Check:
    lacking = [name for name in ("pandas", "pyarrow", "exchange_calendars", "httpx") if not find_spec(name)]
    if lacking:
        return Check("loading", "warn", f"without {', '.join(lacking)} nothing loads: pip install 'symcache[loading]'")
    return Check("loading", "ok", f"pandas {version('pandas')}, exchange_calendars {version('exchange_calendars')}")


def _try_folder(folder: Path) -> str:
    folder = absolute_setting("data_dir", folder, Path())
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise BackendUnavailableError(f"{nearest} cannot be written: {error.strerror or error}") from None
    return f"{folder}" if nearest == folder else f"{folder}, to be made when it is needed"


def _try_backend(settings: SymcacheSettings) -> str:
    began = time.perf_counter()
    storage = open_backend(settings)
    try:
        entry = json.dumps({"written": time.time()}).encode()
        storage.write(PROBE_KEY, entry, time.time() + 60)
        if storage.read(PROBE_KEY) != entry:
            raise BackendError("what was written was not read back")
        storage.delete(PROBE_KEY)
    finally:
        storage.close()
    return f"opened, written, read back and closed in {span(time.perf_counter() - began)}"


def _broken_plugins(settings: SymcacheSettings) -> Iterator[Check]:
    reports = Registry(settings.plugins).reports()
    for report in reports:
        if report.error:
            yield Check(f"plug-in {report.name}", "warn", f"{report.error} (from {report.source})")
        elif not report.is_identified:
            yield Check(f"plug-in {report.name}", "warn", report.source, advice="install its distribution anew")
    if all(report.is_identified and not report.error for report in reports):
        yield Check("plug-ins", "ok", ", ".join(report.name for report in reports))
