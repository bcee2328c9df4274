from symcache_core.testing import BackendContract


class TestSqlite(BackendContract):
    backend = "sqlite"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols.db"}
