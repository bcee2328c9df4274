"""Access to the host service: the bearer token, the ``Host`` header, and the size of a body."""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .loopback import is_loopback_authority

MAX_BODY = 1024 * 1024


class Guard:
    """Middleware that asks for the bearer token, and stops a body of more than 1 MiB.

    Without a token, the service is for this machine alone. A request that names another host comes from a web page
    whose name was made to lead here (DNS rebinding), so that a browser lets it read the answers.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(Headers(scope=scope))) is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, _limited(receive), send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if self._token is None:
            if is_loopback_authority(headers.get("host", "")):
                return None
            return JSONResponse({"detail": "without a token, only loopback addresses lead here"}, 421)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token):
            return None
        return JSONResponse({"detail": "a valid bearer token is needed"}, 401, {"WWW-Authenticate": "Bearer"})


def _limited(receive: Receive) -> Receive:
    taken = 0

    async def receive_within_limit() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise HTTPException(413, f"a body of more than {MAX_BODY} bytes")
        return message

    return receive_within_limit
