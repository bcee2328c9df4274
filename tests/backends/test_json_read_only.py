"""A json store that takes no writes, for permissions, a read-only mount or a full disk, is read, and says so."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from symcache_backends.json_file import opening
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import BackendUnavailableError
from symcache_core.models import Outcome

backend = "json"
FAR = 4102444800.0

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: to mount")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "s.json"


def beside(path, suffix):
    return path.with_name(path.name + suffix)


AS_NOBODY = """
import os, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendUnavailableError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
store = JsonFileBackend(Path(sys.argv[1]), lock_timeout=1)
print(sorted(store.keys()), store.read("key"), store.word() is None, flush=True)
for write in (lambda: store.write("new", b"{}", 4e9), lambda: store.delete("key"), store.clear, store.compact):
    try:
        write()
    except BackendUnavailableError as error:
        print(str(error).endswith("Permission denied"), end=" ", flush=True)
print(flush=True)
sys.stdin.readline()
print(sorted(store.keys()), flush=True)
sys.stdin.readline()
store.write("new", b"{}", 4e9)
print(sorted(store.keys()), store.word() is None, flush=True)
store.close()
"""


def let_in(folder, mode, file_mode):
    for file in folder.iterdir():
        file.chmod(file_mode)
    folder.chmod(mode)


@pytest.fixture
def folder():
    """A folder that everybody may reach."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    (made / "data").chmod(0o700)
    shutil.rmtree(made)


