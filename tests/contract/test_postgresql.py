"""A backend of a third party over PostgreSQL keeps both contracts, with its server away from time to time."""

import hashlib

import pytest
from postgresql_server import PASSWORD, USER, postgresql_server

from symcache_core.testing import BackendContract, SymbolCacheContract, TcpProxy

# Its tests run beside those of the other server.
backend = "redis"

pytest.importorskip("psycopg", reason="there is no driver of PostgreSQL: pip install 'psycopg[binary]'")


@pytest.fixture(scope="module")
def proxy():
    """A way to the server that can be cut."""
    with postgresql_server() as port, TcpProxy("127.0.0.1", port) as proxy:
        yield proxy


class OnServer:
    plugins = ("third_party.postgresql",)

    @pytest.fixture(autouse=True)
    def _server(self, proxy):
        self.proxy = proxy

    def settings(self, tmp_path):
        url = f"postgresql://{USER}:{PASSWORD}@{self.proxy.host}:{self.proxy.port}/postgres"
        return {"url": url, "store": hashlib.sha256(str(tmp_path).encode()).hexdigest()}


class TestPostgresql(OnServer, BackendContract):
    backend = "postgresql"


class TestPostgresqlCache(OnServer, SymbolCacheContract):
    backend = "postgresql"
