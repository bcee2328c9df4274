"""``symcache doctor``: whether everything that symcache stands on is in order."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ..errors import BackendError, BackendUnavailableError, ConfigurationError, ProviderUnavailableError, SymcacheError
from ..factory import open_backend
from ..registry import Registry
from ..settings import EMBEDDED, SymcacheSettings
from .exits import Status, status_of
from .extras import needs
from .output import Columns, span
from .session import Session

HOST_TIMEOUT = 3.0
"""Seconds within which a host service must answer."""

PROBE_KEY = "@doctor"
"""A storage key that no symbol has, since the key of one names a provider first."""

CHECKS: Columns = {
    "state": lambda check: check["state"],
    "what": lambda check: check["what"],
    "detail": lambda check: check["detail"],
}


@dataclass(frozen=True, slots=True)
class Check:
    """What came of looking at one thing."""

    what: str
    state: str
    detail: str
    status: Status = Status.DONE


def doctor(session: Session) -> None:
    """Check everything that symcache stands on, and say what is wrong."""
    checks = _checks(session)
    session.output.show(
        CHECKS, ({"what": c.what, "state": c.state, "detail": c.detail} for c in _setting_status(session, checks))
    )


def _setting_status(session: Session, checks: Iterator[Check]) -> Iterator[Check]:
    for check in checks:
        session.end_with(check.status)
        yield check


def _checks(session: Session) -> Iterator[Check]:
    yield Check("symcache", "ok", f"{version('symcache')} on Python {platform.python_version()}, {platform.system()}")
    yield _extras()
    configured = _attempt("configuration", lambda: str(session.settings.config or "no file: environment and defaults"))
    yield configured
    if configured.status is not Status.DONE:
        return
    settings = session.settings
    yield _attempt("data folder", lambda: _try_folder(settings.data_dir))
    yield _attempt(f"backend {settings.backend}", lambda: _try_backend(settings))
    yield from _broken_plugins(settings)
    yield _attempt(f"provider {settings.provider}", lambda: _try_provider(settings))


def _attempt(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, "ok", look())
    except SymcacheError as error:
        return Check(what, "fail", str(error), status_of(error))


def _extras() -> Check:
    lacking = [name for name in ("pandas", "pyarrow", "exchange_calendars", "filelock", "httpx") if not find_spec(name)]
    if lacking:
        return Check("loading", "warn", f"without {', '.join(lacking)} nothing loads: pip install 'symcache[loading]'")
    return Check("loading", "ok", f"pandas {version('pandas')}, exchange_calendars {version('exchange_calendars')}")


def _try_folder(folder: Path) -> str:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
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
    if not any(report.error for report in reports):
        yield Check("plug-ins", "ok", ", ".join(report.name for report in reports))


def _try_provider(settings: SymcacheSettings) -> str:
    with needs("loading"):
        from ..providers import IbDataAdapter
    IbDataAdapter.from_settings(settings)  # connects to nothing, and refuses an URL or a token that cannot be used
    return _try_embedded() if settings.host_service_url == EMBEDDED else _try_host(settings)


def _try_embedded() -> str:
    lacking = [name for name in ("symcache_host", "fastapi", "uvicorn") if not find_spec(name)]
    if lacking:
        raise ConfigurationError(f"the embedded host needs {', '.join(lacking)}: pip install 'symcache[host]'")
    return "an embedded host, started when it is needed"


def _try_host(settings: SymcacheSettings) -> str:
    import httpx

    url, token = settings.host_service_url, settings.host_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health/", headers=headers, timeout=HOST_TIMEOUT, trust_env=False)
        answer.raise_for_status()
        health = answer.json()
        # Only a host service of this project names its gateway; an older one has no other than ib.
        gateway, healthy = health.get("gateway", "ib"), health["healthy"]
    except httpx.HTTPStatusError as error:
        raise ProviderUnavailableError(f"{url} (host_service_url) says {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise ProviderUnavailableError(f"{url} (host_service_url): {str(error) or type(error).__name__}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProviderUnavailableError(f"{url} (host_service_url) is no host service") from None
    if gateway != settings.provider:
        raise ConfigurationError(f"{url} serves gateway {gateway!r}, but setting 'provider' is {settings.provider!r}")
    if not healthy:
        raise ProviderUnavailableError(f"{url} answers, and says that its gateway {gateway!r} is not healthy")
    return f"{url} answers, gateway {gateway!r}"
