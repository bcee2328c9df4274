"""Which messages have arrived at the other end of a socket: an answer acknowledges all that was sent before it, too."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol


class Message(Protocol):
    """One message, which wants to know what becomes of it."""

    def sent(self) -> None:
        """It is on its way."""
        ...

    def acknowledged(self) -> None:
        """It has arrived."""
        ...

    def lost(self) -> None:
        """Nobody will ever know when it arrives."""
        ...


class Slot(Protocol):
    """The right to send one request, and later the message that cancels it."""

    @property
    def message(self) -> Message:
        """The request."""
        ...

    def answered(self) -> None:
        """There is an answer, whatever it says."""
        ...

    def cancel(self, send: Callable[[Message], None]) -> None:
        """Have the cancellation sent as soon as that is allowed; without a socket it raises a ConnectionError."""
        ...


class Unpaced:
    """A message, and the right to send it at any time."""

    @property
    def message(self) -> Message:
        """Itself."""
        return self

    def sent(self) -> None:
        """Does nothing."""

    def acknowledged(self) -> None:
        """Does nothing."""

    def lost(self) -> None:
        """Does nothing."""

    def answered(self) -> None:
        """Does nothing."""

    def cancel(self, send: Callable[[Message], None]) -> None:
        """Send it."""
        send(self)


class Unacknowledged:
    """The messages of one socket that may still be on their way.

    They arrive in the order in which they are sent, and nothing is answered before it has arrived.
    """

    def __init__(self) -> None:
        self._messages: deque[tuple[int, Message]] = deque()
        self._last = 0
        self._is_over = False

    def add(self, message: Message) -> int:
        """Note that a message was sent; gives its place in the order."""
        self._last += 1
        message.sent()
        if self._is_over:
            message.lost()
        else:
            self._messages.append((self._last, message))
        return self._last

    def acknowledge(self, place: int) -> None:
        """What was sent at a place is answered: it has arrived, and all before it."""
        while self._messages and self._messages[0][0] <= place:
            self._messages.popleft()[1].acknowledged()

    def lose(self) -> None:
        """The socket is gone."""
        self._is_over = True
        while self._messages:
            self._messages.popleft()[1].lost()
