"""The wire protocol of TWS, as far as ib_async speaks it here: frames, fields, and the shape of each message."""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum

SERVER_VERSION = 176
HELLO = b"API\0"
LONGEST = 64 * 1024
"""Bytes; no request is longer, so a longer frame is another protocol's."""


class ClientMessage(IntEnum):
    """Numbers of the messages that a client sends."""

    OPEN_ORDERS = 5
    ACCOUNT = 6
    EXECUTIONS = 7
    IDS = 8
    DETAILS = 9
    BIND_OPEN_ORDERS = 15
    ALL_OPEN_ORDERS = 16
    ACCOUNTS = 17
    BARS = 20
    CANCEL_BARS = 25
    TIME = 49
    MARKET_DATA_TYPE = 59
    POSITIONS = 61
    ACCOUNT_SUMMARY = 62
    CANCEL_ACCOUNT_SUMMARY = 63
    CANCEL_POSITIONS = 64
    START = 71
    ACCOUNT_MULTI = 76
    CANCEL_ACCOUNT_MULTI = 77
    HEAD = 87
    CANCEL_HEAD = 90
    COMPLETED_ORDERS = 99


class ServerMessage(IntEnum):
    """Numbers of the messages that TWS sends."""

    ERROR = 4
    NEXT_VALID_ID = 9
    DETAILS = 10
    ACCOUNTS = 15
    BARS = 17
    TIME = 49
    DETAILS_END = 52
    OPEN_ORDERS_END = 53
    ACCOUNT_END = 54
    EXECUTIONS_END = 55
    POSITIONS_END = 62
    ACCOUNT_SUMMARY_END = 64
    ACCOUNT_MULTI_END = 74
    HEAD = 88
    COMPLETED_ORDERS_END = 102


@dataclass(frozen=True)
class Query:
    """A contract as a client describes it; an empty field leaves it open."""

    con_id: str
    symbol: str
    sec_type: str
    expiry: str
    strike: str
    right: str
    multiplier: str
    exchange: str
    primary: str
    currency: str
    local_symbol: str
    trading_class: str
    expired: bool

    @classmethod
    def read(cls, fields):
        *description, expired = fields
        return cls(*description, expired == "1")


QUERY_FIELDS = 13


class Request:
    """What all requests about contracts have in common."""

    def without_number(self):
        """What is asked, whoever asks it."""
        return self.query, *self.without_contract()

    def without_contract(self):
        """What is asked, whoever asks it about whatever contract."""
        fields = (value for name, value in sorted(vars(self).items()) if name not in ("number", "query"))
        return self.kind, *fields


@dataclass(frozen=True)
class DetailsRequest(Request):
    """Which contracts fit a description?"""

    number: int
    query: Query

    kind = "details"

    @classmethod
    def read(cls, fields):
        _version, number, *rest = fields
        return cls(int(number), Query.read(rest[:QUERY_FIELDS]))


@dataclass(frozen=True)
class HeadRequest(Request):
    """Since when is there data?"""

    number: int
    query: Query
    rth: bool
    what: str
    format_date: str

    kind = "head"

    @classmethod
    def read(cls, fields):
        number, *rest = fields
        rth, what, format_date = rest[QUERY_FIELDS:]
        return cls(int(number), Query.read(rest[:QUERY_FIELDS]), rth == "1", what, format_date)


@dataclass(frozen=True)
class BarsRequest(Request):
    """Which bars are there in a span?"""

    number: int
    query: Query
    end: str
    size: str
    duration: str
    rth: bool
    what: str
    format_date: str

    kind = "bars"

    @classmethod
    def read(cls, fields):
        number, *rest = fields
        end, size, duration, rth, what, format_date = rest[QUERY_FIELDS : QUERY_FIELDS + 6]
        return cls(int(number), Query.read(rest[:QUERY_FIELDS]), end, size, duration, rth == "1", what, format_date)


REQUESTS = {ClientMessage.DETAILS: DetailsRequest, ClientMessage.HEAD: HeadRequest, ClientMessage.BARS: BarsRequest}


ACCOUNT = "DU0000000"


