"""What ``symcache new backend`` writes passes at once: it installs, keeps the contract, and has types and style."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "symcache-sqlite"


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(*modules):
    lacking = [module for module in modules if not find_spec(module)]
    return pytest.mark.skipif(bool(lacking), reason=f"runs in the environment 'plugin', which has {', '.join(modules)}")


@pytest.fixture
def made(tmp_path):
    run(sys.executable, "-m", "symcache_core.cli", "new", "backend", "lmdb-like", cwd=tmp_path)
    return tmp_path / "symcache-lmdb-like"


def surroundings(folder):
    """An environment of its own above this one: what is installed there stays there."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    Path(site, "above.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return python


@pytest.mark.once
@needs("pip", "hatchling", "editables")
def test_what_is_written_installs_and_keeps_the_contract_at_once(tmp_path):
    python = surroundings(tmp_path / "venv")
    began = time.monotonic()
    run(python, "-m", "symcache_core.cli", "new", "backend", "lmdb-like", cwd=tmp_path)
    made = tmp_path / "symcache-lmdb-like"
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *offline, "-e", ".", cwd=made)
    told = run(python, "-m", "pytest", cwd=made)
    print(f"from nothing to a kept contract: {time.monotonic() - began:.1f} s")
    assert " passed" in told
    listed = run(python, "-m", "symcache_core.cli", "backends", cwd=tmp_path)
    (row,) = [line.split("\t") for line in listed.splitlines() if "lmdb-like" in line]
    assert row[4:] == ["symcache-lmdb-like 0.1.0", "ok", "", str(made / "src" / "symcache_lmdb_like.py")]


@pytest.mark.once
@needs("mypy")
@pytest.mark.parametrize("which", ["what is written", "the example"])
def test_its_types_are_strict(request, tmp_path, which):
    folder = EXAMPLE if which == "the example" else request.getfixturevalue("made")
    run(sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path / 'cache'}", cwd=folder)


@needs("ruff")
@pytest.mark.parametrize("which", ["what is written", "the example"])
def test_its_style_is_that_of_its_own_rules(request, which):
    folder = EXAMPLE if which == "the example" else request.getfixturevalue("made")
    run(sys.executable, "-m", "ruff", "check", "--no-cache", cwd=folder)
    run(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", cwd=folder)