@pytest.mark.parametrize("left", ["in use", "closed", "the snapshot alone"])
def test_who_may_only_read_reads_and_writes_when_allowed_to(folder, left):
    path = folder / "data" / "s.json"
    store = JsonFileBackend(path)
    store.write("key", b"{}", FAR)
    store.write("other", b"{}", FAR)
    if left != "in use":
        store.close()
    if left == "the snapshot alone":
        beside(path, ".lock").unlink()
        beside(path, ".journal").unlink()
    there = sorted(file.name for file in path.parent.iterdir())
    let_in(path.parent, 0o555, 0o444)
    with subprocess.Popen(
        [sys.executable, "-c", AS_NOBODY, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nobody:
        assert nobody.stdout.readline() == "['key', 'other'] b'{}' True\n"
        assert nobody.stdout.readline() == "True True True True \n"
        assert sorted(file.name for file in path.parent.iterdir()) == there
        let_in(path.parent, 0o777, 0o666)
        with closing(JsonFileBackend(path)) as other:
            other.write("later", b"{}", FAR)
            let_in(path.parent, 0o555, 0o444)
            nobody.stdin.write("\n")
            nobody.stdin.flush()
            assert nobody.stdout.readline() == "['key', 'later', 'other']\n"
            let_in(path.parent, 0o777, 0o666)
            nobody.stdin.write("\n")
            nobody.stdin.flush()
            assert nobody.stdout.readline() == "['key', 'later', 'new', 'other'] False\n"
            assert other.read("new") == b"{}"
    assert nobody.returncode == 0
    store.close()


def refuse(monkeypatch, number):
    """Let nothing be opened for writing, as on a mount that is read-only or full."""
    really = opening.open_file

    def open_file(path, flags):
        if flags & os.O_RDWR:
            raise OSError(number, os.strerror(number))
        return really(path, flags)

    monkeypatch.setattr(opening, "open_file", open_file)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_store_that_cannot_be_made_is_empty_and_made_when_it_can_be(path, monkeypatch, number):
    path.parent.mkdir()
    with monkeypatch.context() as patch:
        refuse(patch, number)
        store = JsonFileBackend(path)
        assert (list(store.keys()), store.read("a"), store.size(), store.word()) == ([], None, 0, None)
        with pytest.raises(BackendUnavailableError, match=os.strerror(number)):
            store.write("a", b"{}", FAR)
        assert list(path.parent.iterdir()) == []
    store.write("a", b"{}", FAR)
    assert store.read("a") == b"{}"
    store.close()


def test_a_store_that_is_not_there_and_may_not_be_made_is_refused(path, monkeypatch):
    refuse(monkeypatch, errno.EACCES)
    with pytest.raises(BackendUnavailableError, match=r"backends\.json\.path.*Permission denied"):
        JsonFileBackend(path)


def test_a_file_of_an_unversioned_cache_that_cannot_be_taken_over_is_unavailable_and_not_corrupt(path, monkeypatch):
    path.parent.mkdir()
    path.write_text('{"AAPL": {"validation_result": {"is_valid": true}}}')
    refuse(monkeypatch, errno.EROFS)
    with pytest.raises(BackendUnavailableError, match="Read-only"):
        JsonFileBackend(path)


def test_lookups_over_a_store_that_takes_no_writes_are_answered_and_kept_until_it_does(
    path, monkeypatch, clock, provider
):
    settings = SymcacheSettings(provider="ib", backends={"json": {"path": path}}, storage_retry=5)
    with open_symbol_cache(settings, clock=clock) as cache:
        cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL"))

    def ask(symbol):
        return asyncio.run(cache.get_or_validate(symbol, (), provider.validate)).outcome

    with monkeypatch.context() as patch:
        refuse(patch, errno.EROFS)
        cache = open_symbol_cache(settings, clock=clock)
        assert ask("AAPL") is Outcome.HIT
        assert ask("MSFT") is Outcome.MISS
        assert ask("AAPL") is ask("MSFT") is Outcome.HIT
        assert (cache.get_stats().degraded, cache.get_stats().unwritten) == (True, 1)
    clock.advance(5)
    assert ask("AAPL") is Outcome.HIT
    clock.advance(5)
    assert ask("IBM") is Outcome.MISS
    assert ask("MSFT") is Outcome.HIT
    assert not cache.get_stats().degraded
    cache.close()
    with open_symbol_cache(settings, clock=clock) as other:
        assert sorted(other.symbols()) == ["AAPL", "IBM", "MSFT"]


# -- on a disk of its own ----------------------------------------------------------------------------------------------


@contextmanager
def mounted(tmp_path):
    image, place = tmp_path / "image", tmp_path / "place"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)


FILL = """
import os, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendUnavailableError
place = Path(sys.argv[1])

def fill():
    for number, size in enumerate((1 << 16, 1 << 10, 100)):
        with (place / f"fill{number}").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass

def free():
    for number in range(3):
        (place / f"fill{number}").unlink()

def write_all():
    refused = 0
    for number in range(300):
        try:
            store.write(f"new {number}", b'{"x":"%b"}' % (b"x" * 1000), 4e9)
        except BackendUnavailableError as error:
            assert "No space left" in str(error), error
            refused += 1
    return refused
"""


def run(place, program):
    return subprocess.run(
        [sys.executable, "-c", FILL + program, str(place)], capture_output=True, text=True, timeout=120, check=False
    )


@as_root
@pytest.mark.soak
@pytest.mark.parametrize("left", ["closed", "in use"])
def test_a_store_that_is_mounted_to_be_read_only_is_read_and_written_when_it_is_remounted(tmp_path, left):
    with mounted(tmp_path) as place:
        path = place / "s.json"
        end = "store.close()" if left == "closed" else "os._exit(0)"
        run(place, f"store = JsonFileBackend(place / 's.json'); store.write('key', b'{{}}', 4e9); {end}")
        remount(place, "ro")
        with closing(JsonFileBackend(path)) as store:
            assert (store.read("key"), list(store.keys())) == (b"{}", ["key"])
            for call in (lambda: store.write("new", b"{}", FAR), lambda: store.delete("key"), store.clear):
                with pytest.raises(BackendUnavailableError, match="Read-only"):
                    call()
            settings = SymcacheSettings(provider="ib", backends={"json": {"path": path}})
            doctor = [sys.executable, "-m", "symcache_core.cli", "--backend", "json", "doctor"]
            environment = {**os.environ, "SYMCACHE_BACKENDS__JSON__PATH": str(path)}
            told = subprocess.run(doctor, env=environment, capture_output=True, text=True, check=False)
            assert "Read-only file system" in " ".join(told.stdout.split())
            assert told.returncode == 3
            with open_symbol_cache(settings) as cache:
                assert asyncio.run(cache.get_or_validate("AAPL", (), valid)).outcome is Outcome.MISS
                assert cache.get_stats().degraded
            remount(place, "rw")
            store.write("new", b"{}", FAR)
            assert set(store.keys()) == {"key", "new"}


async def valid(symbol, timeframes):
    return ValidationResult(is_valid=True, symbol=symbol)


@as_root
@pytest.mark.soak
@pytest.mark.parametrize("opened_when", ["empty", "full", "full, and nothing there"])
def test_a_full_disk_raises_no_signal_and_what_is_stored_is_read(tmp_path, opened_when):
    with mounted(tmp_path) as place:
        path = place / "s.json"
        if opened_when == "empty":
            begin = "store = JsonFileBackend(place / 's.json'); store.write('key', b'{}', 4e9); fill()"
        else:
            there = "" if "nothing" in opened_when else "store.write('key', b'{}', 4e9); "
            begin = f"store = JsonFileBackend(place / 's.json'); {there}store.close()"
            begin += "" if there else "\nos.unlink(place / 's.json.lock')"
            begin += "\nfill(); store = JsonFileBackend(place / 's.json')"
        program = f"""
{begin}
before = set(store.keys())
refused = write_all()
assert refused > 290, refused
assert before <= set(store.keys())
free()
store.write("after", b"{{}}", 4e9)
assert write_all() == 0
store.close()
print("alive", refused)
"""
        ended = run(place, program)
        assert ended.returncode == 0, ended
        assert "alive" in ended.stdout
        with closing(JsonFileBackend(path)) as store:
            wanted = {"after", *(f"new {number}" for number in range(300))}
            assert set(store.keys()) == wanted | (set() if "nothing" in opened_when else {"key"})
