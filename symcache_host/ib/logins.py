"""Logins at TWS: under the first client id that is free, and no faster than it takes messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from .acknowledgements import Message
from .advice import ConnectError, Failure
from .connectivity import Notice
from .session import CLIENT_ID_TAKEN, LOGIN, UNPACED, IbError, Session

CLIENT_IDS = 32
"""How many client ids are tried."""

Pace = Callable[[int], AbstractAsyncContextManager[Message]]
"""Waits until so many messages of the connection's own may be sent at once."""


@asynccontextmanager
async def unpaced(_count: int) -> AsyncIterator[Message]:
    """Wait for nothing."""
    yield UNPACED


class Logins:
    """The logins at one TWS.

    Args:
        host: Where it is.
        port: The port of its API.
        client_id: The first client id to try, from 1 on.
        timeout: Seconds that a login may take, and a sign of life.
    """

    def __init__(self, host: str, port: int, client_id: int, timeout: float) -> None:
        if client_id < 1:
            raise ValueError("a client id is 1 or more: client 0 would take over the orders placed by hand in TWS")
        self._host, self._port, self._first, self._timeout = host, port, client_id, timeout
        self.pace: Pace = unpaced

    async def log_in(self, on_notice: Callable[[Notice], None]) -> tuple[Session, int, tuple[int, ...]]:
        """Log in; gives the session, its client id, and those before it, which are taken.

        Args:
            on_notice: Called with every message that answers no request.

        Raises:
            IbError: TWS refuses.
            ConnectError: It cannot be connected to, or every client id is taken.
        """
        ids = range(self._first, self._first + CLIENT_IDS)
        for client_id in ids:
            session = Session(on_notice)
            try:
                await self._connect(session, client_id)
            except IbError as error:
                # Another program has this id, or TWS has not noticed that a lost socket had it: the next one will do.
                if error.code != CLIENT_ID_TAKEN:
                    raise
            else:
                return session, client_id, tuple(range(self._first, client_id))
        raise ConnectError(
            Failure.NO_CLIENT_ID, f"every client id from {ids[0]} to {ids[-1]} is in use", CLIENT_ID_TAKEN
        )

    async def is_taken(self, client_id: int) -> bool:
        """Whether a client id is taken, or nobody knows."""
        session = Session(lambda _notice: None)
        try:
            await self._connect(session, client_id)
        except (IbError, OSError):
            return True
        session.close()
        await session.ended
        return False

    async def is_alive(self, session: Session) -> bool:
        """Whether the other end of a session gives a sign of life."""
        async with self.pace(1) as message:
            return await session.is_alive(self._timeout, message)

    async def _connect(self, session: Session, client_id: int) -> None:
        async with self.pace(LOGIN) as message:
            await session.connect(self._host, self._port, client_id, self._timeout, message)
