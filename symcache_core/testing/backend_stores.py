"""What a storage backend promises about stores whose names are alike: they share nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..errors import SymcacheError
from ..protocols import CanLock, CanSeeOthers, StorageBackend
from .contract import Contract
from .harness import FAR, plain, promptly

SEPARATORS = ":|.-_ #?%/"
"""What may stand between a store's name and a key, or mean something in a path, a URL or a pattern."""

ENDS = ("2", "%", "_", " ", "*", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "u\N{COMBINING DIAERESIS}")
"""What makes another name of a name."""

KEYS = ("key", "2key", *(f"2{separator}key" for separator in SEPARATORS))
"""Some are what two names and keys, one after the other, would have in common."""

LONG = 100
"""After how many more characters than a column or an identifier may have two names differ."""

Stores = Mapping[str, StorageBackend]


class StoresApartPromises(Contract):
    """Promises of stores to each other.

    A store's name is the folder that holds it or, where the options hold no path, the option that differs from one
    folder to the next.
    """

    @pytest.fixture
    def alike(self, tmp_path: Path, opened: ExitStack) -> Stores:
        """Empty stores by name; each name is like another one."""
        return dict(self._with_names_alike(tmp_path, opened))

    def test_stores_of_names_alike_share_no_entry(self, alike: Stores) -> None:
        for name, store in alike.items():
            for key in KEYS:
                store.write(key, _of(name), FAR)
        for name, store in alike.items():
            for key in KEYS:
                found = store.read(key)
                assert found == _of(name), f"key {key!r} of store {name!r} has an entry of another store: {found!r}"
            assert sorted(store.keys()) == sorted(KEYS), f"store {name!r} lists keys of a store whose name is like it"

    def test_clearing_a_store_leaves_those_of_names_alike(self, alike: Stores) -> None:
        for name, store in alike.items():
            for key in KEYS:
                store.write(key, _of(name), FAR)
        left = dict(alike)
        for name in list(left):
            store = left.pop(name)
            assert store.delete(KEYS[0]) is True, f"an entry of store {name!r} went with that of another store"
            cleared = store.clear()
            assert cleared == len(KEYS) - 1, (
                f"clear of store {name!r} dropped {cleared}, and its own are {len(KEYS) - 1}"
            )
            for other, neighbour in left.items():
                assert neighbour.read(KEYS[1]) == _of(other), (
                    f"clear of store {name!r} dropped entries of store {other!r}"
                )

    def test_stores_of_names_alike_share_no_lease(self, alike: Stores) -> None:
        leases = []
        for name, store in alike.items():
            if not isinstance(store, CanLock):
                pytest.skip("the backend has no try_lock")
            for key in KEYS[:3]:
                lease = promptly(lambda store=store, key=key: store.try_lock(key))  # type: ignore[misc]  # bound at once
                assert lease is not None, f"the lease of {key!r} in store {name!r} is held by a store of a name like it"
                leases.append(lease)
        for lease in leases:
            lease.release()

    def test_the_generation_of_a_store_stands_still_at_writes_to_others(self, alike: Stores) -> None:
        for name, store in list(alike.items())[:3]:
            if not isinstance(store, CanSeeOthers):
                pytest.skip("the backend has no generation")
            store.write("key", b"{}", FAR)
            before = store.generation()
            for other, neighbour in alike.items():
                if neighbour is not store:
                    neighbour.write("key", _of(other), FAR)
                    neighbour.clear()
            assert store.generation() == before, f"the generation of store {name!r} moves at writes to another store"

    def _with_names_alike(self, folder: Path, opened: ExitStack) -> Iterator[tuple[str, StorageBackend]]:
        option = self._naming_option(folder)
        if option is None:
            for place in folders_alike(folder):
                yield str(place.relative_to(folder)), self.open(place, opened)
            return
        options = plain(self.settings(folder / "store"))
        for name in _alike(options[option]):
            try:
                store = self.open_with(folder, {**options, option: name}, opened)
                store.clear()
            except SymcacheError:
                continue  # a name that is refused aloud is nobody's
            opened.callback(store.clear)
            yield name, store

    def _naming_option(self, folder: Path) -> str | None:
        """The option that names a store where none is a path."""
        one, other = (plain(self.settings(folder / name)) for name in ("store", "other"))
        differing = [name for name, value in one.items() if value != other.get(name)]
        if any(_is_a_place(one[name], folder) for name in differing):
            return None
        return next((name for name in differing if isinstance(one[name], str)), None)


def _is_a_place(value: Any, folder: Path) -> bool:
    return str(folder) in str(value) or "://" in str(value)


def _alike(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}{end}" for end in ENDS)
    yield from (f"{name}{separator}2" for separator in SEPARATORS)
    yield f"{name}%202"  # one of those before, as a URL has it
    yield from (f"{name[:-1]}%", f"{name[:-1]}_", f"{name[:-1]}*", name[:-1], f" {name}")
    if name.swapcase() != name:
        yield name.swapcase()
    yield from (f"{name}{'x' * LONG}{end}" for end in "12")


def folders_alike(folder: Path) -> Iterator[Path]:
    """Folders that the file system tells apart, and whose names it takes as they are."""
    seen: set[tuple[int, int]] = set()
    for name in (*_alike("store"), "a  b", "a b", "%73tore", "file:store", "..store"):
        place = folder / name
        try:
            place.mkdir(parents=True, exist_ok=True)
            status = os.stat(place)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) not in seen and (place.name in os.listdir(place.parent)):
            seen.add((status.st_dev, status.st_ino))
            yield place


def _of(name: str) -> bytes:
    return b'{"store":"%b"}' % name.encode().hex().encode()
