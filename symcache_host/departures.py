"""Callers who leave: what is done for a request ends when its connection does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

WITHOUT_BODY = ("GET", "HEAD")
"""Methods whose requests have no body that means anything, so that no route asks for it."""

_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}


class Departures:
    """Middleware that cancels the application's work on a request whose client has closed its connection.

    Neither the server nor the framework does so: a handler would go on asking for someone who is gone. What others wait
    for, too, goes on for them: cancelling one waiter is not cancelling the call.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and watch its connection until it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Watched(scope, receive, send)
        work = asyncio.ensure_future(self._app(scope, request.receive, request.send))
        watch = asyncio.create_task(request.watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # done, or left, or the server itself gives up
            for task in work, watch:
                task.cancel()
            await asyncio.wait({work, watch})
        with suppress(asyncio.CancelledError):
            work.result()


class _Watched:
    """The messages of one request, read a little ahead of the application, so that its end is noticed.

    That comes after all of the body. Nothing of a body is read before the application wants it, which may refuse it,
    and of the rest no more than one part is kept here. A body that means nothing is thrown away, since nobody would
    ever want it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._parts: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._is_wanted = asyncio.Event()
        self._is_answered = False
        self._is_meaningless = scope.get("method") in WITHOUT_BODY
        if self._is_meaningless:
            self._parts.put_nowait(_NO_BODY)
        if self._is_meaningless or not _announces_body(scope):
            self._is_wanted.set()

    async def watch(self) -> None:
        """Return when the client has left before it had its answer."""
        await self._is_wanted.wait()
        while (message := await self._receive())["type"] != "http.disconnect":
            if not self._is_meaningless:
                await self._parts.put(message)
        if self._is_answered:  # the server says the same when all is well
            await asyncio.Event().wait()

    async def receive(self) -> Message:
        self._is_wanted.set()
        return await self._parts.get()

    async def send(self, message: Message) -> None:
        self._is_answered |= message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)


def _announces_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0 ") != b""
