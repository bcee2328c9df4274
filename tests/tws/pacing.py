"""The pace that Interactive Brokers asks for, as rules that are data, and a monitor that counts what breaks them.

The rules are those of https://interactivebrokers.github.io/tws-api/historical_limitations.html, read twice: as most
clients read them, and in the strictest way that the words allow, in which

- a window holds whatever came in it, its very ends included, so that 15 seconds are not enough for "within 15 seconds";
- a request that was refused or called off counts as any other, so that 15 seconds begin anew with each;
- two descriptions of one contract are the same contract;
- the 50 messages of a second are those of all clients, and each message is one, cancellations and heartbeats included.
"""

from collections import Counter, defaultdict, deque
from typing import NamedTuple

from .codes import PACING, TEXTS, RefusedError
from .spans import is_small

MOST_OPEN = 50
TOLERANCE = 1e-6
"""Seconds; sums of many short times are no exact numbers."""

STRIKES = 3
"""Violations that end a connection."""


class Rule(NamedTuple):
    """At most so many within so many seconds; one more is a violation."""

    name: str
    most: int
    seconds: float
    code: int
    text: str


MESSAGES = Rule("messages", 50, 1, 100, TEXTS[100])
SAME_REQUEST = Rule("same request", 1, 15, 162, PACING)
ONE_CONTRACT = Rule("one contract", 5, 2, 162, PACING)  # "six or more" of them are too many
SMALL_BARS = Rule("small bars", 60, 600, 162, PACING)


class Window:
    """What came within the last seconds."""

    def __init__(self, rule):
        self._rule = rule
        self._times = deque()

    def add(self, now, weight, tolerance):
        """Note something; whether that was too much."""
        while self._times and self._times[0] <= now - self._rule.seconds + tolerance:
            self._times.popleft()
        self._times.extend([now] * weight)
        return len(self._times) > self._rule.most


class Monitor:
    """Sees all messages of all clients, and keeps count.

    Args:
        clock: The present, in seconds.
        behaviours: Says whether the rules are read strictly.
        contract_of: Which contract a description means, in whatever form tells it from all others.
    """

    def __init__(self, clock, behaviours, contract_of):
        self._clock = clock
        self._behaviours = behaviours
        self._contract_of = contract_of
        self._windows = {}
        self.violations = Counter()
        self.strikes = defaultdict(int)

    @property
    def _strict(self):
        return "strict" in self._behaviours

    def message(self, client):
        """A client has sent a message, whatever it is."""
        self._check(client, [(MESSAGES, None if self._strict else client, 1)])

    def request(self, client, request, open_requests):
        """A client has asked for historical data, and has so many such requests open."""
        if open_requests >= MOST_OPEN:
            self._violation(client, "open requests", RefusedError(420))
        contract, what = self._contract_of(request.query) if self._strict else request.query, request.what
        weight = 2 if what == "BID_ASK" else 1
        counts = [(SAME_REQUEST, (contract, *request.without_contract()), 1), (ONE_CONTRACT, (contract, what), weight)]
        if request.kind == "bars" and is_small(request.size):
            counts.append((SMALL_BARS, None, weight))
        self._check(client, counts)

    def forget(self, client):
        """A client has gone; the next one under its id starts without strikes."""
        self.strikes.pop(client, None)
        self._windows.pop((MESSAGES.name, client), None)

    def _check(self, client, counts):
        broken = [rule for rule, scope, weight in counts if self._is_too_much(rule, scope, weight)]
        if broken:
            self._violation(client, broken[0].name, RefusedError(broken[0].code, broken[0].text))

    def _is_too_much(self, rule, scope, weight):
        window = self._windows.setdefault((rule.name, scope), Window(rule))
        return window.add(self._clock(), weight, -TOLERANCE if self._strict else TOLERANCE)

    def _violation(self, client, name, refusal):
        self.violations[name] += 1
        self.strikes[client] += 1
        raise refusal
