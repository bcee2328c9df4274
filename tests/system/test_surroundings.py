"""A working directory that may not be searched or is gone, a home nobody knows, folders that take nothing: each is no
matter to who does not need it, and else an error in a line that names the setting."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

NOBODY = 54321
"""A user without an entry anywhere, as containers have them."""
CHILD = """
import os, sys
import symcache_core.cli.app, symcache_core.loading, symcache_backends.json_file, symcache_backends.disk
import symcache_backends.memory, symcache_core.providers, rich.traceback, encodings.idna
from symcache_core.cli import main
how, folder, *sys.argv[1:] = sys.argv[1:]
if how == "gone":
    os.rmdir(folder)
if how == "closed":
    os.chmod(folder, 0)
if how != "gone" and os.geteuid() == 0:
    os.setgroups([]), os.setgid(%d), os.setuid(%d)
    os.environ.pop("HOME", None)
main()
""" % (NOBODY, NOBODY)  # noqa: UP031  # braces would have to be doubled


@pytest.fixture
def folder():
    """A folder that everybody may use, below others of the kind."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    yield made
    for path in made.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(made)


READS_PACKAGES = """
import os, symcache_core, typer
os.setgroups([]), os.setgid(%d), os.setuid(%d)
open(symcache_core.__file__), open(typer.__file__)
""" % (NOBODY, NOBODY)  # noqa: UP031  # as above


@cache
def nobody_reads_packages():
    """Whether the user without rights may read the packages: commands import some modules late."""
    command = [sys.executable, "-W", "ignore", "-c", READS_PACKAGES]
    return os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def run(folder):
    """Run a command in a child whose working directory is so."""

    def run(how, *command, **environment):
        if how != "gone" and not nobody_reads_packages():
            pytest.skip("the packages lie in a folder that only its owner may search")
        place = folder / "here"
        place.mkdir(mode=0o755, exist_ok=True)
        return subprocess.run(
            [sys.executable, "-c", CHILD, how, str(place), *command],
            cwd=place,
            env={**os.environ, "SYMCACHE_BACKEND": "json", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def said(done):
    """The one line of an error."""
    lines = [line for line in done.stderr.splitlines() if line != "REPLAY data, not live"]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("how", ["closed", "gone"])
@pytest.mark.parametrize("command", [["stats"], ["list"], ["get", "AAPL"], ["export", "-"], ["compact"]])
def test_a_working_directory_is_no_matter_where_nothing_is_relative_to_it(run, folder, how, command):
    done = run(how, *command, SYMCACHE_DATA_DIR=str(folder / "data"))
    assert done.returncode == (1 if command[0] == "get" else 0), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["closed", "gone"])
def test_a_memory_needs_no_working_directory(run, how):
    done = run(how, "stats", SYMCACHE_BACKEND="memory")
    assert (done.returncode, done.stderr) == (0, "REPLAY data, not live\n")


@pytest.mark.parametrize("backend", ["json", "diskcache"])
@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("closed", 3, r"here/data.*'backends\.{0}\.path'.*ermission"),
        ("gone", 2, "backends.{0}: setting 'path': .*gone"),
    ],
)
def test_what_is_relative_to_a_working_directory_out_of_reach_is_an_error_that_names_it(
    run, backend, how, status, message
):
    done = run(how, "stats", SYMCACHE_BACKEND=backend)
    assert done.returncode == status, done.stderr
    assert re.search(message.format(backend), said(done)), done.stderr


def test_doctor_says_what_is_wrong_with_a_working_directory_that_is_gone(run):
    done = run("gone", "doctor")
    assert (done.returncode, done.stderr) == (2, "")
    assert "data_dir" in done.stdout
    assert "gone" in done.stdout


@pytest.mark.parametrize("command", ["load", "validate"])
def test_asking_without_a_working_directory_says_so(run, command):
    done = run("gone", command, "AAPL", SYMCACHE_BACKEND="memory")
    assert done.returncode in (2, 3)
    assert "'data_dir'" in done.stderr
    assert "gone" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "setting"),
    [("DATA_DIR", "'data_dir'"), ("CONFIG", "'config'"), ("BACKENDS__JSON__PATH", "backends.json: setting 'path'")],
)
@pytest.mark.parametrize("home", ["~", "~nosuchuser"])
def test_a_home_nobody_knows_is_an_error_of_the_setting_that_names_it(run, name, setting, home):
    if home == "~" and os.geteuid():
        pytest.skip("only root can become a user whose home nobody knows")
    done = run("plain", "stats", **{f"SYMCACHE_{name}": f"{home}/x.toml"})
    assert done.returncode == 2, done.stderr
    assert setting in said(done)
    assert "nobody knows the home" in said(done)


def test_a_home_nobody_knows_is_no_matter_where_no_setting_names_it(run, folder):
    assert run("plain", "stats", SYMCACHE_DATA_DIR=str(folder / "data")).returncode == 0


def test_a_project_that_keeps_its_file_to_itself_is_none_of_others_business(run, folder):
    (folder / "pyproject.toml").write_text("[tool.symcache]\nttl = 'never'\n")
    (folder / "pyproject.toml").chmod(0)
    assert run("plain", "stats", SYMCACHE_DATA_DIR=str(folder / "data")).returncode == 0


def test_a_configuration_that_is_named_and_may_not_be_read_is_an_error(run, folder):
    (folder / "own.toml").write_text("ttl = '1d'\n")
    (folder / "own.toml").chmod(0)
    done = run("plain", "stats", SYMCACHE_CONFIG=str(folder / "own.toml"))
    assert done.returncode == 2
    assert "own.toml cannot be read: Permission denied" in said(done)


@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_a_folder_that_takes_nothing_is_named_with_its_setting(run, folder, backend):
    (folder / "data").mkdir(mode=0o555)
    done = run("plain", "stats", SYMCACHE_BACKEND=backend, SYMCACHE_DATA_DIR=str(folder / "data"))
    assert done.returncode == 3
    assert f"'backends.{backend}.path'" in said(done)


def test_the_host_says_which_of_its_settings_names_a_home_nobody_knows(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "symcache_host", "--data-dir", "~nosuchuser/data", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "setting 'data_dir': nobody knows the home in '~nosuchuser/data'" in done.stderr
    assert "Traceback" not in done.stderr
