"""The states in which a crash may leave the disk, under three models of a file system.

``ordered``
    What was done reaches the disk in turn, whole operations or, of the last write, a part of its bytes from the start.
    So a journalling file system behaves that writes through; and what a killed process leaves is among these states.
``synced names``
    Creating, renaming and removing reach the disk in turn, for all folders together, and surely when any folder is
    synced; a file's sync promises nothing of its name. The bytes of each file reach it in turn, independently of names
    and of other files, surely when that file is synced; the last write in part, and what is missing of it may be
    zeros, where the size was there first. This is weaker than ext4, whose every sync commits all names before it, and
    than XFS; both write bytes late.
``strict``
    What POSIX promises, which is nothing before a sync. Each name of a folder that was changed since the folder's sync
    has its old meaning or any that it had since, whatever the others have: a renamed file may have both names, or
    neither. Of the writes to a file since its sync any may be missing, with zeros in their place, and the last one may
    be there in part or with a hole of zeros. Only of the file's last sync and its folder's one can be sure.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from math import prod

from .file_operations import Disk, Names, Note, Resize, Sync, Write

MODELS = ("ordered", "synced names", "strict")


@dataclass(frozen=True)
class Crash:
    """A crash when so many operations had begun, and the files that it left by path (a folder has no bytes)."""

    begun: int
    tree: dict


def crashes(model, before, operations, *, each=40, seed=0):
    """The distinct states of crashes at every moment, as long as they differ in what had been noted.

    Args:
        model: One of the names above.
        before: The disk before the first operation, all of which is safe.
        operations: What was done, and noted.
        each: How many states to take of one moment; if there are more, some at random beside the extremes.
        seed: Of the random choice.
    """
    chance, seen, noted = random.Random(seed), set(), 0
    state = {"ordered": _Ordered, "synced names": _SyncedNames, "strict": _Strict}[model](before, chance)
    for begun, operation in enumerate([*operations, None]):
        for tree in state.trees(operation, each):
            known = noted, frozenset(tree.items())
            if known not in seen:
                seen.add(known)
                yield Crash(begun, tree)
        noted += isinstance(operation, Note)
        state.go_on(operation)


class _Ordered:
    def __init__(self, before, chance):
        self._disk, self._chance = before.copy(), chance

    def trees(self, operation, each):
        yield self._disk.tree()
        if isinstance(operation, Write):
            for torn in _torn(operation, self._chance)[: each - 1]:
                disk = self._disk.copy()
                disk.apply(torn)
                yield disk.tree()

    def go_on(self, operation):
        self._disk.apply(operation)


class _Late:
    """What is safe, and what has been done since; subclasses say what may be on the disk of the latter."""

    def __init__(self, before, chance):
        self._chance = chance
        self._safe = before.copy()
        self._bytes = defaultdict(list)  # of each file: what was written since its sync
        self._names = []  # what was named since the last sync that makes it safe

    def trees(self, operation, each):
        files = [(file, self._contents(file, done)) for file, done in self._bytes.items() if done]
        choices = [self._namings(), *(contents for _file, contents in files)]
        for naming, *chosen in _combined(choices, each, self._chance):
            disk = self._safe.copy()
            for folder, name, what in naming:
                disk.name(folder, name, what)
            for (file, _contents), content in zip(files, chosen, strict=True):
                disk.files[file] = content
            yield disk.tree()

    def go_on(self, operation):
        match operation:
            case Write(file) | Resize(file):
                self._bytes[file].append(operation)
            case Names():
                self._names.append(operation)
                self._safe.make(operation)
            case Sync(what):
                for done in self._bytes.pop(what, ()):
                    self._safe.apply(done)
                self._names_synced(what)

    def _content(self, file, done):
        disk = Disk(files={file: self._safe.files[file]})
        for operation in done:
            disk.apply(operation)
        return disk.files[file]


class _SyncedNames(_Late):
    def _namings(self):
        for count in range(len(self._names), -1, -1):
            yield [change for names in self._names[:count] for change in names.changes]

    def _names_synced(self, what):
        if what in self._safe.folders:
            for names in self._names:
                self._safe.apply(names)
            self._names.clear()

    def _contents(self, file, done):
        whole = self._content(file, done)
        yield whole
        for count in range(len(done)):
            yield self._content(file, done[:count])
            for torn in _torn(done[count], self._chance):
                partly = self._content(file, [*done[:count], torn])
                yield partly
                yield partly.ljust(len(whole), b"\0")


class _Strict(_Late):
    def _namings(self):
        meanings = defaultdict(dict)
        for names in self._names:
            for folder, name, what in names.changes:
                meanings[folder, name][what] = None
        options = []
        for (folder, name), since in meanings.items():
            before = self._safe.folders[folder].get(name)
            options.append([(folder, name, what) for what in [*reversed(since), *({before} - set(since))]])
        return list(_combined(options, 64, self._chance))

    def _names_synced(self, what):
        left = []
        for names in self._names:
            here = [change for change in names.changes if change[0] == what]
            self._safe.apply(Names(tuple(here)))
            elsewhere = [change for change in names.changes if change[0] != what]
            left += [Names(tuple(elsewhere))] if elsewhere else []
        self._names = left

    def _contents(self, file, done):
        whole = self._content(file, done)
        yield whole
        yield self._content(file, [])
        yield self._content(file, []).ljust(len(whole), b"\0")
        for there in _combined([(True, False)] * len(done), 12, self._chance):
            kept = [operation for operation, is_there in zip(done, there, strict=True) if is_there]
            content = self._content(file, kept)
            yield content
            yield content.ljust(len(whole), b"\0")
            for torn in _torn(kept[-1], self._chance) if kept else ():
                yield self._content(file, [*kept[:-1], torn])
            if kept and isinstance(kept[-1], Write):
                yield self._content(file, [*kept[:-1], _holed(kept[-1], self._chance)])


def _torn(operation, chance):
    """A write of which only the first bytes are there: one, all but one, and some."""
    if not isinstance(operation, Write) or len(operation.data) < 2:
        return []
    size = len(operation.data)
    return [
        Write(operation.file, operation.offset, operation.data[:cut])
        for cut in sorted({1, size - 1, chance.randrange(1, size)})
    ]


def _holed(write, chance):
    """A write of which some bytes in the midst are zeros."""
    start, end = sorted(chance.choices(range(len(write.data) + 1), k=2))
    return Write(write.file, write.offset, write.data[:start] + bytes(end - start) + write.data[end:])


def _combined(choices, most, chance):
    """One of each choice, in all combinations; if those are too many, then the first of all with each other one of one
    choice, the last of all, and some at random.
    """
    choices = [list(options) for options in choices]
    if prod(map(len, choices)) <= most:
        yield from product(*choices)
        return
    firsts = tuple(options[0] for options in choices)
    yield firsts
    yield tuple(options[-1] for options in choices)
    single = [(place, option) for place, options in enumerate(choices) for option in options[1:]]
    chance.shuffle(single)
    for place, option in single[: most // 2]:
        yield (*firsts[:place], option, *firsts[place + 1 :])
    for _ in range(most - 2 - min(len(single), most // 2)):
        yield tuple(map(chance.choice, choices))
