"""Finds the series that a load is about, by its symbol or by its own id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..errors import BackendUnavailableError, ConfigurationError
from ..models import ValidationResult
from .bars.ids import FORMER, SeriesId
from .bars.moments import limits, moment
from .bars.rows import Rows
from .bars.state import NEW
from .bars.store import USUAL, BarSeries, BarStore, LocalBars
from .bearers import REUSED, Bearer, bearer_of, bind, former, next_identity, set_aside
from .plan.planning import Request, earliest
from .target import Target

log = logging.getLogger("symcache")


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds series in a bar store; its methods block.

    Args:
        store: Where bars are.
        clock: The present (seconds since the epoch).
    """

    store: BarStore
    clock: Callable[[], float]

    def find(self, request: Request, verdict: ValidationResult | None) -> Target:
        """The series that a symbol stands for.

        Args:
            request: Of what is wanted.
            verdict: What is known of the symbol, if anything.
        """
        contract = None if verdict is None else verdict.contract_info
        bearer = bearer_of(request.instrument, contract, self.store.names, request.timeframe.name)
        series = self._on_basis(bearer.identity, request)
        beneath = None
        if not series.exists() and request.session is None:
            beneath = self._beneath(bearer, request)
        if beneath is None and not bearer.former_is_bound and self._has_former(request):
            bearer = replace(bearer, others=tuple(dict.fromkeys((*bearer.others, former(str(request.instrument))))))
        target = Target(bearer, series, verdict, beneath)
        if request.mode == "local" or not self._is_over(target, request):
            return target
        if target.beneath is None:
            return self.another(request, target)
        self.put_aside(request, target)
        target.bearer = replace(target.bearer, happened=(*bearer.happened, REUSED))
        return target

    def another(self, request: Request, target: Target) -> Target:
        """The series of another instrument without a permanent id that has taken the symbol over."""
        name = str(request.instrument)
        identity = target.bearer.identity
        bearer = Bearer(
            identity=next_identity(identity, target.bearer.taken),
            happened=(REUSED,),
            others=(identity, *target.bearer.others),
        )
        # In this order: a crash in between leaves two series that may be meant, the younger of which is.
        self.saw(request, bearer)
        set_aside(self.store.names, identity, name, self._now())
        return Target(bearer, self._on_basis(bearer.identity, request), target.verdict)

    def saw(self, request: Request, bearer: Bearer) -> datetime:
        """Take note that the symbol stands for a series; gives when it was first seen to."""
        name, now = str(request.instrument), self._now()
        try:
            return self.store.names.saw(bearer.identity, name, now, bearer.permanent_id).first
        except BackendUnavailableError as error:  # what is at hand can be read all the same
            log.warning("that %s was seen as %s cannot be written down: %s", bearer.identity, name, error)
            return bearer.since or now

    def put_aside(self, request: Request, target: Target) -> None:
        """Take the bars beneath a series away, which are something else's, and take note of that."""
        beneath = self.beneath_id(request, target)
        set_aside(self.store.names, beneath, str(request.instrument), self._now(), request.timeframe.name)
        target.beneath = None
        target.bearer = replace(target.bearer, others=(beneath, *target.bearer.others))

    def bind(self, request: Request, target: Target) -> None:
        """Take note that they are the series' own."""
        name, beneath = str(request.instrument), self.beneath_id(request, target)
        bind(self.store.names, beneath, name, target.bearer.identity, self._now())

    def beneath_id(self, request: Request, target: Target) -> str:
        """What the bars beneath a series are known by."""
        return target.bearer.unbound or former(str(request.instrument))

    def by_id(self, series: str, request: Request) -> LocalBars:
        """What is kept of a series, or of one generation of it, by its id.

        Args:
            series: As a report has it: ``ib:107113386``, or ``ib:107113386#1`` for a generation that was replaced.
            request: Of which timeframe, dates and hours.

        Raises:
            ConfigurationError: It is another provider's, or nothing is kept of it.
        """
        wanted = SeriesId.parse(series, self.store.provider)
        start, end = request.asked.start, request.asked.end
        if wanted.generation == FORMER:
            rows = self.store.former(wanted.identity, request.timeframe.name)
            is_known, local = bool(len(rows)), LocalBars(rows.between(*limits(start, end)), NEW)
        else:
            bars = self._on_basis(wanted.identity, request)
            local = bars.read(start, end)
            is_known = bool(len(local.rows) or self.store.names.borne_by(wanted.identity))
            if wanted.generation not in (None, local.state.generation):
                is_known = wanted.generation in bars.generations()
                local = bars.read_generation(wanted.generation, start, end)
        if not is_known:
            raise ConfigurationError(f"series {series!a}: nothing is kept of it; `symcache series` lists what is")
        return local

    def _on_basis(self, identity: str, request: Request) -> BarSeries:
        """The bars of a series on the basis that is asked for; the usual one may be that very one."""
        usual = self.store.series(identity, request.timeframe.name, USUAL)
        if request.session is None:
            return usual
        own = self.store.series(identity, request.timeframe.name, request.session)
        is_usual = (usual.state().basis or {}).get("session") == request.session
        return usual if is_usual and not own.exists() else own

    def _beneath(self, bearer: Bearer, request: Request) -> Rows | None:
        if bearer.unbound is not None and bearer.unbound != bearer.identity:
            rows = self.store.series(bearer.unbound, request.timeframe.name).read().rows
            if rows.has_bar.any():
                return rows[rows.has_bar]
        if bearer.former_is_aside:
            return None
        rows = self.store.former(str(request.instrument), request.timeframe.name)
        return rows if len(rows) else None

    def _has_former(self, request: Request) -> bool:
        return self.store.has_former(str(request.instrument), request.timeframe.name)

    def _is_over(self, target: Target, request: Request) -> bool:
        """Whether an instrument begins after all that is stored, and no id says that it is the same one."""
        if target.verdict is None or (target.beneath is None and target.bearer.permanent_id is not None):
            return False
        state = target.series.state()
        if target.beneath is None and (state.head == target.head or target.is_rolling(state, self._now())):
            return False
        local = target.read()
        bars = local.rows.stamps[local.rows.has_bar]
        head = earliest(target.verdict, request.timeframe)
        return bool(len(bars)) and head is not None and bars[-1] < moment(head)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)
