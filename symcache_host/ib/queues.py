"""Who waits for Interactive Brokers, and whose turn it is: by priority, and round robin among the clients of one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

from ..gateway import Caller, Priority

MOST_QUEUED = 600
"""How many requests a client may have queued at one priority: more than four of its batches have under way."""

PASSED_OVER = 10
"""How often in a row a priority is passed over for more urgent ones; then it has a turn, so that nobody starves."""

Place = tuple[Priority, str]


class Queued(Protocol):
    """What waits."""

    cost: int
    place: Place | None
    number: int


W = TypeVar("W", bound=Queued)


class Queues(Generic[W]):
    """One queue for each client of each priority.

    Args:
        most: How long each may be.
    """

    def __init__(self, most: int = MOST_QUEUED) -> None:
        self._most = most
        self._queues: dict[Priority, dict[str, deque[W]]] = {priority: {} for priority in Priority}
        self._passed_over: Counter[Priority] = Counter()

    def __len__(self) -> int:
        return sum(len(queue) for clients in self._queues.values() for queue in clients.values())

    def is_full(self, caller: Caller) -> bool:
        """Whether a caller may not queue any more."""
        return len(self._queues[caller.priority].get(caller.client, ())) >= self._most

    def add(self, waiter: W, caller: Caller) -> None:
        """Let something wait: behind all that its client has asked for before."""
        waiter.place = caller.priority, caller.client
        queue = self._queues[caller.priority].setdefault(caller.client, deque())
        behind = next((at for at in range(len(queue), 0, -1) if queue[at - 1].number < waiter.number), 0)
        queue.insert(behind, waiter)

    def remove(self, waiter: W) -> None:
        """Let it wait no more."""
        assert waiter.place is not None, "it is queued"
        (priority, client), waiter.place = waiter.place, None
        clients = self._queues[priority]
        clients[client].remove(waiter)
        if not clients[client]:
            del clients[client]
        if not clients:
            del self._passed_over[priority]

    def in_turn(self) -> Iterator[W]:
        """All that wait, those first whose turn it is."""
        starving = [priority for priority in Priority if self._passed_over[priority] >= PASSED_OVER]
        for priority in dict.fromkeys([*starving, *Priority]):
            for queue in self._queues[priority].values():
                yield from queue

    def serve(self, waiter: W) -> None:
        """Remove what has had its turn; its client goes to the end of the round."""
        assert waiter.place is not None, "it is queued"
        priority, client = waiter.place
        self.remove(waiter)
        clients = self._queues[priority]
        if client in clients:
            clients[client] = clients.pop(client)
        self._passed_over[priority] = 0
        for other in Priority:
            if other > priority and self._queues[other]:
                self._passed_over[other] += 1

    def ahead_of(self, caller: Caller) -> int:
        """What all costs that has its turn before what a caller would queue now.

        Of each client of its priority that is at most as much as the caller's own, which is why a long queue is long
        for its own client only; and of the more urgent ones, what goes before it when it is passed over for them.
        """
        clients = self._queues[caller.priority]
        own = clients.get(caller.client, ())
        turns = [waiter.cost for queue in clients.values() for waiter in islice(queue, len(own) + 1)]
        urgent = [
            waiter.cost
            for priority in Priority
            if priority < caller.priority
            for queue in self._queues[priority].values()
            for waiter in queue
        ]
        return sum(turns) + sum(islice(urgent, PASSED_OVER * (len(turns) + 1)))
