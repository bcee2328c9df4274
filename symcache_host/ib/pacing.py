"""One scheduler that sends to Interactive Brokers what its limits allow, and never more, however slow the way there is.

What is sent at one moment may arrive much later, and bunched. So whatever a message takes from a limit comes back one
window after it has been acknowledged, and not after it was sent: then the next one cannot arrive within that window.
A leaky bucket does not keep the limits, since it lets up to twice as many pass within some second; nor does any limiter
know of requests that stay open, of priorities, or of what is still under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count as counter

from symcache_core.errors import ProviderPacingError

from ..gateway import Caller
from .acknowledgements import Message, Slot
from .budgets import Budgets
from .limits import (
    EVERYTHING,
    HISTORICAL,
    LOST_MARGIN,
    MARGIN,
    MESSAGES,
    MESSAGES_PER_SECOND,
    OPEN_REQUESTS,
    OWN_MESSAGES,
    TIME_PAUSE,
    Budget,
    Request,
    Takes,
    messages,
    takes,
)
from .probing import PROBE_AFTER, Ping, Prober
from .queues import MOST_QUEUED, Place, Queues
from .under_way import PacedMessage, UnderWay, now

_ALL_MESSAGES: Budget = (MESSAGES, EVERYTHING)
_ALL_OPEN: Budget = (OPEN_REQUESTS, HISTORICAL)
_OWN_MESSAGES: Budget = (OWN_MESSAGES, EVERYTHING)


class Scheduler:
    """Admits requests as soon as every limit allows them: by priority, and round robin among the clients of one.

    A request that is held up by a limit is overtaken by those that this limit does not concern, and by no others. It
    moves in the queues as its caller becomes more or less urgent. Cancellations go before all requests, since they
    make room for them. Time is that of the running event loop. The scheduler outlives every connection, since TWS goes
    on counting when it is connected to anew.

    Args:
        max_wait: Seconds that a request may be queued; one that would be queued for longer is refused at once.
        most_queued: How many requests a client may have queued at one priority; more are refused.
        quiet: Seconds after the start of which nothing is known of what was asked before. Until they are over, the
            limits are used up; nothing is refused for that.
    """

    def __init__(self, max_wait: float, *, most_queued: int = MOST_QUEUED, quiet: float = 0.0) -> None:
        self._max_wait, self._quiet = max_wait, quiet
        self._quiet_until = 0.0
        self._budgets = Budgets(self._on_return)
        self._queues: Queues[_Slot] = Queues(most_queued)
        self._cancellations: deque[Callable[[], None]] = deque()
        self._numbers = counter()
        self._returned = asyncio.Event()
        self._is_admitting = self._admit_again = False
        self._under_way = UnderWay(self._budgets)
        self._held_up_by: set[Budget] = set()
        self._prober: Prober | None = None

    @property
    def waiting(self) -> int:
        """How many requests are queued."""
        return len(self._queues)

    @property
    def messages_left(self) -> int:
        """How many messages may still be sent within this second."""
        return self._budgets.left(_ALL_MESSAGES)

    @property
    def historical_left(self) -> int:
        """How many more historical requests may be open at the same time."""
        return self._budgets.left(_ALL_OPEN)

    @property
    def quiet_left(self) -> float:
        """Seconds until requests for history are admitted at all."""
        return max(0.0, self._quiet_until - now()) if self._quiet_until > 0 else 0.0

    def start(self, ping: Ping | None = None) -> None:
        """Begin to count.

        Args:
            ping: Asks for a sign of life, which acknowledges what was sent before.
        """
        if ping is not None:
            self._prober = Prober(ping, self._take_own_message, self._probe_due)
        if not self._quiet:
            return
        self._quiet_until = now() + self._quiet
        for budget, seconds in (_ALL_MESSAGES, min(self._quiet, MESSAGES.seconds * MARGIN)), (_ALL_OPEN, self._quiet):
            rule, _ = budget
            self._budgets.take(budget, rule.most)
            self._budgets.give_back(budget, rule.most, seconds)

    @asynccontextmanager
    async def slot(self, request: Request, caller: Caller) -> AsyncIterator[Slot]:
        """Wait until a request is admitted; it is sent within this context.

        Of what is not said to be sent nobody knows when it arrives. It counts as if it had done so at the end.

        Raises:
            ProviderPacingError: It would have to wait too long; ``retry_after`` says until when.
        """
        slot = _Slot(self, self._under_way, request, next(self._numbers))
        await self._wait(slot, caller)
        try:
            yield slot
        finally:
            self._end(slot)

    @asynccontextmanager
    async def own_message(self, count: int = 1) -> AsyncIterator[Message]:
        """Wait until the connection may send so many messages of its own at once; no request takes any of those."""
        while (message := self._take_own_message(count)) is None:
            self._returned.clear()
            await self._returned.wait()
        try:
            yield message
        finally:
            message.withdraw()

    async def _wait(self, slot: _Slot, caller: Caller) -> None:
        delay = self._delay(slot, caller)
        if delay > self._max_wait or self._queues.is_full(caller):
            raise _too_many(delay)
        self._queues.add(slot, caller)
        self._admit_all()
        quiet = self.quiet_left if slot.is_historical else 0.0
        try:
            with caller.observed_by(partial(self._move, slot)):
                async with asyncio.timeout(self._max_wait + quiet):
                    await slot.admitted
        except BaseException as error:
            # Cancelled, or queued too long. Either it was admitted at that very moment: then what it took has to be
            # given back here. Or it is still queued: then what it held up may be admitted now.
            if slot.place is None:
                slot.message.withdraw()
                self._end(slot)
            else:
                self._queues.remove(slot)
                self._admit_all()
            if isinstance(error, TimeoutError):
                raise _too_many(self._delay(slot, caller)) from None
            raise

    def _move(self, slot: _Slot, caller: Caller) -> None:
        if slot.place is not None:
            self._queues.remove(slot)
            self._queues.add(slot, caller)
            self._admit_all()

    def _delay(self, slot: _Slot, caller: Caller) -> float:
        """Seconds after which a request may be admitted, as far as can be told now."""
        lacking = self._budgets.lacking(slot.wanted, ())
        held_up = 0.0 if lacking is None else self._budgets.next_return(lacking)
        if lacking == _ALL_OPEN and self.quiet_left:
            held_up = 0.0
        return max(held_up, self._queues.ahead_of(caller) * self._under_way.cycle / MESSAGES_PER_SECOND)

    def _on_return(self) -> None:
        self._returned.set()
        self._admit_all()

    def _admit_all(self) -> None:
        """Admit whatever may be sent, cancellations first and then those whose turn it is."""
        self._admit_again = True
        if self._is_admitting:
            return
        self._is_admitting = True
        try:
            while self._admit_again:
                self._admit_again = False
                lacking = self._send_cancellations() | self._admit_requests()
        finally:
            self._is_admitting = False
        # What only answers bring back comes sooner if some are asked for.
        self._held_up_by = {budget for budget in lacking if budget[0].waits_for_arrival}
        if self._prober is not None and self._held_up_by:
            self._prober.wanted()

    def _probe_due(self) -> float | None:
        """When to ask for a sign of life: soon, but not for the sake of some messages while most are known to be there.

        The next time is a second later, and more are sent by then.
        """
        if (oldest := self._under_way.oldest()) is None:
            return None
        few = self._held_up_by == {_ALL_MESSAGES} and len(self._under_way) < MESSAGES_PER_SECOND / 2
        return oldest + (TIME_PAUSE if few else PROBE_AFTER)

    def _send_cancellations(self) -> set[Budget]:
        while self._cancellations and self._budgets.left(_ALL_MESSAGES) > 0:
            self._cancellations.popleft()()
        return {_ALL_MESSAGES} if self._cancellations else set()

    def _admit_requests(self) -> set[Budget]:
        """Admit what may be sent; gives the limits that hold up the rest.

        A request that finds too little in a budget reserves it: what comes later must take nothing from it, or requests
        that cost less would go first for ever. What needs nothing from that budget is not held up.
        """
        reserved: set[Budget] = set()
        while (slot := self._next(reserved)) is not None:
            self._queues.serve(slot)
            self._begin(slot)
        return reserved

    def _next(self, reserved: set[Budget]) -> _Slot | None:
        for slot in self._queues.in_turn():
            if slot.admitted.done():  # cancelled, and about to leave
                continue
            lacking = self._budgets.lacking(slot.wanted, reserved)
            if lacking is None:
                return slot
            reserved.add(lacking)
            if lacking[1] == EVERYTHING:  # no request does without it
                return None
        return None

    def _begin(self, slot: _Slot) -> None:
        for budget, count in slot.wanted:
            rule, _ = budget
            self._budgets.take(budget, count)
            if not rule.from_arrival:
                self._budgets.give_back(budget, count, rule.seconds * self._under_way.spread)
        slot.admitted.set_result(None)

    def _end(self, slot: _Slot) -> None:
        was_sent = slot.message.is_sent
        if not was_sent:
            slot.message.acknowledged()
        if slot.is_historical and not slot.is_cancelled:
            # One without an answer was cut off together with its socket: TWS notices that as it does a message.
            self._close(slot, 0.0 if slot.is_answered or not was_sent else LOST_MARGIN)

    def _cancel(self, slot: _Slot, send: Callable[[Message], None]) -> None:
        self._cancellations.append(partial(self._send_cancellation, slot, send))
        self._admit_all()

    def _send_cancellation(self, slot: _Slot, send: Callable[[Message], None]) -> None:
        message, wait = self._message(_ALL_MESSAGES), 0.0
        try:
            send(message)
        except ConnectionError:
            message.withdraw()
            wait = LOST_MARGIN
        self._close(slot, wait)  # what is sent next arrives after the cancellation

    def _close(self, slot: _Slot, wait: float) -> None:
        """Give back what a request takes as long as it is open, after some seconds."""
        for budget, count in slot.wanted:
            if not budget[0].seconds:
                self._budgets.give_back(budget, count, wait)

    def _take_own_message(self, count: int = 1) -> PacedMessage | None:
        """Messages of the connection's own, to be withdrawn if they are not sent; None if there are none left."""
        return self._message(_OWN_MESSAGES, count) if self._budgets.left(_OWN_MESSAGES) >= count else None

    def _message(self, budget: Budget, count: int = 1) -> PacedMessage:
        self._budgets.take(budget, count)
        return PacedMessage(self._under_way, ((budget, count),))


class _Slot:
    """A request that waits for its turn, and then the right to send it."""

    def __init__(self, scheduler: Scheduler, under_way: UnderWay, request: Request, number: int) -> None:
        self._scheduler, self._under_way = scheduler, under_way
        self.number = number
        self.cost = messages(request)
        self.wanted = takes(request)
        self.message = PacedMessage(under_way, _returned_on_arrival(self.wanted), is_request=True)
        self.is_historical = request.kind != "details"
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.place: Place | None = None
        self.is_answered = self.is_cancelled = False

    def answered(self) -> None:
        self.is_answered = True
        self._under_way.answered(self.message)

    def cancel(self, send: Callable[[Message], None]) -> None:
        self.is_cancelled = True
        self._scheduler._cancel(self, send)  # noqa: SLF001  # a part of it


def _returned_on_arrival(wanted: Takes) -> Takes:
    return tuple((budget, count) for budget, count in wanted if budget[0].waits_for_arrival)


def _too_many(retry_after: float) -> ProviderPacingError:
    retry_after = max(1.0, retry_after)
    return ProviderPacingError(
        f"too many requests wait for Interactive Brokers: come back in {retry_after:.0f} s", retry_after=retry_after
    )
