"""Backends that take another path than they are given, spoil what is there, or misjudge what keeps them from writing.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from reference_backends import SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.errors import BackendError, BackendUnavailableError


class CutsItsPath(SqliteStore):
    """takes its path for a URL, of which a question mark or a # ends the file's name"""

    caught_by = "test_paths_that_are_alike_are_stores_apart"

    def __init__(self, settings):
        name = settings.path.name.partition("#")[0].partition("?")[0]
        super().__init__(settings.model_copy(update={"path": settings.path.with_name(name or "store")}))


class DecodesItsPath(SqliteStore):
    """takes %20 in its path for a blank"""

    caught_by = "test_paths_that_are_alike_are_stores_apart"

    def __init__(self, settings):
        path = Path(unquote(str(settings.path)))
        super().__init__(settings.model_copy(update={"path": path}))


class PutsAFileIntoAFolder(SqliteStore):
    """makes a file in the folder that is in its file's place"""

    caught_by = "test_a_folder_in_the_place_of_a_file_is_a_wrong_configuration"

    def __init__(self, settings):
        path = settings.path / "data" if settings.path.is_dir() else settings.path
        super().__init__(settings.model_copy(update={"path": path}))


class FindsAFolderUnavailable(SqliteStore):
    """takes a folder in its file's place for something that passes"""

    caught_by = "test_a_folder_in_the_place_of_a_file_is_a_wrong_configuration"

    def __init__(self, settings):
        if settings.path.is_dir():
            raise BackendUnavailableError(f"{settings.path} cannot be opened")
        super().__init__(settings)


class BeginsAnew(SqliteStore):
    """begins a new file in the place of one that it does not understand"""

    caught_by = "test_a_file_of_something_else_is_left_as_it_is"

    def __init__(self, settings):
        try:
            super().__init__(settings)
        except BackendUnavailableError as error:
            if not isinstance(error.__cause__, sqlite3.DatabaseError):
                raise
            settings.path.unlink()
            super().__init__(settings)


class BlamesTheEntry(SqliteStore):
    """refuses an entry for its length where the storage is full"""

    caught_by = "test_a_full_store_is_one_that_takes_no_writes_for_now"

    @contextmanager
    def _mapped(self):
        try:
            with super()._mapped():
                yield
        except BackendUnavailableError as error:
            if "full" not in f"{error.__cause__} {error.__cause__.__context__}":  # which has been rolled back already
                raise
            raise BackendError("this entry is too large") from None


class WaitsForEver(SqliteStore):
    """waits for who writes, however long that is"""

    caught_by = "test_a_process_that_was_stopped_in_an_update_keeps_nobody_waiting_for_ever"

    def _connected(self):
        con = super()._connected()
        con.execute("PRAGMA busy_timeout = 86400000")
        return con


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
