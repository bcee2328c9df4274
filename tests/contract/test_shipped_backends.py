"""Every backend that comes with symcache keeps both contracts, entered by its registered name."""

from symcache_core.testing import BackendContract, SymbolCacheContract


class TestMemory(BackendContract):
    backend = "memory"


class TestMemoryCache(SymbolCacheContract):
    backend = "memory"


class TestJson(BackendContract):
    backend = "json"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols.json"}


class TestJsonCache(SymbolCacheContract):
    backend = "json"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols.json"}


class TestDiskcache(BackendContract):
    backend = "diskcache"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols"}


class TestDiskcacheCache(SymbolCacheContract):
    backend = "diskcache"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols"}
