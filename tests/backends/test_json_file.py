"""The json backend: readable by any tool, and nothing is lost to crashes, damage, full disks or other programs."""

import json
import shutil
import stat
import subprocess
import sys
import time

import pytest

from symcache_backends.json_file import records
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core import SymcacheSettings, open_symbol_cache

##
from symcache_core.errors import BackendUnavailableError, CorruptStoreError, NewerSchemaError

FAR = 4102444800.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "symbols.json"


@pytest.fixture
def open_store(path):
    stores = []

    def open_store():
        stores.append(JsonFileBackend(path))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def journal(path):
    return path.with_name("symbols.json.journal")


def fill(store, *keys):
    for key in keys:
        store.write(key, b'{"key":%b}' % json.dumps(key).encode(), FAR)


def test_after_close_any_tool_reads_the_file(open_store, path):
    store = open_store()
    fill(store, "b", "a", 'quo"ted')
    store.close()
    document = json.loads(path.read_text())
    assert document["symcache"] == {"schema": 1}
    assert list(document["entries"]) == ["a", "b", 'quo"ted'], "sorted"
    assert document["entries"]["a"]["entry"] == {"key": "a"}
    assert len(path.read_text().splitlines()) == 3 + 2, "one entry a line"
    assert journal(path).read_bytes() == b""


def test_its_files_are_for_their_owner_only(open_store, path):
    fill(open_store(), "a")
    open_store().clear()
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_store_is_one_append(open_store, path):
    store = open_store()
    sizes = []
    for number in range(3):
        fill(store, f"k{number}")
        sizes.append(journal(path).stat().st_size)
    assert sizes == [sizes[0], 2 * sizes[0], 3 * sizes[0]]
    assert not path.exists()


def test_a_journal_cut_anywhere_loses_only_what_was_cut(open_store, path):
    store = open_store()
    fill(store, "a", "b", "c")
    whole = journal(path).read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        other = path.with_name("cut.json")
        other.with_name("cut.json.journal").write_bytes(whole[:cut])
        opened = JsonFileBackend(other)
        assert sorted(opened.keys()) == ["a", "b", "c"][: sum(end <= cut for end in ends)]
        fill(opened, "new")
        assert opened.read("new") == b'{"key":"new"}'
        opened.close()
        other.unlink()


def test_a_damaged_record_is_set_aside_and_the_rest_lives(open_store, path, caplog):
    store = open_store()
    fill(store, "a", "b", "c")
    store.close()
    path.write_bytes(path.read_bytes().replace(b'{"key":"b"}', b'{"key":"B"}'))
    again = open_store()
    assert again.read("b") is None
    assert again.read("a") == b'{"key":"a"}'
    assert again.read("c") == b'{"key":"c"}'
    assert "does not match its checksum" in caplog.text
    again.close()
    assert b'{"key":"B"}' in path.with_name("symbols.json.quarantine").read_bytes()
    assert list(json.loads(path.read_text())["entries"]) == ["a", "c"]


def test_a_snapshot_cut_short_keeps_its_whole_records(open_store, path, caplog):
    store = open_store()
    fill(store, "a", "b", "c")
    store.close()
    path.write_bytes(path.read_bytes()[:-30])
    assert sorted(key for key in open_store().keys() if open_store().read(key)) == ["a", "b"]
    assert "cut short" in caplog.text


@pytest.mark.parametrize(
    "content", [b"not json", b'{"other": "program"}', b"[1, 2]", b'{"cache": {"AUDCAD": {}}}', b"\x00" * 100]
)
def test_a_file_of_something_else_is_never_touched(open_store, path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError, match=r"left alone: move it away, or set 'backends\.json\.path'"):
        open_store()
    assert path.read_bytes() == content


def test_a_file_of_a_newer_schema_is_never_touched(open_store, path):
    path.parent.mkdir()
    content = b'{"symcache":{"schema":2},"entries":{\n}}\n'
    path.write_bytes(content)
    with pytest.raises(NewerSchemaError, match=r"schema 2 .* upgrade symcache"):
        open_store()
    assert path.read_bytes() == content


def test_an_empty_file_is_an_empty_store(open_store, path):
    path.parent.mkdir()
    path.touch()
    store = open_store()
    fill(store, "a")
    assert list(store.keys()) == ["a"]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BackendUnavailableError, match=r"backends\.json\.path"):
        JsonFileBackend(tmp_path / "file" / "symbols.json")


def test_what_has_been_over_for_a_week_goes_at_compaction(open_store, path):
    store = open_store()
    week = 7 * 86400
    store.write("over", b"{}", time.time() - week - 1)
    store.write("just over", b"{}", time.time() - week + 3600)
    fill(store, "a")
    store.close()
    assert sorted(open_store().keys()) == ["a", "just over"]


def test_the_journal_is_folded_in_when_it_outgrows_the_snapshot(open_store, path):
    store = open_store()
    entry = b'"%b"' % (b"x" * 100_000)
    for _ in range(43):
        store.write("key", entry, FAR)
    assert path.exists()
    assert journal(path).stat().st_size < 300_000
    assert store.read("key") == entry


def test_others_read_on_while_one_compacts(open_store):
    one, two = open_store(), open_store()
    fill(one, "a", "b")
    assert two.read("a") == b'{"key":"a"}'
    one.clear()
    assert list(two.keys()) == []
    fill(two, "c")
    assert one.read("c") == b'{"key":"c"}'


def test_a_crash_between_snapshot_and_journal_changes_nothing(open_store, path):
    store = open_store()
    fill(store, "a", "b")
    store.delete("a")
    before = journal(path).read_bytes()
    store.close()
    journal(path).write_bytes(before)
    assert list(open_store().keys()) == ["b"]


