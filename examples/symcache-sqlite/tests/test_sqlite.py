"""The contract of symcache's backends, tried on this one."""

from pathlib import Path
from typing import Any

from symcache_core.testing import BackendContract


class TestSqlite(BackendContract):
    backend = "sqlite"

    def settings(self, tmp_path: Path) -> dict[str, Any]:
        return {"path": tmp_path / "symbols.db"}
