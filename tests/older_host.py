"""An older host service, as a real HTTP server: the bare wire contract, without kinds of errors and provenance.

It knows one symbol. Of two timeframes, one was asked of its gateway before. While it has lost its gateway it calls
every symbol unknown, as such hosts do. Told to, it asks for bars as they do, counting back from the end in whole days,
weeks or years, and fails where it gets none. Told to, it goes wrong.
"""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from json_server import JsonServer
from patience import PATIENCE

HEADS = {"1d": "1980-12-12T14:30:00+00:00"}
CONTRACT = {
    "symbol": "AAPL",
    "asset_type": "STK",
    "exchange": "SMART",
    "currency": "USD",
    "description": "APPLE INC",
    "validated_at": 1700000000.5,
    "contract": {"conId": 1, "symbol": "AAPL"},
    "trading_hours": None,
    "head_timestamp": None,
    "head_timestamp_timeframes": None,
    "head_timestamp_fetched_at": None,
}
BARS = {
    "2024-01-03T00:00:00.000Z": {"open": 3, "high": 4, "low": 2, "close": 3.5, "volume": 20, "average": 3.2},
    "2024-01-02T00:00:00.000Z": {"open": 1, "high": 2, "low": 1, "close": 1.5, "volume": 10, "average": 1.2},
    "2024-01-04T00:00:00.000Z": {"open": 5, "high": 6, "low": 5, "close": 5.5, "volume": 30, "average": 5.2},
}
UNKNOWN = {"detail": [{"type": "value_error", "loc": ["body", "timeframe"], "msg": "unsupported"}]}
MISFIT = {"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required"}]}


class OlderHost(JsonServer):
    """The server, on any free port of the loopback; a context manager.

    Attributes:
        connected: Whether it has its gateway.
        history: Every daily bar that its gateway has, by its ISO 8601 time.
        rounds_down: Whether it asks its gateway for whole units and keeps to the range, or gives all that there is.
        mistakes: To how many more questions for bars it says by mistake that there are none.
        wrong: By path, what it answers instead.
        knows: The timeframes that it knows.
        tries: What it waits for, as if for its gateway, before it answers.
        asked: The path of every request so far.
        asked_for_bars: The question of each request for bars.
    """

    def __init__(self, history=BARS, *, rounds_down=False):
        self.connected = True
        self.history = dict(history)
        self.rounds_down = rounds_down
        self.mistakes = 0
        self.wrong = {}
        self.knows = None
        self.tries = None
        self.asked = []
        self.asked_for_bars = []

    def answer(self, method, path, question):
        """The status and the body of a response."""
        self.asked.append(path)
        if self.tries is not None:
            self.tries.wait(PATIENCE)
        if path in self.wrong:
            return self.wrong[path]
        if self.knows is not None and not _timeframes(question) <= self.knows:
            return 422, UNKNOWN
        return self._right(method, path, question)

    def _right(self, method, path, question):  # one for each route
        route = (method, *path.split("/")[1:])
        if route == ("POST", "data", "validate"):
            return self._validate(question.get("symbol"), question.get("timeframes"))
        if route[:-1] == ("GET", "data", "symbol-info"):
            return self._validate(unquote(route[-1]), ["1h"])
        if route == ("POST", "data", "historical"):
            self.asked_for_bars.append(question)
            return self._historical(question)
        if route == ("GET", "data", "head-timestamp"):
            return self._head_timestamp(question.get("symbol"), question.get("timeframe"))
        if route[:2] == ("GET", "health"):
            return self._health(*route[2:])
        return 404, {"detail": "Not Found"}

    def _validate(self, symbol, timeframes):
        if not isinstance(symbol, str):
            return 422, MISFIT
        known = self.connected and symbol == "AAPL"
        return 200, {
            "success": True,
            "is_valid": known,
            "error_message": None if known else f"Symbol {symbol} not found",
            "contract_info": CONTRACT if known else None,
            "head_timestamps": {each: HEADS.get(each) for each in timeframes} if known and timeframes else None,
            "error": None,
        }

    def _historical(self, question):
        symbol = question.get("symbol")
        if not isinstance(symbol, str):
            return 422, MISFIT
        if not (self.connected and symbol == "AAPL"):
            return 200, {"success": False, "data": None, "error": "Historical data request failed", "rows": 0}
        found = self.history
        if self.mistakes:
            self.mistakes, found = self.mistakes - 1, {}
        elif self.rounds_down:
            start, end = (_moment(question[name]) for name in ("start", "end"))
            found = _counted_back(found, end, end - start)
        if not found:
            error = f"No data returned for {symbol} {question['timeframe']}"
            return 200, {"success": False, "data": None, "error": error, "rows": 0}
        if self.rounds_down:
            found = {time: bar for time, bar in found.items() if start <= _moment(time) <= end}
        return 200, {"success": True, "data": json.dumps(found), "error": None, "rows": len(found)}

    def _head_timestamp(self, symbol, timeframe):
        if self.connected and symbol == "AAPL":
            return 200, {"success": True, "timestamp": HEADS.get(timeframe), "error": None}
        return 200, {"success": False, "timestamp": None, "error": "Head timestamp request failed"}

    def _health(self, *detailed):
        health = {
            "healthy": self.connected,
            "service": "ib-host",
            "timestamp": datetime.now(UTC).isoformat(),
            "status": "healthy" if self.connected else "disconnected",
        }
        connection = {"connected": self.connected, "client_id": 1}
        return 200, health | ({"ib_status": connection, "connection_info": connection} if detailed else {})


def _timeframes(question):
    asked = question.get("timeframes") or [question.get("timeframe")]
    return {timeframe for timeframe in asked if timeframe}


def _moment(text):
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _counted_back(history, end, span):
    """What the gateway gives for a span, which is rounded down; hours are no unit that it knows, and get nothing."""
    days = span.days
    if days <= 7:
        reach = timedelta(days=days)
    elif days <= 365:
        reach = timedelta(weeks=days // 7)
    else:
        reach = timedelta(days=days // 365 * 365)
    return {time: bar for time, bar in history.items() if days and end - reach <= _moment(time) <= end}
