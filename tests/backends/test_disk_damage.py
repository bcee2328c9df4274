"""Files of a diskcache folder that are cut short under running programs: an error or a reload, and never a signal."""

import subprocess
import sys

import pytest

backend = "diskcache"

PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendError
folder = Path(sys.argv[1])
store = DiskBackend(DiskSettings(path=folder, lock_timeout=0.5))
FAR = 4102444800.0
if len(sys.argv) == 2:  # the other one
    assert store.read("key1") == b"{}"
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(5):
        try:
            assert store.read("key1") in (b"{}", None)
            assert set(store.keys()) <= {f"key{number}" for number in range(300)} | {"new"}
        except BackendError as error:
            print(error, flush=True)
    sys.exit()
for number in range(300):
    store.write(f"key{number}", b"{}", FAR)
other = subprocess.Popen(
    [sys.executable, "-c", os.environ["PROGRAM"], str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
other.stdout.readline()
for name in sys.argv[3:]:
    os.truncate(folder / name, int(sys.argv[2]))
errors = 0
for call in (
    lambda: store.read("key1"), lambda: store.write("new", b"{}", FAR), lambda: store.read("new"), store.generation,
    lambda: list(store.keys()), lambda: store.delete("key2"), store.compact, store.size,
):
    try:
        call()
    except BackendError:
        errors += 1
said = other.communicate("\\n")[0]
assert other.returncode == 0, (other.returncode, said)
store.close()
if "cache.db" not in sys.argv and "cache.db-wal" not in sys.argv:
    assert errors == 0, errors
    again = DiskBackend(DiskSettings(path=folder))
    assert set(again.keys()) == {f"key{number}" for number in range(300)} - {"key2"} | {"new"}
    again.close()
"""

FILES = ["cache.db", "cache.db-wal", "cache.db-shm", "symcache.lock"]


@pytest.mark.parametrize("names", [*([name] for name in FILES), FILES], ids=[*FILES, "all of them"])
@pytest.mark.parametrize("size", [0, 4096, 10_000])
def test_a_file_that_is_cut_short_under_two_programs_kills_neither(tmp_path, monkeypatch, names, size):
    monkeypatch.setenv("PROGRAM", PROGRAM)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "symbols"), str(size), *names]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = run.stderr.splitlines()
    assert run.returncode == 0, said
    if names == ["cache.db-wal"]:
        assert len(said) == 1
        assert said[0].endswith("cache.db-wal was cut short while it was in use; what was stored last is lost")
    else:
        assert [line for line in said if "was cut short while it was in use" not in line] == []
