"""When an entry is fresh and how long an answer lives: pure functions of entry, time and policy.

The words are those of RFC 5861 (stale-if-error) and RFC 2308 (negative caching). All times are in seconds; moments
count from the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .frozen import FrozenDict
from .models import NEGATIVE_TTL, TTL, UNCONFIRMED_TTL, CachedSymbolInfo, Part, ValidationResult

CLOCK_TOLERANCE = 60.0
"""How far in the future a stamp may lie before its age counts as unknown: clocks of one fleet differ a little."""


class Freshness(StrEnum):
    """What an entry is good for."""

    FRESH = "fresh"
    REFRESH_AHEAD = "refresh-ahead"
    STALE = "stale"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long answers live and how long to wait for one; see the settings of the same names."""

    ttl: float = TTL
    negative_ttl: float = NEGATIVE_TTL
    negative_ttl_max: float = 86400.0
    unconfirmed_ttl: float = UNCONFIRMED_TTL
    refresh_ahead: float = 0.9
    stale_if_error: float = 7 * 86400.0
    retry_throttle: float = 30.0
    soft_timeout: float = 2.0
    timeout: float = 60.0
    jitter: float = 0.05


class Rule(StrEnum):
    """Which rule serves a lookup; most are named as the setting that they go by."""

    MISS = "miss"
    TTL = "ttl"
    NEGATIVE_TTL = "negative_ttl"
    UNCONFIRMED_TTL = "unconfirmed_ttl"
    REFRESH_AHEAD = "refresh_ahead"
    TIMEFRAMES = "timeframes"
    STALE_IF_ERROR = "stale_if_error"
    RETRY_THROTTLE = "retry_throttle"

    @property
    def waits(self) -> bool:
        """Whether the caller waits for the provider."""
        return self in (Rule.MISS, Rule.TIMEFRAMES, Rule.STALE_IF_ERROR)

    @property
    def asks(self) -> bool:
        """Whether the provider is asked, in the background or not."""
        return self.waits or self is Rule.REFRESH_AHEAD

    @property
    def asks_with_fallback(self) -> bool:
        """Whether the provider is asked although there is something to serve, should it fail."""
        return self.asks and self is not Rule.MISS


def rule_for(
    info: CachedSymbolInfo | None, timeframes: Iterable[str], now: float, policy: Policy, *, throttled: bool = False
) -> Rule:
    """Decide how a lookup is answered.

    Args:
        info: What is known of the symbol, if anything.
        timeframes: What the lookup has to know.
        now: Its moment.
        policy: How long answers live.
        throttled: Whether the provider has just failed, and is left alone by who has something to serve.
    """
    # From the worst to the best: nothing that serves; something, but over or incomplete; fresh, but nearly over; fresh.
    state = Freshness.EXPIRED if info is None else freshness(info, now, policy)
    if info is None or state is Freshness.EXPIRED:
        return Rule.MISS
    if state is Freshness.STALE or missing(info, timeframes, now):
        if throttled:
            return Rule.RETRY_THROTTLE
        return Rule.STALE_IF_ERROR if state is Freshness.STALE else Rule.TIMEFRAMES
    if state is Freshness.REFRESH_AHEAD and not throttled:
        return Rule.REFRESH_AHEAD
    if info.validation_result.is_valid:
        return Rule.TTL
    return Rule.NEGATIVE_TTL if info.confirmed else Rule.UNCONFIRMED_TTL


def freshness(info: CachedSymbolInfo, now: float, policy: Policy) -> Freshness:
    """What a verdict is good for at a moment.

    A verdict from the future (a clock was set back) has an unknown age and is never fresh. A negative that may be a
    disguised failure is never served past its life.
    """
    age = now - info.cached_at
    if age < -CLOCK_TOLERANCE:
        return Freshness.STALE if info.confirmed else Freshness.EXPIRED
    if age < info.ttl_seconds:
        return Freshness.FRESH if now < refresh_at(info, policy) else Freshness.REFRESH_AHEAD
    servable = info.confirmed and age < info.ttl_seconds + policy.stale_if_error
    return Freshness.STALE if servable else Freshness.EXPIRED


def missing(info: CachedSymbolInfo, timeframes: Iterable[str], now: float) -> tuple[str, ...]:
    """Those of the timeframes about which an entry knows nothing fresh; none are missing of an invalid symbol."""
    if not info.validation_result.is_valid:
        return ()
    return tuple(name for name in timeframes if not _is_fresh(info.part(name), now))


