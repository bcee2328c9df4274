"""What is known without asking anyone: near, in the storage, or nowhere; and what a write does to the near copy."""

from functools import partial

import pytest
from answers import DAY, EXACT, NOW, entry, invalid, valid
from faulty_backend import FaultyBackend, TellingBackend

from symcache_core.entries import codec
from symcache_core.errors import BackendUnavailableError
from symcache_core.lookup.known import Known, Question
from symcache_core.lookup.near_cache import NearCache
from symcache_core.models import ContractInfo
from symcache_core.symbols import Instrument

KEY = "ib||AAPL||"
AAPL = "AAPL", Instrument.parse("AAPL"), KEY
RY = "RY@TSE:CAD", Instrument.parse("RY@TSE:CAD"), "ib||RY|TSE|CAD"
UNPLUGGED = BackendUnavailableError("unplugged")


@pytest.fixture
def backend(tmp_path):
    return TellingBackend(tmp_path)


@pytest.fixture
def known(backend, clock):
    clock.now = NOW
    return Known(backend, "ib", EXACT, clock, near=NearCache(10, 5.0), storage_retry=5.0)


def keep(known, answer, of=AAPL, asked=(), before=None, done=lambda: None):
    return known.keep(Question(*of, asked, None), known.merging(of[2], answer, asked), before, done)


def put(backend, key, info):
    """Store an entry as another process does."""
    backend.write(key, codec.encode(key, info), 4e9)


def test_an_answer_that_is_kept_is_near_at_once(known, backend):
    info = keep(known, valid("1d"))
    assert known.near.slots["AAPL"].info == info
    assert known.near.last(KEY) == info
    reads = backend.reads
    assert known.find(*AAPL) == info
    assert backend.reads == reads


def test_an_answer_is_not_near_if_something_was_written_while_it_was_stored(known):
    known.find(*AAPL)
    keep(known, valid("1d"))
    info = keep(known, valid("1h"), done=lambda: known.near.forget("ib||MSFT||"))
    assert "AAPL" not in known.near.slots, "what was near before has been overwritten"
    assert known.find(*AAPL) == info


def test_the_lease_is_given_back_when_the_answer_is_stored_and_the_old_one_is_no_longer_near(known, backend):
    keep(known, valid("1d"))
    seen = []
    keep(known, valid("1h"), done=lambda: seen.append((dict(known.near.slots), known.storage.find(KEY).parts.keys())))
    assert seen == [({}, {"1d", "1h"})]


def test_while_the_storage_is_away_an_answer_is_merged_with_what_was_found_before(known, backend):
    before = keep(known, valid("1d"))
    backend.error = UNPLUGGED
    assert set(keep(known, valid("1h"), before=before).parts) == {"1d", "1h"}


def test_while_the_storage_is_away_the_last_one_seen_is_what_is_stored(known, backend):
    info = keep(known, valid("1d"))
    backend.error = UNPLUGGED
    assert known.stored(*AAPL[1:]) == info
    assert known.stored(Instrument.parse("MSFT"), "ib||MSFT||") is None


@pytest.mark.parametrize("drop", ["store", "delete", "clear"])
def test_whoever_changes_an_entry_drops_the_near_one(known, drop):
    keep(known, valid("1d"))
    {
        "store": lambda: known.store(KEY, valid("1h")),
        "delete": lambda: known.delete(KEY),
        "clear": known.clear,
    }[drop]()
    assert (known.near.slots, known.near.hits, known.near.last(KEY)) == ({}, {}, None)


@pytest.mark.parametrize("drop", ["store", "delete", "clear"])
def test_whoever_fails_to_change_an_entry_drops_the_near_one_all_the_same(known, backend, drop):
    keep(known, valid("1d"))
    backend.error = UNPLUGGED
    with pytest.raises(BackendUnavailableError):
        {
            "store": lambda: known.store(KEY, valid("1h")),
            "delete": lambda: known.delete(KEY),
            "clear": known.clear,
        }[drop]()
    assert known.near.slots == {}, "it may have been changed before it failed"


def test_what_is_read_ahead_is_near_until_it_is_changed(known, backend):
    put(backend, KEY, entry(valid("1d")))
    known.read_ahead(["AAPL", "MSFT", "A\x07"])
    assert set(known.near.slots) == {"AAPL"}
    known.store(KEY, valid("1h"))
    assert set(known.find(*AAPL).parts) == {"1d", "1h"}


def test_a_negative_is_not_read_ahead(known, backend):
    put(backend, KEY, entry(invalid()))
    known.read_ahead(["AAPL"])
    assert known.near.slots == {}


def test_a_key_that_is_no_symbols_is_left_out_of_the_list(known, backend):
    put(backend, KEY, entry(valid()))
    backend.write("ib|junk", b"{}", 4e9)
    assert list(known.spellings()) == ["AAPL"]


CONTRACT = ContractInfo(symbol="RY", asset_type="STK", exchange="TSE", currency="CAD")


def test_a_negative_about_an_alias_of_what_was_found_since_is_nowhere(known):
    keep(known, invalid(), of=RY)
    assert known.find(*RY) is not None
    assert "RY@TSE:CAD" not in known.near.slots, "it depends on another entry"
    keep(known, valid(contract=CONTRACT), of=("RY", Instrument.parse("RY"), "ib||RY||"))
    assert known.find(*RY) is None
    assert known.stored(*RY[1:]) is None


def test_a_valid_verdict_on_a_qualified_symbol_stands_on_its_own(known):
    info = keep(known, valid("1d", contract=CONTRACT), of=RY)
    keep(known, valid(contract=CONTRACT), of=("RY", Instrument.parse("RY"), "ib||RY||"))
    assert known.near.slots["RY@TSE:CAD"].info == info
    assert known.find(*RY) == known.stored(*RY[1:]) == info


