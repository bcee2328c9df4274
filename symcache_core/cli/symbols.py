"""``symcache validate``, ``get``, ``list`` and ``forget``: what is known about symbols."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..models import CachedSymbolInfo, Lookup, Outcome
from ..policy import Policy, freshness, unanswered
from ..symbols import Instrument
from .exits import Status
from .options import Symbols, Timeframes
from .output import Columns, Record, span
from .session import Session

if TYPE_CHECKING:
    from ..settings import SymcacheSettings


def _contract(entry: Record, field: str) -> str:
    return str((entry["contract_info"] or {}).get(field, ""))


def _about(entry: Record) -> str:
    suggested = entry["suggested_symbol"]
    hint = f"; did you mean {suggested}?" if suggested else ""
    return (entry["error_message"] or _contract(entry, "description")) + hint


def _first_bar(known: tuple[str, str | None]) -> str:
    timeframe, stamp = known
    return f"{timeframe}:{stamp[:10] if stamp else 'none'}"


def _bars_since(entry: Record) -> str:
    known = [*map(_first_bar, (entry["head_timestamps"] or {}).items())]
    return " ".join(known + [f"{timeframe}:not answered" for timeframe in entry.get("missing", ())])


VERDICT: Columns = {
    "symbol": lambda entry: entry["symbol"],
    "verdict": lambda entry: "valid" if entry["is_valid"] else "invalid",
    "type": lambda entry: _contract(entry, "asset_type"),
    "exchange": lambda entry: _contract(entry, "exchange"),
    "currency": lambda entry: _contract(entry, "currency"),
    "bars since": _bars_since,
    "provider": lambda entry: entry["provider"],
    "age": lambda entry: span(entry["age_seconds"]),
}
LOOKUP: Columns = {
    **VERDICT,
    "lookup": lambda entry: entry["outcome"],
    "about": _about,
}
CACHED: Columns = {
    **VERDICT,
    "life": lambda entry: span(entry["ttl_seconds"]),
    "state": lambda entry: entry["state"],
    "about": _about,
}
FORGOTTEN: Columns = {
    "symbol": lambda answer: answer["symbol"],
    "forgotten": lambda answer: "forgotten" if answer["forgotten"] else "not cached",
}


def validate(session: Session, symbols: Symbols, timeframe: Timeframes = None) -> None:
    """Tell whether symbols are valid, from the cache or else from the provider."""

    def validate_one(symbol: str) -> Record:
        lookup = ask(symbol, timeframe or ())
        if not lookup.result.is_valid:
            session.end_with(Status.NO)
        missing = unanswered(lookup.info, timeframe or ())
        _warn(session, symbol, lookup, missing)
        return {
            **_record(lookup.info, session.settings.provider, lookup.age),
            "outcome": lookup.outcome.value,
            "missing": list(missing),
        }

    with session.open_lookup() as ask:
        session.output.show(LOOKUP, session.each(symbols, validate_one))


def get(session: Session, symbols: Symbols) -> None:
    """Show what the cache holds about symbols, even if its life is over; never asks the provider."""
    with session.open_cache() as cache:

        def get_one(symbol: str) -> Record | None:
            info = cache.peek(symbol)
            if info is None:
                session.output.note(f"{symbol}: not cached")
                session.end_with(Status.NO)
                return None
            return _cached(info, session.settings)

        session.output.show(CACHED, session.each(symbols, get_one))


def list_(session: Session) -> None:
    """List the symbols in the cache."""
    with session.open_cache() as cache:
        entries = map(cache.peek, sorted(cache.symbols()))
        # Another process may have dropped a symbol since its name was read.
        session.output.show(CACHED, (_cached(info, session.settings) for info in entries if info is not None))


def forget(session: Session, symbols: Symbols) -> None:
    """Drop symbols from the cache, so that the provider is asked anew."""

    def forget_one(symbol: str) -> Record:
        forgotten = cache.forget(symbol)
        if not forgotten:
            session.end_with(Status.NO)
        return {"symbol": str(Instrument.parse(symbol)), "forgotten": forgotten}

    with session.open_cache() as cache:
        session.output.show(FORGOTTEN, session.each(symbols, forget_one))


def _cached(info: CachedSymbolInfo, settings: SymcacheSettings) -> Record:
    now = time.time()
    policy = Policy(refresh_ahead=settings.refresh_ahead, stale_if_error=settings.stale_if_error)
    return {**_record(info, settings.provider, now - info.cached_at), "state": freshness(info, now, policy).value}


def _record(info: CachedSymbolInfo, provider: str, age: float) -> dict[str, Any]:
    return {
        **info.validation_result.model_dump(mode="json"),
        "provider": provider,
        "confirmed": info.confirmed,
        "doubted": info.doubted,
        "cached_at": info.cached_at,
        "ttl_seconds": info.ttl_seconds,
        "age_seconds": round(age, 3),
    }


def _warn(session: Session, symbol: str, lookup: Lookup, missing: tuple[str, ...]) -> None:
    if not lookup.info.confirmed:
        session.output.warn(f"{symbol}: this is unconfirmed: a provider that is out of reach may say the same")
    if lookup.info.doubted:
        session.output.warn(
            f"{symbol}: this is doubted: the provider has said otherwise since, and is asked again soon"
        )
    if lookup.outcome is Outcome.STALE:
        session.output.warn(f"{symbol}: this answer is {span(lookup.age)} old, the provider fails: {lookup.error}")
    elif missing:
        session.output.warn(f"{symbol}: no answer for {', '.join(missing)}: {lookup.error or 'not told'}")
