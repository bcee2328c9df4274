"""Which series a symbol stands for: the one of its contract, by whatever names that has gone before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from ..models import ContractInfo
from ..symbols import Instrument
from .bars.ids import FORMER
from .bars.names import ALL, Bearing, Names
from .identity import permanent_identity, symbolic_identity

RENAMED, REUSED = "renamed", "reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """The series that a symbol stands for.

    Args:
        identity: What it is known by.
        permanent_id: The provider's permanent id, if that is what it is known by.
        since: When it was first seen under this symbol (UTC).
        happened: What its symbol tells: it is new for the series, or was another series'.
        others: The identities of the other series that have borne the symbol.
        unbound: That of a series of this symbol of which nobody knows yet whether it is this one.
        former_is_aside: Whether what 0.1.0 kept under this symbol has turned out to be something else's.
        former_is_bound: Whether that has been taken into a series.
        taken: The identities that have been given to instruments of this symbol.
    """

    identity: str
    permanent_id: str | None = None
    since: datetime | None = None
    happened: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    unbound: str | None = None
    former_is_aside: bool = False
    former_is_bound: bool = False
    taken: tuple[str, ...] = ()


def bearer_of(instrument: Instrument, contract: ContractInfo | None, names: Names, timeframe: str) -> Bearer:
    """Tell which series a symbol stands for, and what has happened to the symbol; nothing is written.

    Args:
        instrument: The symbol.
        contract: What the provider says that it is now; without one, the series that was last seen under it.
        names: What has been seen so far.
        timeframe: Of which bars.
    """
    name, permanent_id = str(instrument), permanent_identity(contract)
    seen = names.of(name)
    bearers = [each for each in seen if each.series != former(name)]
    formers = [each for each in seen if each.series == former(name)]
    latest = bearers[-1] if bearers else None
    identity = permanent_id or _symbolic(instrument, contract, latest, bearers)
    mine = next((each for each in bearers if each.series == identity), None)
    others = [each.series for each in reversed(bearers) if each.series != identity and each.bound is None]
    others += [each.series for each in formers if each.aside]
    happened = []
    borne = names.borne_by(identity) if mine is None else []
    # A venue or a currency more is another spelling of the same name, and so is another case.
    if borne and all(Instrument.parse(each.name).folded().symbol != instrument.folded().symbol for each in borne):
        happened.append(RENAMED)
    if latest is not None and latest.series != identity and not _may_be(latest, permanent_id, timeframe):
        happened.append(REUSED)
    unbound = None
    if permanent_id is not None:
        unbound = next((each.series for each in reversed(bearers) if _may_be(each, permanent_id, timeframe)), None)
    return Bearer(
        identity=identity,
        permanent_id=permanent_id,
        since=None if mine is None else mine.first,
        happened=tuple(happened),
        others=tuple(other for other in others if other != unbound),
        unbound=unbound,
        former_is_aside=any(each.is_aside(timeframe) for each in formers),
        former_is_bound=any(each.bound is not None for each in formers),
        taken=tuple(each.series for each in bearers),
    )


def set_aside(names: Names, series: str, name: str, now: datetime, timeframe: str = ALL) -> None:
    """Take note that a series' bars of a timeframe are not those of who bears its name now."""
    known = next((each for each in names.of(name) if each.series == series), Bearing(series, name, now, now))
    names.put(replace(known, aside=tuple(dict.fromkeys((*known.aside, timeframe)))))


def bind(names: Names, series: str, name: str, to: str, now: datetime) -> None:
    """Take note that a series' bars were taken into another one."""
    known = next((each for each in names.of(name) if each.series == series), Bearing(series, name, now, now))
    names.put(replace(known, bound=to))


def former(name: str) -> str:
    """What stands for the bars that 0.1.0 kept under a symbol."""
    return f"{name}#{FORMER}"


def next_identity(identity: str, taken: Iterable[str] = ()) -> str:
    """What another instrument without a permanent id is known by that has taken over a symbol.

    Args:
        identity: That of any that had it before.
        taken: Those that are no longer to be had.

    >>> next_identity("FB@:USD"), next_identity("FB@:USD", ["FB@:USD~2"])
    ('FB@:USD~2', 'FB@:USD~3')
    """
    base = identity.partition("~")[0]
    names = (f"{base}~{number}" for number in count(2))
    return next(name for name in names if name not in taken)


def _symbolic(
    instrument: Instrument, contract: ContractInfo | None, latest: Bearing | None, bearers: list[Bearing]
) -> str:
    base = symbolic_identity(instrument, contract)
    # A host that tells no ids, or nothing at all, is no reason for another series.
    if latest is not None and (contract is None or latest.permanent_id is not None):
        return latest.series
    same = [each for each in bearers if each.series.partition("~")[0] == base]
    if not same:
        return base
    mine = [each.series for each in same if not each.is_aside()]
    return mine[-1] if mine else next_identity(base, {each.series for each in same})


def _may_be(bearing: Bearing, permanent_id: str | None, timeframe: str) -> bool:
    """Whether a series may turn out to be that of a permanent id, as its bars of another timeframe perhaps have."""
    is_open = bearing.permanent_id is None and not bearing.is_aside(timeframe)
    return is_open and permanent_id is not None and bearing.bound in (None, permanent_id)
