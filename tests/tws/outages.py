"""The outages that behaviours bring about: farms that flap, and the nightly reset."""

import asyncio

from .codes import DISCONNECTED, FARM_DOWN, FARM_OF, FARMS, HMDS, TEXTS
from .faults import Fault

FLAP = 2.0
REFUSED = 3.0
STEP = 1.0
"""Seconds: of a flap, for which nobody is let in, and from one thing that is told to the next."""

HISTORY, CONTRACTS = "ushmds", "secdefil"


class Outages:
    """Counts the requests, and tells the TWS when it is time.

    Args:
        behaviours: Those that are switched on.
        tws: Has ``notice``, ``stop``, ``start`` and ``in_background``.
    """

    def __init__(self, behaviours, tws):
        self._behaviours = behaviours
        self._tws = tws
        self._down = set()
        self._bars = self._historical = self._flaps = self._resets = self._turns = 0
        self._unsettled = False
        self.lost = False
        """Whether there is no way to the broker."""

    def take(self, client, request):
        """What happens to a request, if anything does."""
        if request is None:
            return None
        self._count(request)
        if self.lost:
            return Fault(request.kind, hang=True)
        if request.kind == "details":
            return Fault("details", code=200) if CONTRACTS in self._down else None
        return self._without_history(client, request) if HISTORY in self._down else None

    def _count(self, request):
        self._historical += request.kind != "details"
        self._bars += request.kind == "bars"
        if self._unsettled or request.kind == "details":
            return
        if request.kind == "bars" and self._bars == self._behaviours.number("reset"):
            self._reset()
        elif "flaps" in self._behaviours and self._historical % self._behaviours.number("flaps") == 0:
            self._flap()

    def _without_history(self, client, request):
        self._turns += 1
        if self._turns % 2:
            return Fault(request.kind, code=162, text=HMDS + "HMDS query returned no data")
        client.inform(request.number, 165, DISCONNECTED)
        return Fault(request.kind, hang=True)

    def _flap(self):
        self._unsettled = True
        self._flaps += 1
        broken, well = (2105, 2106) if self._flaps % 2 else (2103, 2104)
        self._tell(broken)
        self._tws.in_background(self._come_back_after(FLAP, well))

    async def _come_back_after(self, seconds, well):
        await asyncio.sleep(seconds)
        self._tell(well)
        self._unsettled = False

    def _reset(self):
        self._unsettled = self.lost = True
        self._tell(1100)
        self._tws.in_background(self._restart())

    async def _restart(self):
        await asyncio.sleep(STEP)
        for code in FARM_DOWN:
            self._tell(code)
        await self._tws.stop()
        await asyncio.sleep(REFUSED)
        await self._tws.start()
        await asyncio.sleep(STEP)
        self.lost = False
        self._resets += 1
        restored = 1102 if self._resets % 2 else 1101
        self._tell(restored, f"{TEXTS[restored]} The following farms are not connected: {'; '.join(FARMS)}.")
        for code in FARMS.values():
            await asyncio.sleep(STEP)
            self._tell(code)
        self._unsettled = False

    def _tell(self, code, text=None):
        if code in FARM_DOWN:
            self._down.add(FARM_OF[code])
        else:
            self._down.discard(FARM_OF.get(code))
        self._tws.notice(code, text=text)