def test_a_near_entry_is_read_again_when_it_is_no_longer_trusted(known, backend, clock):
    keep(known, valid("1d"))
    put(backend, KEY, entry(valid("1d", "1h")))
    assert set(known.find(*AAPL).parts) == {"1d"}
    clock.advance(5)
    assert set(known.find(*AAPL).parts) == {"1d", "1h"}


class CountingBackend(TellingBackend):
    """Its generation changes with each write that somebody else does."""

    number = 1

    def generation(self):
        self.use("generation")
        return self.number


class TestStorageThatCountsWrites:
    @pytest.fixture
    def backend(self, tmp_path):
        return CountingBackend(tmp_path)

    def test_a_near_entry_is_read_again_once_somebody_else_has_written(self, known, backend):
        keep(known, valid("1d"))
        assert known.near_hit("AAPL", ("1d",), NOW) is not None
        put(backend, KEY, entry(valid("1d", "1h")))
        backend.number = 2
        assert known.near_hit("AAPL", ("1d",), NOW) is None
        assert set(known.find(*AAPL).parts) == {"1d", "1h"}
        assert known.near_hit("AAPL", ("1d", "1h"), NOW) is not None

    def test_while_it_cannot_be_asked_for_its_number_nothing_seems_to_have_been_written(self, known, backend):
        keep(known, valid("1d"))
        backend.number = 2
        backend.error = UNPLUGGED
        assert known.near_hit("AAPL", ("1d",), NOW) is not None


class TestStorageThatTellsNothing:
    @pytest.fixture
    def backend(self, tmp_path):
        return FaultyBackend(tmp_path)

    def test_a_near_entry_serves_for_its_age_and_the_storage_is_asked_for_what_it_lacks(self, known, backend, clock):
        keep(known, valid("1d"))
        put(backend, KEY, entry(valid("1d", "1h")))
        assert known.near_hit("AAPL", ("1d",), NOW) is not None
        assert known.near_hit("AAPL", ("1h",), NOW) is None
        assert set(known.find(*AAPL).parts) == {"1d", "1h"}


def test_a_near_entry_answers_within_its_moments_only(known):
    info = keep(known, valid("1d"))
    moments = {NOW - 61: None, NOW - 60: info, NOW: info, NOW + 4.9: info, NOW + 5: None}
    assert {moment: known.near_hit("AAPL", ("1d",), moment) for moment in moments} == moments


def test_a_near_entry_that_answered_answers_by_itself_from_then_on_unless_lookups_are_logged(known, caplog):
    keep(known, valid("1d"))
    caplog.set_level("INFO", "symcache")
    known.near_hit("AAPL", ("1d",), NOW)
    assert known.near.hits["AAPL"] == {}
    caplog.set_level("WARNING", "symcache")
    known.near_hit("AAPL", ("1d",), NOW)
    assert known.near.hits["AAPL"] == {("1d",): known.near.slots["AAPL"].hit(("1d",))}
    assert known.near_hit("AAPL", ("1d",), NOW + DAY) is None


def test_a_near_negative_never_answers_by_itself_as_each_one_is_counted(known):
    keep(known, invalid())
    assert known.near_hit("AAPL", (), NOW) is not None
    assert known.near.hits["AAPL"] == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.store(KEY, valid("1h")),
        lambda known: known.delete(KEY),
        lambda known: known.clear(),
    ],
    ids=["store", "delete", "clear"],
)
def test_an_entry_is_no_longer_near_when_an_interrupt_comes_as_soon_as_it_has_changed(known, monkeypatch, change):
    keep(known, valid("1d"))
    near = known.near

    def interrupted(*_key):
        raise KeyboardInterrupt

    def change_and_interrupt(real, *arguments):
        real(*arguments)
        monkeypatch.setattr(near, "forget", interrupted)
        monkeypatch.setattr(near, "clear", interrupted)

    for name in ("change", "delete", "clear"):
        real = getattr(known.storage, name)
        monkeypatch.setattr(known.storage, name, lambda *given, real=real: change_and_interrupt(real, *given))
    with pytest.raises(KeyboardInterrupt):
        change(known)
    assert "AAPL" not in near.slots


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.store(KEY, valid("1h")),
        lambda known: known.delete(KEY),
        lambda known: known.clear(),
        lambda known: keep(known, valid("1h")),
    ],
    ids=["store", "delete", "clear", "keep"],
)
def test_nor_is_what_others_have_read_until_then_when_an_interrupt_comes_as_it_is_forgotten(known, monkeypatch, change):
    keep(known, valid("1d"))

    def read_and_interrupt(real, name, *arguments):
        old = known.storage.find(KEY)
        outcome = real(*arguments)
        known.near.keep(KEY, "AAPL", old, now=NOW, version=known._watch.version(), writes=known.near.writes)
        monkeypatch.setattr(known.near, name, lambda *key: interrupt(name, *key))
        return outcome

    def interrupt(name, *_key):
        monkeypatch.setattr(known.near, name, getattr(NearCache, name).__get__(known.near))
        raise KeyboardInterrupt

    forgotten = {"change": "forget", "delete": "forget", "clear": "clear", "keep": "forget"}
    for method, name in forgotten.items():
        act = partial(read_and_interrupt, getattr(known.storage, method), name)
        monkeypatch.setattr(known.storage, method, act)
    with pytest.raises(KeyboardInterrupt):
        change(known)
    assert "AAPL" not in known.near.slots
