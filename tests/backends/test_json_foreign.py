"""Another program's files that have the names of the json backend's: they are refused by name, and never changed."""

import os
import stat
from contextlib import closing

import pytest

from symcache_backends import file_lease
from symcache_backends.file_lease import BYTES_CAN_BE_LOCKED
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendUnavailableError, ConfigurationError

FAR = 4102444800.0
WORD = 8
TEXT = b"# the notes of another program\nday one\n"
FOREIGN = {
    ".lock": [
        TEXT,
        b"4711\n",
        bytes(8) + TEXT,
        b"my lock\n",
        b"{}",
        b"123",
        b"no\n",
        b"42",
        b"1\n",
        b"held",
        b"SQLite format 3\x00" * 4,
    ],
    ".journal": [
        TEXT,
        b"PAR1binary\x00\x01",
        b'{"level":"info"}\n' * 500,
        b'{"a":1}',
        b"x",
        b"\n \n",
        bytes(3) + b" ftypisom\0\0\2\0isomavc1",
    ],
    ".leases": [TEXT, b"mine\n", b"mine mine mine mine mine" * 3, b"\x00" * (1 << 16)],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.json"


def beside(path, suffix):
    return path.with_name(path.name + suffix)


def use(store):
    store.write("k", b"1", FAR)
    lease = store.try_lock("k")
    store.compact()
    lease.release()
    store.clear()


@pytest.mark.parametrize(("suffix", "content"), [(suffix, each) for suffix in FOREIGN for each in FOREIGN[suffix]])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_file_of_another_program_is_refused_by_name_and_not_changed(path, suffix, content, is_there, caplog):
    if suffix == ".leases" and not BYTES_CAN_BE_LOCKED:
        pytest.skip("each lease has a file of its own here")
    if is_there:
        with closing(JsonFileBackend(path)) as store:
            store.write("a", b"1", FAR)
    beside(path, suffix).write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"s\.json\{suffix} is not .* move it away"):
        JsonFileBackend(path)
    assert beside(path, suffix).read_bytes() == content
    assert caplog.messages == []
    beside(path, suffix).unlink()
    with closing(JsonFileBackend(path)) as store:
        assert list(store.keys()) == ["a"] * is_there
        use(store)


@pytest.mark.parametrize("suffix", [".tmp", ".0.tmp", ".journal.tmp", ".part"])
def test_a_file_whose_name_could_be_that_of_a_new_content_is_left_alone(path, suffix):
    beside(path, suffix).write_bytes(TEXT)
    with closing(JsonFileBackend(path)) as store:
        use(store)
    assert beside(path, suffix).read_bytes() == TEXT


def test_what_a_killed_process_left_of_a_new_content_goes_at_the_next_compaction(path):
    left = [beside(path, f"{suffix}.0123456789abcdef.tmp") for suffix in ("", ".journal")]
    for file in left:
        file.write_bytes(b'{"symcache":')
    others = path.with_name("others.json.0123456789abcdef.tmp")
    others.write_bytes(TEXT)
    with closing(JsonFileBackend(path)) as store:
        use(store)
    assert [file.exists() for file in left] == [False, False]
    assert others.read_bytes() == TEXT


@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize("coherence", ["memory", "stat"])
def test_a_journal_that_is_overwritten_under_a_program_is_left_alone_and_said_once(path, is_empty, coherence, caplog):
    content = b"a line of another program\n" * 500
    with closing(JsonFileBackend(path, shares_memory=coherence == "memory")) as store:
        store.write("a", b"1", FAR)
        store.compact()
        if not is_empty:
            store.write("b", b"1", FAR)
        beside(path, ".journal").write_bytes(content)
        for _ in range(3):
            with pytest.raises(BackendUnavailableError, match=r"s\.json\.journal is not .* move it away"):
                store.read("a")
            with pytest.raises(BackendUnavailableError, match=r"s\.json\.journal is not .* move it away"):
                store.write("c", b"1", FAR)
        assert beside(path, ".journal").read_bytes() == content
        assert caplog.messages == []
        beside(path, ".journal").unlink()
        assert store.read("a") == b"1"
        store.write("c", b"1", FAR)
    with closing(JsonFileBackend(path)) as store:
        assert set(store.keys()) == {"a", "c"}


