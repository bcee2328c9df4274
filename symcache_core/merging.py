"""What an answer makes of an entry: pure functions of entry, answer, time and policy; in seconds, as :mod:`.policy`."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from .frozen import FrozenDict
from .models import (
    ANY_TIMEFRAME,
    CachedSymbolInfo,
    ContractInfo,
    Part,
    Provenance,
    ProviderAnswer,
    ValidationResult,
    VerdictChange,
)
from .policy import CLOCK_TOLERANCE, Freshness, Policy, freshness, with_changes
from .symbols import Instrument, canonical_multiplier

SECOND_OPINION_AFTER = 600.0
"""How long after a first contradiction a valid symbol may be declared invalid."""

NO_DATA_AGAIN_AFTER = 600.0
"""How long it is believed that there is no data, said for the first time: a farm that is down, or permissions that have
just come, look the same for minutes, and for a symbol without data one question more costs little."""

CHANGES_KEPT = 5
"""How many of the last changes of a verdict an entry remembers."""


def merge(
    old: CachedSymbolInfo | None, answer: ProviderAnswer, asked: Iterable[str], key: str, now: float, policy: Policy
) -> CachedSymbolInfo:
    """The entry that an answer makes of what was known.

    A timeframe that was not asked for keeps its part and its age. A valid symbol is declared invalid only by a second
    confirmed answer, ten minutes or more after the first.

    Args:
        old: What was known, if anything.
        answer: What the provider said.
        asked: The timeframes that it was asked for.
        key: The storage key, from whose hash the jitter comes.
        now: The moment of the answer.
        policy: How long answers live.
    """
    if old is not None and not answer.result.is_valid and _holds_against(old, answer, now, policy):
        return _doubted(old, answer, asked, now, policy)
    return (
        _valid(old, answer, asked, key, now, policy)
        if answer.result.is_valid
        else _invalid(old, answer, key, now, policy)
    )


def reconcile(stored: CachedSymbolInfo | None, late: CachedSymbolInfo, now: float, policy: Policy) -> CachedSymbolInfo:
    """The entry that comes of one that could not be stored in time, and of what was stored meanwhile.

    The last validation wins; of each timeframe, the part that was asked for last. A stamp from the future is no
    validation's.

    Args:
        stored: What is stored, if anything.
        late: What could not be.
        now: The present.
        policy: How long answers live.
    """
    if stored is None or stored.cached_at > now + CLOCK_TOLERANCE:
        return late
    older, newer = _in_order(stored, late)
    old, new = older.validation_result, newer.validation_result
    since = newer.cached_at
    if not new.is_valid:
        # A late negative was decided without knowing the stored valid verdict, so the second opinion is still owed. A
        # stored negative was decided with whatever was known then, and stands.
        negative = ProviderAnswer(new, confirmed=newer.confirmed, provenance=newer.provenance)
        if newer is late and _holds_against(older, negative, since, policy):
            return _doubted(older, negative, (), since, policy)
    # The newer entry lists more changes only if it was made from the older one; else this is where the two meet.
    if len(newer.changes) <= len(older.changes):
        newer = newer.model_copy(update={"changes": _changes(older, new, newer.provenance, since)})
    if not new.is_valid or not old.is_valid:
        return newer
    # Two of the same moment: whichever way round they come, the result has to be the same, with the earlier doubt.
    if older.cached_at == newer.cached_at:
        doubts = [info.suspect_since for info in (older, newer) if info.suspect_since is not None]
        newer = newer.model_copy(update={"suspect_since": min(doubts, default=None)})
    parts = {
        name: max((part for part in (newer.parts.get(name), older.parts.get(name)) if part), key=_asked_at)
        for name in {**older.parts, **newer.parts}
    }
    result, known = _completed(new, old), old.head_timestamps or {}
    later = {name: known[name] for name, part in older.parts.items() if parts[name] is part and name in known}
    if later:
        result = with_changes(result, head_timestamps={**(result.head_timestamps or {}), **later})
    return newer.model_copy(update={"validation_result": result, "parts": FrozenDict(parts)})


def settle(known: CachedSymbolInfo, other: CachedSymbolInfo, now: float, policy: Policy) -> CachedSymbolInfo:
    """The one to keep of two entries of different origin, or what they make together.

    That a valid symbol has become invalid is for its provider to say, twice: a valid verdict that still serves stays.
    Of two such the newer one gets the timeframes that only the older one knows. Otherwise the newer one is kept.

    Args:
        known: What is there already.
        other: What comes from elsewhere.
        now: The present.
        policy: How long answers live.
    """
    if _serves_as_valid(known, now, policy) and _serves_as_valid(other, now, policy):
        both = reconcile(known, other, now, policy)
        return next((each for each in (known, other) if each == both), both)
    return other if _supersedes(other, known, now, policy) else known


def overrules(known: CachedSymbolInfo, negative: CachedSymbolInfo, instrument: Instrument) -> bool:
    """Whether a plain symbol's verdict, given since, shows a negative about a closer qualified spelling to be wrong.

    Args:
        known: The plain symbol's entry.
        negative: The qualified one's.
        instrument: The qualified spelling; an alias if the plain symbol turned out to be that very contract.
    """
    contract = known.validation_result.contract_info
    if not known.validation_result.is_valid or known.cached_at < negative.cached_at or contract is None:
        return False
    asked = (instrument.asset_type, instrument.venue, instrument.currency)
    found = (contract.asset_type, contract.exchange, contract.currency)
    narrower = (instrument.trading_class, instrument.multiplier)
    return all(
        not one or one == other for one, other in zip(asked + narrower, found + _narrower(contract), strict=True)
    )


def _narrower(contract: ContractInfo) -> tuple[str, str]:
    """The trading class and the multiplier of a contract, as a symbol would say them."""
    trading_class, multiplier = (str(contract.contract.get(name) or "") for name in ("tradingClass", "multiplier"))
    try:
        return trading_class.upper(), canonical_multiplier(multiplier)
    except ValueError:
        return trading_class.upper(), ""


def _serves_as_valid(info: CachedSymbolInfo, now: float, policy: Policy) -> bool:
    is_over = freshness(info, now, policy) is Freshness.EXPIRED
    return info.validation_result.is_valid and not is_over and info.cached_at <= now + CLOCK_TOLERANCE


def _supersedes(other: CachedSymbolInfo, known: CachedSymbolInfo, now: float, policy: Policy) -> bool:
    if freshness(known, now, policy) is Freshness.EXPIRED:
        return True
    is_valid, was_valid = other.validation_result.is_valid, known.validation_result.is_valid
    if is_valid != was_valid and (was_valid or not known.confirmed):
        return is_valid
    # A stamp from the future tells no moment.
    since, last = (-math.inf if at > now + CLOCK_TOLERANCE else at for at in (other.cached_at, known.cached_at))
    return since > last


def _asked_at(part: Part) -> float:
    return part.asked_at


def _in_order(stored: CachedSymbolInfo, late: CachedSymbolInfo) -> tuple[CachedSymbolInfo, CachedSymbolInfo]:
    """The older and the newer one; of the same moment, a contradicted one is the newer, else the late one."""
    # By the moment of the answer, not of the write: what waited may be older than what others have stored meanwhile. A
    # valid verdict that is contradicted keeps its moment, and the sooner one is to be asked about again.
    doubts = [info.doubted for info in (stored, late)]
    swapped = stored.cached_at > late.cached_at
    if stored.cached_at == late.cached_at and late.validation_result.is_valid:
        swapped = doubts == [True, False] or (doubts == [True, True] and stored.ttl_seconds < late.ttl_seconds)
    return (late, stored) if swapped else (stored, late)


def _holds_against(old: CachedSymbolInfo, negative: ProviderAnswer, now: float, policy: Policy) -> bool:
    """Whether a valid verdict stands although the provider now says otherwise."""
    if not old.validation_result.is_valid or freshness(old, now, policy) is Freshness.EXPIRED:
        return False
    since = old.suspect_since
    return not negative.confirmed or since is None or now - since < SECOND_OPINION_AFTER


def _doubted(
    old: CachedSymbolInfo, answer: ProviderAnswer, asked: Iterable[str], now: float, policy: Policy
) -> CachedSymbolInfo:
    """The valid entry as it was, to be asked about again soon; only a confirmed negative makes it a suspect."""
    since, ends = old.suspect_since, now + policy.unconfirmed_ttl
    if answer.confirmed:
        since = now if since is None else min(since, now)
        ends = since + SECOND_OPINION_AFTER
    cached_at = min(old.cached_at, now)
    parts = {name: _prolonged(old.part(name), now, ends) for name in asked}
    return old.model_copy(
        update={
            "suspect_since": since,
            "doubted": True,
            "cached_at": cached_at,
            "ttl_seconds": ends - cached_at,
            "parts": FrozenDict({**old.parts, **parts}),
        }
    )


def _prolonged(part: Part | None, now: float, ends: float) -> Part:
    """A timeframe that is not to be asked for again before a moment, as old as it is."""
    known = part or Part(head_timestamp=None, asked_at=now, ttl_seconds=0.0)
    ends = max(ends, known.asked_at + known.ttl_seconds)
    asked_at = min(known.asked_at, now)
    return known.model_copy(update={"asked_at": asked_at, "ttl_seconds": ends - asked_at})


def _unanswered(part: Part | None, now: float, policy: Policy) -> Part:
    """A timeframe that was asked for and not answered, so that it is not asked for again at once."""
    stamp = part.head_timestamp if part is not None else None
    return Part(head_timestamp=stamp, asked_at=now, ttl_seconds=policy.unconfirmed_ttl)


def _valid(
    old: CachedSymbolInfo | None, answer: ProviderAnswer, asked: Iterable[str], key: str, now: float, policy: Policy
) -> CachedSymbolInfo:
    result, ttl = answer.result, _jittered(policy.ttl, key, policy)
    if (end := _ends_at(answer)) is not None:
        ttl = min(ttl, max(end - now, policy.unconfirmed_ttl))
    told = dict(result.head_timestamps or {})
    if answer.one_head_timestamp and told:
        told[ANY_TIMEFRAME] = next(iter(told.values()))
    parts = dict(old.parts) if old is not None else {}
    if ANY_TIMEFRAME not in told:
        parts |= {name: _unanswered(parts.get(name), now, policy) for name in asked}
    for name, stamp in told.items():
        life = ttl
        if stamp is None:
            is_repeated = _had_no_data(old, name, now)
            life = min(ttl, policy.negative_ttl_max, math.inf if is_repeated else NO_DATA_AGAIN_AFTER)
        parts[name] = Part(head_timestamp=stamp, asked_at=now, ttl_seconds=life)
    # A timeframe that was asked for and not answered is in the parts, so that it is not asked again at once, and not
    # in the verdict, where it would say that there is no data.
    return CachedSymbolInfo(
        validation_result=result if old is None else _completed(result, old.validation_result),
        cached_at=now,
        ttl_seconds=ttl,
        parts=parts,
        provenance=answer.provenance,
        changes=() if old is None else _changes(old, answer.result, answer.provenance, now),
    )


def _had_no_data(old: CachedSymbolInfo | None, timeframe: str, now: float) -> bool:
    """Whether an entry says that a timeframe has no data, and has it from long enough ago."""
    part = None if old is None else old.parts.get(timeframe)
    if old is None or part is None or now - part.asked_at < NO_DATA_AGAIN_AFTER:
        return False
    if timeframe == ANY_TIMEFRAME:
        return part.head_timestamp is None
    # Not as the part has it: that of one that was asked for and not answered has no head timestamp either.
    told = old.validation_result.head_timestamps or {}
    return timeframe in told and told[timeframe] is None


def _changes(
    old: CachedSymbolInfo, result: ValidationResult, provenance: Provenance, now: float
) -> tuple[VerdictChange, ...]:
    known = old.validation_result
    change = VerdictChange(at=now, is_valid=result.is_valid, code=provenance.code)
    if known.is_valid == result.is_valid:
        before, after = _contract_of(known), _contract_of(result)
        if not result.is_valid or before is None or after is None or before == after:
            return old.changes
        change = change.model_copy(update={"contract": after, "former_contract": before})
    return (*old.changes, change)[-CHANGES_KEPT:]


def _contract_of(result: ValidationResult) -> str | None:
    return None if result.contract_info is None else result.contract_info.permanent_id


def _completed(result: ValidationResult, known: ValidationResult) -> ValidationResult:
    """A verdict, with what an older one knows and it does not."""
    stamps = {**(known.head_timestamps or {}), **(result.head_timestamps or {})}
    return with_changes(
        result,
        head_timestamps=stamps or result.head_timestamps,
        contract_info=result.contract_info or known.contract_info,
    )


def _invalid(
    old: CachedSymbolInfo | None, answer: ProviderAnswer, key: str, now: float, policy: Policy
) -> CachedSymbolInfo:
    repeats = 0
    if answer.confirmed and old is not None and old.confirmed and not old.validation_result.is_valid:
        repeats = old.repeats + 1
    # Doubling past 2 ** 32 lives has long reached any maximum, and would overflow a float in the end.
    doubled = min(policy.negative_ttl * 2 ** min(repeats, 32), max(policy.negative_ttl_max, policy.negative_ttl))
    ttl = doubled if answer.confirmed else policy.unconfirmed_ttl
    return CachedSymbolInfo(
        validation_result=answer.result,
        cached_at=now,
        ttl_seconds=_jittered(ttl, key, policy),
        confirmed=answer.confirmed,
        provenance=answer.provenance,
        repeats=repeats,
        changes=() if old is None else _changes(old, answer.result, answer.provenance, now),
    )


def _ends_at(answer: ProviderAnswer) -> float | None:
    if answer.valid_until is not None:
        return answer.valid_until
    contract = answer.result.contract_info
    if contract is None or contract.last_trade_date is None:
        return None
    return after(contract.last_trade_date)


def after(day: date) -> float | None:
    """The end of a contract's last day, in seconds since the epoch, if it has one."""
    try:
        return datetime.combine(day + timedelta(days=1), time(), UTC).timestamp()
    except OverflowError:  # there is no day after that one
        return None


def _jittered(ttl: float, key: str, policy: Policy) -> float:
    """Shorten a life by a share that depends on the key alone, so that what was stored at once does not end at once."""
    return ttl * (1 - policy.jitter * zlib.crc32(key.encode()) / 2**32)
