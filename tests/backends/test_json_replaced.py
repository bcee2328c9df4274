"""What happens to a json store's files while a program has them open: moved, replaced, restored, removed, cut short."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from symcache_backends.json_file import compaction, shared_files, view
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendUnavailableError, ConfigurationError

backend = "json"
FAR = 4102444800.0
SUFFIXES = ("", ".journal", ".lock")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def path(folder):
    return folder / "s.json"


@pytest.fixture
def opened(path):
    stores = []

    def open_one(at=path, **options):
        stores.append(JsonFileBackend(at, **{"lock_timeout": 1, **options}))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened):
    return opened()


@pytest.fixture
def now_and_then(monkeypatch):
    """What is looked at every now and then only is looked at each time."""
    monkeypatch.setattr(view, "_SNAPSHOT_EVERY", 0.0)
    monkeypatch.setattr(shared_files, "_LOCK_EVERY", 0.0)


def beside(path, suffix):
    return path.with_name(path.name + suffix)


def fill(store, *keys):
    for key in keys:
        store.write(key, b'{"key":"%b"}' % key.encode(), FAR)


def kept(opened, path):
    with closing(JsonFileBackend(path)) as store:
        return set(store.keys())


@pytest.mark.parametrize("what", ["compact", "clear"])
def test_who_has_it_open_goes_on_after_a_compaction_that_was_stopped_between_its_two_files(
    store, opened, path, monkeypatch, what
):
    other = opened()
    fill(store, "a", "b")

    def stopped(file, *_given, **_options):
        if file.suffix == ".journal":
            raise KeyboardInterrupt
        replace(file, *_given, **_options)

    replace = compaction.replace
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(compaction, "replace", stopped)
        store.compact()
    getattr(other, what)()
    left = set() if what == "clear" else {"a", "b"}
    assert kept(opened, path) == set(other.keys()) == set(store.keys()) == left


# -- what is open is what is at the path -------------------------------------------------------------------------------


def test_who_closes_a_renamed_store_leaves_the_one_at_the_path_alone(store, opened, folder, path):
    fill(store, "old")
    folder.rename(folder.with_name("aside"))
    other = opened()
    fill(other, "new")
    store.close()
    assert other.read("new") is not None
    assert other.read("old") is None
    assert kept(opened, path) == {"new"}
    assert kept(opened, folder.with_name("aside") / path.name) == {"old"}


@pytest.mark.parametrize("act", ["read", "write", "delete", "clear", "compact"])
def test_whatever_is_called_after_a_rename_is_done_to_the_store_at_the_path(store, opened, folder, path, act):
    fill(store, "old", "both")
    folder.rename(folder.with_name("aside"))
    fill(opened(), "new", "both")
    calls = {
        "read": lambda: store.read("new"),
        "write": lambda: fill(store, "newer"),
        "delete": lambda: store.delete("both"),
        "clear": store.clear,
        "compact": store.compact,
    }
    calls[act]()
    left = {"write": {"new", "both", "newer"}, "delete": {"new"}, "clear": set()}
    assert set(store.keys()) == kept(opened, path) == left.get(act, {"new", "both"})
    assert kept(opened, folder.with_name("aside") / path.name) == {"old", "both"}


def test_a_symlinked_folder_that_is_swung_leads_to_the_new_store(opened, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to("one")
    store = opened(link / "s.json")
    fill(store, "in one")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert store.read("in one") is None
    fill(store, "in two")
    store.compact()
    assert kept(opened, tmp_path / "one" / "s.json") == {"in one"}
    assert kept(opened, tmp_path / "two" / "s.json") == set(store.keys()) == {"in two"}


def test_a_removed_folder_is_noticed_by_who_only_reads(store, folder):
    fill(store, "before")
    word, number, generation = store.word(), store.word()[0], store.generation()
    shutil.rmtree(folder)
    assert store.read("before") is None
    assert word[0] != number
    assert store.generation() != generation


def copied(source, target, suffixes=SUFFIXES):
    for suffix in suffixes:
        if beside(source, suffix).exists():
            shutil.copyfile(beside(source, suffix), beside(target, suffix))


def renamed(source, target, suffixes=SUFFIXES):
    for suffix in suffixes:
        if beside(source, suffix).exists():
            shutil.copyfile(beside(source, suffix), beside(target, ".restored"))
            beside(target, ".restored").rename(beside(target, suffix))


@pytest.mark.parametrize("restore", [copied, renamed], ids=["in place", "by name"])
@pytest.mark.parametrize(
    ("compacted", "which"),
    [(False, SUFFIXES), (False, SUFFIXES[:2]), (True, SUFFIXES), (True, SUFFIXES[:2]), (True, SUFFIXES[:1])],
    ids=["of a journal", "of a journal without its lock", "of both", "of both without their lock", "of the snapshot"],
)
@pytest.mark.usefixtures("now_and_then")
def test_a_backup_that_is_restored_under_a_program_is_what_is_there(
    store, opened, path, tmp_path, restore, compacted, which
):
    fill(store, "a", "b")
    if compacted:
        store.compact()
    backup = tmp_path / "backup" / path.name
    backup.parent.mkdir()
    copied(path, backup)
    fill(store, "later", "a")
    store.write("b", b'{"changed":1}', FAR)
    store.compact()
    reader = opened()
    assert reader.read("later") is not None
    restore(backup, path, which)
    if not compacted:
        path.unlink()  # the backup has none
    assert reader.read("later") is None
    assert reader.read("b") == b'{"key":"b"}'
    fill(store, "after")
    for each in (store, reader, opened()):
        assert {key: each.read(key) for key in each.keys()} == {
            key: b'{"key":"%b"}' % key.encode() for key in ("a", "b", "after")
        }
    assert not beside(path, ".quarantine").exists(), "what was restored is no damage"
    store.close()
    reader.close()
    assert kept(opened, path) == {"a", "b", "after"}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.usefixtures("now_and_then")
def test_a_file_that_was_removed_keeps_nobody_from_storing_together(store, opened, path, suffix):
    fill(store, "snapshot")
    store.compact()
    fill(store, "journal")
    beside(path, suffix).unlink()
    fill(store, "0")
    other = opened()
    for number, one in enumerate((other, store, other), 1):
        fill(one, str(number))
    gone = {"": {"snapshot"}, ".journal": {"journal"}}.get(suffix, set())
    wanted = {"snapshot", "journal", "0", "1", "2", "3"} - gone
    for one in (store, other, opened()):
        assert set(one.keys()) == wanted


def test_who_only_reads_beside_a_lock_that_was_removed_is_told_of_writes_again(store, opened, path):
    reader = opened()
    fill(store, "a")
    assert reader.read("a") is not None
    beside(path, ".lock").unlink()
    other = opened()
    fill(other, "b")
    assert reader.read("b") is not None
    number = reader.word()[0]
    fill(other, "c")
    assert reader.word()[0] != number


# -- a journal that is not the one that was read -----------------------------------------------------------------------


def lines(path):
    return beside(path, ".journal").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("grows", [False, True, "as long as before"])
def test_a_journal_that_was_cut_is_read_anew_by_everyone(store, opened, path, grows):
    reader = opened()
    fill(store, "a", "b", "c")
    assert reader.read("c") is not None
    os.truncate(beside(path, ".journal"), len(b"".join(lines(path)[:1])))
    if grows:
        new = ["x", "y", "z"] if grows is True else ["x", "y"]
        with closing(JsonFileBackend(path)) as other:
            fill(other, *new)
            assert reader.read("b") is None
            assert set(reader.keys()) == {"a", *new}
            fill(store, "later")
            assert set(other.keys()) == {"a", *new, "later"}
        return
    assert reader.read("c") is None
    fill(store, "later")
    assert set(reader.keys()) == set(store.keys()) == {"a", "later"}


def test_a_line_that_could_not_be_synced_makes_the_journal_be_replaced(opened, path, monkeypatch):
    store, reader = opened(fsync=True), opened(fsync=True)
    fill(store, "0")
    really = view.sync

    def failing(_descriptor):
        assert reader.read("1") is not None, "who reads takes no lock"
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(view, "sync", failing)
    with pytest.raises(BackendUnavailableError, match="I/O error"):
        store.write("1", b'{"long":"%b"}' % (b"x" * 200), FAR)
    monkeypatch.setattr(view, "sync", really)
    journal = beside(path, ".journal").stat().st_ino
    fill(store, "2")
    assert beside(path, ".journal").stat().st_ino != journal
    store.write("3", b'{"long":"%b"}' % (b"x" * 300), FAR)
    assert {"0", "2", "3"} <= set(reader.keys())
    fill(reader, "4")
    reader.compact()
    assert {"0", "2", "3", "4"} <= kept(opened, path)


def test_while_the_disk_fails_to_sync_nothing_is_acknowledged(opened, monkeypatch):
    store = opened(fsync=True)
    fill(store, "0")

    def failing(_descriptor):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(view, "sync", failing)
    for _ in range(3):
        with pytest.raises(BackendUnavailableError, match="I/O error"):
            fill(store, "1")


def test_a_damaged_line_does_not_hide_what_it_was_to_replace(store, opened, path):
    fill(store, "a")
    store.write("a", b'{"changed":1}', FAR)
    first, second = lines(path)
    beside(path, ".journal").write_bytes(first + second.replace(b"changed", b"\0\0\0\0\0\0\0"))
    assert opened().read("a") == b'{"key":"a"}'


# -- what is no regular file -------------------------------------------------------------------------------------------


def test_a_symlinked_file_stays_one_and_is_one_store_with_what_it_leads_to(opened, tmp_path):
    big, link = tmp_path / "big" / "symbols.json", tmp_path / "app" / "symbols.json"
    link.parent.mkdir()
    link.symlink_to(big)
    by_link, directly = opened(link), opened(big)
    fill(by_link, "by link")
    fill(directly, "directly")
    by_link.compact()
    assert set(by_link.keys()) == set(directly.keys()) == {"by link", "directly"}
    by_link.close()
    directly.close()
    assert link.is_symlink()
    assert [file.name for file in link.parent.iterdir()] == [link.name]
    assert kept(opened, link) == kept(opened, big) == {"by link", "directly"}


def test_a_symlinked_file_that_comes_to_lead_elsewhere_is_followed(opened, tmp_path):
    link = tmp_path / "s.json"
    link.symlink_to("one.json")
    store = opened(link)
    fill(store, "in one")
    link.unlink()
    link.symlink_to("two.json")
    assert store.read("in one") is None
    fill(store, "in two")
    assert kept(opened, tmp_path / "one.json") == {"in one"}
    assert kept(opened, tmp_path / "two.json") == {"in two"}


def _socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _socket])
def test_a_path_that_is_no_file_is_refused_by_name_and_never_waited_for(path, make, monkeypatch):
    path.parent.mkdir()
    monkeypatch.chdir(path.parent)
    make(path)
    with pytest.raises(ConfigurationError, match=r"s\.json.*backends\.json\.path"):
        JsonFileBackend(path)
    assert [file.name for file in path.parent.iterdir()] == ["s.json"]


def test_a_device_is_refused_by_name():
    with pytest.raises(ConfigurationError, match=r"/dev/zero.*backends\.json\.path"):
        JsonFileBackend(view.Path("/dev/zero"))


@pytest.mark.parametrize("suffix", [".lock", ".journal"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda file: file.symlink_to("/etc/passwd")], ids=["fifo", "symlink"])
def test_a_file_beside_it_that_is_none_is_refused_and_never_waited_for(path, suffix, make):
    path.parent.mkdir()
    make(beside(path, suffix))
    with pytest.raises(BackendUnavailableError, match=rf"s\.json\{suffix} is a .*not a regular file"):
        JsonFileBackend(path)


@pytest.mark.parametrize("suffix", [".tmp", ".quarantine", ".bak"])
def test_a_fifo_in_the_way_of_what_is_made_when_needed_holds_nobody_up(store, path, suffix, unversioned_file):
    fill(store, "a")
    os.mkfifo(beside(path, suffix))
    store.compact()
    assert set(store.keys()) == {"a"}
    store.close()
    path.write_bytes(unversioned_file)
    beside(path, ".journal").unlink()
    if suffix == ".quarantine":
        with pytest.raises(BackendUnavailableError, match="quarantine"):
            JsonFileBackend(path)
    else:
        with closing(JsonFileBackend(path)) as again:
            assert list(again.keys()) == ["ib||AAPL||"]


@pytest.fixture
def unversioned_file():
    result = b'{"is_valid": true, "symbol": "AAPL", "error_message": null, "contract_info": null, '
    result += b'"head_timestamps": null, "suggested_symbol": null}'
    entry = b'{"validation_result": %b, "cached_at": 4e9, "ttl_seconds": 100}' % result
    return b'{"AAPL": %b, "BROKEN": {"validation_result": {"is_valid": "maybe"}}}' % entry


# -- the file that is mapped into memory -------------------------------------------------------------------------------


def run(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


CUT = """
import os, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
path = Path(sys.argv[1])
store, other = JsonFileBackend(path), JsonFileBackend(path)
word = store.word()
store.write("a", b"{}", 4e9)
os.truncate(f"{path}.lock", 0)
if sys.argv[2] == "look":
    word[0]
assert store.read("a") == b"{}"
store.write("b", b"{}", 4e9)
number = other.word()[0]
assert set(other.keys()) == {"a", "b"}
number = other.word()[0]
store.write("c", b"{}", 4e9)
assert other.word()[0] != number, "it is told of what comes after it"
other.close()
store.close()
print("alive", word[0])
"""


@pytest.mark.parametrize("first", ["look", "use"])
def test_a_lock_file_that_was_emptied_kills_nobody_and_they_hear_of_each_other_again(path, first):
    ended = run(CUT, path, first)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("alive")


def test_without_shared_memory_no_file_is_mapped(path):
    program = """
import sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
store = JsonFileBackend(Path(sys.argv[1]), shares_memory=False)
store.write("a", b"{}", 4e9)
assert store.word() is None
print("s.json" in Path("/proc/self/maps").read_text())
"""
    if not view.Path("/proc/self/maps").exists():
        pytest.skip("this system does not tell what is mapped")
    ended = run(program, path)
    assert (ended.stdout, ended.stderr) == ("False\n", "")
