"""Who may ask Interactive Brokers now: its limits as a table, and one scheduler that never breaks them.

The limits are those of https://interactivebrokers.github.io/tws-api/historical_limitations.html, but for those of what
is never asked for: bars of less than a minute, and bid and ask in one, which count twice. A leaky bucket does not keep
them, since it lets up to twice as many pass within some second; nor does any limiter know of requests that
stay open, or of callers who are in a hurry.
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

from ..gateway import ANYONE, Asker, Priority

MARGIN = 1.03
"""How much longer a limit counts here than there: what is sent evenly does not arrive so."""

MESSAGES_PER_SECOND = 48
"""Of the 50 that are allowed; the others are left to the connection, for its greeting and its signs of life."""

EVERYTHING = "everything"
HISTORICAL = "historical"


class Request(NamedTuple):
    """What is about to be asked.

    Args:
        kind: Which of the three questions.
        contract: About which contract, in whatever form tells it from all others.
        what: The kind of data.
        bar_size: The length of the bars.
        span: Which of them.
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


def _goodbye(request: Request) -> int:
    return 0 if request.kind == "details" else 1  # a message that cancels it may follow, for a head timestamp it must


def _messages(request: Request) -> int:
    return 1 + _goodbye(request)


class Rule(NamedTuple):
    """A limit: at most so many within so many seconds, of all requests that have a scope in common.

    Args:
        most: How many.
        seconds: Within which time; with none, at the same time.
        scope: What a request is counted with; None if it is not.
        begin: For how many it counts from its beginning on.
        end: For how many while it is open, and from its end on once more for the time.
    """

    most: int
    seconds: float
    scope: Callable[[Request], Hashable]
    begin: Callable[[Request], int] = _once
    end: Callable[[Request], int] = _none

    def room(self, request: Request) -> int:
        """How much it takes to let a request begin."""
        return self.begin(request) + self.end(request)


# 50 historical requests at the same time; one for a head timestamp is open until it is cancelled.
OPEN_REQUESTS = Rule(50, 0.0, _historical, begin=_none, end=_once)
# 50 messages a second, cancellations among them, and those of the connection itself.
MESSAGES = Rule(MESSAGES_PER_SECOND, 1.0, _everything, begin=_once, end=_goodbye)

# The narrower ones first.
RULES = (
    # No identical historical request within 15 seconds.
    Rule(1, 15.0, _identical),
    # Fewer than six for the same contract and kind of data within two seconds.
    Rule(5, 2.0, _kind_of_data),
    OPEN_REQUESTS,
    MESSAGES,
    # The same spread evenly, so that whoever is in a hurry never finds the whole second used up.
    Rule(10, 0.2, _everything, begin=_messages),
)

_Place = tuple[Rule, Hashable]
"""Where a request is counted."""


@dataclass(eq=False, slots=True)
class _Waiter:
    request: Request
    places: tuple[_Place, ...]
    turn: asyncio.Future[None]
    queue: tuple[Priority, str] | None = None


