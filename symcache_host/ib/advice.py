"""What can be wrong on the way to Interactive Brokers, in one line each, and what to do about it, as data."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from ..gateway import Problem

LONGEST = 200
"""Characters of what the other end said; no text of Interactive Brokers that means something is longer."""

OLDEST_VERSION = 157
"""The first version of the API's protocol that ib_async speaks."""

# https://interactivebrokers.github.io/tws-api/initial_setup.html
PORTS: Mapping[int, str] = MappingProxyType(
    {
        4002: "IB Gateway, paper account",
        4001: "IB Gateway, live account",
        7497: "TWS, paper account",
        7496: "TWS, live account",
    }
)
"""Where the API is unless someone has changed it."""

_PORTS = "ib_port (4002 IB Gateway paper, 4001 live, 7497 TWS paper, 7496 TWS live)"
_ENABLE = "enable its API (Configure > API > Settings: Enable ActiveX and Socket Clients)"


class Failure(StrEnum):
    """How an attempt to connect ended, or a connection; the value says it."""

    REFUSED = "the connection is refused"
    SILENT = "the connection is accepted, but nothing answers"
    CLOSED = "the connection is accepted, and closed at once"
    NO_TWS = "something answers that is no TWS or IB Gateway"
    NOT_LOGGED_IN = "it answers, but its login does not come to an end"
    TOO_OLD = "this TWS or IB Gateway is too old"
    NO_SUCH_HOST = "there is no machine of this name"
    OUT_OF_REACH = "it cannot be reached"
    NO_CLIENT_ID = "no client id is free"
    LOST = "the connection was lost"
    OTHER = "it failed"


# From https://interactivebrokers.github.io/tws-api/connection.html and initial_setup.html, and from what was the matter
# in github.com/erdewit/ib_insync issues 395 (refused), 139, 386, 529 (nothing answers), 381 (trusted addresses), 667 (a
# version that does not answer), ib-api-reloaded/ib_async issue 18 (a dialog), stoqey/ib pull request 43 (ids in use).
_ADVICE: Mapping[Failure, str] = MappingProxyType(
    {
        Failure.REFUSED: f"start TWS or IB Gateway and log in, {_ENABLE}, and check {_PORTS}",
        Failure.SILENT: "at TWS or IB Gateway, accept the incoming connection if a dialog asks about it, "
        f"{_ENABLE}, and add this machine to its Trusted IPs; or another program has this port: check {_PORTS}",
        Failure.CLOSED: f"at TWS or IB Gateway, {_ENABLE}, and add this machine to its Trusted IPs; or another program "
        f"has this port: check {_PORTS}",
        Failure.NO_TWS: f"another program has this port: check ib_host and {_PORTS}",
        Failure.NOT_LOGGED_IN: "log in at TWS or IB Gateway: it may wait for a password, a second factor or a dialog",
        Failure.TOO_OLD: "install the current version of TWS or IB Gateway",
        Failure.NO_SUCH_HOST: "check ib_host",
        Failure.OUT_OF_REACH: "check ib_host, whether that machine is on, and the firewalls on the way; other machines "
        "are let in only without 'Allow connections from localhost only' (Configure > API > Settings)",
        Failure.NO_CLIENT_ID: "end programs that are connected to it, set ib_client_id higher, or restart it",
        Failure.LOST: "TWS or IB Gateway ended, restarted, or went out of reach; it is tried again",
        Failure.OTHER: "the host's log may say more",
    }
)

FAILURE_OF_CODE: Mapping[int, Failure] = MappingProxyType(
    {326: Failure.NO_CLIENT_ID, 502: Failure.REFUSED, 503: Failure.TOO_OLD, 504: Failure.NOT_LOGGED_IN}
)
"""What a handshake ends in when it is told a code: those of the official clients' ``EClientErrors``, and 326."""


class Row(NamedTuple):
    """What to do about a code; ``says`` is a part of the text, in lower case, and ``name`` goes before that."""

    code: int
    says: str
    name: str
    advice: str


_WAIT = "wait: it comes back by itself; if it does not, log in again at TWS or IB Gateway, and check its network"
_FARM = "wait: it comes back by itself; if it does not, restart TWS or IB Gateway, and check its network"
SUBSCRIPTION = "no market data subscription"
_SUBSCRIBE = (
    "subscribe to the exchange's data, also for the API (Client Portal > Settings > Market Data Subscriptions), and "
    "share it with the paper account"
)
_SESSION = "another session has the market data"
_ONE_SESSION = (
    "log out where else this user is logged in (TWS, mobile, web), or give the API a user of its own, and log in again"
)

_SHARE = "let all programs use one host service, or give each a TWS or IB Gateway of its own"

# https://interactivebrokers.github.io/tws-api/message_codes.html
# https://ibkrcampus.com/campus/ibkr-api-page/twsapi-doc/#api-error-codes
# Another address: github.com/extrange/ibkr-docker issue 118. No permissions: github.com/erdewit/ib_insync issue 19.
_ROWS = (
    Row(1100, "", "TWS or IB Gateway has lost its servers", _WAIT),
    Row(2110, "", "TWS or IB Gateway has lost its servers", _WAIT),
    Row(2103, "", "a market data farm is out of reach", _FARM),
    Row(2105, "", "a farm for history is out of reach", _FARM),
    Row(2157, "", "a farm for contracts is out of reach", _FARM),
    Row(162, "different ip address", _SESSION, _ONE_SESSION),
    Row(10197, "", _SESSION, _ONE_SESSION),
    Row(162, "permission", SUBSCRIPTION, _SUBSCRIBE),
    *(Row(code, "", SUBSCRIPTION, _SUBSCRIBE) for code in (354, 10089, 10090, 10168, 10186, 10187)),
)


