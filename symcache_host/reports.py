"""The shapes of what the host service says about itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from .wire import VERSION, WIRE_VERSION

NAME = "symcache-host"


class Health(BaseModel):
    """Whether the service can answer."""

    healthy: bool = Field(description="whether the gateway can answer now")
    service: str = Field(NAME, description="what this is")
    timestamp: str = Field(description="the service's clock, ISO 8601 in UTC")
    status: str = Field(description="healthy or disconnected")


class LastRefusal(BaseModel):
    """A request that Interactive Brokers did not permit."""

    at: str = Field(description="when, ISO 8601 in UTC")
    symbol: str = Field(description="what it was about")
    code: int = Field(description="Interactive Brokers' own code")
    text: str = Field(description="and its words")


class IbStatus(BaseModel):
    """How things stand with Interactive Brokers; nulls where the gateway is another one."""

    connected: bool = Field(description="whether requests reach Interactive Brokers, for which a socket is not enough")
    client_id: int | None = Field(None, description="the client id of the socket; null without one")
    since: str | None = Field(None, description="since when connected is what it is, ISO 8601 in UTC")
    lost: str | None = Field(None, description="what was said when the way from TWS to its servers was lost")
    farms_down: dict[str, int] = Field({}, description="data farms that are out of reach, and the code that said so")
    last_reset: str | None = Field(None, description="when the way to the broker last came back, ISO 8601 in UTC")
    open_requests: int | None = Field(None, description="requests under way")
    waiting: int | None = Field(None, description="requests in the queue that paces them")
    messages_left: int | None = Field(None, description="messages that the rules still allow within this second")
    historical_left: int | None = Field(None, description="historical requests that may be opened at the same time")
    problem: str | None = Field(None, description="what is wrong, in one line; null when all is well")
    problem_code: int | None = Field(None, description="Interactive Brokers' own code for it, if it gave one")
    advice: str | None = Field(None, description="what to do about it")
    problem_since: str | None = Field(None, description="since when something is wrong, without a break, in UTC")
    last_attempt: str | None = Field(None, description="when the last attempt to connect began, ISO 8601 in UTC")
    next_attempt: str | None = Field(None, description="when the next one begins; null when none is waited for")
    taken_client_ids: list[int] = Field([], description="client ids before its own that are in use")
    warning: str | None = Field(None, description="what other programs at the same TWS mean, and what to do about it")
    last_refusal: LastRefusal | None = Field(
        None, description="the last request that was not permitted, until one about the same contract is answered"
    )
    quiet_until: str | None = Field(
        None, description="until when no history is asked for after the start, ISO 8601 in UTC; null: it is"
    )


class ConnectionInfo(BaseModel):
    """The gateway, whichever it is."""

    gateway: str = Field(description="where answers come from: ib, or replay for recorded history")
    connected: bool = Field(description="whether it can answer now")
    notice: str | None = Field(description="what everyone who looks at its answers must know")
    problem: str | None = Field(None, description="what keeps it from answering; null when all is well")
    advice: str | None = Field(None, description="what to do about it")
    problem_since: str | None = Field(None, description="since when something is wrong, without a break, in UTC")


class Calls(BaseModel):
    """What the service had to do since it started."""

    requests: int = Field(description="requests under /data that were accepted")
    gateway: int = Field(description="calls to the gateway that they cost")


class CacheFigures(BaseModel):
    """The service's own cache since it started."""

    symbols: int = Field(description="symbols that it holds")
    hits: int = Field(description="lookups that it answered")
    misses: int = Field(description="lookups for which the gateway was asked")
    degraded: bool = Field(description="whether its storage is out of reach")


class DetailedHealth(Health):
    """Health with what lies behind it."""

    ib_status: IbStatus = Field(description="how things stand with Interactive Brokers")
    connection_info: ConnectionInfo = Field(description="the gateway, whichever it is")
    gateway: str = Field(description="where answers come from")
    as_of: str = Field(description="the gateway's present, ISO 8601 in UTC; nothing later exists for it")
    calls: Calls = Field(description="what the service had to do since it started")
    cache: CacheFigures = Field(description="the service's own cache")


class LookedAt(BaseModel):
    """What a look at one thing found."""

    what: str = Field(description="what was looked at")
    state: Literal["ok", "warn", "fail"] = Field(description="ok; warn: it works, but; fail: it does not")
    detail: str = Field(description="what was found")
    advice: str | None = Field(None, description="what to do about it")


class Look(Health):
    """Health after a look at the gateway just now."""

    gateway: str = Field(description="where answers come from")
    findings: list[LookedAt] = Field(description="what was found, in the order in which it was looked at")


class About(BaseModel):
    """What this service is."""

    name: str = Field(NAME, description="what this is")
    version: str = Field(VERSION, description="its version")
    wire_version: int = Field(WIRE_VERSION, description="the version of the wire contract")
    gateway: str = Field(description="where answers come from")
    notice: str | None = Field(description="what everyone who looks at its answers must know")
