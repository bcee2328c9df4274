"""Every backend that comes with symcache keeps both contracts, entered by its registered name."""

import pytest

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


class OnServer:
    """A namespace for each store, on the server that tests share."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.url = redis_server.url

    def settings(self, tmp_path):
        return {"url": self.url, "namespace": ":".join(tmp_path.parts[1:]), "lease": 0.5}


class TestRedis(OnServer, BackendContract):
    backend = "redis"


class TestRedisCache(OnServer, SymbolCacheContract):
    backend = "redis"
