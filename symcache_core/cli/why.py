"""``symcache why``: who said what of a symbol, and what the next lookup will make of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..lookup.explain import Explanation
from ..models import VerdictChange
from .exits import Status
from .options import Symbols, Timeframes
from .output import instant, span
from .session import Session


def why(session: Session, symbols: Symbols, timeframe: Timeframes = None) -> None:
    """Tell who said what of symbols, when, and which rule serves the next lookup; never asks the provider."""
    with session.open_cache() as cache:
        for symbol in symbols:
            with session.reporting(symbol):
                explanation = cache.explain(symbol, timeframe or ())
                if explanation.state is None:
                    session.end_with(Status.NO)
                lines = dict(_lines(explanation, time.time()))
                session.output.show_one(explanation.model_dump(mode="json"), lines)


def _lines(about: Explanation, now: float) -> Iterator[tuple[str, object]]:
    yield "symbol", about.symbol
    yield "key", about.key
    yield "next lookup", f"{about.rule}: {about.because}"
    if about.missing and about.state is not None:
        yield "not known", ", ".join(about.missing)
    if about.storage_error:
        yield "storage", about.storage_error
    if about.state is None:
        return
    yield "verdict", _verdict(about)
    yield "said by", _source(about)
    yield "said at", _moment(about.cached_at, now)
    yield "state", about.state.value
    yield "fresh until", _moment(about.fresh_until, now)
    yield "asked again from", _moment(about.asks_again_at, now)
    yield "bridges an outage until", _moment(about.serves_until, now)
    if about.suspect_since is not None:
        yield "contradicted at", _moment(about.suspect_since, now)
    for name, known in about.timeframes.items():
        first = (known.head_timestamp or "none") if known.answered else "not answered"
        yield f"bars {name}", f"{first}, fresh until {_moment(known.fresh_until, now)}"
    if about.changes:
        yield "changed", "; ".join(_change(change, now) for change in reversed(about.changes))


def _change(change: VerdictChange, now: float) -> str:
    if change.contract is not None:
        return f"contract {change.former_contract} to {change.contract}, {_moment(change.at, now)}"
    return f"to {_valid(change.is_valid)}{_code(change.code)}, {_moment(change.at, now)}"


def _verdict(about: Explanation) -> str:
    doubt = "" if about.confirmed else ", unconfirmed"
    doubt += ", doubted: the provider has said otherwise since" if about.doubted else ""
    again = f", {about.repeats + 1} times in a row" if about.repeats else ""
    reason = f": {about.error_message}" if about.error_message else ""
    return f"{_valid(about.is_valid)}{doubt}{again}{reason}"


def _source(about: Explanation) -> str:
    said = about.provenance
    parts = {"gateway": said.gateway, "host": said.host, "adapter": said.adapter, "spelled": said.spelling}
    through = [f"{what} {name}" for what, name in parts.items() if name]
    return ", ".join([said.provider or about.provider, *through]) + _code(said.code)


def _valid(is_valid: bool | None) -> str:
    return "valid" if is_valid else "invalid"


def _code(code: str | None) -> str:
    return f" (code {code})" if code else ""


def _moment(stamp: float | None, now: float) -> str:
    if stamp is None:
        return ""
    distance = f"{span(now - stamp)} ago" if stamp <= now else f"in {span(stamp - now)}"
    return f"{instant(stamp)}, {distance}"
