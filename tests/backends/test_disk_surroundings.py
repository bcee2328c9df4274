"""What happens to a diskcache folder while a program has it open: moved, replaced, removed, written to by none."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_backends.disk.folder import Folder, ReplacedError
from symcache_backends.store_time import MARGIN
from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError, ConfigurationError

backend = "diskcache"
FAR = 4102444800.0
DAY = 86400.0
LONG = b'{"long":"%b"}' % (b"x" * 40_000)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: to become nobody, or to mount")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "symbols"


@pytest.fixture
def opened():
    stores = []

    def open_one(folder, **options):
        stores.append(DiskBackend(DiskSettings(path=folder, **{"lock_timeout": 1, **options})))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened, folder):
    return opened(folder)


# -- what is open is what is at the path -------------------------------------------------------------------------------


def test_a_folder_that_was_renamed_is_left_alone_and_the_one_at_the_path_is_used(store, opened, folder):
    store.write("old", b"{}", FAR)
    folder.rename(folder.with_name("aside"))
    other = opened(folder)
    other.write("new", b"{}", FAR)
    assert store.read("new") == b"{}"
    assert store.read("old") is None
    store.write("newer", b"{}", FAR)
    store.close()
    assert set(other.keys()) == {"new", "newer"}
    assert set(opened(folder.with_name("aside")).keys()) == {"old"}


def test_who_closes_a_renamed_folder_removes_nothing_of_the_new_one(store, opened, folder):
    store.write("old", b"{}", FAR)
    folder.rename(folder.with_name("aside"))
    other = opened(folder)
    other.write("new", b"{}", FAR)
    store.close()
    other.write("newer", b"{}", FAR)
    assert set(opened(folder).keys()) == {"new", "newer"}
    assert set(opened(folder.with_name("aside")).keys()) == {"old"}


def test_a_symlink_that_is_swung_leads_to_the_new_folder(opened, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to("one")
    store = opened(link)
    store.write("in one", b"{}", FAR)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    store.write("in two", b"{}", FAR)
    assert set(store.keys()) == {"in two"}
    assert set(opened(tmp_path / "one").keys()) == {"in one"}
    assert set(opened(tmp_path / "two").keys()) == {"in two"}


def test_a_folder_that_was_removed_is_made_anew(store, opened, folder):
    store.write("before", b"{}", FAR)
    shutil.rmtree(folder)
    assert store.read("before") is None
    store.write("after", b"{}", FAR)
    assert set(store.keys()) == set(opened(folder).keys()) == {"after"}


@pytest.mark.parametrize("file", ["cache.db", "symcache.lock", "cache.db-wal", "cache.db-shm"])
def test_a_file_that_was_removed_keeps_nobody_from_storing_together(store, opened, folder, file):
    store.write("before", b"{}", FAR)
    (folder / file).unlink()
    store.write("after 0", b"{}", FAR)
    other = opened(folder)
    for number, one in enumerate((other, store, other), 1):
        one.write(f"after {number}", b"{}", FAR)
    wanted = {f"after {number}" for number in range(4)} | ({"before"} if file != "cache.db" else set())
    for one in (store, other, opened(folder)):
        assert set(one.keys()) == wanted


def test_a_folder_that_was_replaced_is_noticed_by_hits_and_by_the_generation(store, folder):
    store.write("key", b"{}", FAR)
    word, number, generation = store.word(), store.word()[0], store.generation()
    shutil.rmtree(folder)
    assert store.read("key") is None
    assert word[0] != number
    assert store.generation() != generation


def test_a_backup_that_is_put_in_the_folders_place_is_what_is_read(store, opened, folder, tmp_path):
    store.write("key", b'{"n":1}', FAR)
    store.close()
    shutil.copytree(folder, tmp_path / "backup")
    one, other = opened(folder), opened(folder)
    one.write("key", b'{"n":2}', FAR)
    one.write("later", b"{}", FAR)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    assert other.read("key") == one.read("key") == b'{"n":1}'
    one.write("after", b"{}", FAR)
    assert set(one.keys()) == set(other.keys()) == {"key", "after"}


def test_an_entry_whose_file_is_gone_is_a_miss_until_it_is_stored_again(store, folder):
    store.write("long", LONG, FAR)
    for path in folder.glob("??/??/*.val"):
        path.unlink()
    assert store.read("long") is None
    store.write("long", LONG, FAR)
    assert store.read("long") == LONG


def test_a_long_entry_that_is_replaced_all_the_time_is_never_a_miss(store, opened, folder):
    store.write("long", LONG, FAR)
    other, stop = opened(folder), threading.Event()

    def keep_replacing():
        while not stop.is_set():
            other.write("long", LONG, FAR)

    thread = threading.Thread(target=keep_replacing)
    thread.start()
    try:
        assert [store.read("long") for _ in range(300)] == [LONG] * 300
    finally:
        stop.set()
        thread.join()
    assert len(list(folder.glob("??/??/*.val"))) == 1


# -- what is no folder -------------------------------------------------------------------------------------------------


def _file(path):
    path.write_text("a file")


def _socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [_file, os.mkfifo, _socket])
def test_a_path_that_is_no_folder_is_refused_by_name(folder, make, monkeypatch):
    monkeypatch.chdir(folder.parent)
    make(folder)
    with pytest.raises(ConfigurationError, match=r"symbols.*backends\.diskcache\.path"):
        DiskBackend(DiskSettings(path=folder))


@pytest.mark.parametrize("name", ["cache.db", "symcache.lock"])
def test_a_file_of_the_folder_that_is_none_is_refused_and_never_waited_for(folder, name):
    folder.mkdir()
    os.mkfifo(folder / name)
    with pytest.raises(ConfigurationError, match=r"FIFO.*backends\.diskcache\.path"):
        DiskBackend(DiskSettings(path=folder))


# -- what takes no writes ----------------------------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError
os.setgid(65534)
os.setuid(65534)
store = DiskBackend(DiskSettings(path=Path(sys.argv[1]), lock_timeout=1))
print(sorted(store.keys()), store.read("key"), len(store.read("long") or b""), store.word() is None, flush=True)
try:
    store.write("new", b"{}", 4e9)
except BackendUnavailableError as error:
    print("refused", flush=True)
sys.stdin.readline()
print(sorted(store.keys()), flush=True)
sys.stdin.readline()
store.write("new", b"{}", 4e9)
print(sorted(store.keys()), store.word() is None, flush=True)
store.close()
"""


