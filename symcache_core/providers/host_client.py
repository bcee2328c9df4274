"""Talks HTTP to a host service, and turns what goes wrong on the way into errors of the core."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx
from pydantic import SecretStr

from ..concurrency.workers import in_a_thread
from ..errors import (
    ClosedError,
    ConfigurationError,
    ProviderError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from ..messages import warn_unclosed
from .deadline import Deadline
from .embedded import EmbeddedHost

KEEP_IDLE = 2.0
"""Seconds for which an idle connection is kept: the host closes it after 5, and a request just then would be lost."""

CONNECTIONS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEEP_IDLE)


class HostClient:
    """Requests to one host service, from any event loop; each loop has connections of its own.

    Args:
        host: The base URL, or a host to start when it is first needed.
        token: What goes into the ``Authorization`` header.

    Raises:
        ConfigurationError: The URL or the token cannot be used.
    """

    _closed = True  # until it is open

    def __init__(self, host: str | EmbeddedHost, *, token: SecretStr | None) -> None:
        self._host = host if isinstance(host, EmbeddedHost) else _checked(host)
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked_token(token)}"}
        self._name = secrets.token_hex(4)
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()
        self._user: int | None = None
        self._closed = False

    def __del__(self) -> None:
        if not self._closed and self._user == os.getpid():
            warn_unclosed(self, "data adapter", "await its aclose()")

    async def post(
        self, path: str, body: dict[str, Any], deadline: Deadline, *, urgent: bool = True
    ) -> tuple[bytes, str]:
        """Send a question, together with who asks and how long that one still waits.

        Args:
            path: Which question.
            body: Its particulars.
            deadline: When it is given up.
            urgent: Whether it goes before those that are not.

        Returns:
            The body of the answer, and the URL that gave it.

        Raises:
            ProviderError: There is no answer, or none that bears a body to read.
            ClosedError: The client is closed.
        """
        if self._closed:
            raise ClosedError("this data adapter is closed")
        url = await self._base() + path
        too_late = ProviderTimeoutError(
            f"{url} did not answer within {deadline.seconds:g} s (setting 'timeout'): it may be waiting for its gateway"
        )
        if not deadline.left:
            raise too_late  # here, because a timeout of no time would let the question out
        try:
            async with asyncio.timeout(deadline.left_to_wait):
                response = await self._client().post(url, json=body, headers=self._terms(deadline, urgent))
        except TimeoutError:
            raise too_late from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ProviderUnavailableError(f"no answer from {url}: {reason} (option host_service_url)") from None
        _check_status(response, url, body)
        return response.content, url

    async def aclose(self) -> None:
        """Close this loop's connections, and end the host if it was started here; a second call does nothing."""
        self._closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        if isinstance(self._host, EmbeddedHost):
            await in_a_thread(self._host.close)

    async def _base(self) -> str:
        if isinstance(self._host, str):
            return self._host
        running = self._host.url
        return await in_a_thread(self._host.start) if running is None else running

    def _terms(self, deadline: Deadline, urgent: bool) -> dict[str, str]:
        return {
            "X-Symcache-Client": f"{self._name}-{os.getpid()}",  # of a forked child, another one
            "X-Symcache-Priority": "foreground" if urgent else "warming",
            "X-Symcache-Deadline": f"{deadline.left_for_host:.3f}",
        }

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            self._user = os.getpid()
            # A proxy or a .netrc of this machine is meant for the world outside, not for a neighbour.
            client = self._clients[loop] = httpx.AsyncClient(
                headers=self._headers,
                limits=CONNECTIONS,
                timeout=None,  # noqa: S113  # post() limits a request as a whole, and not each of its reads
                trust_env=False,
            )
        return client


def _checked(url: str) -> str:
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable or any(mark in url for mark in "@?#"):
        raise ConfigurationError(
            "setting 'host_service_url': write 'embedded', or a URL such as http://127.0.0.1:5001, "
            "without user, query or fragment"
        )
    return url.rstrip("/")


def _checked_token(token: SecretStr) -> str:
    text = token.get_secret_value()
    if not re.fullmatch(r"[!-~]+", text):
        raise ConfigurationError("setting 'host_token': a token has visible ASCII characters only")
    return text


def _check_status(response: httpx.Response, url: str, question: dict[str, Any]) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    code = str(status)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise ProviderPermissionError(f"{url} refuses with status {code}: check the setting 'host_token'", code=code)
    if status == httpx.codes.MISDIRECTED_REQUEST:
        raise ProviderPermissionError(
            f"{url} refuses with status {code}: without a token a host service answers to loopback names alone (header "
            "Host); give it one, and set 'host_token' to it",
            code=code,
        )
    if status == httpx.codes.UNPROCESSABLE_ENTITY:
        asked = json.dumps(question, ensure_ascii=False)[:200]
        raise ProviderError(f"{url} does not accept the request {asked}: {response.text[:500]}", code=code)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise ProviderUnavailableError(f"{url} failed with status {code}", code=code)
    if response.has_redirect_location:
        place = response.headers["location"]
        raise ProviderError(f"{url} is elsewhere, at {place!a} (status {code}): change host_service_url", code=code)
    raise ProviderError(f"{url} answered with status {code}: does host_service_url name a host service?", code=code)
