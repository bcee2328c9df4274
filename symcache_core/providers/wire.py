"""Reads what a host service sends, from an older one too, into the values and errors of the core.

An older host sends neither ``error_kind`` nor ``provenance``. Its negative may be a disguised failure, its null head
timestamp may never have been asked for, its gateway is Interactive Brokers, and it rounds down how far back bars are
asked for. What it says beside its verdict may be in a form of its own, and is left out then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Json, ValidationError
from pydantic_core import from_json

from ..errors import (
    AMBIGUOUS,
    INVALID_SYMBOL,
    AmbiguousSymbolError,
    ProviderError,
    ProviderNoDataError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderUnavailableError,
    RefusedSymbolError,
)
from ..frozen import FrozenDict, FrozenJson
from ..models import Basis, ContractInfo, Provenance, ProviderAnswer, ValidationResult
from ..moments import parse_utc

if TYPE_CHECKING:
    import pandas as pd

OLDER_HOST_GATEWAY = "ib"

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_YEAR = timedelta(days=365)
_IN_DAYS = 6 * _DAY

# In the host's own words or in the gateway's; what is said of a data farm or a permission is not about bars.
_NO_DATA = re.compile(
    r"\bno (?:historical (?:market )?)?data\b(?!\s+(?:farm|connection|permission|subscription))"
    r"|\bdata not available before\b",
    re.IGNORECASE,
)

# Asking again does not help; ktrdr's own client says it in such words (``ktrdr/data/ib_data_adapter.py``).
_WRONG = r"unsupported|not supported|unknown|invalid"
_UNKNOWN_TIMEFRAME = re.compile(rf"\b(?:{_WRONG})\b.*\btimeframe\b|\btimeframe\b.*\b(?:{_WRONG})\b", re.IGNORECASE)


class OlderHostFailure(ProviderUnavailableError):  # noqa: N818  # a kind of the error that it is caught as
    """An older host failed, which has tried more than once by itself."""

    was_tried_again = True


class _Origin(BaseModel):
    gateway: str
    host: str | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True, hide_input_in_errors=True)

    success: bool
    error: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    retry_after: float | None = None
    suggested_symbol: str | None = None
    alternatives: list[str] | None = None
    provenance: _Origin | None = None

    @property
    def is_older(self) -> bool:
        return self.provenance is None and self.error_kind is None

    @property
    def gateway(self) -> str:
        return self.provenance.gateway if self.provenance else OLDER_HOST_GATEWAY


_NEEDED = ("success", "is_valid")


class _Verdict(_Answer):
    is_valid: bool = False
    error_message: str | None = None
    contract_info: ContractInfo | None = None
    contract_details: FrozenJson | None = None
    last_trade_date: date | None = None
    head_timestamps: dict[str, str | None] | None = None
    one_head_timestamp: bool = False
    confirmed: bool | None = None

    @property
    def contract(self) -> ContractInfo | None:
        """What is said of the contract, in whichever place: until 0.1.0 all of it was among the fields of old."""
        told = self.contract_info
        if told is None or (self.contract_details is None and self.last_trade_date is None):
            return told
        details = FrozenDict({**told.details, **(self.contract_details or {})})
        last = self.last_trade_date or told.last_trade_date
        return told.model_copy(update={"details": details, "last_trade_date": last})


class _Batch(_Answer):
    results: dict[str, Any] = {}


class _Bar(BaseModel):
    """A row of bars; one without a price is no bar, and whoever counts such rows is to see it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None


class _Bars(_Answer):
    data: Json[dict[datetime, _Bar]] | None = None
    contract: FrozenJson | None = None
    basis: Basis | None = None


_A = TypeVar("_A", bound=_Answer)


def read_answer(content: bytes, *, symbol: str, provider: str, url: str) -> ProviderAnswer:
    """Read the answer to "is this symbol valid".

    Args:
        content: The body of the response.
        symbol: What was asked.
        provider: Whose answer it has to be.
        url: Where it comes from, for an error's message.

    Raises:
        ProviderError: It is no verdict, cannot be understood, or is of another gateway.
    """
    try:
        verdict = _Verdict.model_validate_json(content)
    except ValidationError as error:
        try:
            verdict = _without_what_is_odd(from_json(content), error)
        except ValueError:  # nor is that a verdict, or it is no JSON
            raise _misunderstood(url, error) from None
    return _understood(verdict, symbol, provider, url)