class Scheduler:
    """Lets requests pass as soon as every limit allows them: the more urgent first, clients of one priority in turn.

    A request that is held up by a limit is overtaken by those that this limit does not concern, and by no others. One
    that becomes more urgent while it waits moves up. Time is that of the running event loop.

    Args:
        patience: Seconds that a request may have to wait; where it would be more, its caller is told when to come back.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._counts: Counter[_Place] = Counter()
        self._ends: dict[_Place, deque[float]] = {}
        self._queues: dict[Priority, dict[str, deque[_Waiter]]] = {priority: {} for priority in Priority}

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return sum(len(queue) for clients in self._queues.values() for queue in clients.values())

    @property
    def messages_left(self) -> int:
        """How many messages may still be sent within this second."""
        return MESSAGES.most - self._counts[MESSAGES, EVERYTHING]

    @property
    def historical_left(self) -> int:
        """How many more historical requests may be open at the same time."""
        return OPEN_REQUESTS.most - self._counts[OPEN_REQUESTS, HISTORICAL]

    @asynccontextmanager
    async def slot(self, request: Request, asker: Asker = ANYONE) -> AsyncIterator[None]:
        """Wait for a request's turn; the request is what is done within, and nothing is sent for it afterwards.

        Raises:
            ProviderPacingError: It would have to wait too long; ``retry_after`` says until when.
        """
        places = tuple((rule, scope) for rule in RULES if (scope := rule.scope(request)) is not None)
        waiter = _Waiter(request, places, asyncio.get_running_loop().create_future())
        await self._wait(waiter, asker)
        try:
            yield
        finally:
            self._end(waiter)

    async def _wait(self, waiter: _Waiter, asker: Asker) -> None:
        if (delay := self._delay(waiter, asker)) > self._patience:
            raise _too_many(delay)
        self._enter(waiter, asker)
        try:
            with asker.telling(partial(self._move_up, waiter)):
                async with asyncio.timeout(self._patience):
                    await waiter.turn
        except BaseException as error:
            if waiter.queue is None:  # its turn came at the moment in which it left
                self._end(waiter)
            else:
                self._leave(waiter)
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise _too_many(max(1.0, self._delay(waiter, asker))) from None
            raise

    def _enter(self, waiter: _Waiter, asker: Asker) -> None:
        waiter.queue = asker.priority, asker.client
        self._queues[asker.priority].setdefault(asker.client, deque()).append(waiter)
        self._pass_on()

    def _leave(self, waiter: _Waiter) -> None:
        assert waiter.queue is not None, "it waits"
        (priority, client), waiter.queue = waiter.queue, None
        clients = self._queues[priority]
        clients[client].remove(waiter)
        if not clients[client]:
            del clients[client]

    def _move_up(self, waiter: _Waiter, asker: Asker) -> None:
        if waiter.queue is not None:
            self._leave(waiter)
            self._enter(waiter, asker)

    def _delay(self, waiter: _Waiter, asker: Asker) -> float:
        """Seconds after which a request may have its turn, as far as can be told now."""
        full = self._full(waiter, set())
        ends = self._ends.get(full) if full is not None else None
        held = ends[0] - asyncio.get_running_loop().time() if ends else 0.0
        return max(held, self._backlog(asker.priority))

    def _backlog(self, priority: Priority) -> float:
        """Seconds that it takes to send what is at least as urgent and waits."""
        return sum(
            _messages(waiter.request) / MESSAGES_PER_SECOND * MARGIN
            for urgent in Priority
            if urgent <= priority
            for queue in self._queues[urgent].values()
            for waiter in queue
        )

    def _pass_on(self) -> None:
        """Let pass whoever may."""
        claimed: set[_Place] = set()
        for clients in self._queues.values():
            while self._pass_one(clients, claimed):
                pass

    def _pass_one(self, clients: dict[str, deque[_Waiter]], claimed: set[_Place]) -> bool:
        """Let pass the first who may; whoever may not claims the next room where there was none."""
        for client, queue in clients.items():
            for waiter in queue:
                if waiter.turn.done():  # cancelled, and about to leave
                    continue
                full = self._full(waiter, claimed)
                if full is None:
                    self._leave(waiter)
                    if queue:  # whose turn it was goes to the end of the line
                        del clients[client]
                        clients[client] = queue
                    self._begin(waiter)
                    return True
                claimed.add(full)
                if full[0].scope is _everything:
                    return False
        return False

    def _full(self, waiter: _Waiter, claimed: set[_Place]) -> _Place | None:
        """The first place, if any, where there is no room for a request."""
        for place in waiter.places:
            rule, _ = place
            if place in claimed or self._counts[place] + rule.room(waiter.request) > rule.most:
                return place
        return None

    def _begin(self, waiter: _Waiter) -> None:
        for place in waiter.places:
            rule, _ = place
            self._counts[place] += rule.room(waiter.request)
            self._give_back_later(place, rule.begin(waiter.request))
        waiter.turn.set_result(None)

    def _end(self, waiter: _Waiter) -> None:
        for place in waiter.places:
            self._give_back_later(place, place[0].end(waiter.request))

    def _give_back_later(self, place: _Place, count: int) -> None:
        if count:
            loop = asyncio.get_running_loop()
            end = loop.time() + place[0].seconds * MARGIN
            self._ends.setdefault(place, deque()).append(end)
            loop.call_at(end, self._give_back, place, count)

    def _give_back(self, place: _Place, count: int) -> None:
        self._ends[place].popleft()
        if not self._ends[place]:
            del self._ends[place]
        self._counts[place] -= count
        if not self._counts[place]:
            del self._counts[place]
        self._pass_on()


def _too_many(retry_after: float) -> ProviderPacingError:
    return ProviderPacingError(
        f"too many requests wait for Interactive Brokers: come back in {retry_after:.0f} s", retry_after=retry_after
    )