def unknown(info: CachedSymbolInfo, timeframes: Iterable[str]) -> tuple[str, ...]:
    """Those of the timeframes about which an entry says nothing, not even something old."""
    if not info.validation_result.is_valid:
        return ()
    return tuple(name for name in timeframes if info.part(name) is None)


def unanswered(info: CachedSymbolInfo, timeframes: Iterable[str]) -> tuple[str, ...]:
    """Those of the timeframes about which nobody has said anything, though they may have been asked for."""
    if not info.validation_result.is_valid:
        return ()
    return tuple(name for name in timeframes if not _is_answered(info, name))


def verdict_for(info: CachedSymbolInfo, timeframes: Iterable[str]) -> ValidationResult:
    """The verdict, with the head timestamp that serves all timeframes filled in for those without one of their own."""
    result, shared = info.validation_result, info.shared_part
    if shared is None or not result.is_valid:
        return result
    stamps = result.head_timestamps or {}
    filled = {name: shared.head_timestamp for name in timeframes if name not in info.parts}
    return with_changes(result, head_timestamps={**stamps, **filled}) if filled else result


def fresh_until(info: CachedSymbolInfo, timeframes: Iterable[str]) -> float:
    """The moment until which an entry answers for these timeframes; zero if it knows nothing of one of them."""
    ends = [info.cached_at + info.ttl_seconds]
    if info.validation_result.is_valid:
        for name in timeframes:
            part = info.part(name)
            ends.append(part.asked_at + part.ttl_seconds if part else 0.0)
    return min(ends)


def fresh_since(info: CachedSymbolInfo, timeframes: Iterable[str]) -> float:
    """The moment before which an entry, or what it knows of one of these timeframes, would be from the future."""
    parts = [part for name in timeframes if (part := info.part(name))] if info.validation_result.is_valid else []
    return max([info.cached_at, *(part.asked_at for part in parts)]) - CLOCK_TOLERANCE


def answers(info: CachedSymbolInfo, timeframes: Iterable[str], now: float) -> bool:
    """Whether an entry is fresh and knows these timeframes."""
    return -CLOCK_TOLERANCE <= now - info.cached_at < info.ttl_seconds and not missing(info, timeframes, now)


def is_answered_since(info: CachedSymbolInfo, timeframes: Iterable[str], since: float) -> bool:
    """Whether an entry's verdict, and what it says of these timeframes, was given at a moment or later."""
    if info.cached_at < since:
        return False
    parts = map(info.part, timeframes if info.validation_result.is_valid else ())
    return all(part is not None and part.asked_at >= since for part in parts)


def refresh_at(info: CachedSymbolInfo, policy: Policy) -> float:
    """The moment from which a hit asks the provider in the background; a suspect waits for its second opinion."""
    if info.doubted:
        return info.cached_at + info.ttl_seconds
    return info.cached_at + info.ttl_seconds * policy.refresh_ahead


def keep_until(info: CachedSymbolInfo, policy: Policy) -> float:
    """The moment after which nothing in an entry can serve, not even an outage."""
    end = info.cached_at + info.ttl_seconds
    for part in info.parts.values():
        end = max(end, part.asked_at + part.ttl_seconds)
    return end + policy.stale_if_error


def with_changes(result: ValidationResult, **changes: Any) -> ValidationResult:
    """A verdict with other values in some fields; they have to be such as the fields would have made of them."""
    # Not validated anew, nor copied without need: every value has been, and storing is to be fast.
    if all((old := getattr(result, name)) is value or old == value for name, value in changes.items()):
        return result
    if stamps := changes.get("head_timestamps"):
        changes["head_timestamps"] = FrozenDict(stamps)
    return result.model_copy(update=changes)


def _is_answered(info: CachedSymbolInfo, timeframe: str) -> bool:
    part, shared = info.part(timeframe), info.shared_part
    if part is None or part.head_timestamp is not None or part is shared:
        return part is not None
    # Only the verdict tells "no data" from "not answered", or what serves all timeframes.
    is_told = timeframe in (info.validation_result.head_timestamps or {})
    return is_told or (shared is not None and shared.head_timestamp is None)


def _is_fresh(part: Part | None, now: float) -> bool:
    return part is not None and -CLOCK_TOLERANCE <= now - part.asked_at < part.ttl_seconds
