"""What a storage backend promises about files that were damaged; tried in a process of its own, which may crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from .backend_sharing import Workers
from .contract import Contract


class DamagePromises(Contract):
    """Promises of a store whose files someone else has spoiled while nobody had it open."""

    @pytest.mark.parametrize("damage", ["cut", "overwritten", "emptied"])
    def test_a_damaged_store_gives_no_wrong_entry_and_only_our_errors(
        self, tmp_path: Path, workers: Workers, damage: str
    ) -> None:
        folder, worker = tmp_path / "store", workers[0]
        written = {f"key{number}": '{"n":"%s"}' % (str(number) * 500) for number in range(20)}
        worker.ask("open", **self.address(folder))
        for key, entry in written.items():
            worker.ask("write", key=key, entry=entry)
        worker.ask("close")
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        if not files:
            pytest.skip("the backend keeps no files in its folder")
        for path in files:
            path.write_bytes(_damaged(path.read_bytes(), damage))
        wrong = worker.ask("examine", written=written, address=self.address(folder))
        assert wrong is None, f"files were {damage}, and {wrong}"


def _damaged(whole: bytes, damage: str) -> bytes:
    return {"cut": whole[: len(whole) // 2], "overwritten": b"\xff\x00" * 512, "emptied": b""}[damage]