# What there is to tell of orders, positions and accounts, which is nothing: an end at once. A client that does not log
# in as read-only asks for all of it.
NOTHING = {
    ClientMessage.OPEN_ORDERS: lambda _fields: (ServerMessage.OPEN_ORDERS_END, 1),
    ClientMessage.ALL_OPEN_ORDERS: lambda _fields: (ServerMessage.OPEN_ORDERS_END, 1),
    ClientMessage.COMPLETED_ORDERS: lambda _fields: (ServerMessage.COMPLETED_ORDERS_END,),
    ClientMessage.EXECUTIONS: lambda fields: (ServerMessage.EXECUTIONS_END, 1, fields[1]),
    ClientMessage.ACCOUNT: lambda fields: (ServerMessage.ACCOUNT_END, 1, fields[2] or ACCOUNT),
    ClientMessage.ACCOUNT_MULTI: lambda fields: (ServerMessage.ACCOUNT_MULTI_END, 1, fields[1]),
    ClientMessage.ACCOUNT_SUMMARY: lambda fields: (ServerMessage.ACCOUNT_SUMMARY_END, 1, fields[1]),
    ClientMessage.POSITIONS: lambda _fields: (ServerMessage.POSITIONS_END, 1),
    ClientMessage.ACCOUNTS: lambda _fields: (ServerMessage.ACCOUNTS, 1, ACCOUNT),
    ClientMessage.IDS: lambda _fields: (ServerMessage.NEXT_VALID_ID, 1, 1),
}


def nothing(number, fields):
    """The end of what is not there, if a message asks for something."""
    ends = NOTHING.get(number)
    return frame(*ends(fields)) if ends else b""


async def handshake(reader, writer):
    """Agree on a version; the client has to accept this one's."""
    if await reader.readexactly(len(HELLO)) != HELLO:
        raise ValueError("this is not the protocol of TWS")
    offered = re.fullmatch(r"v(\d+)\.\.(\d+)(?: .*)?", (await _read_frame(reader)).decode())
    if offered is None or not int(offered[1]) <= SERVER_VERSION <= int(offered[2]):
        raise ValueError("the client speaks no version of the protocol that is known here")
    writer.write(frame(SERVER_VERSION, "20130301 16:00:00 EST"))


async def read_message(reader):
    """The number of the next message, and its other fields."""
    number, *fields = (await _read_frame(reader)).decode().split("\0")[:-1]
    return int(number), fields


async def _read_frame(reader):
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > LONGEST:
        raise ValueError(f"a frame of {length} bytes")
    return await reader.readexactly(length)


def frame(*fields):
    """The bytes of one message."""
    content = "".join(f"{_text(field)}\0" for field in fields).encode()
    return struct.pack(">I", len(content)) + content


def _text(field):
    return str(int(field)) if isinstance(field, (bool, IntEnum)) else str(field)


def error(number, code, text):
    """The message that a request, or nobody's in particular if it is -1, has failed.

    From version 153 of the protocol on its text is in ASCII, and other letters are told by their numbers
    (``ENCODE_MSG_ASCII7`` in the clients of Interactive Brokers, of which ib_async reads nothing).
    """
    plain = "".join(letter if letter.isascii() else f"\\u{ord(letter):04x}" for letter in text)
    return frame(ServerMessage.ERROR, 2, number, code, plain, "")


def welcome():
    """Whose accounts there are, and the number of the next order."""
    return frame(ServerMessage.ACCOUNTS, 1, ACCOUNT) + frame(ServerMessage.NEXT_VALID_ID, 1, 1)


def time(now):
    """What time it is."""
    return frame(ServerMessage.TIME, 1, int(now.timestamp()))


def details(number, listing, exchange, hours):
    """One contract that fits."""
    trading, liquid = hours
    return frame(
        ServerMessage.DETAILS,
        number,
        listing.symbol,
        listing.sec_type,
        listing.last_trade,
        0,
        "",
        exchange,
        listing.currency,
        listing.local_symbol,
        listing.trading_class,
        listing.trading_class,
        listing.con_id,
        listing.min_tick,
        listing.multiplier,
        "LMT,MKT,STP",
        ",".join(listing.exchanges),
        1,
        0,
        listing.name,
        listing.primary,
        listing.expiry[:6],
        *("", "", ""),  # industry, category, subcategory
        listing.venue.zone_id,
        trading,
        liquid,
        *("", 0),  # economic value rule and multiplier
        0,  # number of security ids
        1,
        *("", ""),  # underlying
        "26",
        listing.expiry,
        listing.stock_type,
        *("0.0001", "0.0001", "100"),  # least size, its increment, the one that is suggested
    )


def head(number, first, format_date):
    """Since when there is data."""
    return frame(ServerMessage.HEAD, number, _moment(first, format_date))


def bars(number, found, format_date, zone):
    """Bars; those of a day and more have a date, shorter ones a moment."""
    times = [_date(bar) if bar.whole_day else _moment(bar.time.astimezone(zone), format_date, zone) for bar in found]
    fields = [
        field
        for moment, bar in zip(times, found, strict=True)
        for field in (moment, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.close, 1)
    ]
    return frame(ServerMessage.BARS, number, times[0], times[-1], len(found), *fields)


def _date(bar):
    return f"{bar.time:%Y%m%d}"


def _moment(moment, format_date, zone=None):
    if format_date == "2":
        return str(int(moment.timestamp()))
    return f"{moment:%Y%m%d %H:%M:%S} {zone}" if zone else f"{moment:%Y%m%d-%H:%M:%S}"
