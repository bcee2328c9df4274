"""The log of a diskcache folder that is removed or cut short while programs have it open."""

import os
import subprocess
import sys
from contextlib import closing

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings

backend = "diskcache"
FAR = 4102444800.0

OTHER = """
import sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
store = DiskBackend(DiskSettings(path=Path(sys.argv[1]), lock_timeout=2))
assert store.read("key1") is not None
print("open", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
store.close()
"""


def opened(folder):
    return DiskBackend(DiskSettings(path=folder, lock_timeout=2))


class Other:
    """Another process that has the store open."""

    def __init__(self, folder):
        command = [sys.executable, "-c", OTHER, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "open\n"

    def tell(self, what):
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(20) == 0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "symbols"


def stored(store, count=60):
    for number in range(count):
        store.write(f"key{number}", b'{"x":"%b"}' % (b"1" * 500), FAR)
    return {f"key{number}" for number in range(count)}


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_what_is_stored_after_a_log_was_cut_short_is_kept_and_the_loss_is_said(folder, share, caplog):
    store = opened(folder)
    stored(store)
    log = folder / "cache.db-wal"
    os.truncate(log, int(log.stat().st_size * share))
    store.write("after", b"[]", FAR)
    left = set(store.keys())
    store.write("later", b"[]", FAR)
    assert "cache.db-wal was cut short" in caplog.text
    store.close()
    with closing(opened(folder)) as again:
        assert set(again.keys()) == left | {"later"} >= {"after", "later"}


@pytest.mark.parametrize("share", [0, 0.5])
def test_of_two_programs_each_keeps_what_it_stores_after_a_log_was_cut_short(folder, share):
    with closing(opened(folder)) as store:
        stored(store, 5)
        with closing(Other(folder)) as other:
            stored(store)
            log = folder / "cache.db-wal"
            os.truncate(log, int(log.stat().st_size * share))
            assert other.tell(f"store.write('theirs', b'[]', {FAR})") == "None"
            store.write("ours", b"[]", FAR)
            assert other.tell("store.read('ours'), store.read('theirs')") == "(b'[]', b'[]')"
            assert store.read("ours") == store.read("theirs") == b"[]"
    with closing(opened(folder)) as again:
        assert {"ours", "theirs"} <= set(again.keys())


def test_reading_goes_on_after_a_log_was_cut_short(folder):
    with closing(opened(folder)) as store:
        stored(store)
        os.truncate(folder / "cache.db-wal", 20_000)
        assert store.read("key59") is None
        assert store.read("key59") is None
        store.write("key59", b"[]", FAR)
        assert store.read("key59") == b"[]"


def test_a_log_that_is_removed_under_a_program_loses_nothing(folder):
    with closing(opened(folder)) as store:
        there = stored(store)
        (folder / "cache.db-wal").unlink()
        store.write("after", b"[]", FAR)
        assert set(store.keys()) == there | {"after"}
    with closing(opened(folder)) as again:
        assert set(again.keys()) == there | {"after"}


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("many", [1, 200])
def test_a_log_that_is_removed_under_two_programs_loses_nothing(folder, first, many):
    with closing(opened(folder)) as store:
        there = stored(store, 5)
        with closing(Other(folder)) as other:
            there |= stored(store)
            other.tell(f"store.write('theirs', b'[]', {FAR})")
            (folder / "cache.db-wal").unlink()
            for who in ("ours", "theirs") if first == "ours" else ("theirs", "ours"):
                for number in range(many):
                    if who == "ours":
                        store.write(f"ours{number}", b"[]", FAR)
                    else:
                        other.tell(f"store.write('theirs{number}', b'[]', {FAR})")
                there |= {f"{who}{number}" for number in range(many)}
            there.add("theirs")
            assert set(store.keys()) == there
            assert other.tell("len(set(store.keys()))") == str(len(there))
    with closing(opened(folder)) as again:
        assert set(again.keys()) == there


def test_who_closes_after_a_log_was_removed_and_begun_anew_by_another_spoils_nothing(folder):
    with closing(opened(folder)) as store:
        there = stored(store, 5)
        other = Other(folder)
        there |= stored(store)
        (folder / "cache.db-wal").unlink()
        other.tell(f"[store.write('key3', b'[1]', {FAR}) for _ in range(50)]")
        other.close()
    with closing(opened(folder)) as again:
        assert set(again.keys()) == there
        assert again.read("key3") == b"[1]"
