"""What an answer that is saved changes in what is remembered of a series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answer import Answer
from .comparing import Comparison
from .moments import time_of
from .rows import Rows
from .state import SeriesState


def told_by(state: SeriesState, answer: Answer, added: Rows, comparison: Comparison) -> dict[str, Any]:
    """What an answer that is saved changes in what is remembered."""
    known = state if state.renewing is None else state.renewing
    bars = added.stamps[added.has_bar][:1]
    firsts = [each for each in (known.first, *map(time_of, bars)) if each is not None]
    ours = {"basis": _both(known.basis, answer.basis), "first": min(firsts, default=None)}
    told: dict[str, Any] = {**ours}
    if state.renewing is not None:
        told = {"renewing": state.renewing.model_copy(update=ours)}
    if comparison.compared:
        told |= {"compared": answer.asked, "unseen": None, "is_uncompared": False}
    elif answer.is_seam:
        told |= {"unseen": None, "is_uncompared": True}
    return told


def disagree(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two bases say different things, where one does not leave open what the other says."""
    one, other = one or {}, other or {}
    return any(one[name] != other[name] for name in one.keys() & other.keys())


def _both(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return {**(one or {}), **(other or {})} or None
