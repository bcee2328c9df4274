"""A backend over LMDB, written from the authors' page as a third party would, keeps both contracts."""

from symcache_core.testing import BackendContract, SymbolCacheContract

# It has no environment of its own.
backend = "memory"


class OverLmdb:
    backend = "lmdb"
    plugins = ("over_lmdb",)

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols.lmdb"}


class TestLmdb(OverLmdb, BackendContract):
    backend = "lmdb"

    def small(self, tmp_path):
        return {"path": tmp_path / "symbols.lmdb", "map_size": 1 << 23}


class TestLmdbCache(OverLmdb, SymbolCacheContract):
    backend = "lmdb"
