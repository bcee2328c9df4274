"""What both suites stand on: opens the backend under test by its name, here and in child processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..protocols import StorageBackend
from ..registry import Registry

FAR = 4102444800.0
"""A moment to keep an entry until that no test lives to see: the year 2100."""


class Bench:
    """A backend on the test bench; both suites extend it."""

    backend: ClassVar[str]
    """The name that configuration chooses the backend by."""

    plugins: ClassVar[tuple[str, ...]] = ()
    """Modules that register it, if it is not installed as a plug-in."""

    def settings(self, tmp_path: Path) -> Mapping[str, Any]:
        """The options of one store below ``tmp_path``; the same folder gives the same store."""
        del tmp_path
        return {}

    @pytest.fixture
    def opened(self) -> Iterator[ExitStack]:
        """Closes, at the end of a test, whatever it opened."""
        with ExitStack() as stack:
            yield stack

    @property
    def persistent(self) -> bool:
        """Whether entries outlive the process, as the backend itself says."""
        return Registry(self.plugins).backend(self.backend).persistent

    def open(self, folder: Path, opened: ExitStack) -> StorageBackend:
        """Open the store of a folder through the registry, as configuration would."""
        folder.mkdir(exist_ok=True)
        store = Registry(self.plugins).open(
            self.backend, plain(self.settings(folder)), base_dir=folder, data_dir=folder
        )
        opened.callback(store.close)
        return store

    def only_if_persistent(self) -> None:
        """Skip a test that makes no sense for a store that ends with its process."""
        if not self.persistent:
            pytest.skip("the backend says that it is not persistent")

    @contextmanager
    def child(self, folder: Path, action: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A process of its own at work on the store of a folder; see :mod:`.child`."""
        task = {
            "backend": self.backend,
            "plugins": list(self.plugins),
            "options": plain(self.settings(folder)),
            "folder": str(folder),
            "action": action,
            "arguments": list(arguments),
            "path": sys.path,
        }
        command = [sys.executable, "-c", _START_CHILD, json.dumps(task)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a configuration file would give them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


# The child finds modules where its parent does, a test's own folder included.
_START_CHILD = """
import json, sys
task = json.loads(sys.argv[1])
sys.path[:] = task.pop("path")
from symcache_core.testing.child import main
main(**task)
"""
