"""Files that are shared with other processes: locked, replaced whole, readable by their owner only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from symcache_core.files import replacing, sync_folder


def open_private(path: Path, flags: int) -> int:
    """Open a file, made with mode 0600 if it is not there; gives its descriptor."""
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to another: ``symbols.json`` and ``.lock`` make ``symbols.json.lock``."""
    return path.with_name(path.name + suffix)


def replace(path: Path, pieces: Iterable[bytes], *, before: Callable[[], None] | None = None) -> None:
    """Put new content in place of a file so that a crash at any moment leaves the old or the new one, whole.

    Args:
        path: The file.
        pieces: Its new content.
        before: What to do when the new content is safe and the old one still in place.
    """
    with replacing(path, temporary=beside(path, ".tmp"), before=before) as file:
        file.writelines(pieces)
    sync_folder(path.parent)


def lock(descriptor: int) -> None:
    """Take the ``flock`` of an open file; it excludes every other descriptor, this process's own included."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def unlock(descriptor: int) -> None:
    """Give that ``flock`` back."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Hold the ``flock`` of an open file."""
    lock(descriptor)
    try:
        yield
    finally:
        unlock(descriptor)


def mark_in_use(descriptor: int) -> None:
    """Hold a shared ``flock`` until the descriptor is closed."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def in_use_elsewhere(descriptor: int) -> bool:
    """Whether another descriptor holds a ``flock`` of the same file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def sync(descriptor: int) -> None:
    """Make what was written to a file survive a power loss."""
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync
