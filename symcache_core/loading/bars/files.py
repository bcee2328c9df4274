"""The files of a series' bars: how they are named, locked, and replaced so that a crash leaves them whole."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from ...concurrency.patience import Patience
from ...errors import BackendUnavailableError
from ...files import make_folder, open_regular, replacing, sync_folder
from ...timeframes import TIMEFRAMES
from .locks import Claim, Claimant, alone, claimant

log = logging.getLogger("symcache")

T = TypeVar("T")

LOCK_TIMEOUT = 10.0
"""Seconds to wait for a lock, unless a setting says otherwise."""

_LONGEST_NAME = 200
_SMALL = re.compile("[a-z]")
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]")
_PARTITION = re.compile(r"(\d{4}(?:-\d{2}|s)?)\.parquet")


class BarFiles:
    """The folder of a series' bars, and what lies beside it, so that any tool can read the folder as a whole.

    A folder has a file for each period. Beside it, under the same name and a suffix: ``json`` (what is remembered),
    ``new`` (the generation that is being fetched), ``old`` (those that were replaced, by their number), and the files
    that writers lock.

    Args:
        parent: The folder of the provider, the series and the timeframe; made when there is something to write.
        name: The basis.
        lock_timeout: Seconds to wait for a lock.
    """

    def __init__(self, parent: Path, name: str, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._name = name
        self._parent = parent
        self._lock_timeout = lock_timeout
        self._held = threading.local()
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
        # One writer at a time needs one temporary file, and a killed one leaves no more than that. A file or a folder
        # behind a symlink may be on another disk, from which nothing can be moved in one step.
        target = Path(os.path.realpath(path))
        is_near = os.stat(target.parent).st_dev == os.stat(self._parent).st_dev
        temporary = self._beside("tmp") if is_near else None
        with replacing(target, temporary=temporary, before=self._held.check) as file:
            file.write(content)
        sync_folder(target.parent)

    def move(self, source: Path, target: Path) -> None:
        """Move a folder, if it is there; the caller holds the lock."""
        if source.is_dir():
            make_folder(target.parent)
            self._held.check()
            source.rename(target)
            sync_folder(target.parent)
            sync_folder(source.parent)

    def set_aside(self, path: Path) -> Path:
        """Move a damaged file out of the way, for good; gives the new path; the caller holds the lock."""
        aside = path.with_name(f"{path.name}.corrupt")
        self._held.check()
        os.replace(path, aside)
        sync_folder(path.parent)
        return aside

    def drop_new(self) -> None:
        """Remove the generation that is being fetched, as far as possible; the caller holds the lock."""
        self._held.check()
        with suppress(OSError):
            remove_folder(self.new)

    def alone(self, act: Callable[[], T]) -> T:
        """Do something while other writers of these files are kept out, in this process and in others.

        Raises:
            LockTimeoutError: Somebody else kept them out for too long.
            BackendUnavailableError: What was done failed to write, or the files were moved or replaced meanwhile.
        """
        said: list[tuple[object, ...]] = []

        def work(check: Callable[[], None]) -> T:
            self._held.check, self._held.said = check, said
            try:
                return act()
            finally:
                self._held.said = None

        try:
            return writing_alone(self._beside("lock"), self.folder, self._lock_timeout, work)
        finally:
            for message, *values in said:
                log.warning(message, *values)

    def warn(self, message: str, *values: object) -> None:
        """Log something; what is said with the lock in hand is logged without it: a handler may be anybody's code."""
        said: list[tuple[object, ...]] | None = getattr(self._held, "said", None)
        if said is None:
            log.warning(message, *values)
        else:
            said.append((message, *values))

    def claim(self, patience: Patience | None = None) -> Claim | None:
        """Become the one that fetches these bars, or ``None`` at once if someone is; it ends when its holder dies.

        Args:
            patience: For how long someone is waited for who does not go on; without it, for ever.

        Raises:
            BackendUnavailableError: The folder cannot be written, or has been locked for too long.
        """
        path = self._beside("claim")
        try:
            make_folder(self._parent)
            claim = Claim.attempt(path)
            if claim is not None or patience is None:
                return claim
            other = claimant(path, self.folder, self.new, self.state)
        except OSError as error:
            raise _unavailable(self.folder, "written", error) from None
        if other is None or not patience.is_over(other.mark, other.quiet):
            return None
        return self.alone(partial(self._claim_of, other, patience))

    def _claim_of(self, former: Claimant, patience: Patience) -> Claim | None:
        """The claim of one that does not go on, unless it has after all, or somebody else has taken its place."""
        path = self._beside("claim")
        present = claimant(path, self.folder, self.new, self.state)
        if present is not None and present.mark == former.mark:
            self._held.check()
            # The lock belongs to the file: that one keeps it, and whoever comes from now on opens another file.
            path.unlink()
            self.warn(
                "bars in %s: %s has the claim %s and has not gone on for %g s (setting 'timeout'); it is passed by",
                *(self.folder, former.who, path.name, patience.timeout),
            )
        return Claim.attempt(path)

    def _beside(self, suffix: str) -> Path:
        return self._parent / f"{self._name}.{suffix}"


def writing_alone(lock: Path, what: Path, timeout: float, act: Callable[[Callable[[], None]], T]) -> T:
    """Write something while other writers are kept out, in this process and in others.

    Args:
        lock: The file that writers lock.
        what: What they write, for an error's message.
        timeout: Seconds to wait for them.
        act: Writes; it is given a check that nothing was moved or replaced, for just before it replaces anything.

    Raises:
        LockTimeoutError: Somebody else kept them out for too long.
        BackendUnavailableError: What was done failed to write, or was moved or replaced meanwhile.
    """
    try:
        make_folder(lock.parent)
        return alone(lock, timeout, act)
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


def status_of(path: Path) -> os.stat_result | None:
    """What the system says of a file or folder, or ``None`` if there is none.

    Raises:
        BackendUnavailableError: It cannot be looked at.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable(path, "read", error) from None


def is_folder(path: Path) -> bool:
    """Whether there is a folder.

    Raises:
        BackendUnavailableError: It cannot be looked at.
    """
    status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name; none if it is not there.

    Raises:
        BackendUnavailableError: It, or one of them, cannot be looked at.
    """
    return [path for name in sorted(_names(folder)) if is_folder(path := folder / name)]


def size_of(folder: Path) -> int:
    """How many bytes the bars in a folder take; somebody may be removing them.

    Raises:
        BackendUnavailableError: It cannot be read.
    """
    found = (status_of(path_of(folder, period)) for period in periods(folder))
    return sum(status.st_size for status in found if status is not None)


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
        with open_regular(path, "r") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable(path, "read", error) from None


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
    where = f" ({error.filename})" if error.filename not in (None, path, str(path)) else ""
    return BackendUnavailableError(
        f"bars in {path} cannot be {done}: {error.strerror or error}{where}; mend what is there, move it away, or "
        "change the setting 'data_dir'"
    )


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, also the one behind a symlink.

    ``shutil.rmtree`` closes a descriptor twice if an interrupt comes at the wrong moment.

    Raises:
        OSError: Something cannot be removed.
    """
    place = os.path.realpath(folder)
    for path, folders, files in os.walk(place, topdown=False):
        for name in files:
            os.unlink(os.path.join(path, name))
        for name in folders:
            inner = os.path.join(path, name)
            (os.unlink if os.path.islink(inner) else os.rmdir)(inner)
    os.rmdir(place)
    if os.path.islink(folder):
        os.unlink(folder)
