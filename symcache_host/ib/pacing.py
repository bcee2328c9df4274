"""What may be sent to Interactive Brokers now: its limits as a table, and one scheduler that never breaks them.

The limits are those of https://interactivebrokers.github.io/tws-api/historical_limitations.html, but for those of what
is never asked for: bars of less than a minute, and bid and ask in one, which count twice. A leaky bucket does not keep
them, since it lets up to twice as many pass within some second; nor does any limiter know of requests that stay open,
or of priorities.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from symcache_core.errors import ProviderPacingError

from ..gateway import Caller, Priority

MARGIN = 1.03
"""How much longer a window is here than there: what is sent evenly does not arrive so."""

MESSAGES_PER_SECOND = 48
"""Of the 50 that are allowed; the others are left to the connection, for its handshake and its heartbeats."""

EVERYTHING = "everything"
HISTORICAL = "historical"


class Request(NamedTuple):
    """What is about to be sent.

    Args:
        kind: Which of the three requests.
        contract: About which contract, in whatever form tells it from all others.
        what: The kind of data.
        bar_size: The length of the bars.
        span: Which of them, and of which hours.
    """

    kind: Literal["details", "head", "bars"]
    contract: Hashable = None
    what: str = ""
    bar_size: str = ""
    span: Hashable = None


def _everything(_request: Request) -> Hashable:
    return EVERYTHING


def _historical(request: Request) -> Hashable:
    return None if request.kind == "details" else HISTORICAL


def _identical(request: Request) -> Hashable:
    return None if request.kind == "details" else request


def _kind_of_data(request: Request) -> Hashable:
    return None if request.kind == "details" else (request.contract, request.what)


def _none(_request: Request) -> int:
    return 0


def _once(_request: Request) -> int:
    return 1


def _cancellation(request: Request) -> int:
    return 0 if request.kind == "details" else 1  # of bars it may follow, of a head timestamp it must


def _messages(request: Request) -> int:
    return 1 + _cancellation(request)


class Rule(NamedTuple):
    """A limit: at most so many within so many seconds, of all requests that have a scope in common.

    Args:
        most: How many.
        seconds: The length of the window; with none, it is how many at the same time.
        scope: What a request is counted with; None if it is not.
        begin: For how many it counts from its beginning on.
        end: For how many while it is open, and from its end on for another window.
    """

    most: int
    seconds: float
    scope: Callable[[Request], Hashable]
    begin: Callable[[Request], int] = _once
    end: Callable[[Request], int] = _none

    def cost(self, request: Request) -> int:
        """How much has to be free for a request to begin."""
        return self.begin(request) + self.end(request)


# 50 historical requests at the same time; one for a head timestamp is open until it is cancelled.
OPEN_REQUESTS = Rule(50, 0.0, _historical, begin=_none, end=_once)
# 50 messages a second, cancellations among them, and those of the connection itself.
MESSAGES = Rule(MESSAGES_PER_SECOND, 1.0, _everything, begin=_once, end=_cancellation)

# The narrower ones first.
RULES = (
    # No identical historical request within 15 seconds.
    Rule(1, 15.0, _identical),
    # Fewer than six for the same contract and kind of data within two seconds.
    Rule(5, 2.0, _kind_of_data),
    OPEN_REQUESTS,
    MESSAGES,
    # The same spread evenly, so that an urgent request never finds the whole second used up.
    Rule(10, 0.2, _everything, begin=_messages),
)

_Budget = tuple[Rule, Hashable]
"""A rule, and the scope in which it is counted."""


@dataclass(eq=False, slots=True)
class _Waiter:
    request: Request
    budgets: tuple[_Budget, ...]
    admitted: asyncio.Future[None]
    queue: tuple[Priority, str] | None = None
    """Where it waits; None before, and once it is admitted."""


class Scheduler:
    """Admits requests as soon as every limit allows them: by priority, and round robin among the clients of one.

    A request that is held up by a limit is overtaken by those that this limit does not concern, and by no others. One
    that becomes more urgent while it waits moves up. Time is that of the running event loop.

    The windows slide: what a request takes from a budget comes back by a timer of its own, one window after the moment
    at which it counts, so that the count is exact at any moment. A request takes two things when it begins:

    - What its beginning counts for: given back one window later.
    - What its end will count for: given back one window after its end. The message that cancels it may be sent then,
      whenever that is, and nobody else may have what it takes.

    Args:
        max_wait: Seconds that a request may be queued; one that would be queued for longer is refused at once.
    """

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self._used: Counter[_Budget] = Counter()
        self._returns: dict[_Budget, deque[float]] = {}
        self._queues: dict[Priority, dict[str, deque[_Waiter]]] = {priority: {} for priority in Priority}

    @property
    def waiting(self) -> int:
        """How many requests are queued."""
        return sum(len(queue) for clients in self._queues.values() for queue in clients.values())

    @property
    def messages_left(self) -> int:
        """How many messages may still be sent within this second."""
        return MESSAGES.most - self._used[MESSAGES, EVERYTHING]

    @property
    def historical_left(self) -> int:
        """How many more historical requests may be open at the same time."""
        return OPEN_REQUESTS.most - self._used[OPEN_REQUESTS, HISTORICAL]

    @asynccontextmanager
    async def slot(self, request: Request, caller: Caller) -> AsyncIterator[None]:
        """Wait until a request is admitted; all that is sent for it is sent within this context.

        Raises:
            ProviderPacingError: It would have to wait too long; ``retry_after`` says until when.
        """
        budgets = tuple((rule, scope) for rule in RULES if (scope := rule.scope(request)) is not None)
        waiter = _Waiter(request, budgets, asyncio.get_running_loop().create_future())
        await self._wait(waiter, caller)
        try:
            yield
        finally:
            self._end(waiter)

    async def _wait(self, waiter: _Waiter, caller: Caller) -> None:
        if (delay := self._delay(waiter, caller)) > self._max_wait:
            raise _too_many(delay)
        self._enqueue(waiter, caller)
        try:
            with caller.observed_by(partial(self._move_up, waiter)):
                async with asyncio.timeout(self._max_wait):
                    await waiter.admitted
        except BaseException as error:
            # Cancelled, or queued too long. Either it was admitted at that very moment: then what it took has to be
            # given back here. Or it is still queued: then what it held up may be admitted now.
            if waiter.queue is None:
                self._end(waiter)
            else:
                self._dequeue(waiter)
                self._admit_all()
            if isinstance(error, TimeoutError):
                raise _too_many(max(1.0, self._delay(waiter, caller))) from None
            raise

    def _enqueue(self, waiter: _Waiter, caller: Caller) -> None:
        waiter.queue = caller.priority, caller.client
        self._queues[caller.priority].setdefault(caller.client, deque()).append(waiter)
        self._admit_all()

    def _dequeue(self, waiter: _Waiter) -> None:
        assert waiter.queue is not None, "it is queued"
        (priority, client), waiter.queue = waiter.queue, None
        clients = self._queues[priority]
        clients[client].remove(waiter)
        if not clients[client]:
            del clients[client]

    def _move_up(self, waiter: _Waiter, caller: Caller) -> None:
        if waiter.queue is not None:
            self._dequeue(waiter)
            self._enqueue(waiter, caller)

    def _delay(self, waiter: _Waiter, caller: Caller) -> float:
        """Seconds after which a request may be admitted, as far as can be told now."""
        lacking = self._lacking(waiter, reserved=set())
        returns = self._returns.get(lacking) if lacking is not None else None
        held_up = returns[0] - asyncio.get_running_loop().time() if returns else 0.0
        return max(held_up, self._backlog(caller.priority))

    def _backlog(self, priority: Priority) -> float:
        """Seconds that it takes to send what is at least as urgent and queued."""
        return sum(
            _messages(waiter.request) / MESSAGES_PER_SECOND * MARGIN
            for urgent in Priority
            if urgent <= priority
            for queue in self._queues[urgent].values()
            for waiter in queue
        )

    def _admit_all(self) -> None:
        """Admit whatever may be sent, the more urgent first.

        A request that finds too little in a budget reserves it: what comes later must take nothing from it, or requests
        that cost less would go first for ever. What needs nothing from that budget is not held up.
        """
        reserved: set[_Budget] = set()
        for clients in self._queues.values():
            while self._admit_one(clients, reserved):
                pass

    def _admit_one(self, clients: dict[str, deque[_Waiter]], reserved: set[_Budget]) -> bool:
        """Admit the first that may be sent, among the clients of one priority."""
        for client, queue in clients.items():
            for waiter in queue:
                if waiter.admitted.done():  # cancelled, and about to leave
                    continue
                lacking = self._lacking(waiter, reserved)
                if lacking is None:
                    self._dequeue(waiter)
                    if queue:  # its client goes to the end of the round
                        del clients[client]
                        clients[client] = queue
                    self._begin(waiter)
                    return True
                reserved.add(lacking)
                if lacking[0].scope is _everything:  # no request does without it
                    return False
        return False

    def _lacking(self, waiter: _Waiter, reserved: set[_Budget]) -> _Budget | None:
        """The first budget, if any, that has too little for a request."""
        for budget in waiter.budgets:
            rule, _ = budget
            if budget in reserved or self._used[budget] + rule.cost(waiter.request) > rule.most:
                return budget
        return None

    def _begin(self, waiter: _Waiter) -> None:
        for budget in waiter.budgets:
            rule, _ = budget
            self._used[budget] += rule.cost(waiter.request)
            self._return_later(budget, rule.begin(waiter.request))
        waiter.admitted.set_result(None)

    def _end(self, waiter: _Waiter) -> None:
        for budget in waiter.budgets:
            rule, _ = budget
            self._return_later(budget, rule.end(waiter.request))

    def _return_later(self, budget: _Budget, count: int) -> None:
        """Give back one window from now."""
        if count:
            rule, _ = budget
            loop = asyncio.get_running_loop()
            when = loop.time() + rule.seconds * MARGIN
            self._returns.setdefault(budget, deque()).append(when)
            loop.call_at(when, self._return, budget, count)

    def _return(self, budget: _Budget, count: int) -> None:
        self._returns[budget].popleft()  # a rule's windows are all as long: the one that began first ends first
        if not self._returns[budget]:
            del self._returns[budget]
        self._used[budget] -= count
        if not self._used[budget]:
            del self._used[budget]
        self._admit_all()


def _too_many(retry_after: float) -> ProviderPacingError:
    return ProviderPacingError(
        f"too many requests wait for Interactive Brokers: come back in {retry_after:.0f} s", retry_after=retry_after
    )
