"""What a store promises of a crash, and whether it keeps it: opened in the state that the crash has left."""

import os
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from symcache_backends.json_file import JsonSettings, open_json

from .file_operations import Note

FAR = 4e9
PATH = Path("data") / "symbols.json"


def open_store(root, fsync):
    """The store under test, in a folder below the one that is recorded."""
    return open_json(JsonSettings(path=root / PATH, fsync=fsync))


@dataclass
class _Step:
    """What one call changes, key by key, and whether all that was done before is safe when it has returned."""

    begun: int
    changes: dict
    safe: bool
    ended: float = float("inf")


@dataclass
class History:
    """What a store held at first, and what was done to it, as it was noted among the operations on the disk.

    Args:
        initial: Each key and its entry.
        operations: With notes ``does={key: entry or null}`` before each call, and ``did`` after it.
        acknowledged_is_safe: Whether whatever returned must survive a power loss.
    """

    initial: dict
    operations: list
    acknowledged_is_safe: bool
    _steps: list = field(default_factory=list)

    def __post_init__(self):
        for place, operation in enumerate(self.operations):
            match operation:
                case Note({"does": changes, "safe": safe}):
                    changed = {key: entry and entry.encode() for key, entry in changes.items()}
                    self._steps.append(_Step(place, changed, safe))
                case Note({"did": _}):
                    self._steps[-1].ended = place

    def wrong(self, found, begun, model):
        """What is wrong with the entries that were found after a crash; nothing if nothing is.

        What has not returned may have changed some keys and others not yet. Where what has returned need not be safe,
        only the latest changes may be missing; under the strict model, which keeps no order, any of the unsafe ones,
        and with them what they were to replace.

        Args:
            found: Each key and its entry.
            begun: How many operations had begun.
            model: Of the file system.
        """
        states = self._states(begun, model)
        pairs = zip(states, [*states[1:], states[-1]], strict=True)
        if any(_is_between(found, pair) for pair in pairs):
            return None
        if model == "strict" and not self.acknowledged_is_safe:
            changed = {key for state in states for key in state if state[key] != states[0].get(key, {None})}
            if _is_between(found, [*states, {key: {None} for key in changed}]):
                return None
        return f"found {found}, and it should be one of {states}, or between two"

    def _states(self, begun, model):
        """What each key might have after each call, beginning with the last call that is sure to have had its effect.

        What a killed process has begun may have had it or not.
        """
        steps = [step for step in self._steps if step.begun < begun]
        ended = [number for number, step in enumerate(steps, start=1) if step.ended < begun]
        if model != "ordered" and not self.acknowledged_is_safe:
            ended = [number for number in ended if steps[number - 1].safe]
        states = [{key: {entry} for key, entry in self.initial.items()}]
        for step in steps:
            before = states[-1]
            after = {key: {entry} for key, entry in step.changes.items()}
            if step.ended == float("inf") and step is not steps[-1]:
                after = {key: entry | before.get(key, {None}) for key, entry in after.items()}
            states.append(before | after)
        return states[max(ended, default=0) :]


def _is_between(found, states):
    """Whether each key has what it might have in one of the states."""
    keys = set().union(found, *states)
    return all(any(found.get(key) in state.get(key, {None}) for state in states) for key in keys)


def put_down(tree, root):
    """Make the files and folders of a crash state."""
    for path, content in tree.items():
        place = root / os.fsdecode(path)
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def entries(store):
    """Each key of a store and its entry."""
    found = {key: store.read(key) for key in list(store.keys())}
    return {key: entry for key, entry in found.items() if entry is not None}


def opened_after(tree, root, fsync, kept):
    """Open the store in the state that a crash has left, and use it; gives the entries that were found.

    Args:
        tree: The state.
        root: Where to put it down.
        fsync: The setting.
        kept: Bytes that must not vanish from the folder.
    """
    put_down(tree, root)
    _all_kept(root, kept)
    with closing(open_store(root, fsync)) as store:
        found = entries(store)
        store.write("new", b'"new"', FAR)
    with closing(open_store(root, fsync)) as store:
        assert entries(store) == {**found, "new": b'"new"'}, "the store goes on"
        store.compact()
        assert entries(store) == {**found, "new": b'"new"'}, "and compacts"
    _all_kept(root, kept)
    return found


def _all_kept(root, kept):
    if kept:
        there = b"\n".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
        assert not [piece for piece in kept if piece not in there], "kept aside"