def _let_in(folder, mode, file_mode):
    for path in [folder, *folder.rglob("*")]:
        path.chmod(mode if path.is_dir() else file_mode)


@as_root
@pytest.mark.parametrize("in_use", [False, True], ids=["closed", "in use"])
def test_who_may_only_read_reads_and_writes_when_allowed_to(store, folder, in_use):
    store.write("key", b"{}", FAR)
    store.write("long", LONG, FAR)
    if not in_use:
        store.close()
    for parent in list(folder.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    _let_in(folder, 0o755, 0o644)
    with subprocess.Popen(
        [sys.executable, "-c", AS_NOBODY, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nobody:
        assert nobody.stdout.readline() == f"['key', 'long'] b'{{}}' {len(LONG)} True\n"
        assert nobody.stdout.readline() == "refused\n"
        with closing(DiskBackend(DiskSettings(path=folder))) as other:
            other.write("other", b"{}", FAR)
            _let_in(folder, 0o755, 0o644)
            nobody.stdin.write("\n")
            nobody.stdin.flush()
            assert nobody.stdout.readline() == "['key', 'long', 'other']\n"
            _let_in(folder, 0o777, 0o666)
            nobody.stdin.write("\n")
            nobody.stdin.flush()
            assert nobody.stdout.readline() == "['key', 'long', 'new', 'other'] False\n"
    assert nobody.returncode == 0


@contextmanager
def mounted(tmp_path):
    image, place = tmp_path / "image", tmp_path / "place"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)


def fill(place):
    for number, size in enumerate((1 << 16, 1 << 10, 100)):
        with (place / f"fill{number}").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass


def in_another_process(folder, program):
    code = f"""
import os, signal
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
store = DiskBackend(DiskSettings(path=Path({str(folder)!r}), lock_timeout=1))
{program}
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@as_root
@pytest.mark.soak
@pytest.mark.parametrize("left", ["closed", "killed", "killed, without its index"])
def test_a_store_that_is_mounted_to_be_read_only_is_read_and_written_when_it_is_remounted(tmp_path, left):
    with mounted(tmp_path) as place:
        folder = place / "symbols"
        end = "store.close()" if left == "closed" else "os.kill(os.getpid(), signal.SIGKILL)"
        in_another_process(folder, f"store.write('key', b'{{}}', {FAR}); store.write('long', {LONG!r}, {FAR}); {end}")
        if left == "killed, without its index":
            (folder / "cache.db-shm").unlink()
        remount(place, "ro")
        with closing(DiskBackend(DiskSettings(path=folder))) as store:
            assert (store.read("key"), store.read("long"), set(store.keys())) == (b"{}", LONG, {"key", "long"})
            assert store.generation() == store.generation()
            for call in (lambda: store.write("new", b"{}", FAR), lambda: store.delete("key"), store.clear):
                with pytest.raises(BackendUnavailableError, match=r"(?i)read-only.*"):
                    call()
            remount(place, "rw")
            store.write("new", b"{}", FAR)
            assert set(store.keys()) == {"key", "long", "new"}


@as_root
@pytest.mark.soak
@pytest.mark.parametrize("left", ["closed", "killed"])
def test_a_full_disk_raises_no_signal_and_what_is_stored_is_read(tmp_path, left):
    with mounted(tmp_path) as place:
        folder = place / "symbols"
        end = "store.close()" if left == "closed" else "os.kill(os.getpid(), signal.SIGKILL)"
        in_another_process(folder, f"store.write('key', b'{{}}', {FAR}); {end}")
        fill(place)
        program = f"""
from symcache_core.errors import BackendUnavailableError
assert store.read("key") == b"{{}}"
refused = 0
for number in range(2000):
    try:
        store.write(f"new {{number}}", b'{{"x":"%b"}}' % (b"x" * 1000), {FAR})
    except BackendUnavailableError:
        refused += 1
assert refused > 0
assert store.read("key") == b"{{}}"
for name in os.listdir({str(place)!r}):
    if name.startswith("fill"):
        os.unlink(os.path.join({str(place)!r}, name))
store.write("after", b"{{}}", {FAR})
store.close()
"""
        ended = in_another_process(folder, program)
        assert (ended.returncode, ended.stderr) == (0, "")
        with closing(DiskBackend(DiskSettings(path=folder))) as store:
            assert store.read("key") == store.read("after") == b"{}"


def test_a_disk_that_is_full_once_is_written_to_again(store, folder):
    store.write("key", b"{}", FAR)
    store._access.look(lambda opened: opened.run(_limit_pages))
    with pytest.raises(BackendUnavailableError, match="full"):
        for number in range(100):
            store.write(f"key{number}", b'{"x":"%b"}' % (b"x" * 3000), FAR)
    assert store.read("key") == b"{}"
    store._access.look(lambda opened: opened.run(lambda con: con.execute("PRAGMA max_page_count = 100000").fetchone()))
    store.write("key", b"[]", FAR)
    assert store.read("key") == b"[]"


def _limit_pages(con):
    return con.execute("PRAGMA max_page_count = 20").fetchone()


# -- calls from within, and beside the end -----------------------------------------------------------------------------


def test_a_change_that_uses_its_own_backend_is_an_error_and_no_deadlock(store):
    for use in (
        lambda: store.write("other", b"{}", FAR),
        lambda: store.read("other"),
        lambda: store.update("key", lambda _: None),
    ):
        with pytest.raises(BackendError, match="within its own write"):
            store.update("key", lambda _, use=use: use())
    store.write("key", b"{}", FAR)
    assert set(store.keys()) == {"key"}


def test_a_handler_of_what_is_logged_may_use_the_store(store, folder, caplog):
    store.write("key", b"{}", FAR)
    with closing(sqlite3.connect(folder / "cache.db")) as database:
        database.execute("UPDATE Cache SET mode = 4")
        database.commit()
    seen = []

    def store_it(_record):
        store.write("logged", b"{}", FAR)
        seen.append(store.read("logged"))
        return True

    caplog.handler.addFilter(store_it)
    try:
        store.update("key", lambda entry: (b"[]", FAR) if entry is None else None)
    finally:
        caplog.handler.removeFilter(store_it)
    assert seen == [b"{}"]


def test_closing_beside_a_write_lets_it_end(folder):
    store = DiskBackend(DiskSettings(path=folder, lock_timeout=5))
    inside, go = threading.Event(), threading.Event()

    def change(_entry):
        inside.set()
        go.wait()
        return b"{}", FAR

    writing = threading.Thread(target=store.update, args=("key", change))
    writing.start()
    inside.wait()
    closing_it = threading.Thread(target=store.close)
    closing_it.start()
    with pytest.raises(ClosedError):
        while True:
            store.read("key")
    go.set()
    writing.join()
    closing_it.join()
    with closing(DiskBackend(DiskSettings(path=folder))) as again:
        assert again.read("key") == b"{}"


# -- clocks ------------------------------------------------------------------------------------------------------------


def rows(folder):
    with closing(sqlite3.connect(folder / "cache.db")) as database:
        return {key for (key,) in database.execute("SELECT key FROM Cache")}


@pytest.mark.parametrize("opened_late", [True, False], ids=["from the beginning", "all of a sudden"])
def test_a_clock_that_is_weeks_ahead_drops_nothing_that_others_need(store, opened, folder, monkeypatch, opened_late):
    now = time.time()
    store.write("needed", b"{}", now + 30 * DAY)
    ahead = None if opened_late else opened(folder)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now + 40 * DAY)
        ahead = ahead or opened(folder)
        assert ahead.read("needed") is None
        assert ahead.delete("needed") is False
        ahead.write("its own", b"{}", now + 70 * DAY)
        ahead.update("its own", lambda _: (b"[]", now + 70 * DAY))
        ahead.compact()
        ahead.close()
    assert store.read("needed") == b"{}"
    store.compact()
    assert set(store.keys()) == {"needed", "its own"}


@pytest.mark.parametrize("stamped_by", ["its clock", "a server"])
def test_a_machine_whose_clock_is_weeks_ahead_drops_nothing_however_often_it_starts_anew(
    opened, folder, monkeypatch, stamped_by
):
    now = time.time()
    with closing(opened(folder)) as store:
        store.write_many({f"key{number}": (b"{}", now + 3 * DAY) for number in range(50)})
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now + 40 * DAY)
        for _ in range(3):
            with closing(opened(folder)) as ahead:
                for number in range(40):
                    ahead.write(f"its own {number}", b"{}", now + 41 * DAY)
                    if stamped_by == "its clock":
                        for file in folder.iterdir():
                            os.utime(file, (now + 40 * DAY, now + 40 * DAY))
                ahead.compact()
    assert {f"key{number}" for number in range(50)} <= set(opened(folder).keys())


def test_a_store_that_was_left_alone_drops_what_is_over_once_it_has_been_written_to_for_a_week(
    store, folder, monkeypatch
):
    now = time.time()
    store.write("over", b"{}", now + DAY)
    kept = []
    for day in (*range(20, 27), 27.1):
        monkeypatch.setattr(time, "time", lambda day=day: now + day * DAY)
        store.write("key", b"{}", FAR)
        for file in folder.iterdir():
            os.utime(file, (now + day * DAY, now + day * DAY))
        store.compact()
        kept.append("over" in rows(folder))
    assert kept == [True] * 7 + [False]


def test_what_has_been_over_for_a_week_is_dropped(store, folder):
    now = time.time()
    store.write("fresh", b"{}", now + DAY)
    store.write("over", b"{}", now - MARGIN + DAY)
    store.write("over for long", LONG, now - MARGIN - DAY)
    store.compact()
    assert rows(folder) == {"fresh", "over"}
    assert list(folder.glob("??/??/*.val")) == []


def test_compaction_drops_any_number_of_entries(store, folder):
    long_ago = time.time() - 2 * MARGIN
    store.write_many({f"key{number}": (b"{}", long_ago) for number in range(2_500)})
    store.write("key", b"{}", FAR)
    store.compact()
    assert rows(folder) == {"key"}


@pytest.mark.parametrize(("times", "opens"), [(3, True), (10_000, False)])
def test_a_folder_that_is_replaced_while_it_is_being_opened_is_opened_again(folder, opened, monkeypatch, times, opens):
    real, replaced = Folder.open, []

    def open_replaced(self, deadline):
        if len(replaced) < times:
            replaced.append(self)
            raise ReplacedError
        real(self, deadline)

    monkeypatch.setattr(Folder, "open", open_replaced)
    if opens:
        opened(folder).write("k", b"{}", FAR)
    else:
        with pytest.raises(BackendUnavailableError, match="replaced all the time"):
            opened(folder)
