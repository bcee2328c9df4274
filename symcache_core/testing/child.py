"""What a child process of the contract suites does with a store: write, and say what is written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..protocols import StorageBackend
from ..registry import Registry

FAR = 4102444800.0


def main(
    *,
    backend: str,
    plugins: Sequence[str],
    options: dict[str, Any],
    folder: str,
    action: str,
    arguments: Sequence[str],
) -> None:
    """Open the store and do as told; each line on standard output acknowledges one thing done."""
    store = Registry(plugins).open(backend, options, base_dir=Path(folder), data_dir=Path(folder))
    _say("ready")
    sys.stdin.readline()
    for done in _ACTIONS[action](store, *arguments):
        _say(done)
    store.close()


def _write(store: StorageBackend, prefix: str, count: str) -> Iterator[str]:
    for number in range(int(count)):
        store.write(f"{prefix}{number}", b'{"from":"%b"}' % prefix.encode(), FAR)
        yield f"{prefix}{number}"


def _delete(store: StorageBackend, key: str) -> Iterator[str]:
    yield str(store.delete(key))


_ACTIONS: Mapping[str, Callable[..., Iterator[str]]] = {"write": _write, "delete": _delete}


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # this is how a child speaks to its parent
