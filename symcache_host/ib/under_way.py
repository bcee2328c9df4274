"""The messages that may still be on their way, and what they take from the limits until they have surely arrived."""

from __future__ import annotations

import asyncio

from .budgets import Budgets
from .limits import LOST_MARGIN, MARGIN, MESSAGES, Takes
from .probing import PROBE_AFTER

SMOOTHING = 8
"""Of how many round trips the one that is reckoned with is about the mean."""

LONGEST_ROUND_TRIP = 3.0
"""Seconds; one that takes longer is of a request that was not answered, and says nothing of the others."""


class UnderWay:
    """Gives back what a message takes, one window after its arrival is known, and knows how long that takes.

    Args:
        budgets: What messages take from.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._since: dict[PacedMessage, float] = {}
        self._round_trip = self._answer_time = 0.0

    @property
    def cycle(self) -> float:
        """Seconds from one message to the next in its place: one window and a round trip."""
        return MESSAGES.seconds * MARGIN + self._round_trip

    @property
    def spread(self) -> float:
        """Over how many seconds the messages of one window are spread.

        Where answers are slow it is a question for the time that acknowledges, once a second. Then more can be sent if
        all of it goes out before that question.
        """
        return self.cycle if self._answer_time < PROBE_AFTER else PROBE_AFTER

    def __len__(self) -> int:
        return len(self._since)

    def oldest(self) -> float | None:
        """Since when the oldest message is under way, if any is."""
        return next(iter(self._since.values()), None)

    def set_out(self, message: PacedMessage) -> None:
        """A message is sent."""
        self._since[message] = message.sent_at

    def settle(self, message: PacedMessage, after: float) -> None:
        """Let what a message took come back, one window after some seconds."""
        sent = self._since.pop(message, None)
        if message.is_request and sent is not None and after == 0:
            self._round_trip = _smoothed(self._round_trip, now() - sent)
        for budget, count in message.takes:
            rule, _ = budget
            self._budgets.give_back(budget, count, after + rule.seconds * MARGIN)

    def answered(self, message: PacedMessage) -> None:
        """A request has its answer; it may have been acknowledged long before."""
        self._answer_time = _smoothed(self._answer_time, now() - message.sent_at)

    def withdraw(self, message: PacedMessage) -> None:
        """Give back at once what a message took that is not sent."""
        for budget, count in message.takes:
            self._budgets.give_back(budget, count, 0.0)


class PacedMessage:
    """A message, and what it takes from the budgets until it has surely arrived.

    Args:
        under_way: Where it is counted.
        takes: From which budgets, and how much.
        is_request: Whether its answer tells how long a round trip takes.
    """

    def __init__(self, under_way: UnderWay, takes: Takes, *, is_request: bool = False) -> None:
        self._under_way = under_way
        self.takes = takes
        self.is_request = is_request
        self.is_sent = self.is_settled = False
        self.sent_at = 0.0

    def sent(self) -> None:
        """It is on its way."""
        self.is_sent, self.sent_at = True, now()
        self._under_way.set_out(self)

    def acknowledged(self) -> None:
        """It has arrived."""
        self._settle(0.0)

    def lost(self) -> None:
        """Nobody will ever know when it arrives."""
        self._settle(LOST_MARGIN)

    def withdraw(self) -> None:
        """Give back at once what it takes, unless it was sent."""
        if not self.is_sent and not self.is_settled:
            self.is_settled = True
            self._under_way.withdraw(self)

    def _settle(self, after: float) -> None:
        if not self.is_settled:
            self.is_settled = True
            self._under_way.settle(self, after)


def _smoothed(mean: float, seconds: float) -> float:
    return mean + (min(seconds, LONGEST_ROUND_TRIP) - mean) / SMOOTHING


def now() -> float:
    """The running event loop's time (seconds)."""
    return asyncio.get_running_loop().time()
