"""What the simulated TWS does with each message: answers it, checks its pace, and lets go wrong what shall go wrong."""

import asyncio
from collections import Counter

from . import protocol
from .codes import CANCELLED, FARM_DOWN, FARM_OF, FARMS, TEXTS, RefusedError, words_of
from .faults import Fault, Faults
from .languages import said
from .market import Market
from .outages import Outages
from .pacing import STRIKES, Monitor
from .protocol import ClientMessage, ServerMessage
from .troubles import Troubles


class Client:
    """Who is at the other end of a socket, and is told everything in the language that is switched on."""

    def __init__(self, writer, behaviours):
        self.writer = writer
        self._behaviours = behaviours
        self.id = None
        self.slots = set()
        """The numbers of the requests for historical data that are open; a head timestamp's until it is cancelled."""

    def tell(self, message):
        if not self.writer.is_closing():
            self.writer.write(message)

    def inform(self, number, code, text):
        self.tell(protocol.error(number, code, said(text, self._behaviours)))

    def fail(self, number, code, text):
        self.slots.discard(number)
        self.inform(number, code, text)


class Handler:
    """Where all clients are served.

    Args:
        now: Its present; nothing later has happened for it.
        latency: Seconds that every answer takes.
        behaviours: Those that are switched on.
        tws: Who starts and stops.
    """

    def __init__(self, now, latency, behaviours, tws):
        self.faults = Faults()
        self._market = Market(now)
        self._latency = latency
        self._behaviours = behaviours
        self._troubles = Troubles(behaviours)
        self._outages = Outages(behaviours, tws)
        self._monitor = Monitor(lambda: asyncio.get_running_loop().time(), behaviours, self._market.contract_of)
        self._clients = {}
        self._held = Counter()
        self._farms = {}
        self._ids_used = []
        self._asked = Counter()
        self._counts = Counter()

    def receive(self, client, number, fields):
        """Do what a message asks for."""
        self._counts["messages"] += 1
        if number in set(ClientMessage):
            self._obey(client, number, fields)
        else:
            client.inform(-1, 320, TEXTS[320])
        if number not in protocol.REQUESTS and client.id is not None:
            self._permitted(client, -1, lambda: self._monitor.message(client.id))

    def _obey(self, client, number, fields):
        match number:
            case ClientMessage.START:
                self._welcome(client, int(fields[1]))
            case ClientMessage.TIME:
                self._asked["time"] += 1
                self._respond(client, "time", None, lambda: protocol.time(self._market.now))
            case ClientMessage.CANCEL_HEAD:
                self._cancel(client, int(fields[0]))
            case ClientMessage.CANCEL_BARS:
                self._cancel(client, int(fields[1]), CANCELLED)
            case _ if number in protocol.REQUESTS:
                self._request(client, protocol.REQUESTS[number].read(fields))
            case _:
                client.tell(protocol.nothing(number, fields))

    def leave(self, client):
        """Forget somebody who has gone."""
        if client.id is not None:
            del self._clients[client.id]
            self._monitor.forget(client.id)
            if seconds := self._behaviours.number("id-held"):
                self._held[client.id] += 1
                asyncio.get_running_loop().call_later(seconds, self._held.subtract, [client.id])

    def notice(self, code, farm=None, text=None):
        """Tell everybody something that answers no request; a farm that is down is told to newcomers, too."""
        farm = farm or FARM_OF.get(code)
        self._farms.pop(farm, None)
        if code in FARM_DOWN:
            self._farms[farm] = code
        for client in self._clients.values():
            client.inform(-1, code, text or words_of(code, farm))

    def counts(self):
        """What happened so far, and how things stand: plain values that JSON can carry."""
        return {
            "requests": dict(sorted(self._asked.items())),
            "messages": self._counts["messages"],
            "connects": len(self._ids_used),
            "refused_ids": self._counts["refused ids"],
            "ended_for_pacing": self._counts["ended for pacing"],
            "client_ids": sorted(self._clients),
            "client_ids_used": self._ids_used.copy(),
            "open_slots": self._open_slots(),
            "most_open_slots": self._counts["most open slots"],
            "violations": dict(sorted(self._monitor.violations.items())),
        }

    def _open_slots(self):
        return sum(len(client.slots) for client in self._clients.values())

    def _welcome(self, client, wanted):
        if wanted in self._clients or self._held[wanted] or wanted == self._behaviours.number("id-taken"):
            self._counts["refused ids"] += 1
            client.fail(-1, 326, TEXTS[326])
            client.writer.close()
            return
        client.id, self._clients[wanted] = wanted, client
        self._ids_used.append(wanted)
        self._respond(client, "start", None, self._greeting)

    def _greeting(self):
        well = {farm: code for farm, code in FARMS.items() if farm not in self._farms}
        notices = [(code, words_of(code, farm)) for farm, code in (self._farms | well).items()]
        if self._outages.lost:
            notices.append((2110, TEXTS[2110]))
        told = (protocol.error(-1, code, said(text, self._behaviours)) for code, text in notices)
        return b"".join([protocol.welcome(), *told])

    def _request(self, client, request):
        self._asked[request.kind] += 1
        if self._permitted(client, request.number, lambda: self._admit(client, request)):
            self._respond(client, request.kind, request, lambda: self._answer(client, request))

    def _admit(self, client, request):
        self._monitor.message(client.id)
        if request.kind != "details":
            self._monitor.request(client.id, request, self._open_slots())
            client.slots.add(request.number)
            self._counts["most open slots"] = max(self._counts["most open slots"], self._open_slots())

    def _permitted(self, client, number, look):
        try:
            look()
        except RefusedError as refusal:
            client.fail(number, refusal.code, refusal.text)
            if self._monitor.strikes[client.id] >= STRIKES:
                self._counts["ended for pacing"] += 1
                client.writer.close()
            return False
        return True

    def _respond(self, client, kind, request, answer):
        fault = (
            self.faults.take(kind, request.query.symbol if request else None)
            or self._outages.take(client, request)
            or self._troubles.take(request)
            or Fault(kind)
        )
        if fault.hang:
            return
        delay = self._latency + fault.slow
        if delay:
            asyncio.get_running_loop().call_later(delay, self._tell, client, request, fault, answer)
        else:
            self._tell(client, request, fault, answer)

    def _tell(self, client, request, fault, answer):
        if request and request.kind != "details" and request.number not in client.slots:
            return  # it was cancelled
        try:
            if fault.code:
                raise RefusedError(fault.code, fault.text)
            message = answer()
        except RefusedError as refusal:
            client.fail(request.number if request else -1, refusal.code, refusal.text)
            return
        if fault.drop:
            client.tell(message[: len(message) // 2])
            client.writer.close()
        else:
            client.tell(message)

    def _answer(self, client, request):
        number = request.number
        if request.kind == "details":
            found = self._market.contracts(request.query)
            told = [protocol.details(number, each, at, self._market.hours(each)) for each, at in found]
            return b"".join([*told, protocol.frame(ServerMessage.DETAILS_END, 1, number)])
        if request.kind == "head":
            return protocol.head(number, self._market.head(request), request.format_date)
        bars, zone = self._market.bars(request)
        client.slots.remove(number)
        return protocol.bars(number, bars, request.format_date, zone)

    def _cancel(self, client, number, confirmation=None):
        if number not in client.slots:
            client.fail(number, 366, f"{TEXTS[366]}:{number}")
        elif confirmation is None:
            client.slots.remove(number)
        else:
            client.fail(number, 162, confirmation.format(number))
