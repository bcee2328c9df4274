"""A diskcache folder on a full disk whose blocks are smaller than a page: the index of the log has holes there."""

import os
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError

backend = "diskcache"
FAR = 4102444800.0

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root: to mount"),
    pytest.mark.soak,
]


@pytest.fixture
def disk(tmp_path):
    image, place = tmp_path / "image", tmp_path / "place"
    with image.open("wb") as file:
        file.truncate(6 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", image], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk, *, but=0):
    with (disk / "fill").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1 << 10, 1 << 9, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass
        file.truncate(max(0, file.tell() - but))
    os.sync()


def run(program, *options):
    command = [sys.executable, "-c", program, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


OPENED = """
import os, signal, sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError
store = DiskBackend(DiskSettings(path=Path(sys.argv[1]), lock_timeout=2))
"""


@pytest.mark.parametrize("left", ["closed", "killed"])
def test_whatever_room_is_left_nobody_is_killed_and_what_is_stored_is_read(disk, left):
    for but in range(0, 72_000, 3000):
        (disk / "fill").unlink(missing_ok=True)
        end = "store.close()" if left == "closed" else "os.kill(os.getpid(), signal.SIGKILL)"
        run(OPENED + f"store.write('key', b'{{}}', {FAR})\n{end}", disk / "symbols")
        fill(disk, but=but)
        program = f"""
assert store.read("key") == b"{{}}"
for number in range(20):
    try:
        store.write(f"new {{number}}", b"1" * 3000, {FAR})
    except BackendUnavailableError:
        continue
    assert store.read(f"new {{number}}") == b"1" * 3000
assert store.read("key") == b"{{}}"
os.unlink(sys.argv[2])
store.write("after", b"{{}}", {FAR})
store.close()
"""
        ended = run(OPENED + program, disk / "symbols", disk / "fill")
        assert (ended.returncode, ended.stderr) == (0, ""), (but, ended)


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_is_full_now_and_then_loses_nothing_that_was_acknowledged(disk, seed):
    ended = run(STORING, disk, seed)
    assert (ended.returncode, ended.stderr) == (0, "")


STORING = """
import random, sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendError
disk, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))

def opened():
    return DiskBackend(DiskSettings(path=disk / "symbols", lock_timeout=2))

def fill():
    with (disk / "fill").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1 << 9, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass

store = opened()
possible = {}
for turn in range(60):
    fill() if chance.random() < 0.5 else (disk / "fill").unlink(missing_ok=True)
    for number in range(chance.randint(1, 20)):
        key, entry = f"key{chance.randint(0, 40)}", b"%d.%d " % (turn, number)
        entry += b"z" * chance.choice([10, 900, 20_000, 40_000])
        try:
            store.write(key, entry, 4102444800.0)
            possible[key] = {entry}
        except BackendError:
            possible.setdefault(key, {None}).add(entry)
    if chance.random() < 0.4:
        store.close()
        try:
            store = opened()
        except BackendError:
            (disk / "fill").unlink()
            store = opened()
    for key, entries in possible.items():
        try:
            assert store.read(key) in entries, (turn, key)
        except BackendError:
            continue
(disk / "fill").unlink(missing_ok=True)
store.write("last", b"{}", 4102444800.0)
store.close()
store = opened()
for key, entries in possible.items():
    assert store.read(key) in entries, key
store.close()
"""


def test_two_stores_of_one_process_on_a_full_disk_both_read_and_neither_is_killed(disk):
    program = f"""
store.write("key", b"{{}}", {FAR})
other = DiskBackend(DiskSettings(path=Path(sys.argv[1]), lock_timeout=2))
with open(sys.argv[2], "wb", buffering=0) as file:
    for size in (1 << 16, 1 << 9, 1):
        try:
            while file.write(b"x" * size):
                pass
        except OSError:
            pass
refused = 0
for number in range(300):
    for one in (store, other):
        try:
            one.write_many({{f"{{number}}.{{part}}": (b"1" * 3000, {FAR}) for part in range(20)}})
        except BackendUnavailableError:
            refused += 1
        assert one.read("key") == b"{{}}"
assert refused
"""
    ended = run(OPENED + program, disk / "symbols", disk / "fill")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_index_has_no_holes_once_a_store_is_open(disk):
    folder = disk / "symbols"
    with closing(DiskBackend(DiskSettings(path=folder))) as store:
        store.write("key", b"{}", FAR)
        found = (folder / "cache.db-shm").stat()
        assert found.st_blocks * 512 >= found.st_size


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_store_that_cannot_be_made_is_an_empty_one_until_it_can(disk, how):
    if how == "full":
        fill(disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with closing(DiskBackend(DiskSettings(path=disk / "symbols", lock_timeout=1))) as store:
        assert store.read("key") is None
        assert list(store.keys()) == []
        assert store.word() is None
        assert store.generation() == store.generation()
        assert store.size() >= 0
        for call in (lambda: store.write("key", b"{}", FAR), store.clear, store.compact, lambda: store.delete("key")):
            with pytest.raises(BackendUnavailableError, match=r"(?i)no space|read-only|full|disk i/o|unable to open"):
                call()
        assert store.read("key") is None
        if how == "full":
            (disk / "fill").unlink()
        else:
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        store.write("key", b"{}", FAR)
        assert store.read("key") == b"{}"
    with closing(DiskBackend(DiskSettings(path=disk / "symbols", lock_timeout=1))) as store:
        assert set(store.keys()) == {"key"}


def test_a_store_is_opened_whatever_room_there_is_to_make_it(disk):
    for but in (0, 4000, 20_000, 40_000, 52_000, 60_000, 68_000, 76_000):
        (disk / "fill").unlink(missing_ok=True)
        shutil.rmtree(disk / "symbols", ignore_errors=True)
        fill(disk, but=but)
        ended = run(OPENED + "assert store.read('key') is None; store.close()", disk / "symbols")
        assert (ended.returncode, ended.stderr) == (0, ""), (but, ended)
