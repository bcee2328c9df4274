"""What the demo works with, in a folder of its own: a host service, a cache, a loader, and a clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import ProxyHandler, build_opener

from ..models import REPLAY, Outcome
from ..settings import SymcacheSettings
from .extras import needs
from .output import Output, Record

if TYPE_CHECKING:
    from ..loading import DataManager


class Answer(NamedTuple):
    """What a step brought, and whether that is right as far as the step itself can tell."""

    outcome: Outcome
    text: str
    right: bool = True


class DemoEnvironment:
    """A host service, a cache and a loader of their own, and a clock that can be put forward.

    Args:
        folder: Where all their files go.
        output: Who is told what is going on.
    """

    def __init__(self, folder: Path, output: Output) -> None:
        with needs("loading"):
            from ..providers.embedded import EmbeddedHost
            from ..providers.ib_data_adapter import REPLAY_ENDS
        (folder / "symcache.toml").touch()
        self._output = output
        self._ahead = 0.0
        self._host = EmbeddedHost(gateway=REPLAY, data_dir=folder / "host", as_of=REPLAY_ENDS)
        self._settings = SymcacheSettings(
            **_defaults()
            | {
                "config": folder / "symcache.toml",
                "backends": {"json": {"path": folder / "symbols.json"}},
                "data_dir": folder,
                "host_service_url": self._host.start(),
                "provider": REPLAY,
            }
        )
        self.manager = self._open()
        output.note_replay(REPLAY_ENDS)

    def put_forward(self, seconds: float) -> None:
        """Let time pass for the cache."""
        self._ahead += seconds

    def restart(self) -> None:
        """Close the cache and the loader and open new ones, as another run of a program would."""
        self.manager.close()
        self.manager = self._open()

    def measure(self, step: str, act: Callable[[], Answer], outcome: Outcome, host_calls: range) -> Record:
        """Take a step, and compare what it brings and costs with what is expected.

        Args:
            step: What it is.
            act: Takes it.
            outcome: How the cache should answer.
            host_calls: How many requests the host service should get.
        """
        calls = self._host_calls()
        with self._output.spinner(step):
            began = time.perf_counter()
            answer = act()
            seconds = time.perf_counter() - began
        calls = self._host_calls() - calls
        return {
            "step": step,
            "provider": REPLAY,
            "outcome": answer.outcome.value,
            "host_calls": calls,
            "seconds": round(seconds, 6),
            "answer": answer.text,
            "as_expected": answer.right and answer.outcome is outcome and calls in host_calls,
        }

    def close(self) -> None:
        """End the loader and the host service."""
        self.manager.close()
        self._host.close()

    def _open(self) -> DataManager:
        with needs("loading"):
            from ..loading import DataManager
        return DataManager(self._settings, clock=lambda: time.time() + self._ahead)

    def _host_calls(self) -> int:
        with build_opener(ProxyHandler({})).open(f"{self._host.url}/health/") as answer:
            return int(json.load(answer)["calls"]["requests"])


def _defaults() -> dict[str, Any]:
    """Every setting's default, given as a keyword, so that neither a file nor the environment changes the demo."""
    return {name: field.get_default() for name, field in SymcacheSettings.model_fields.items()}