_GREETING = re.compile(rb"\0\0..(\d{1,9})\0", re.DOTALL)
"""The first frame of TWS: its length, and the version of the protocol."""


class ConnectError(ConnectionError):
    """Why there is no connection.

    Args:
        failure: How the attempt ended.
        said: What this machine or the other end said about it.
        code: Interactive Brokers' own, if it gave one.
        opened: Whether there was a socket, so that something was sent.
    """

    def __init__(self, failure: Failure, said: str = "", code: int | None = None, *, opened: bool = True) -> None:
        super().__init__(f"{failure}: {one_line(said)}" if said else str(failure))
        self.failure = failure
        self.opened = opened
        self.code = code


def one_line(text: str) -> str:
    r"""A text from the network, without what could steer a terminal or begin another line, and not too long.

    >>> one_line("für\nINFO all is well")
    'für\\nINFO all is well'
    """
    shown = "".join(char if _is_shown(char) else ascii(char)[1:-1] for char in text.strip())
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def _is_shown(char: str) -> bool:
    # A backslash begins what is not; and what could not be read has its number, as what is no character has.
    return char.isprintable() and char not in "\\\ufffd"


def problem_of(place: str, error: BaseException, answering: Iterable[int] = ()) -> Problem:
    """What to say about a connection that failed.

    Args:
        place: Where to.
        error: How.
        answering: The usual ports of the API that answer there in place of this one.
    """
    failure = error.failure if isinstance(error, ConnectError) else Failure.OTHER
    said = str(error) if isinstance(error, ConnectError) else one_line(str(error) or type(error).__name__)
    advice = _ADVICE[failure]
    if others := [f"{port} ({PORTS[port]})" for port in answering]:
        ports, verb = " and ".join(others), "answers" if len(others) == 1 else "answer"
        advice = f"{ports} {verb} there: set ib_port to it, or {advice}"
    code = error.code if isinstance(error, ConnectError) else None
    return Problem(f"no connection to {place}: {said}", advice, code)


def problem_of_code(code: int, text: str) -> Problem:
    """What to say about a code of Interactive Brokers, and the text that came with it."""
    said = f"{one_line(text)} (code {code})"
    if (row := row_of(code, text)) is not None:
        return Problem(f"{row.name}: {said}", row.advice, code)
    return Problem(said, "look the code up in https://interactivebrokers.github.io/tws-api/message_codes.html", code)


def row_of(code: int, text: str) -> Row | None:
    """What there is to say about a code, and the text that came with it."""
    said = text.lower()
    return next((row for row in _ROWS if row.code == code and row.says in said), None)


def problem_of_farms(farms: Mapping[str, int]) -> Problem:
    """What to say when farms are out of reach."""
    named = one_line(", ".join(sorted(farms)))
    return Problem(f"data farms are out of reach: {named}", _FARM, next(iter(farms.values())))


def warning_of_others(client_ids: Iterable[int]) -> Problem | None:
    """What to say when client ids were taken, and what to do about it."""
    ids = list(client_ids)
    if not ids:
        return None
    named = f"client {ids[0]}" if len(ids) == 1 else f"clients {ids[0]} to {ids[-1]}"
    return Problem(f"another program uses this TWS as {named}, and the pacing rules count for all together", _SHARE)


def failure_of(error: BaseException, *, opened: bool, heard: bytes) -> ConnectError:
    """How an attempt to connect ended.

    Args:
        error: What it raised.
        opened: Whether there was a socket.
        heard: The first bytes that came through it.
    """
    if not opened:
        return _without_socket(error)
    timed_out = isinstance(error, TimeoutError)
    if not heard:
        return ConnectError(Failure.SILENT if timed_out else Failure.CLOSED)
    if (misfit := misfit_of(heard)) is not None:
        return misfit
    if _GREETING.match(heard) is None:
        return ConnectError(Failure.NO_TWS, heard.decode(errors="replace"))
    return ConnectError(Failure.NOT_LOGGED_IN, "" if timed_out else "the connection was closed")


def misfit_of(heard: bytes) -> ConnectError | None:
    """Why the first bytes that came cannot become a connection, if it is clear already that they cannot."""
    if not b"\0\0".startswith(heard[:2]):  # a greeting is short, so its length begins so
        return ConnectError(Failure.NO_TWS, heard.decode(errors="replace"))
    greeting = _GREETING.match(heard)
    if greeting is not None and (version := int(greeting[1])) < OLDEST_VERSION:
        return ConnectError(Failure.TOO_OLD, f"version {version} of the protocol")
    return None


def _without_socket(error: BaseException) -> ConnectError:
    said = str(error)
    if isinstance(error, socket.gaierror):
        return ConnectError(Failure.NO_SUCH_HOST, said, opened=False)
    # Of a name with several addresses, asyncio tells all their errors in one text.
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", said)}
    if isinstance(error, ConnectionRefusedError) or errno.ECONNREFUSED in numbers:
        return ConnectError(Failure.REFUSED, opened=False)
    if isinstance(error, OSError):
        return ConnectError(Failure.OUT_OF_REACH, said or "no answer in time", opened=False)
    return ConnectError(Failure.OTHER, said or type(error).__name__, opened=False)
