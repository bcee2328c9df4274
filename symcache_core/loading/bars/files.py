"""The files of a series' bars: how they are named, locked, and replaced so that a crash leaves them whole."""

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
from ...timeframes import TIMEFRAMES

_LOCK_TIMEOUT = 30.0
_LONGEST_NAME = 200
_SMALL = re.compile("[a-z]")
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
    """The folder of a series' bars, and what lies beside it, so that any tool can read the folder as a whole.

    A folder has a file for each period. Beside it, under the same name and a suffix: ``json`` (what is remembered),
    ``new`` (the generation that is being fetched), ``old`` (those that were replaced, by their number), and the files
    that writers lock.

    Args:
        parent: The folder of the provider, the series and the timeframe; made when there is something to write.
        name: The basis.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self._name = name
        self._parent = parent
        self.folder = parent / name
        self.state = self._beside("json")
        self.new = self._beside("new")

    def old(self, generation: int) -> Path:
        """The folder of a generation that was replaced."""
        return self._beside("old") / str(generation)

    def replaced(self) -> list[int]:
        """The numbers of the generations that were replaced, rising."""
        return sorted(int(name) for name in _names(self._beside("old")) if name.isdigit())

    def replace(self, path: Path, content: bytes) -> None:
        """Put a file in its place in one step and return when it survives a power loss; the caller holds the lock."""
        make_folder(path.parent)
        # One writer at a time needs one temporary file, and a killed one leaves no more than that.
        with replacing(path, temporary=self._beside("tmp")) as file:
            file.write(content)
        sync_folder(path.parent)

    def move(self, source: Path, target: Path) -> None:
        """Move a folder, if it is there; the caller holds the lock."""
        if source.is_dir():
            make_folder(target.parent)
            source.rename(target)
            sync_folder(target.parent)
            sync_folder(source.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of these files out, in this process and in others.

        Raises:
            BackendUnavailableError: Somebody else keeps them out, or what was done meanwhile failed to write.
        """
        with locked(self._beside("lock"), self.folder):
            yield

    def claim(self) -> Claim | None:
        """Become the one that fetches these bars, or ``None`` at once if someone is; it ends when its holder dies.

        Raises:
            BackendUnavailableError: The folder cannot be written.
        """
        # Not bound to a thread, so that any may release it.
        lock = FileLock(self._beside("claim"), blocking=False, mode=0o600, thread_local=False)
        try:
            make_folder(self._parent)
            lock.acquire()
        except Timeout:
            return None
        except OSError as error:
            raise _unavailable(self.folder, "written", error) from None
        return Claim(lock)

    def _beside(self, suffix: str) -> Path:
        return self._parent / f"{self._name}.{suffix}"


@contextmanager
def locked(lock: Path, what: Path) -> Iterator[None]:
    """Keep other writers out, in this process and in others.

    Args:
        lock: The file that writers lock.
        what: What they write, for an error's message.

    Raises:
        BackendUnavailableError: Somebody else keeps them out, or what was done meanwhile failed to write.
    """
    try:
        make_folder(lock.parent)
        with FileLock(lock, timeout=_LOCK_TIMEOUT, mode=0o600):
            yield
    except Timeout:
        raise BackendUnavailableError(f"bars in {what} have been locked by someone for {_LOCK_TIMEOUT:g} s") from None
    except OSError as error:
        raise _unavailable(what, "written", error) from None


def periods(folder: Path) -> list[str]:
    """The periods of which there is a file in a folder, rising.

    Raises:
        BackendUnavailableError: The folder cannot be read.
    """
    return sorted(match[1] for name in _names(folder) if (match := _PARTITION.fullmatch(name)))


def path_of(folder: Path, period: str) -> Path:
    """The file of a period in a folder."""
    return folder / f"{period}.parquet"


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unavailable(folder, "read", error) from None


def load(path: Path, offset: int = 0) -> bytes | None:
    """The content of a file, from an offset on, or ``None`` if there is none.

    Raises:
        BackendUnavailableError: It cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read()
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


def file_name(text: str) -> str:
    """A name for the files of a symbol or an identity that any file system takes and no other shares.

    Small letters are escaped, so that this holds where case is ignored; few canonical symbols have any.
    """
    escaped = quote(text, safe="").replace(".", "%2E")
    escaped = _SMALL.sub(lambda letter: f"%{ord(letter[0]):02X}", escaped)
    if _DEVICE.fullmatch(escaped):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    if len(escaped) <= _LONGEST_NAME:
        return escaped
    # quote() never leaves a "=", so no symbol short enough to be kept whole can look like this.
    return f"{escaped[:150]}={hashlib.sha256(text.encode()).hexdigest()[:32]}"


def folder_of(identity: str) -> str:
    """A name for the folder of a series, which is none that 0.1.0 gave to a timeframe."""
    name = file_name(identity)
    return f"%{ord(name[0]):02X}{name[1:]}" if name in TIMEFRAMES else name


def _unavailable(path: Path, done: str, error: OSError) -> BackendUnavailableError:
    return BackendUnavailableError(f"bars in {path} cannot be {done}: {error.strerror or error}")


def make_folder(folder: Path) -> None:
    """Make a folder so that it, too, survives a power loss."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
