"""``symcache backends --check``: whether a backend keeps the contract, tried on stores made for the purpose."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from ..errors import ConfigurationError
from ..registry import Registry
from .check_progress import CheckProgress
from .check_stores import STORE, StoreOptions
from .exits import Status
from .extras import needs
from .session import Session

if TYPE_CHECKING:
    from .contract_process import ContractProcess
    from .contract_suite import CaseResult

EACH = 0.1
"""The part of the time for all promises that each may take."""


@dataclass(frozen=True)
class Extent:
    """How far a check goes.

    Args:
        scale: How much is written, in proportion.
        time_limit: Seconds for all promises.
    """

    scale: float = 1.0
    time_limit: float = 600.0

    def __post_init__(self) -> None:
        for option, value in (("--scale", self.scale), ("--time-limit", self.time_limit)):
            if not (value > 0 and math.isfinite(value)):
                raise ConfigurationError(f"{option} takes a number above 0, and not {value:g}")


def check(session: Session, name: str, given: Iterable[str], extent: Extent) -> None:
    """Try every promise of the contract on a backend, and say of each at once whether it is kept.

    Args:
        session: Ends with NO when a promise is broken, or the time was not enough to try all.
        name: The backend's.
        given: Options for the stores to try it on, as ``name=value``.
        extent: How much is written, and how long it may take.

    Raises:
        ConfigurationError: There is no such backend, nothing says where it may work, or pytest is not installed.
    """
    with needs("testing"):
        from .contract_process import RefusedError
    stores = stores_of(session, name, dict(map(_parse, given)))
    with tempfile.TemporaryDirectory(prefix="symcache-check-") as folder:
        process = _process(session, name, stores, Path(folder), extent)
        try:
            _run(session, process, stores.where(Path(folder)))
        except RefusedError as error:
            session.output.error(str(error))
            session.end_with(Status(error.status))


def stores_of(session: Session, name: str, given: Mapping[str, Any]) -> StoreOptions:
    """Where a backend may work without touching what anyone keeps.

    Args:
        session: Has the configuration.
        name: The backend's name.
        given: The options that go before the configured ones.

    Raises:
        ConfigurationError: There is no such backend, or nothing says where it may work.
    """
    record = Registry(session.settings.plugins).backend(name)
    has_path = "path" in record.settings.model_fields
    if record.persistent and not has_path and not any(STORE in value for value in given.values()):
        raise ConfigurationError(
            f"backend {name!r} has no option 'path' to point to a temporary folder, and checking it fills and "
            f"clears stores: say with --option where it may, such as --option namespace=check-{STORE}"
        )
    return StoreOptions({**session.settings.backends.get(name, {}), **given}, has_path)


def _process(session: Session, name: str, stores: StoreOptions, folder: Path, extent: Extent) -> ContractProcess:
    from .contract_child import Order
    from .contract_process import ContractProcess

    order = Order(
        backend=name,
        plugins=session.settings.plugins,
        options=stores.given,
        has_path=stores.has_path,
        folder=str(folder),
        scale=extent.scale,
        time_limit=extent.time_limit * EACH,
    )
    return ContractProcess(order, extent.time_limit)


def _run(session: Session, process: ContractProcess, where: str) -> None:
    from .contract_process import Begun, Promises
    from .contract_suite import FAILED

    name, began, counts = process.order.backend, time.monotonic(), Counter[str]()
    with CheckProgress(session.output) as progress, closing(process.run()) as events:
        for event in events:
            match event:
                case Promises(cases):
                    progress.total(len(cases))
                    with progress.still():
                        session.output.note(f"{name}: {len(cases)} promises are tried {where}")
                case Begun(case):
                    progress.begins(case)
                case result:
                    counts[result.state] += 1
                    progress.ends(result)
                    with progress.still():
                        _remark(session, result)
    if counts[FAILED] or process.is_over:
        session.end_with(Status.NO)
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    session.output.note(
        f"{name}: {told}, in {time.monotonic() - began:.1f} s; "
        f"about {process.calls:,} entries were written, {decimal(process.size)}"
    )


def _remark(session: Session, result: CaseResult) -> None:
    """Tell what no promise is about that was tried, and no backend should do."""
    if result.printed:
        lines = result.printed.splitlines()
        more = f" and {len(lines) - 1} more lines" if len(lines) > 1 else ""
        session.output.warn(f"{result.promise}: it printed {lines[0][:200]!r}{more}; log to the logger 'symcache'")
    if result.threads:
        session.output.warn(
            f"{result.promise}: it left threads behind, which keep the interpreter from ending: "
            f"{', '.join(result.threads)}; end them in close(), or make them daemons"
        )


def _parse(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigurationError("--option takes NAME=VALUE")
    return name, value
