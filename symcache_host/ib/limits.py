"""What Interactive Brokers allows, as a table.

The limits are those of https://interactivebrokers.github.io/tws-api/historical_limitations.html, but for those of what
is never asked for: bars of less than a minute, and bid and ask in one, which count twice. Whether they hold for a
client or for all clients of a TWS together is not said; they are counted for all, as the stricter reading has it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Literal, NamedTuple

MARGIN = 1.03
"""How much longer a window is here than there, where the clock may tick no more often than every 1/64 s (Windows)."""

LOST_MARGIN = 5.0
"""Seconds within which a message has arrived that was on its way when its socket ended: nothing tells of it any more.

What the operating system has taken is still delivered, and TWS reads it when it comes to it: it may stand still for
seconds, collecting garbage.
"""

TIME_PAUSE = 1.0
"""Seconds between two questions for the time: TWS leaves one unanswered that comes sooner.

https://github.com/erdewit/ib_insync/issues/604
"""

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


def messages(request: Request) -> int:
    """How many messages a request takes that goes well: one for a head timestamp has to be cancelled after all."""
    return 2 if request.kind == "head" else 1


def _everything(_request: Request) -> Hashable:
    return EVERYTHING


def _historical(request: Request) -> Hashable:
    return None if request.kind == "details" else HISTORICAL


def _heads(request: Request) -> Hashable:
    return HISTORICAL if request.kind == "head" else None


def _identical(request: Request) -> Hashable:
    return None if request.kind == "details" else request


def _kind_of_data(request: Request) -> Hashable:
    return None if request.kind == "details" else (request.contract, request.what)


def _once(_request: Request) -> int:
    return 1


class Rule(NamedTuple):
    """A limit: at most so many within so many seconds, of all requests that have a scope in common.

    Args:
        most: How many.
        seconds: The length of the window; with none, it is how many at the same time.
        scope: What a request is counted with; None if it is not.
        count: For how many it counts.
        from_arrival: Whether the window begins when a message arrives there, or when it is admitted here.
    """

    most: int
    seconds: float
    scope: Callable[[Request], Hashable]
    count: Callable[[Request], int] = _once
    from_arrival: bool = True

    @property
    def waits_for_arrival(self) -> bool:
        """Whether what is taken comes back when that is known to have arrived."""
        return self.from_arrival and self.seconds > 0


# 50 historical requests at the same time; one for a head timestamp is open until it is cancelled.
OPEN_REQUESTS = Rule(50, 0.0, _historical)
# Of these, some for bars: a head timestamp may not come for as long as anyone waits, and many of them would hold all.
OPEN_HEADS = Rule(40, 0.0, _heads)
# 50 messages a second: requests and cancellations, and what the connection itself sends.
MESSAGES = Rule(MESSAGES_PER_SECOND, 1.0, _everything)
OWN_MESSAGES = Rule(50 - MESSAGES_PER_SECOND, 1.0, _everything)

RULES = (
    # No identical historical request within 15 seconds.
    Rule(1, 15.0, _identical),
    # Fewer than six for the same contract and kind of data within two seconds.
    Rule(5, 2.0, _kind_of_data),
    OPEN_HEADS,
    OPEN_REQUESTS,
    MESSAGES,
    # The same spread evenly, so that an urgent request never finds the whole second used up.
    Rule(5, 0.1, _everything, count=messages, from_arrival=False),
)
"""The narrower ones first."""

Budget = tuple[Rule, Hashable]
"""A rule, and the scope in which it is counted."""


Takes = tuple[tuple[Budget, int], ...]
"""Some budgets, and how much of each."""


def takes(request: Request) -> Takes:
    """Everything that a request takes, which has to be there but for the last of it."""
    scopes = ((rule, rule.scope(request)) for rule in RULES)
    return tuple(((rule, scope), rule.count(request)) for rule, scope in scopes if scope is not None)