@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
def test_many_lines_of_another_program_at_the_end_of_a_journal_are_one_warning(path, when, caplog):
    store = JsonFileBackend(path)
    store.write("a", b"1", FAR)
    journal = beside(path, ".journal")
    if when == "before it is opened":
        kept = journal.read_bytes()
        store.close()
        journal.write_bytes(kept)
    with journal.open("ab") as file:
        file.write(b"a line of another program\n" * 500)
    if when == "before it is opened":
        store = JsonFileBackend(path)
    assert store.read("a") == b"1"
    store.write("b", b"1", FAR)
    store.close()
    assert len(caplog.messages) == 1
    assert "and so are 499 other damaged records" in caplog.text
    assert beside(path, ".quarantine").read_bytes().count(b"\n") == 500


@pytest.mark.parametrize("suffix", ["", ".journal"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda file: file.symlink_to("/dev/zero")], ids=["fifo", "device"])
def test_what_is_no_file_and_takes_the_place_of_one_under_a_program_is_left_alone(path, suffix, make):
    store = JsonFileBackend(path)
    store.write("a", b"1", FAR)
    beside(path, suffix).unlink(missing_ok=True)
    make(beside(path, suffix))
    with pytest.raises(BackendUnavailableError):
        store.compact()
    store.close()
    assert not stat.S_ISREG(beside(path, suffix).lstat().st_mode)


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_first_line_that_was_cut_anywhere_is_this_backends_all_the_same(path, cut):
    with closing(JsonFileBackend(path)) as store:
        store.write("ib||AAPL||", b'{"a":1}', FAR)
        line = beside(path, ".journal").read_bytes()
    path.unlink(missing_ok=True)
    beside(path, ".journal").write_bytes(line[:cut])
    with closing(JsonFileBackend(path)) as store:
        assert list(store.keys()) == []
        use(store)


@pytest.mark.skipif(not BYTES_CAN_BE_LOCKED, reason="each lease has a file of its own here")
@pytest.mark.parametrize("size", range(49))
def test_a_file_of_leases_or_a_lock_file_that_a_power_loss_has_cut_is_this_backends(path, size):
    first = next(key for key in map(str, range(99_999)) if file_lease._place(path, key)[2] == 0)
    with closing(JsonFileBackend(path)) as store:
        leases = [store.try_lock(key) for key in (first, "k")]
        for lease in leases:
            lease.release()
        store.write("a", b"1", FAR)
    for suffix in (".leases", ".lock"):
        os.truncate(beside(path, suffix), size)
    if 0 < size < WORD:  # it is written to zeros, and so never in part
        beside(path, ".lock").write_bytes(bytes(size))
    with closing(JsonFileBackend(path)) as store:
        use(store)


def test_of_a_record_a_power_loss_may_leave_any_part_behind_zeros(path):
    with closing(JsonFileBackend(path)) as store:
        store.write("a", '{"name":"Zürich"}'.encode(), FAR)
        record = beside(path, ".journal").read_bytes()
    for kept in (0, 1, 5, 20):
        for lost in range(len(record) - kept):
            beside(path, ".journal").write_bytes(record[:kept] + bytes(lost) + record[kept + lost :])
            with closing(JsonFileBackend(path)) as store:
                assert list(store.keys()) in (["a"], [])


def test_files_that_a_power_loss_has_left_full_of_zeros_are_this_backends(path):
    beside(path, ".lock").write_bytes(bytes(32))
    beside(path, ".journal").write_bytes(bytes(4096))
    beside(path, ".leases").write_bytes(bytes(48))
    with closing(JsonFileBackend(path)) as store:
        use(store)
