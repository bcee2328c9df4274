"""Things that are no files where a diskcache folder has some, and reads that fail: no waiting, and clear errors."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing

import pytest
from tracing import why_not

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError, ConfigurationError, CorruptStoreError

backend = "diskcache"
FAR = 4102444800.0
LONG = b'{"long":"%b"}' % (b"x" * 40_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    return tmp_path / "symbols"


def opened(folder):
    return DiskBackend(DiskSettings(path=folder, lock_timeout=1))


def _socket(path):
    with closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(os.path.relpath(path))


def _loop(path):
    path.symlink_to(path.name)


def _device(path):
    path.symlink_to("/dev/zero")


def _folder(path):
    path.mkdir()


KINDS = [os.mkfifo, _socket, _loop, _device, _folder]
BESIDE = ["cache.db-journal", "cache.db-wal", "cache.db-shm"]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("there", [False, True], ids=["a new folder", "a store"])
def test_what_is_no_file_beside_the_database_is_refused_by_name(folder, name, make, there):
    if there:
        opened(folder).close()
    else:
        folder.mkdir()
    make(folder / name)
    with pytest.raises(ConfigurationError, match=rf"{name} is a .*remove it, or set 'backends\.diskcache\.path'"):
        opened(folder)
    assert os.path.lexists(folder / name)


@pytest.mark.parametrize("make", KINDS)
def test_what_is_no_file_in_the_place_of_a_long_entry_is_a_miss(folder, make, caplog):
    with closing(opened(folder)) as store:
        store.write("key", LONG, FAR)
        (file,) = folder.rglob("*.val")
        file.unlink()
        make(file)
        assert store.read("key") is None
        assert "refused" in caplog.text
        store.write("key", LONG, FAR)
        assert store.read("key") == LONG


def _a_file(path):
    path.write_bytes(b"theirs")


@pytest.mark.parametrize("make", [_a_file, os.mkfifo, _socket, _loop, _device])
def test_what_takes_the_place_of_an_open_folder_is_out_of_reach_until_it_goes(folder, make):
    store = opened(folder)
    store.write("key", b"{}", FAR)
    folder.rename(folder.with_name("aside"))
    make(folder)
    for call in (
        lambda: store.read("key"),
        lambda: store.write("key", b"{}", FAR),
        lambda: store.update("key", lambda entry: (b"{}", FAR)),
        lambda: list(store.keys()),
        lambda: store.delete("key"),
        store.clear,
        store.compact,
        store.size,
    ):
        with pytest.raises(BackendUnavailableError, match=r"backends\.diskcache\.path"):
            call()
    folder.unlink()
    folder.with_name("aside").rename(folder)
    assert store.read("key") == b"{}"
    store.close()


@pytest.mark.parametrize("make", [_a_file, os.mkfifo, _loop, _device])
@pytest.mark.parametrize("name", ["", "cache.db", "symcache.lock", "leases"])
def test_closing_beside_something_else_at_the_path_is_no_error(folder, make, name):
    store = opened(folder)
    store.write("key", b"{}", FAR)
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)
    found = os.lstat(path)
    store.close()
    assert os.lstat(path).st_ino == found.st_ino


@pytest.mark.parametrize("leads_to", ["symbols", "nowhere"])
def test_a_link_that_leads_nowhere_is_refused_by_name(folder, leads_to):
    folder.symlink_to(leads_to)
    with pytest.raises(ConfigurationError, match=r"symbols is a symlink that leads nowhere: set 'backends\.diskcache"):
        opened(folder)


READING = """
import sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendError
try:
    store = DiskBackend(DiskSettings(path=Path(sys.argv[1]), lock_timeout=1))
except BackendError as error:
    print(type(error).__name__)
    store = DiskBackend(DiskSettings(path=Path(sys.argv[1]), lock_timeout=1))
for call in (lambda: store.read("key7"), lambda: store.write("key8", b"{}", 4102444800.0), lambda: list(store.keys())):
    try:
        call()
    except BackendError as error:
        print(type(error).__name__)
assert store.read("key7") == b"{}"
store.close()
"""


@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.parametrize("times", ["once", "always"])
def test_a_read_that_fails_is_never_taken_for_damage(folder, times):
    with closing(opened(folder)) as store:
        for number in range(50):
            store.write(f"key{number}", b"{}", FAR)
    failed = 0
    for number in range(1, 16) if times == "once" else (1, 2, 3, 5, 8, 12):
        when = str(number) if times == "once" else f"{number}+"
        command = ["strace", "-f", "-o", os.devnull, "-P", str(folder / "cache.db")]
        command += ["-e", "trace=pread64", "-e", f"inject=pread64:error=EIO:when={when}"]
        command += [sys.executable, "-c", READING, str(folder)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = ended.stdout.split()
        assert set(said) <= {"BackendUnavailableError"}, (number, said)
        if times == "once":
            assert ended.returncode == 0, (number, ended.stderr)
        failed += len(said)
    assert failed


def test_what_is_damaged_is_still_called_so(folder):
    with closing(opened(folder)) as store:
        for number in range(200):
            store.write(f"key{number}", b'{"x":"%b"}' % (b"1" * 500), FAR)
    with (folder / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 100_000)
    with pytest.raises(CorruptStoreError, match="move it away"), closing(opened(folder)) as store:
        store.read("key1")
