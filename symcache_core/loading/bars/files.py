"""The files of one instrument's bars: how they are named, locked, and replaced so that a crash leaves them whole."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from ...errors import BackendUnavailableError
from ...files import replacing, sync_folder

_LOCK_TIMEOUT = 30.0
_LONGEST_NAME = 200
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]")
_PARTITION = re.compile(r"(\d{4}(?:-\d{2}|s)?)\.parquet")


class Claim:
    """The right to be the one that fetches some bars, until :meth:`release` or the end of the process."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def release(self) -> None:
        """Give it back, from any thread; a second time does nothing."""
        self._lock.release()


class BarFiles:
    """A folder with a file for each period; what is not bars lies beside it, so that any tool can read it as a whole.

    Args:
        parent: The folder of the provider and the timeframe; it is made when there is something to write.
        symbol: Canonical.
    """

    def __init__(self, parent: Path, symbol: str) -> None:
        self._name = file_name(symbol)
        self._parent = parent
        self.folder = parent / self._name

    def path(self, period: str) -> Path:
        """The file of a period."""
        return self.folder / f"{period}.parquet"

    def periods(self) -> list[str]:
        """The periods of which there is a file, rising.

        Raises:
            BackendUnavailableError: The folder cannot be read.
        """
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unavailable(self.folder, "read", error) from None
        return sorted(match[1] for name in names if (match := _PARTITION.fullmatch(name)))

    def replace(self, path: Path, content: bytes) -> None:
        """Put a file in its place in one step and return when it survives a power loss; the caller holds the lock."""
        _make_folder(path.parent)
        # One writer at a time needs one temporary file, and a killed one leaves no more than that.
        with replacing(path, temporary=self._beside("tmp")) as file:
            file.write(content)
        sync_folder(path.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of these files out, in this process and in others.

        Raises:
            BackendUnavailableError: Somebody else keeps them out, or what was done meanwhile failed to write.
        """
        try:
            _make_folder(self._parent)
            with FileLock(self._beside("lock"), timeout=_LOCK_TIMEOUT, mode=0o600):
                yield
        except Timeout:
            raise BackendUnavailableError(
                f"bars in {self.folder} have been locked by someone for {_LOCK_TIMEOUT:g} s"
            ) from None
        except OSError as error:
            raise _unavailable(self.folder, "written", error) from None

    def claim(self) -> Claim | None:
        """Become the one that fetches these bars, or ``None`` at once if someone is; it ends when its holder dies.

        Raises:
            BackendUnavailableError: The folder cannot be written.
        """
        # Not bound to a thread, so that any may release it.
        lock = FileLock(self._beside("claim"), blocking=False, mode=0o600, thread_local=False)
        try:
            _make_folder(self._parent)
            lock.acquire()
        except Timeout:
            return None
        except OSError as error:
            raise _unavailable(self.folder, "written", error) from None
        return Claim(lock)

    def _beside(self, suffix: str) -> Path:
        # No symbol's file or folder can have that name: file_name() leaves no dot.
        return self._parent / f"{self._name}.{suffix}"


def load(path: Path) -> bytes | None:
    """The content of a file, or ``None`` if there is none.

    Raises:
        BackendUnavailableError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable(path, "read", error) from None


def rename(path: Path, suffix: str) -> Path:
    """Move a file out of the way, to its own name and a suffix, for good; gives the new path."""
    aside = path.with_name(f"{path.name}.{suffix}")
    os.replace(path, aside)
    sync_folder(path.parent)
    return aside


def file_name(symbol: str) -> str:
    """A name for a symbol's files that any file system takes and no other symbol shares, even where case is ignored.

    Args:
        symbol: Canonical, hence upper-case.
    """
    escaped = quote(symbol, safe="").replace(".", "%2E")
    if _DEVICE.fullmatch(escaped):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    if len(escaped) <= _LONGEST_NAME:
        return escaped
    # quote() never leaves a "=", so no symbol short enough to be kept whole can look like this.
    return f"{escaped[:150]}={hashlib.sha256(symbol.encode()).hexdigest()[:32]}"


def _unavailable(path: Path, done: str, error: OSError) -> BackendUnavailableError:
    return BackendUnavailableError(f"bars in {path} cannot be {done}: {error.strerror or error}")


def _make_folder(folder: Path) -> None:
    """Make a folder so that it, too, survives a power loss."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
