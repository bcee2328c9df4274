"""Runs the shipped contract suite over one backend, and says of each promise whether it is kept."""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from .contract_reasons import reason_of

if TYPE_CHECKING:
    from ..testing import BackendContract
    from ..testing.metering import Written

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
        seconds: How long it took.
        printed: What was printed meanwhile.
        threads: The threads that it left behind, which keep the interpreter from ending.
    """

    case: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    printed: str = ""
    threads: Sequence[str] = ()

    @property
    def promise(self) -> str:
        """What the test is about, in words."""
        return promise_of(self.case)


def promise_of(case: str) -> str:
    """What a test of the contract is about, in words."""
    return case.removeprefix("test_").replace("_", " ")


class Watcher:
    """Told of each test as it is tried; this one does nothing with it."""

    def collected(self, cases: Sequence[str]) -> None:
        """These will be tried, in this order."""

    def begins(self, case: str, variant: str) -> None:
        """One of them begins, or the next variant of it."""

    def ends(self, result: CaseResult) -> None:
        """All its variants were tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the contract is tried on, and how.

    Args:
        backend: Which backend, by its name.
        plugins: Modules that register it, if it is not installed.
        options: What each store is opened with.
        folder: An empty folder to work in.
        only: One test, instead of all.
        but: Tests that are left out.
        scale: How much is written, in proportion.
        time_limit: Seconds that each test may take.
        written: Counts what is written.
    """

    backend: str
    plugins: Sequence[str]
    options: Options
    folder: Path
    only: str = ""
    but: Collection[str] = ()
    scale: float = 1.0
    time_limit: float = 60.0
    written: Written | None = None

    def suite(self) -> type[BackendContract]:
        """The suite as an author would write it down."""
        # Imported no sooner, so that its asserts explain themselves: pytest rewrites what it sees imported.
        from ..testing import BackendContract

        trial = self

        class TestBackend(BackendContract):
            backend = trial.backend
            plugins = tuple(trial.plugins)
            scale = trial.scale
            time_limit = trial.time_limit
            written = trial.written

            def settings(self, tmp_path: Path) -> Mapping[str, Any]:
                return trial.options(tmp_path)

        return TestBackend


def run_contract_suite(
    backend: str, *, plugins: Sequence[str], options: Options, folder: Path, only: str = ""
) -> list[CaseResult]:
    """Run the contract suite of backends over one of them, in this process.

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
    results = _Results()
    try_contract(Trial(backend, tuple(plugins), options, folder, only), results)
    return results.all


def try_contract(trial: Trial, watcher: Watcher, *arguments: str) -> None:
    """Try what a trial is about, in this process, and tell of each test.

    Args:
        trial: What to try.
        watcher: Who is told.
        arguments: For pytest.

    Raises:
        RuntimeError: The contract could not be run; the message is pytest's.
    """
    # A configuration of its own keeps out whatever surrounds the folder.
    (trial.folder / "pytest.ini").write_text("[pytest]\n")
    (trial.folder / _SUITE).touch()
    target = f"{trial.folder / _SUITE}::TestBackend" + (f"::{trial.only}" if trial.only else "")
    command = [target, f"--basetemp={trial.folder / 'stores'}", *arguments]
    # The last of them collects garbage five times, to warn of what no promise is about and nobody is shown.
    command += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:unraisableexception"]
    run, output = _Run(trial, watcher, (sys.stdout, sys.stderr)), io.StringIO()
    with _isolated(), redirect_stdout(output), redirect_stderr(output):
        status = pytest.main(command, plugins=[run])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(output.getvalue())


class _Results(Watcher):
    def __init__(self) -> None:
        self.all: list[CaseResult] = []

    def ends(self, result: CaseResult) -> None:
        self.all.append(result)


class _Run:
    """The part of pytest that collects a suite which no file holds, and tells what comes of each test.

    Args:
        trial: What is tried.
        watcher: Who is told.
        streams: What standard output and standard error are to a test, unless pytest captures what it prints.
    """

    def __init__(self, trial: Trial, watcher: Watcher, streams: tuple[Any, Any]) -> None:
        self._trial = trial
        self._watcher = watcher
        self._streams = streams
        self._outcomes: list[tuple[str, str]] = []
        self._began = 0.0

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
        """Take the suite for the contents of an empty file."""
        if file_path.name != _SUITE:
            return None
        module = ModuleType("contract")
        module.TestBackend = self._trial.suite()  # type: ignore[attr-defined]  # pytest looks for it there
        collector: pytest.Module = pytest.Module.from_parent(parent, path=file_path)
        collector.obj = module
        return collector

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is not to be tried, and tell what is."""
        items[:] = [item for item in items if _case(item) not in self._trial.but]
        self._watcher.collected(list(dict.fromkeys(map(_case, items))))

    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Give what runs the streams back, which pytest's own report must not mix with."""
        if session.config.getoption("capture") == "no":
            sys.stdout, sys.stderr = self._streams

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Tell that a test begins, and when the last of its variants has ended."""
        case, variant = _case(item), _variant(item)
        if not self._outcomes:
            self._began = time.monotonic()
        self._watcher.begins(case, variant)
        done = yield
        if nextitem is None or _case(nextitem) != case:
            state, reason = next((one for one in self._outcomes if one[0] != SKIPPED), self._outcomes[0])
            self._watcher.ends(CaseResult(case, state, reason, round(time.monotonic() - self._began, 3)))
            self._outcomes.clear()
        return done

    def pytest_runtest_setup(self) -> None:
        """Try no further variants of what has failed."""
        if self._has_failed():
            pytest.skip("another variant of it has failed")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep what counts of a test: its call, or else why it got no further."""
        report = yield
        if report.outcome == "failed" and not self._has_failed():
            variant = _variant(item)
            reason = reason_of(call.excinfo)
            self._outcomes.insert(0, (FAILED, f"{variant}: {reason}" if variant else reason))
        elif report.outcome == "skipped":
            self._outcomes.append((SKIPPED, reason_of(call.excinfo)))
        elif report.when == "call":
            self._outcomes.append((OK, ""))
        return report

    def _has_failed(self) -> bool:
        return bool(self._outcomes) and self._outcomes[0][0] == FAILED


@contextmanager
def _isolated() -> Iterator[None]:
    """Keep out plug-ins and options of pytest, and filters of warnings, that happen to be around."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.resetwarnings()
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            patch.delenv(name, raising=False)
        yield


def _case(item: pytest.Item) -> str:
    return item.name.partition("[")[0]


def _variant(item: pytest.Item) -> str:
    return item.name.partition("[")[2].removesuffix("]")