def test_the_last_one_to_close_compacts(open_store, path):
    one, two = open_store(), open_store()
    fill(one, "a")
    one.close()
    assert not path.exists()
    two.close()
    assert list(json.loads(path.read_text())["entries"]) == ["a"]


@pytest.mark.parametrize("what", ["the journal", "the folder"])
def test_files_deleted_by_someone_are_an_empty_store(open_store, path, what):
    one, two = open_store(), open_store()
    fill(one, "a")
    assert two.read("a")
    journal(path).unlink() if what == "the journal" else shutil.rmtree(path.parent)
    assert one.read("a") is None
    fill(two, "b")
    fill(one, "c")
    for store in (one, two, open_store()):
        assert sorted(store.keys()) == ["b", "c"]


def test_without_shared_memory_processes_see_each_other_too(path):
    one, two = (JsonFileBackend(path, shares_memory=False) for _ in range(2))
    fill(one, "a")
    before = two.generation()
    assert two.generation() == before
    fill(one, "b")
    assert two.generation() != before
    assert sorted(two.keys()) == ["a", "b"]
    one.clear()
    assert list(two.keys()) == []
    for store in (one, two):
        store.close()


def test_a_writer_that_died_before_it_told_the_others_is_heard_all_the_same(open_store, path):
    one, two = open_store(), open_store()
    assert two.read("a") is None
    with journal(path).open("ab") as file:
        file.write(b"{" + records.dump(b'"a"', b"{}", FAR) + b"}\n" + b'{"torn')
    assert one.read("a") == b"{}"
    before = one.generation()
    assert one.read("a") == b"{}"
    assert one.generation() == before, "a torn tail is no news"
    fill(two, "b")
    assert one.read("b")
    assert b"torn" not in journal(path).read_bytes()


def test_a_compaction_that_fails_loses_nothing_and_fails_no_write(open_store, path, caplog):
    store = open_store()
    path.mkdir()
    entry = b'"%b"' % (b"x" * 1_000_000)
    for number in range(5):
        store.write(f"k{number}", entry, FAR)
    assert "cannot be compacted" in caplog.text
    path.rmdir()
    assert sorted(store.keys()) == [f"k{number}" for number in range(5)]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendUnavailableError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = JsonFileBackend(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
done = 0
try:
    while True:
        store.write(f"k{done}", b'"%b"' % (b"x" * 150), 4102444800.0)
        done += 1
except BackendUnavailableError as error:
    print(done, error)
assert store.read(f"k{done - 1}") is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write("after", b"{}", 4102444800.0)
"""


def test_a_full_disk_is_an_error_and_loses_nothing(open_store, path):
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    done = int(run.stdout.split()[0])
    assert "backends.json.path" in run.stdout
    assert done > 3
    assert set(open_store().keys()) == {f"k{number}" for number in range(done)} | {"after"}


def result(symbol, **changes):
    fields = {"error_message": None, "contract_info": None, "head_timestamps": None, "suggested_symbol": None}
    return {"is_valid": True, "symbol": symbol, **fields, **changes}


def unversioned(now):
    contract = {
        "symbol": "AAPL",
        "asset_type": "STK",
        "exchange": "NASDAQ",
        "currency": "USD",
        "description": "Apple Inc.",
        "validated_at": now,
        "contract": {"conId": 265598},
        "trading_hours": None,
    }
    heads = {"1d": "1980-12-12T14:30:00+00:00"}
    return {
        "AAPL": {
            "validation_result": result("AAPL", contract_info=contract, head_timestamps=heads),
            "cached_at": now,
            "ttl_seconds": 2592000,
        },
        "EUR/USD": {"validation_result": result("EURUSD"), "cached_at": now - 5, "ttl_seconds": 2592000},
        "eurusd": {
            "validation_result": result("EURUSD", head_timestamps={"1h": "2005-01-01T00:00:00"}),
            "cached_at": now,
            "ttl_seconds": 2592000,
        },
        "BROKEN": {"validation_result": {"is_valid": "maybe"}},
    }


def test_a_file_of_an_unversioned_cache_is_opened_as_it_is(tmp_path, caplog):
    path = tmp_path / "data" / "backend_symbol_cache.json"
    path.parent.mkdir()
    original = json.dumps(unversioned(time.time()), indent=2).encode()
    path.write_bytes(original)
    for _ in range(2):
        with open_symbol_cache(SymcacheSettings(provider="ib")) as cache:
            assert sorted(cache.symbols()) == ["AAPL", "EURUSD"]
            info = cache.get("aapl", ("1d",))
            assert info.validation_result.contract_info.contract == {"conId": 265598}
            assert cache.get("EUR.USD", ("1h",)) is not None, "of two spellings the later answer is kept"
        with open_symbol_cache(SymcacheSettings(provider="replay")) as cache:
            assert list(cache.symbols()) == []
    assert path.with_name(path.name + ".bak").read_bytes() == original
    assert b"BROKEN" in path.with_name(path.name + ".quarantine").read_bytes()
    assert "BROKEN" in caplog.text


def test_an_earlier_backup_is_never_overwritten(open_store, path):
    path.parent.mkdir()
    backup = path.with_name("symbols.json.bak")
    backup.write_bytes(b"precious")
    path.write_text(json.dumps(unversioned(time.time())))
    open_store()
    assert backup.read_bytes() == b"precious"
    assert path.with_name("symbols.json.bak1").exists()


def test_no_record_passes_with_a_flipped_bit():
    name, member = b'"ib||AAPL||"', records.dump(b'"ib||AAPL||"', b'{"a":1}', FAR)
    assert records.parse(name, member) == records.Record(b'{"a":1}', FAR)
    for position in range(len(member) * 8):
        flipped = bytearray(member)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(records.CorruptEntryError):
            records.parse(name, bytes(flipped))
