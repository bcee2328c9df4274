"""The import contracts forget no module: one that stands on no floor, or looks where it must not, fails the run."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import symcache_core

pytest.importorskip("importlinter", reason="runs in the environment 'imports', which has import-linter")

ROOT = Path(__file__).parents[2]
PACKAGES = ("symcache_core", "symcache_backends", "symcache_host")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

PUBLIC = {"errors", "file_lock", "files", "messages", "paths", "streams", "symbols", "timeframes"}
"""The modules of the core that anyone may import, besides its face."""

SEEN_BY = {
    "symcache_backends": PUBLIC | {"models", "plugin", "protocols"},
    "symcache_core.loading": PUBLIC | {"clocks", "concurrency", "frozen", "loading", "models", "moments", "protocols"},
    "symcache_host": PUBLIC | {"settings", "transfer"},
}
"""What else of the core each package outside its floors may import."""


def lint(folder):
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_as_it_is_keeps_every_contract(tree):
    status, said = lint(tree)
    assert status == 0, said


@pytest.mark.parametrize(
    "module",
    [
        "symcache_core/stray.py",
        "symcache_core/stray/__init__.py",
        "symcache_core/lookup/stray.py",
        "symcache_core/entries/stray.py",
        "symcache_core/loading/stray.py",
    ],
)
def test_a_module_on_no_floor_is_found(tree, module):
    path = tree / module
    path.parent.mkdir(exist_ok=True)
    path.write_text('"""Stands nowhere."""\n')
    status, said = lint(tree)
    assert status != 0
    assert "stray" in said


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("symcache_backends/memory.py", "symcache_core.lookup.cache"),
        ("symcache_backends/memory.py", "symcache_core.entries.codec"),
        ("symcache_backends/redis.py", "symcache_core.policy"),
        ("symcache_backends/disk/rows.py", "symcache_backends.memory"),
        ("symcache_core/loading/orchestrator.py", "symcache_core.registry"),
        ("symcache_core/policy.py", "symcache_core.merging"),
        ("symcache_core/registry.py", "symcache_backends.memory"),
        ("symcache_host/service.py", "symcache_core.lookup.cache"),
    ],
)
def test_a_look_where_none_is_allowed_is_found(tree, module, imported):
    path = tree / module
    path.write_text(f"{path.read_text()}\nimport {imported}\n")
    status, said = lint(tree)
    assert status != 0
    assert re.search(rf"{module.removesuffix('.py').replace('/', '.')} -> {imported}", said), said


@pytest.mark.parametrize("package", SEEN_BY)
def test_every_module_of_the_core_is_either_seen_or_forbidden(package):
    (contract,) = [
        contract
        for contract in CONTRACTS
        if contract["type"] == "forbidden" and contract["source_modules"] == [package]
    ]
    forbidden = {name.removeprefix("symcache_core.") for name in contract["forbidden_modules"]}
    built = {path.stem for path in Path(symcache_core.__file__).parent.iterdir()} - {"__init__", "__pycache__", "py"}
    assert SEEN_BY[package] & forbidden == set()
    assert built - SEEN_BY[package] - forbidden == set()
