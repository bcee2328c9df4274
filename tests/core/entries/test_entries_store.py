"""Entries in a backend are merged when they are written, and no bytes that cannot be understood are lost."""

import base64
import json
import threading

import pytest
from answers import KEY, entry, valid
from faulty_backend import BatchingBackend, FaultyBackend

from symcache_core.entries import codec
from symcache_core.entries.store import EntryStore, read_many_of, update_of
from symcache_core.protocols import FOREVER

OTHER = "ib||MSFT||"
INFO = entry(valid("1d"))


class Noting(FaultyBackend):
    """Notes what is written, and until when it is to be kept."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.written = []

    def write(self, key, line, keep_until):
        super().write(key, line, keep_until)
        self.written.append((key, keep_until))


@pytest.fixture
def backend(tmp_path):
    return Noting(tmp_path)


@pytest.fixture
def store(backend):
    return EntryStore(backend, "ib|")


def change(store, merge=lambda _old: INFO):
    return store.change(KEY, merge, lambda _info: 4e9)


def test_an_entry_is_made_of_what_was_there_and_kept_for_as_long_as_it_is_said_to_be(store, backend):
    seen = []
    assert change(store, lambda old: seen.append(old) or INFO) == INFO
    assert change(store, lambda old: seen.append(old) or INFO) == INFO
    assert seen == [None, INFO]
    assert store.read(KEY) == INFO
    assert backend.written == [(KEY, 4e9)] * 2


@pytest.mark.parametrize("line", [b"", b"junk \xff"], ids=["nothing", "junk"])
def test_bytes_that_cannot_be_understood_count_as_nothing_and_are_kept_beside_the_new_entry(
    store, backend, caplog, line
):
    backend.write(KEY, line, 4e9)
    seen = []
    change(store, lambda old: seen.append(old) or INFO)
    assert seen == [None]
    assert store.read(KEY) == INFO
    assert json.loads(backend.read(f"@corrupt|{KEY}")) == {"corrupt": base64.b64encode(line).decode()}
    assert backend.written[-1] == (f"@corrupt|{KEY}", FOREVER)
    assert [record.getMessage() for record in caplog.records] == [
        f"symbol cache entry {KEY} could not be understood; its bytes are kept under @corrupt|{KEY}"
    ]


@pytest.mark.parametrize("length", [502, 503, 511])
def test_what_is_kept_aside_has_a_key_of_its_own_that_is_not_too_long(store, backend, caplog, length):
    for end in "12":
        key = "ib||" + "K" * (length - 7) + f"{end}||"
        backend.write(key, end.encode(), FOREVER)
        store.set_aside(key, backend.read(key))
        name, _until = backend.written[-1]
        assert len(name) <= 511
        assert name in caplog.messages[-1]
    kept = [key for key in backend.keys() if key.startswith("@corrupt|")]
    assert len(kept) == 2, "two damaged entries are kept under one key"


def test_of_an_update_that_is_tried_again_only_the_last_try_counts(tmp_path):
    class Optimistic(FaultyBackend):
        """Has the change made twice, as somebody else has written in between."""

        def update(self, key, change):
            for line in (b"junk", codec.encode(key, entry(valid("1h")))):
                self._backend.write(key, line, 4e9)
                written = change(self._backend.read(key))
            self._backend.write(key, *written)

    backend = Optimistic(tmp_path)
    seen = []
    change(EntryStore(backend, "ib|"), lambda old: seen.append(old) or INFO)
    assert [old and set(old.parts) for old in seen] == [None, {"1h"}]
    assert backend.read(f"@corrupt|{KEY}") is None, "what was damaged is not there any more"


def test_an_entry_of_a_newer_version_stays_and_the_answer_is_made_of_itself_alone(store, backend, monkeypatch, caplog):
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 2)
    newer = codec.encode(KEY, INFO)
    monkeypatch.undo()
    backend.write(KEY, newer, 4e9)
    seen = []
    assert change(store, lambda old: seen.append(old) or INFO) == INFO
    assert seen == [None]
    assert backend.read(KEY) == newer
    assert store.read(KEY) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"symbol cache entry ignored: entry {KEY!r} has schema 2; this symcache reads up to 1"
    ]


@pytest.mark.parametrize("kind", [FaultyBackend, BatchingBackend], ids=["one by one", "at once"])
def test_of_many_keys_those_are_read_that_have_an_entry_that_can_be_understood(tmp_path, kind):
    backend = kind(tmp_path)
    backend.write(KEY, codec.encode(KEY, INFO), 4e9)
    backend.write(OTHER, b"junk", 4e9)
    assert EntryStore(backend, "ib|").read_many([KEY, OTHER, "ib||GOOG||"]) == {KEY: INFO}
    assert read_many_of(backend)([KEY, "ib||GOOG||"]) == {KEY: codec.encode(KEY, INFO)}


def test_only_the_entries_of_this_provider_are_listed_and_cleared(store, backend):
    for key in (KEY, OTHER, "ibx||AAPL||", "@counters|ib"):
        backend.write(key, b"{}", 4e9)
    assert sorted(store.keys()) == [KEY, OTHER]
    assert store.delete(OTHER) is True
    assert store.delete(OTHER) is False
    assert store.clear() == 1
    assert sorted(backend.keys()) == ["@counters|ib", "ibx||AAPL||"]


def test_the_size_is_the_storages_if_it_can_tell(tmp_path, store):
    class Sized(FaultyBackend):
        def size(self):
            return 4711

    assert EntryStore(Sized(tmp_path), "ib|").size() == 4711
    assert store.size is None


def test_where_the_backend_cannot_update_threads_are_kept_apart(backend):
    update = update_of(backend)

    def add_one(line):
        return b"%d" % (int(line or b"0") + 1), 4e9

    def add():
        for _ in range(50):
            update("count", add_one)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.read("count") == b"200"
    update("count", lambda _line: None)
    assert backend.read("count") == b"200"
