"""Puts the report of a load together: what came of it, and why there is nothing, if there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from ..models import REPLAY, Lookup
from .bars.moments import time_of
from .bars.names import Names
from .bars.rows import RowState
from .bars.store import LocalBars
from .plan.planning import Plan, Request
from .plan.ranges import DateRange
from .report import LoadReport
from .target import Target


def report_of_load(
    request: Request, lookup: Lookup | None, target: Target, local: LocalBars, todo: Plan, provider: str
) -> LoadReport:
    """The report of a load by symbol, but for what its requests came to."""
    span, outlook, bearer = todo.span or DateRange(), todo.outlook, target.bearer
    is_known = todo.expected.known and todo.span is not None and not todo.has_no_data
    reaches_back = bearer.since is None or span.start is None or span.start < bearer.since
    others = [f"{provider}:{other}" for other in bearer.others] if reaches_back else []
    if local.state.renewals and local.state.renewals[-1].lost:
        others.insert(0, f"{provider}:{bearer.identity}#{local.state.generation - 1}")
    return LoadReport(
        symbol=str(request.instrument),
        timeframe=request.timeframe.name,
        provider=provider,
        replay=provider == REPLAY,
        mode=request.mode,
        outcome=None if lookup is None else str(lookup.outcome),
        verdict_age=None if lookup is None else lookup.age,
        lookup_error=None if lookup is None or lookup.error is None else str(lookup.error),
        since=_iso(bearer.since),
        others=others,
        renewing=local.state.renewing is not None,
        compared=_iso(local.state.compared),
        basis=None if local.state.basis is None else dict(local.state.basis),
        calendar=todo.calendar.name if todo.calendar.is_known and todo.expected.known else None,
        start=_iso(span.start),
        end=_iso(span.end),
        clamped_to=_iso(todo.clamped_to),
        local=outlook.at_hand,
        without_data=outlook.without_data,
        missing=outlook.missing if is_known else None,
        provisional=outlook.provisional,
        bad=len(outlook.bad),
        bad_rows=[time_of(stamp).isoformat() for stamp in outlook.bad],
        reason=None if local.rows.has_bar.any() else _reason(request, todo),
    )


def report_of_series(series: str, request: Request, local: LocalBars, names: Names) -> LoadReport:
    """The report of what is kept of a series, read by its id."""
    provider, _, identity = series.partition(":")
    borne = names.borne_by(identity.partition("#")[0])
    has_bars = bool(local.rows.has_bar.any())
    return LoadReport(
        symbol=borne[-1].name if borne else identity.partition("#")[0],
        timeframe=request.timeframe.name,
        provider=provider,
        replay=provider == REPLAY,
        mode=request.mode,
        series=series,
        since=_iso(borne[-1].first if borne else None),
        renewing=local.state.renewing is not None,
        compared=_iso(local.state.compared),
        basis=None if local.state.basis is None else dict(local.state.basis),
        start=_iso(request.asked.start),
        end=_iso(request.asked.end),
        local=int(local.rows.has_bar.sum()),
        missing=None,
        provisional=len(local.rows.of(RowState.PROVISIONAL)),
        reason=None if has_bars else f"nothing is kept of series {series} in {request.timeframe.name} for these dates",
    )


def _reason(request: Request, todo: Plan) -> str:
    """Why there are no bars."""
    what, outlook = f"{request.timeframe.name} bars of {request.instrument}", todo.outlook
    if todo.has_no_data:
        return f"the provider says that it has no {what}; dates that are named are asked for all the same"
    if todo.clamped_to is not None and not outlook.missing:
        return f"the provider has no {what} before {todo.clamped_to:%Y-%m-%d}"
    if request.mode == "local":
        return f"no {what} are at hand for these dates, and mode 'local' asks nobody"
    if not todo.expected.known:
        return f"the provider gave no {what} for these dates, and nobody knows when they are traded"
    return _reason_of_expected(what, todo)


def _reason_of_expected(what: str, todo: Plan) -> str:
    outlook, count = todo.outlook, len(todo.expected)
    if not count:
        return f"no {what} are expected in these dates: no session has ended in them"
    if outlook.without_data < count:
        return f"the provider gave no {what}; one answer proves nothing, and the {count} expected are asked for again"
    since = "" if outlook.believed_since is None else f", as of {outlook.believed_since:%Y-%m-%d %H:%M} UTC"
    return f"the provider has none of the {count} {what} that could be: its answers prove it{since}"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
