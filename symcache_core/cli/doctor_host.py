"""What ``symcache doctor`` finds at the provider: the host service, and what that sees when it looks at its gateway."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, ProviderUnavailableError, SymcacheError
from ..models import REPLAY
from ..settings import EMBEDDED, SymcacheSettings
from .diagnosis import Check, attempt, failed
from .exits import Status
from .extras import needs

if TYPE_CHECKING:
    import httpx

HOST_TIMEOUT = 3.0
"""Seconds within which a host service must answer."""

LOOK_TIMEOUT = 70.0
"""Seconds within which it must have looked at its gateway; each of its own steps is given up before."""

LONGEST = 600
"""Characters of a host's text that are shown."""

STATUS = {"ok": Status.DONE, "warn": Status.DONE, "fail": Status.UNAVAILABLE}


def provider_checks(settings: SymcacheSettings) -> Iterator[Check]:
    """Look at the provider, as far as it can be looked at from here."""
    what = f"provider {settings.provider}"
    configured = attempt(what, lambda: _check_settings(settings))
    if configured.status is not Status.DONE:
        yield configured
    elif settings.host_service_url != EMBEDDED:
        yield from _host(what, settings, settings.host_service_url.rstrip("/"))
    elif settings.provider == REPLAY:
        yield configured  # nothing of it could be away, and that is not worth the start of a process
    else:
        yield from _embedded_host(what, settings)


def _check_settings(settings: SymcacheSettings) -> str:
    with needs("loading"):
        from ..providers import IbDataAdapter
    IbDataAdapter.from_settings(settings)  # connects to nothing, and refuses an URL or a token that cannot be used
    if settings.host_service_url == EMBEDDED:
        lacking = [name for name in ("symcache_host", "fastapi", "uvicorn") if not find_spec(name)]
        if lacking:
            raise ConfigurationError(f"the embedded host needs {', '.join(lacking)}: pip install 'symcache[host]'")
    return "an embedded host, started when it is needed"


def _embedded_host(what: str, settings: SymcacheSettings) -> Iterator[Check]:
    """Look through a host that lives no longer than this, and whose cache goes with it."""
    from ..providers.embedded import EmbeddedHost
    from ..providers.ib_data_adapter import REPLAY_ENDS

    with tempfile.TemporaryDirectory(prefix="symcache-doctor-") as folder:
        host = EmbeddedHost(
            gateway=settings.provider, data_dir=Path(folder), as_of=REPLAY_ENDS, token=settings.host_token
        )
        try:
            url = host.start()
        except SymcacheError as error:
            yield failed(what, error)
        else:
            yield from _host(what, settings, url, "an embedded host")
        finally:
            host.close()


def _host(what: str, settings: SymcacheSettings, url: str, called: str | None = None) -> Iterator[Check]:
    import httpx

    token = settings.host_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    called = called or url
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        try:
            health = _health(client, called)
            gateway = _gateway(health, settings, called)
            findings = _look(client, called)
        except SymcacheError as error:
            yield failed(what, error)
            return
    if findings is None:
        yield _by_health(what, health, f"{called} answers, {gateway}")
        return
    yield Check(what, "ok", f"{called} answers, {gateway}")
    yield from findings


def _health(client: httpx.Client, called: str) -> Mapping[str, Any]:
    import httpx

    try:
        answer = client.get("/health/", timeout=HOST_TIMEOUT)
        answer.raise_for_status()
        health = answer.json()
        health["healthy"]
    except httpx.HTTPStatusError as error:
        raise ProviderUnavailableError(f"{called} (host_service_url) says {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise _silent(called, error) from None
    except (ValueError, KeyError, TypeError):
        raise ProviderUnavailableError(f"{called} (host_service_url) is no host service") from None
    if not isinstance(health, dict):
        raise ProviderUnavailableError(f"{called} (host_service_url) is no host service")
    return health


def _gateway(health: Mapping[str, Any], settings: SymcacheSettings, called: str) -> str:
    # Only a host service of this project names its gateway; an older one has no other than ib.
    gateway = health.get("gateway", "ib")
    if gateway != settings.provider:
        raise ConfigurationError(
            f"{called} serves gateway {gateway!r}, but setting 'provider' is {settings.provider!r}"
        )
    return f"gateway {gateway!r}"


def _look(client: httpx.Client, called: str) -> list[Check] | None:
    """What the host sees when it looks now; None where it cannot, as older ones."""
    import httpx

    try:
        answer = client.post("/health/look", json={}, timeout=LOOK_TIMEOUT)
    except httpx.HTTPError as error:
        raise _silent(called, error) from None
    try:
        return [_check(finding) for finding in answer.json()["findings"]] if answer.is_success else None
    except (ValueError, KeyError, TypeError):
        return None


def _check(finding: Mapping[str, Any]) -> Check:
    state = finding["state"]
    return Check(
        _text(finding["what"]), state, _text(finding["detail"]), STATUS[state], _text(finding["advice"]) or None
    )


def _by_health(what: str, health: Mapping[str, Any], answers: str) -> Check:
    """What a host says of itself that does not look when it is asked to."""
    if health["healthy"]:
        return Check(what, "ok", answers)
    told = next((each for name in ("connection_info", "ib_status") if isinstance(each := health.get(name), dict)), {})
    problem, advice = _text(told.get("problem")), _text(told.get("advice"))
    detail = f"{answers}, and says that it is not healthy"
    return Check(what, "fail", f"{detail}: {problem}" if problem else detail, Status.UNAVAILABLE, advice or None)


def _silent(called: str, error: Exception) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"{called} (host_service_url): {str(error) or type(error).__name__}")


def _text(said: object) -> str:
    return "" if said is None else str(said)[:LONGEST]
