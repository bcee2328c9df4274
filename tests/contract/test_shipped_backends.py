"""Every backend that comes with symcache keeps both contracts, entered by its registered name."""

import pytest

from symcache_core.testing import BackendContract, SymbolCacheContract, TcpProxy
from symcache_core.testing.backend_outage_beside import OutageBesidePromises


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


PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def guarded_redis(start_redis):
    """A server that wants a password."""
    return start_redis("--requirepass", PASSWORD)


class OnServer:
    """A namespace for each store, on the server that these tests share, behind a proxy that takes it away."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _proxied(cls, guarded_redis):
        with TcpProxy("127.0.0.1", guarded_redis.port) as cls.proxy:
            yield

    def settings(self, tmp_path):
        namespace = ":".join(tmp_path.parts[1:])
        url = f"redis://:{PASSWORD}@{self.proxy.host}:{self.proxy.port}/0"
        return {"url": url, "namespace": namespace, "lease": 0.5}


class TestRedis(OnServer, BackendContract):
    backend = "redis"


@pytest.mark.soak
class TestRedisThatIsSilent(OnServer, OutageBesidePromises):
    """An outage in which nobody is refused, and nobody gets an answer."""

    backend = "redis"

    def settings(self, tmp_path):
        return {**super().settings(tmp_path), "timeout": 0.5}

    def outage(self):
        return self.proxy.silent()


class TestRedisCache(OnServer, SymbolCacheContract):
    backend = "redis"
