"""Reads a store that must stay as it is: from a copy of its files, because whoever opens a store tidies it up."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import BackendError, ConfigurationError
from ..protocols import StorageBackend
from ..settings import SymcacheSettings
from .stores import open_store


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
    """
    with TemporaryDirectory(prefix="symcache-") as folder:
        copied = Path(folder, f"copy of {path.name}")
        _copy(path, copied)
        try:
            store = open_store(settings, backend, {"path": str(copied)})
        except BackendError as error:
            # The trouble is the source's, which its reader knows by another path.
            raise type(error)(str(error).replace(str(copied), str(path))) from None
        with closing(store):
            yield store


def _copy(path: Path, copied: Path) -> None:
    try:
        if path.is_dir():
            with _nobody_writing(path / "symcache.lock"):
                # SQLite makes its shared memory anew from the log of what was written.
                left_out = shutil.ignore_patterns("*-shm", "leases")
                shutil.copytree(path, copied, symlinks=True, ignore=left_out, copy_function=shutil.copyfile)
            copied.chmod(0o700)
            return
        with _nobody_writing(path.with_name(f"{path.name}.lock")):
            for suffix in ("", ".journal"):
                file = path.with_name(path.name + suffix)
                if file.exists():
                    shutil.copyfile(file, copied.with_name(copied.name + suffix))
    except OSError as error:
        raise ConfigurationError(f"argument 'FILE': {path} cannot be read: {error.strerror or error}") from None


@contextmanager
def _nobody_writing(lock: Path) -> Iterator[None]:
    """Hold the lock that both backends' writers take, if there is one; it is not changed by that."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # nobody has the store open
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