def read_answers(
    content: bytes, *, symbols: Iterable[str], provider: str, url: str
) -> dict[str, ProviderAnswer | ProviderError]:
    """Read the answer to "which of these symbols are valid"; the other arguments are those of :func:`read_answer`.

    Returns:
        For each of the symbols, what :func:`read_answer` would give or raise.

    Raises:
        ProviderError: It is no such answer, or a failure as a whole.
    """
    batch = _read(_Batch, content, url)
    if not batch.success:
        raise _failure(batch, url)

    def read(symbol: str) -> ProviderAnswer | ProviderError:
        try:
            return _understood(_one_of_many(batch.results.get(symbol)), symbol, provider, url)
        except ValidationError as error:
            return _misunderstood(f"{url}, asked about {symbol},", error)
        except ProviderError as error:
            return error

    return {symbol: read(symbol) for symbol in symbols}


def _one_of_many(told: Any) -> _Verdict:
    try:
        return _Verdict.model_validate(told)
    except ValidationError as error:
        return _without_what_is_odd(told, error)


def _without_what_is_odd(told: Any, error: ValidationError) -> _Verdict:
    """An older host's verdict without the optional fields that cannot be read.

    Args:
        told: What it sent.
        error: Why that is no verdict.

    Raises:
        ValidationError: It has no verdict, or it is a host of ours, which has no fields of its own form.
    """
    if not isinstance(told, dict) or any(told.get(name) is not None for name in ("provenance", "error_kind")):
        raise error
    kept = {name: dict(value) if isinstance(value, dict) else value for name, value in told.items()}
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name, *inside = problem["loc"] or (None,)
        if name in _NEEDED or name not in told:
            raise error
        part = kept.get(name)
        if isinstance(part, dict) and inside and inside[0] in told[name]:
            part.pop(inside[0], None)
        else:
            kept.pop(name, None)
    try:
        return _Verdict.model_validate(kept)
    except ValidationError as more:
        return _without_what_is_odd(kept, more)


def _understood(verdict: _Verdict, symbol: str, provider: str, url: str) -> ProviderAnswer:
    _check(verdict, provider, url)
    if not verdict.is_valid and verdict.error_kind not in (None, "permanent"):
        raise _failure(verdict, url)
    heads = verdict.head_timestamps or {}
    if verdict.provenance is None:
        heads = {timeframe: stamp for timeframe, stamp in heads.items() if stamp is not None}
    if verdict.is_older:
        heads = {timeframe: stamp for timeframe, stamp in heads.items() if _is_moment(stamp)}
    try:
        result = ValidationResult(
            is_valid=verdict.is_valid,
            symbol=symbol,
            error_message=verdict.error_message,
            contract_info=verdict.contract,
            head_timestamps=heads or None,
            suggested_symbol=verdict.suggested_symbol,
        )
    except ValidationError as error:
        raise _misunderstood(url, error) from None
    return ProviderAnswer(
        result,
        confirmed=verdict.is_valid or (verdict.error_kind == "permanent" and verdict.confirmed is not False),
        provenance=Provenance(
            provider=provider,
            gateway=verdict.gateway,
            adapter=_adapter(),
            host=verdict.provenance.host if verdict.provenance else None,
            code=verdict.error_code,
            spelling=_spelling(verdict.contract_info, symbol),
        ),
        one_head_timestamp=verdict.one_head_timestamp,
    )


