"""Runs the shipped contract suite over one backend, and says of each promise whether it is kept."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..testing import BackendContract

Options = Callable[[Path], Mapping[str, Any]]
"""Gives the options of one store below a folder."""

OK, FAILED, SKIPPED = "ok", "failed", "skipped"

_SUITE = "contract.suite"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of one test of the contract.

    Args:
        case: The test's name.
        state: ``ok``, ``failed``, or ``skipped``.
        reason: Why it failed or was skipped, in one line.
    """

    case: str
    state: str
    reason: str = ""

    @property
    def promise(self) -> str:
        """What the test is about, in words."""
        return self.case.removeprefix("test_").replace("_", " ")


def run_contract_suite(
    backend: str, *, plugins: Sequence[str], options: Options, folder: Path, only: str = ""
) -> list[CaseResult]:
    """Run the contract suite of backends over one of them.

    Args:
        backend: Which backend, by its name.
        plugins: Modules that register it, if it is not installed.
        options: What each store is opened with.
        folder: An empty folder to work in.
        only: One test, instead of all.

    Returns:
        What came of each test, in the order of the contract.

    Raises:
        RuntimeError: The contract could not be run; the message is pytest's.
    """
    # A configuration of its own keeps out whatever surrounds the folder.
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / _SUITE).touch()
    target = f"{folder / _SUITE}::TestBackend" + (f"::{only}" if only else "")
    command = [target, f"--basetemp={folder / 'stores'}"]
    # The last of them collects garbage five times, to warn of what no promise is about and nobody is shown.
    command += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:unraisableexception"]
    run, output = _Run(backend, tuple(plugins), options), io.StringIO()
    with _isolated(), redirect_stdout(output), redirect_stderr(output):
        status = pytest.main(command, plugins=[run])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(output.getvalue())
    return [_sum_up(case, reports) for case, reports in run.reports.items()]


class _Run:
    """The part of pytest that collects a suite which no file holds, and keeps the reports."""

    def __init__(self, backend: str, plugins: tuple[str, ...], options: Options) -> None:
        self.reports: dict[str, list[pytest.TestReport]] = {}
        self._backend = backend
        self._plugins = plugins
        self._options = options

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
        """Take the suite for the contents of an empty file."""
        if file_path.name != _SUITE:
            return None
        module = ModuleType("contract")
        module.TestBackend = self._suite()  # type: ignore[attr-defined]  # pytest looks for it there
        collector: pytest.Module = pytest.Module.from_parent(parent, path=file_path)
        collector.obj = module
        return collector

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what counts of a test: its call, or else why it got no further."""
        if report.when == "call" or report.outcome != "passed":
            case = report.nodeid.rpartition("::")[2].partition("[")[0]
            self.reports.setdefault(case, []).append(report)

    def _suite(self) -> type[BackendContract]:
        # Imported no sooner, so that its asserts explain themselves: pytest rewrites what it sees imported.
        from ..testing import BackendContract

        options = self._options

        class TestBackend(BackendContract):
            backend = self._backend
            plugins = self._plugins

            def settings(self, tmp_path: Path) -> Mapping[str, Any]:
                return options(tmp_path)

        return TestBackend


@contextmanager
def _isolated() -> Iterator[None]:
    """Keep out plug-ins and options of pytest, and filters of warnings, that happen to be around."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.resetwarnings()
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            patch.delenv(name, raising=False)
        yield


def _sum_up(case: str, reports: Sequence[pytest.TestReport]) -> CaseResult:
    for state, outcome in ((FAILED, "failed"), (OK, "passed")):
        for report in reports:
            if report.outcome == outcome:
                return CaseResult(case, state, _reason(report) if state == FAILED else "")
    return CaseResult(case, SKIPPED, _reason(reports[0]))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(report.longrepr) if crash is None else crash.message
    first = message.strip().partition("\n")[0].removeprefix("AssertionError: ").removeprefix("Failed: ")
    variant = report.nodeid.rpartition("::")[2].partition("[")[2].removesuffix("]")
    return f"{variant}: {first}" if variant else first
