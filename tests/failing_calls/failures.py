"""Which system calls an operation makes on a store's files, and what each of them may fail with."""

import shutil
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from failing_calls.attempts import fill
from tracing import Traced, traced

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

PATIENCE = 30.0
"""Seconds after which an operation hangs: longer than the settings' bounds for one that fails and the next ones."""

ERRORS = {
    "access": "EACCES EIO",
    "chmod": "EPERM EIO EROFS",
    "fallocate": "ENOSPC EIO EINTR EOPNOTSUPP",
    "fchmod": "EPERM EIO",
    "fchown": "EPERM EIO",
    "fcntl": "EIO EINTR ENOLCK EMFILE EAGAIN",
    "fdatasync": "EIO ENOSPC EDQUOT",
    "flock": "EIO EINTR ENOLCK",
    "fstat": "EIO ENOMEM",
    "fsync": "EIO ENOSPC EDQUOT",
    "ftruncate": "EIO ENOSPC EINTR EROFS",
    "getdents64": "EIO ENOENT",
    "lseek": "EIO",
    "lstat": "EIO EACCES",
    "mkdir": "EIO ENOSPC EACCES EROFS",
    "mmap": "ENOMEM EACCES ENODEV",
    "newfstatat": "EIO EACCES ENOMEM",
    "openat": "EIO ENOSPC EINTR EACCES EMFILE EROFS",
    "pread64": "EIO EINTR",
    "pwrite64": "EIO ENOSPC EINTR EDQUOT",
    "read": "EIO EINTR",
    "readlink": "EIO EACCES",
    "rename": "EIO ENOSPC EACCES EROFS",
    "rmdir": "EIO EACCES EROFS",
    "stat": "EIO EACCES",
    "statx": "EIO EACCES",
    "unlink": "EIO EACCES EROFS",
    "unlinkat": "EIO EACCES EROFS",
    "write": "EIO ENOSPC EINTR EDQUOT",
}

TAKES_SPACE = ("write", "pwrite64", "fallocate", "ftruncate", "mkdir", "rename")


@dataclass(frozen=True)
class Failure:
    """The calls that fail, as strace is told of them."""

    inject: tuple[str, ...]


def prepared(backend, folder):
    """A store to attempt something with, in a folder."""
    shutil.copytree(_filled(backend).name, folder, dirs_exist_ok=True)


def run(function, backend, name, folder, failure=None):
    """What a process does that attempts an operation, while calls fail."""
    inject = () if failure is None else failure.inject
    return traced(function, backend, folder, name, inject=inject, patience=PATIENCE)


@cache
def failures(function, backend, name):
    """Each call of an operation on the store's files, with each of its errors, and a disk that is full from then on."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        prepared(backend, folder)
        plain = run(function, backend, name, folder)
        assert plain.status == 0
        assert {note.get("ended", "done") for _place, note in plain.notes()} == {"done"}, list(plain.notes())
        return list(dict.fromkeys(_failures_of(plain, folder)))


def _failures_of(plain: Traced, folder):
    begins, ended = [place for place, _note in plain.notes()][:2]
    done = Counter()
    for place, call in enumerate(plain.calls):
        done[call.name] += 1
        if not begins < place < ended or not call.touches(folder) or _cannot_fail(call):
            continue
        for error in ERRORS[call.name].split():
            yield Failure((f"{call.name}:error={error}:when={done[call.name]}",))
        if call.name in TAKES_SPACE:
            yield Failure(
                tuple(f"{name}:error=ENOSPC:when={done[name] + (name != call.name)}+" for name in TAKES_SPACE)
            )


def _cannot_fail(call):
    """Whether a call is let alone: one that lets go and fails would keep what it has, which no real one does."""
    lets_go = call.name == "close" or any(b"F_UNLCK" in argument for argument in call.arguments)
    return lets_go or call.name == "ioctl"


@cache
def _filled(backend):
    folder = TemporaryDirectory(dir=MEMORY)
    fill(backend, folder.name)
    return folder