def read_bars(content: bytes, *, start: datetime, end: datetime, provider: str, url: str) -> pd.DataFrame:
    """Read the answer to "which bars are there"; the arguments and errors are those of :func:`read_answer`.

    A bar outside ``start`` to ``end`` (UTC, both included) is left out: a host may round a range up to what its
    gateway can deliver.

    Returns:
        A frame with a UTC index named ``timestamp`` in rising order and float64 columns open, high, low, close,
        volume; its ``attrs`` say whose bars they are (``provider``), and, as far as the host does, of which
        ``contract``, on which ``basis``, and that it is an ``older_host``. What the host did not tell, as NaN or null,
        is NaN.

    Raises:
        ProviderNoDataError: An older host says that there are none, or that it got none.
    """
    import pandas as pd  # here, so that a lookup of a symbol does without it

    answer = _read(_Bars, content, url)
    _check(answer, provider, url)
    sent = answer.data or {}
    try:
        bars = {_in_utc(begin): bar for begin, bar in sent.items()}
        inside = sorted(begin for begin in bars if start <= begin <= end)
        index = pd.DatetimeIndex(inside, dtype="datetime64[ns, UTC]", name="timestamp")
    except (OverflowError, ValueError) as error:
        raise ProviderError(f"{url} sent a bar of no time: {error}") from None
    columns = {name: [getattr(bars[begin], name) for begin in inside] for name in _Bar.model_fields}
    frame = pd.DataFrame(columns, index=index, dtype="float64")
    frame.attrs |= {"provider": provider, **_about(answer)}
    return frame


def is_of_older_host(answer: ProviderAnswer) -> bool:
    """Whether an older host gave an answer: such a one does not say who it is."""
    return answer.provenance.host is None


def _about(answer: _Bars) -> dict[str, Any]:
    about = {
        "contract": answer.contract and dict(answer.contract),
        "basis": answer.basis and answer.basis.model_dump(),
        "older_host": answer.is_older,
    }
    return {name: value for name, value in about.items() if value}


def before_rounding(start: datetime, end: datetime) -> datetime:
    """From when to ask an older host for bars, so that none from ``start`` to ``end`` is lost (UTC).

    Such a host counts back from the end: whole days up to seven, then whole weeks, then years of 365 days, each rounded
    down; and what is less than a day it asks for in hours, which Interactive Brokers refuses.
    """
    span = end - start
    if span > _YEAR:
        span = -(-span // _YEAR) * _YEAR
    try:
        return end - span - (_DAY if span <= _IN_DAYS else _WEEK)
    except OverflowError:
        return start


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _is_moment(stamp: str | None) -> bool:
    try:
        parse_utc(stamp or "")
    except ValueError:
        return False
    return True


def _read(model: type[_A], content: bytes, url: str) -> _A:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _misunderstood(url, error) from None


def _check(answer: _Answer, provider: str, url: str) -> None:
    if answer.gateway != provider:
        raise ProviderError(
            f"{url} answers from the gateway {answer.gateway!r}, and the setting 'provider' is {provider!r}: "
            f"set provider to {answer.gateway!r}, or host_service_url to a host whose gateway is {provider!r}"
        )
    if not answer.success:
        raise _failure(answer, url)


def _spelling(contract: ContractInfo | None, asked: str) -> str:
    """How the provider itself writes the symbol, if it says so."""
    local = contract.contract.get("localSymbol") if contract is not None else None
    return local if isinstance(local, str) and local else asked


def _failure(answer: _Answer, url: str) -> ProviderError:
    message = answer.error or getattr(answer, "error_message", None) or f"{url} failed and gave no reason"
    if answer.is_older and isinstance(answer, _Bars) and _NO_DATA.search(message):
        return ProviderNoDataError(message)
    if answer.error_code == AMBIGUOUS:
        return AmbiguousSymbolError(message, alternatives=answer.alternatives or ())
    if answer.error_code == INVALID_SYMBOL:
        return RefusedSymbolError(message)
    if answer.is_older and _UNKNOWN_TIMEFRAME.search(message):
        return ProviderError(f"{url} says: {message}")
    kinds = {
        None: OlderHostFailure,
        "permanent": ProviderError,
        "pacing": ProviderPacingError,
        "permission": ProviderPermissionError,
    }
    error = kinds.get(answer.error_kind, ProviderUnavailableError)
    return error(message, code=answer.error_code, retry_after=answer.retry_after)


def _misunderstood(url: str, error: ValidationError) -> ProviderError:
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"]))
    hint = "" if place else "; does host_service_url name a host service?"
    return ProviderError(
        f"{url} sent what a host service does not send: {place or 'the answer'}: {problem['msg']}{hint}"
    )


@cache
def _adapter() -> str:
    return f"symcache {version('symcache')}"
