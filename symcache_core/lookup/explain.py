"""Says why a symbol is answered as it is: who said so and when, which rule serves the next answer, and until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from .. import policy as rules
from ..models import CachedSymbolInfo, Part, Provenance, VerdictChange
from ..policy import Freshness, Policy, Rule

BECAUSE: Mapping[Rule, str] = {
    Rule.MISS: "nothing that could serve is stored: the provider is asked",
    Rule.TTL: "the verdict is fresh: it is served, and nobody is asked",
    Rule.NEGATIVE_TTL: "the negative is fresh: it is served, and nobody is asked",
    Rule.UNCONFIRMED_TTL: "the negative may be a disguised failure: it is served for minutes only",
    Rule.REFRESH_AHEAD: "the verdict is nearly over: it is served, and the provider is asked in the background",
    Rule.TIMEFRAMES: "the verdict is fresh and a timeframe is not: the provider is asked for just that",
    Rule.STALE_IF_ERROR: "the verdict is over: the provider is asked; if it fails or is slow, the verdict is served",
    Rule.RETRY_THROTTLE: "the provider has just failed: what there is is served, and nobody is asked",
}


class TimeframeState(BaseModel):
    """What is known of one timeframe; times in seconds since the epoch.

    Without a head timestamp there is no data, or it was asked for and not ``answered``.
    """

    model_config = ConfigDict(frozen=True)

    head_timestamp: str | None
    asked_at: float
    fresh_until: float
    answered: bool = True


class Explanation(BaseModel):
    """Why a symbol is answered as it is.

    Moments are in seconds since the epoch, ``age`` in seconds. Of a symbol of which nothing is stored there are only
    ``symbol``, ``key``, ``provider``, ``state`` (``None``), the rule, and what the provider's last failure was.

    Args:
        symbol: The canonical spelling.
        key: The storage key.
        provider: Whose verdict it is.
        state: What the entry is good for.
        rule: Which rule serves the next lookup.
        because: The same in words.
        fresh_until: When the verdict's life is over.
        asks_again_at: From when a lookup asks the provider anew, in the background or not.
        serves_until: When the verdict cannot even bridge an outage any more.
        suspect_since: Since when the provider has contradicted a valid verdict, with a confirmed negative.
        doubted: Whether it has contradicted it at all.
        missing: Timeframes that were asked about and are not known.
        error: How the provider failed the last time, if it did.
        storage_error: Why the storage is out of reach, if it is.
    """

    model_config = ConfigDict(frozen=True)

    symbol: str
    key: str
    provider: str
    state: Freshness | None
    rule: Rule
    because: str
    is_valid: bool | None = None
    error_message: str | None = None
    confirmed: bool | None = None
    provenance: Provenance = Provenance()
    cached_at: float | None = None
    age: float | None = None
    fresh_until: float | None = None
    asks_again_at: float | None = None
    serves_until: float | None = None
    suspect_since: float | None = None
    doubted: bool = False
    repeats: int = 0
    timeframes: Mapping[str, TimeframeState] = {}
    missing: tuple[str, ...] = ()
    changes: tuple[VerdictChange, ...] = ()
    error: str | None = None
    storage_error: str | None = None


def explain(
    info: CachedSymbolInfo | None,
    wanted: Sequence[str],
    now: float,
    policy: Policy,
    *,
    symbol: str,
    key: str,
    provider: str,
    error: Exception | None,
    throttled_until: float | None,
    storage_error: Exception | None,
) -> Explanation:
    """Explain an entry, or that there is none.

    Args:
        info: The entry.
        wanted: The timeframes that the next lookup is to know.
        now: The moment of that lookup.
        policy: How long answers live.
        symbol: The canonical spelling.
        key: The storage key.
        provider: Whose verdicts these are.
        error: How the provider failed the last time, if it did.
        throttled_until: Until when it is left alone for that by who has something to serve, if it is.
        storage_error: Why the storage is out of reach, if it is.
    """
    rule = rules.rule_for(info, wanted, now, policy, throttled=throttled_until is not None)
    about: dict[str, Any] = {"symbol": symbol, "key": key, "provider": provider, "rule": rule, "because": BECAUSE[rule]}
    about |= {"error": _told(error), "storage_error": _told(storage_error)}
    if info is None:
        return Explanation(state=None, missing=tuple(wanted), **about)
    fresh_until = info.cached_at + info.ttl_seconds
    return Explanation(
        **about,
        **{name: getattr(info, name) for name in _AS_STORED},
        state=rules.freshness(info, now, policy),
        is_valid=info.validation_result.is_valid,
        error_message=info.validation_result.error_message,
        age=now - info.cached_at,
        fresh_until=fresh_until,
        asks_again_at=now if rule.asks else max(rules.refresh_at(info, policy), throttled_until or 0.0),
        serves_until=fresh_until + (policy.stale_if_error if info.confirmed else 0.0),
        timeframes={name: _state(info, name, part) for name, part in info.parts.items()},
        missing=rules.missing(info, wanted, now),
    )


_AS_STORED = ("confirmed", "provenance", "cached_at", "suspect_since", "doubted", "repeats", "changes")


def _state(info: CachedSymbolInfo, name: str, part: Part) -> TimeframeState:
    return TimeframeState(
        head_timestamp=part.head_timestamp,
        asked_at=part.asked_at,
        fresh_until=part.asked_at + part.ttl_seconds,
        answered=not rules.unanswered(info, (name,)),
    )


def _told(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"
