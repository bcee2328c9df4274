"""What a traced process did to the files of a folder: writes, changes of names, syncs, and its notes in between."""

import os
from dataclasses import dataclass, field
from pathlib import Path

ROOT = 0
"""The folder that everything is recorded in; it is there whatever happens."""

_HARMLESS = frozenset(
    "access chdir chmod close_range dup dup2 dup3 epoll_create1 faccessat faccessat2 fadvise64 fchmod fchmodat fchown "
    "fgetxattr flock fstat fstatfs getcwd getdents64 getxattr ioctl lgetxattr listxattr lseek lstat mmap newfstatat "
    "pipe2 poll pread64 read readlink readlinkat select stat statfs statx".split()
)


@dataclass(frozen=True)
class Write:
    """Bytes that were written to a file at an offset."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    """A file was cut off, or grew by zeros."""

    file: int
    size: int


@dataclass(frozen=True)
class Names:
    """Names that came to mean another file or folder in one step, or none: ``(folder, name, what)``."""

    changes: tuple[tuple[int, bytes, int | None], ...]
    new_folder: int | None = None


@dataclass(frozen=True)
class Sync:
    """All that was written to a file, or all names of a folder, have reached the disk."""

    what: int


@dataclass(frozen=True)
class Note:
    """What the traced function noted."""

    content: dict


@dataclass
class Disk:
    """Folders and files by number: the names in each folder, the bytes of each file."""

    folders: dict[int, dict[bytes, int]] = field(default_factory=lambda: {ROOT: {}})
    files: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, folder):
        """What is in a folder now."""
        disk = cls()
        disk._read(os.fsencode(folder), ROOT)
        return disk

    def copy(self):
        """The same, to be changed apart."""
        return Disk({number: dict(names) for number, names in self.folders.items()}, dict(self.files))

    def tree(self):
        """The files that have a name, by path, and the folders, whose path is mapped to nothing."""
        return dict(self._walk(ROOT, b""))

    def apply(self, operation):
        """Do what an operation did."""
        match operation:
            case Write(file, offset, data):
                old = self.files[file]
                self.files[file] = old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :]
            case Resize(file, size):
                self.files[file] = self.files[file][:size].ljust(size, b"\0")
            case Names(changes):
                self.make(operation)
                for folder, name, what in changes:
                    self.name(folder, name, what)

    def make(self, names):
        """Make what is named for the first time, without its name."""
        if names.new_folder is not None:
            self.folders.setdefault(names.new_folder, {})
        for _folder, _name, what in names.changes:
            if what is not None and what not in self.folders:
                self.files.setdefault(what, b"")

    def name(self, folder, name, what):
        """Let a name of a folder mean something, or nothing."""
        names = self.folders[folder]
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what

    def _read(self, path, number):
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            new = 1 + len(self.folders) + len(self.files)
            self.folders[number][entry.name] = new
            if entry.is_dir():
                self.folders[new] = {}
                self._read(entry.path, new)
            else:
                self.files[new] = Path(os.fsdecode(entry.path)).read_bytes()

    def _walk(self, number, path):
        for name, what in self.folders[number].items():
            below = os.path.join(path, name)
            if what in self.folders:
                yield below, None
                yield from self._walk(what, below)
            else:
                yield below, self.files[what]


class _Recorder:
    def __init__(self, root, disk):
        self._root = os.fsencode(root)
        self.disk = disk
        self._free = 1 + max((*disk.folders, *disk.files))
        self._open = {}  # of each descriptor: the file or folder, the offset, whether it appends

    def operations(self, call):
        """What a call did, as operations on the disk."""
        if call.gave is None or call.error is not None:
            return
        for operation in getattr(self, f"_{call.name}", self._nothing)(call):
            self.disk.apply(operation)
            yield operation

    def _nothing(self, call):
        assert call.name in _HARMLESS or not call.touches(os.fsdecode(self._root)), f"{call} is not understood"
        descriptor = call.descriptor() if call.arguments[0][:1].isdigit() else None
        if descriptor in self._open:
            if call.name == "lseek":
                self._open[descriptor][1] = call.gave
            elif call.name == "read":
                self._open[descriptor][1] += call.gave
        return ()

    def _openat(self, call):
        at = self._place(call.text(1))
        self._open.pop(call.gave, None)
        if at is None:
            return
        what = self._meant(at)
        if what is None:
            what = self._new()
            yield Names(((*at, what),))
        elif b"O_TRUNC" in call.arguments[2] and self.disk.files[what]:
            yield Resize(what, 0)
        self._open[call.gave] = [what, 0, b"O_APPEND" in call.arguments[2]]

    def _close(self, call):
        self._open.pop(call.descriptor(), None)
        return ()

    def _fcntl(self, call):
        if call.arguments[1].startswith(b"F_DUPFD") and call.descriptor() in self._open:
            self._open[call.gave] = self._open[call.descriptor()]
        return ()

    def _write(self, call):
        opened = self._open.get(call.descriptor())
        if opened is not None:
            what, offset, appends = opened
            offset = len(self.disk.files[what]) if appends else offset
            opened[1] = offset + call.gave
            yield Write(what, offset, call.text(1)[: call.gave])

    def _pwrite64(self, call):
        if call.descriptor() in self._open:
            yield Write(self._open[call.descriptor()][0], call.number(3), call.text(1)[: call.gave])

    def _ftruncate(self, call):
        if call.descriptor() in self._open:
            what = self._open[call.descriptor()][0]
            if len(self.disk.files[what]) != call.number(1):
                yield Resize(what, call.number(1))

    def _fallocate(self, call):
        if call.descriptor() in self._open:
            what, size = self._open[call.descriptor()][0], call.number(2) + call.number(3)
            assert call.arguments[1] == b"0", f"{call} is not understood"
            if size > len(self.disk.files[what]):
                yield Resize(what, size)

    def _fsync(self, call):
        if call.descriptor() in self._open:
            yield Sync(self._open[call.descriptor()][0])

    _fdatasync = _fsync

    def _mkdir(self, call):
        at = self._place(call.text(0))
        if at is not None:
            new = self._new()
            yield Names(((*at, new),), new_folder=new)

    def _rename(self, call):
        old, new = self._place(call.text(0)), self._place(call.text(1))
        if old is not None:
            yield Names(((*new, self._meant(old)), (*old, None)))

    def _link(self, call):
        old, new = self._place(call.text(0)), self._place(call.text(1))
        if old is not None:
            yield Names(((*new, self._meant(old)),))

    def _unlink(self, call):
        at = self._place(call.text(0))
        if at is not None:
            yield Names(((*at, None),))

    _rmdir = _unlink

    def _new(self):
        self._free += 1
        return self._free

    def _meant(self, at):
        folder, name = at
        return ROOT if name == b"" else self.disk.folders[folder].get(name)

    def _place(self, path):
        """The folder, by number, and the name in it that a path means; nothing for what is outside."""
        assert path.startswith(b"/"), f"{path} is relative"
        if path == self._root:
            return ROOT, b""
        if not path.startswith(self._root + b"/"):
            return None
        *parents, name = path.removeprefix(self._root + b"/").split(b"/")
        folder = ROOT
        for parent in parents:
            folder = self.disk.folders[folder][parent]
        return folder, name


def recorded(traces, root, before):
    """What traced processes, one after another, did to a folder.

    Args:
        traces: Of each process.
        root: The folder.
        before: The :class:`Disk` as it was before the first of them.

    Returns:
        The operations and notes in turn, and the disk as it must be now.
    """
    disk, operations = before.copy(), []
    for trace in traces:
        recorder, notes = _Recorder(root, disk), dict(trace.notes())
        for place, call in enumerate(trace.calls):
            operations += [Note(notes[place])] if place in notes else recorder.operations(call)
    return operations, disk
