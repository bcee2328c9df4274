"""Reads a store that must stay as it is: from a copy of its files, because whoever opens a store tidies it up."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import BackendError, ConfigurationError
from ..file_lock import take
from ..files import open_regular
from ..protocols import StorageBackend
from ..settings import SymcacheSettings
from .stores import open_store

_COPY = """
import shutil, sys
left_out = shutil.ignore_patterns("*-shm", "leases")  # SQLite makes its index anew from the log of what was written
try:
    shutil.copytree(*sys.argv[1:], symlinks=True, ignore=left_out, copy_function=shutil.copyfile)
except shutil.Error as error:
    sys.exit("; ".join(reason for _, _, reason in error.args[0]))
except OSError as error:
    sys.exit(f"{error.strerror}: {error.filename!r}")
"""


@contextmanager
def opened_copy(path: Path, backend: str, settings: SymcacheSettings) -> Iterator[StorageBackend]:
    """A store as it was a moment ago.

    Args:
        path: The file of a json store, or the folder of a diskcache store.
        backend: Which of the two.
        settings: Have the options of the backends.

    Raises:
        ConfigurationError: It cannot be read.
        BackendError: It cannot be opened.
        LockTimeoutError: Somebody is writing to it all the time.
    """
    with TemporaryDirectory(prefix="symcache-") as folder:
        copied = Path(folder, f"copy of {path.name}")
        _copy(path, copied, settings.lock_timeout)
        try:
            store = open_store(settings, backend, {"path": str(copied)})
        except BackendError as error:
            # The trouble is the source's, which its reader knows by another path.
            raise type(error)(str(error).replace(str(copied), str(path))) from None
        with closing(store):
            yield store


def _copy(path: Path, copied: Path, timeout: float) -> None:
    try:
        if path.is_dir():
            with _nobody_writing(path / "symcache.lock", timeout):
                _copy_folder(path, copied)
            copied.chmod(0o700)
            return
        with _nobody_writing(path.with_name(f"{path.name}.lock"), timeout):
            for suffix in ("", ".journal"):
                file = path.with_name(path.name + suffix)
                if file.exists():
                    shutil.copyfile(file, copied.with_name(copied.name + suffix))
    except OSError as error:
        raise ConfigurationError(f"argument 'FILE': {path} cannot be read: {error.strerror or error}") from None


def _copy_folder(path: Path, copied: Path) -> None:
    # By another process: with the first descriptor of a file that is closed, the system drops every lock of this one on
    # it, those of SQLite included, and this program may have the store open.
    command = [sys.executable, "-I", "-S", "-c", _COPY, str(path), str(copied)]
    copy = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a program of our own
    if copy.returncode:
        raise OSError((copy.stderr.strip().splitlines() or ["its files cannot be copied"])[-1])


@contextmanager
def _nobody_writing(lock: Path, timeout: float) -> Iterator[None]:
    """Hold the lock that both backends' writers take, if there is one; it is not changed by that.

    Raises:
        LockTimeoutError: Somebody is writing all the time.
    """
    try:
        file = open_regular(lock, "r")
    except FileNotFoundError:  # nobody has the store open
        yield
        return
    with file:
        try:
            take(file.fileno(), lock, timeout, shared=True)
            yield
        finally:
            # A child that was forked meanwhile has a share in it, and closing it here would leave it locked.
            fcntl.flock(file, fcntl.LOCK_UN)
