"""What a storage backend promises about an option that is a path: it names one file, and takes no other for it."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..errors import ConfigurationError, SymcacheError
from ..protocols import StorageBackend
from .backend_sharing import Workers
from .backend_stores import folders_alike
from .contract import Contract
from .harness import FAR, plain, raises

SOMETHING_ELSE = {
    "a text": b"This is a letter to a friend.\n" * 300,
    "a table": b"symbol,price\nAAPL,1.10\n" * 300,
    "bytes": b"\x89" + random.Random(1).randbytes(9_000),
}
"""What may stand in a file that was never a store."""


class PathPromises(Contract):
    """Promises of a store whose options say where its file is."""

    def test_paths_that_are_alike_are_stores_apart(self, tmp_path: Path, opened: ExitStack) -> None:
        options = plain(self.settings(tmp_path / "store"))
        option = next(iter(_paths(options, tmp_path / "store")), None)
        if option is None:
            pytest.skip("the backend has no option that is a path")
        folder, stores = tmp_path / "stores", dict[str, StorageBackend]()
        for name in dict.fromkeys(place.name for place in folders_alike(tmp_path / "names")):
            try:
                store = self._opened_at(option, folder / name, options, folder, opened)
                store.write("key", b"{}", FAR)
            except SymcacheError:
                continue  # a name that is refused aloud is nobody's
            stores[name] = store
        for name, store in stores.items():
            store.write("key", _of(name), FAR)
        for name, store in stores.items():
            found = store.read("key")
            assert found == _of(name), (
                f"the store at {name!r} gives {found!r}, which was written to another path: use a path as it is, and "
                "cut or decode nothing of it"
            )
        for name, store in stores.items():
            assert store.clear() == 1, f"the store at {name!r} was cleared with one at another path"

    def test_a_folder_in_the_place_of_a_file_is_a_wrong_configuration(self, tmp_path: Path, opened: ExitStack) -> None:
        options = plain(self.settings(tmp_path / "store"))
        for option in self._options_that_are_files(tmp_path / "store", opened):
            folder = tmp_path / f"folder for {option}"
            folder.mkdir()
            opening = partial(self._opened_at, option, folder, options, tmp_path, opened)
            due = f"option {option!r} is a file, and was given a folder: open has to raise ConfigurationError"
            raises(ConfigurationError, opening, due)
            assert os.listdir(folder) == [], f"{due}, and to make nothing in it"

    @pytest.mark.parametrize("what", SOMETHING_ELSE)
    def test_a_file_of_something_else_is_left_as_it_is(
        self, tmp_path: Path, opened: ExitStack, workers: Workers, what: str
    ) -> None:
        for option in self._options_that_are_files(tmp_path / "store", opened):
            address = self.address(tmp_path / "other")
            path = Path(address["options"][option])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(SOMETHING_ELSE[what])
            wrong = workers[0].ask("examine", written={}, address=address)  # in a process that may crash
            assert wrong is None, f"{what} was in the place of the store, and {wrong}"
            left = path.read_bytes() if path.exists() else None
            assert left == SOMETHING_ELSE[what], (
                f"{what} was in the place of the store, and is no longer as it was: whatever you do not understand may "
                "be somebody's, so raise CorruptStoreError, and change nothing"
            )

    def _opened_at(
        self, option: str, path: Path, options: Mapping[str, Any], folder: Path, opened: ExitStack
    ) -> StorageBackend:
        folder.mkdir(exist_ok=True)
        return self.open_with(folder, {**options, option: str(path)}, opened)

    def _options_that_are_files(self, folder: Path, opened: ExitStack) -> list[str]:
        """Which options say where a file of the store is; skips a test if none does."""
        store = self.open(folder, opened)
        store.write("key", b"{}", FAR)
        store.close()
        paths = _paths(plain(self.settings(folder)), folder)
        files = [option for option, path in paths.items() if not path.is_dir()]
        if not files:
            pytest.skip("the backend has no option that is a file")
        return files


def _paths(options: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """The options that are a path below a folder."""
    given = {
        option: Path(str(value)) for option, value in options.items() if str(value).startswith(f"{folder}{os.sep}")
    }
    return {option: path for option, path in given.items() if "://" not in str(path)}


def _of(name: str) -> bytes:
    return b'{"store":"%b"}' % name.encode().hex().encode()
