"""The pace that Interactive Brokers asks for, as rules that are data, and a monitor that counts what breaks them."""

from collections import Counter, defaultdict, deque
from typing import NamedTuple

from .codes import PACING, TEXTS, RefusedError
from .market import is_small

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

    def add(self, now, weight=1):
        """Note something; whether that was too much."""
        while self._times and self._times[0] <= now - self._rule.seconds + TOLERANCE:
            self._times.popleft()
        self._times.extend([now] * weight)
        return len(self._times) > self._rule.most


class Monitor:
    """Sees all messages of all clients, and keeps count."""

    def __init__(self, clock):
        self._clock = clock
        self._windows = {}
        self.violations = Counter()
        self.strikes = defaultdict(int)

    def message(self, client):
        """A client has sent a message, whatever it is."""
        self._count(client, MESSAGES, client)

    def request(self, client, request, open_requests):
        """A client has asked for historical data, and has so many such requests open."""
        if open_requests >= MOST_OPEN:
            self._violation(client, "open requests", RefusedError(420))
        query, what = request.query, request.what
        weight = 2 if what == "BID_ASK" else 1
        self._count(client, SAME_REQUEST, _without_number(request))
        self._count(client, ONE_CONTRACT, (query, what), weight)
        if request.kind == "bars" and is_small(request.size):
            self._count(client, SMALL_BARS, None, weight)

    def forget(self, client):
        """A client has gone; the next one under its id starts without strikes."""
        self.strikes.pop(client, None)
        self._windows.pop((MESSAGES.name, client), None)

    def _count(self, client, rule, scope, weight=1):
        window = self._windows.setdefault((rule.name, scope), Window(rule))
        if window.add(self._clock(), weight):
            self._violation(client, rule.name, RefusedError(rule.code, rule.text))

    def _violation(self, client, name, refusal):
        self.violations[name] += 1
        self.strikes[client] += 1
        raise refusal


def _without_number(request):
    return type(request), *(value for name, value in sorted(vars(request).items()) if name != "number")
