"""What goes wrong with single requests while the behaviours say so, in the form of faults."""

from collections import Counter
from zlib import crc32

from .codes import HMDS, NO_HEAD, OTHER_ADDRESS, TEXTS
from .faults import Fault

EVERY = 5
"""Of so many requests for a kind of data, one is told that there is none."""


class Troubles:
    """Decides for each request for historical data."""

    def __init__(self, behaviours):
        self._behaviours = behaviours
        self._asked = Counter()
        self._refused = set()
        self._refused_last = set()
        self._unanswered = set()

    def take(self, request):
        """What happens to a request, if anything does."""
        if request is None or request.kind == "details":
            return None
        for trouble in (self._unsubscribed, self._competing, self._without_data, self._silent, self._slow):
            if fault := trouble(request):
                return fault
        return None

    def _unsubscribed(self, request):
        code = self._behaviours.number("no-subscription")
        if code is None:
            return None
        text = HMDS + f"No market data permissions for {request.query.exchange} {request.query.sec_type}"
        return Fault(request.kind, code=int(code), text=text if code == 162 else TEXTS[code])

    def _competing(self, request):
        code = self._behaviours.number("competing")
        if code is None:
            return None
        return Fault(request.kind, code=int(code), text=HMDS + OTHER_ADDRESS if code == 162 else TEXTS[code])

    def _without_data(self, request):
        """No request is refused twice, nor are two in a row that are of a kind for a contract."""
        if "no-data" not in self._behaviours:
            return None
        kind, same = (request.kind, request.query), request.without_number()
        self._asked[kind] += 1
        if same in self._refused or kind in self._refused_last or self._asked[kind] % EVERY != 1:
            self._refused_last.discard(kind)
            return None
        self._refused.add(same)
        self._refused_last.add(kind)
        query = request.query
        nothing = f"HMDS query returned no data: {query.local_symbol or query.symbol}@{query.exchange} {request.what}"
        return Fault(request.kind, code=162, text=NO_HEAD if request.kind == "head" else HMDS + nothing)

    def _silent(self, request):
        if "silent-heads" not in self._behaviours or request.kind != "head":
            return None
        first_time = request.query not in self._unanswered
        self._unanswered.add(request.query)
        often = crc32(f"{request.query.con_id} {request.query.symbol}".encode()) % 3 == 0
        return Fault("head", hang=True) if request.query.sec_type == "IND" or (first_time and often) else None

    def _slow(self, request):
        seconds = self._behaviours.number("slow-heads")
        return None if seconds is None or request.kind != "head" else Fault("head", slow=seconds)
