"""A host service that fails for one symbol, and finds every other one valid."""

from json_server import JsonServer

ORIGIN = {"provenance": {"gateway": "ib", "host": "symcache 0.1.0"}}
VALID = {**ORIGIN, "success": True, "is_valid": True}


class FailingHost(JsonServer):
    """The host; ``asked`` are the paths of the requests so far.

    Args:
        symbol: For which it fails.
        failure: What it says of that: the fields that its failures do not have in common.
    """

    def __init__(self, symbol, **failure):
        self.asked = []
        self.failure = {**ORIGIN, "success": False, "is_valid": False, "error_kind": "permanent", **failure}
        self._symbol = symbol

    def answer(self, _method, path, question):
        self.asked.append(path)
        if symbols := question.get("symbols"):
            return 200, {**ORIGIN, "success": True, "results": {symbol: self._about(symbol) for symbol in symbols}}
        return 200, self._about(question.get("symbol"))

    def _about(self, symbol):
        return self.failure if symbol == self._symbol else VALID
