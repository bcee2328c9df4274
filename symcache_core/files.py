"""Puts files in their place so that a crash at any moment leaves the old content or the new one, whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


@contextmanager
def replacing(
    path: Path, *, temporary: Path | None = None, before: Callable[[], None] | None = None
) -> Iterator[BinaryIO]:
    """Write a file that takes a path's place in one step, once it is whole and safe on disk; of mode 0600.

    That it is there survives a power loss once its folder is synced, too: see :func:`sync_folder`.

    Args:
        path: Where it shall be.
        temporary: Where it is written, for who is the only writer and would not leave more than one such file when
            killed; made anew, under a name that nobody can foresee, when left out.
        before: What to do when the new content is safe and the old one still in place.

    Raises:
        OSError: It could not be written; what was there is untouched.
    """
    descriptor, part = _temporary(path) if temporary is None else (os.open(temporary, _ANEW, 0o600), temporary)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            before()
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> tuple[int, Path]:
    import tempfile  # here, as stores do without it, and it is slow to import

    descriptor, name = tempfile.mkstemp(prefix=".symcache-", suffix=".part", dir=path.parent)
    return descriptor, Path(name)
