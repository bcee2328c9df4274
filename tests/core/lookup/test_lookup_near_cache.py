"""The near cache keeps what was read, never what has been overwritten meanwhile."""

import pytest

from symcache_core.errors import BackendUnavailableError
from symcache_core.lookup.near_cache import NearCache, Version, Watch, fast_get
from symcache_core.models import CachedSymbolInfo, ValidationResult
from symcache_core.testing.cache_harness import Clock

NOW = 1793000000.0
UNKNOWN = Version(None, None, None)


def info(symbol="AAPL"):
    result = ValidationResult(is_valid=True, symbol=symbol)
    return CachedSymbolInfo(validation_result=result, cached_at=NOW, ttl_seconds=3600.0)


def keep(near, key="key", spelling="AAPL", writes=None):
    near.keep(key, spelling, info(), now=NOW, version=UNKNOWN, writes=near.writes if writes is None else writes)


def test_an_entry_is_trusted_for_its_age_and_no_longer():
    near = NearCache(10, 5.0)
    keep(near)
    assert near.slots["AAPL"].hit(()) == (NOW - 60, NOW + 5.0, None, None, info())
    assert near.slots["AAPL"].hit(("1d",))[1] == 0.0, "it knows nothing of that timeframe"


def test_an_entry_is_not_trusted_when_the_clock_was_set_back_since_it_was_read():
    near = NearCache(10, 5.0)
    near.keep("key", "AAPL", info(), now=NOW + 3000, version=UNKNOWN, writes=near.writes)
    slot = near.slots["AAPL"]
    assert slot.hit(())[:2] == (NOW + 2940, NOW + 3005)
    assert [slot.is_trusted(NOW + passed) for passed in (0, 2940, 3004, 3005)] == [False, True, True, False]


def test_an_entry_is_current_while_nobody_writes():
    near, word = NearCache(10, 5.0), [3]
    near.keep("key", "AAPL", info(), now=NOW, version=Version(word, 3, 1), writes=near.writes)
    assert near.slots["AAPL"].version.is_current()
    word[0] = 4
    assert not near.slots["AAPL"].version.is_current()


def test_an_entry_is_not_trusted_past_its_life():
    near = NearCache(10, 10_000.0)
    keep(near)
    assert near.slots["AAPL"].hit(())[1] == NOW + 3600.0


def test_what_was_read_before_a_write_is_not_kept():
    near = NearCache(10, 5.0)
    writes = near.writes
    near.forget("key")
    keep(near, writes=writes)
    assert near.slots == {}


def test_what_is_found_out_of_a_slot_after_it_was_dropped_reaches_nobody():
    near = NearCache(10, 5.0)
    for drop in (lambda: near.forget("key"), near.clear):
        keep(near)
        held = near.slots["AAPL"]
        drop()
        held.hits[()] = held.hit(())
        assert near.slots == {}


def test_all_spellings_of_a_key_share_a_slot_and_go_together():
    near = NearCache(10, 5.0)
    for spelling in ("AAPL", "aapl", " Aapl", "AAPL"):
        keep(near, spelling=spelling)
    assert len({id(slot) for slot in near.slots.values()}) == 1
    assert sorted(near.slots) == [" Aapl", "AAPL", "aapl"]
    near.forget("key")
    assert near.slots == {}


def test_it_stays_within_its_size_even_under_endless_spellings():
    near = NearCache(10, 5.0)
    for number in range(100):
        keep(near, f"key{number}", f"S{number}")
        keep(near, "one", " " * number + "ONE")
        assert len(near.slots) <= 10
    assert "S99" in near.slots


def test_size_zero_keeps_nothing():
    near = NearCache(0, 5.0)
    keep(near)
    assert near.slots == {}


def test_it_holds_as_many_as_its_size_and_the_one_that_came_first_makes_way():
    near = NearCache(3, 5.0)
    for number in range(3):
        keep(near, f"key{number}", f"S{number}")
    assert list(near.slots) == ["S0", "S1", "S2"]
    keep(near, "key3", "S3")
    assert list(near.slots) == list(near.hits) == ["S1", "S2", "S3"]


def test_each_write_counts_so_that_what_was_read_before_the_last_one_is_not_kept():
    near = NearCache(10, 5.0)
    for write in (lambda: near.forget("key"), lambda: near.forget("another"), near.clear, near.clear):
        before = near.writes
        write()
        keep(near, writes=before)
        assert near.slots == {}


def test_writes_of_every_kind_never_make_up_for_each_other():
    near = NearCache(10, 5.0)
    before = near.writes
    for write in (lambda: near.forget("key"), near.clear, lambda: near.forget("another"), near.clear):
        write()
        keep(near, writes=before)
        assert near.slots == {}


def test_what_is_dropped_is_no_longer_found_in_any_way():
    near = NearCache(10, 5.0)
    for drop in (lambda: near.forget("key"), near.clear):
        keep(near, spelling="AAPL")
        keep(near, spelling="aapl")
        near.slots["AAPL"].hits[()] = near.slots["AAPL"].hit(())
        assert set(near.slots) == set(near.hits) == {"AAPL", "aapl"}
        assert near.last("key") == info()
        drop()
        assert (near.slots, near.hits, near.last("key")) == ({}, {}, None)


class Interrupted(dict):
    """A dict from which the first thing that is taken out is the last one for a while."""

    is_over = False

    def _interrupt(self):
        if not self.is_over:
            self.is_over = True
            raise KeyboardInterrupt

    def pop(self, *arguments):
        found = super().pop(*arguments)
        self._interrupt()
        return found

    def __delitem__(self, key):
        super().__delitem__(key)
        self._interrupt()


@pytest.mark.parametrize("where", ["slots", "hits", "_by_key"])
def test_what_an_interrupt_left_of_an_entry_goes_with_the_next_write(where):
    near = NearCache(10, 5.0)
    keep(near, spelling="AAPL")
    keep(near, spelling="aapl")
    setattr(near, where, Interrupted(getattr(near, where)))
    with pytest.raises(KeyboardInterrupt):
        near.forget("key")
    near.forget("key")
    assert (near.slots, near.hits, near.last("key")) == ({}, {}, None)


# -- the function for hot lookups --------------------------------------------------------------------------------------


def hot(word=None, number=None):
    """A hot lookup of AAPL, its clock, what else was asked, and how many it has answered by itself."""
    near, clock, asked = NearCache(10, 5.0), Clock(), []
    clock.now = NOW
    near.keep("key", "AAPL", info(), now=NOW, version=Version(word, number, None), writes=0)
    near.slots["AAPL"].hits[()] = near.slots["AAPL"].hit(())
    get, answered = fast_get(near, clock, lambda *question: asked.append(question))
    return get, clock, asked, answered


@pytest.mark.parametrize(("passed", "is_hit"), [(-61, False), (-60, True), (0, True), (4.9, True), (5, False)])
def test_a_hot_lookup_answers_within_the_moments_of_its_hit(passed, is_hit):
    get, clock, asked, answered = hot()
    clock.advance(passed)
    assert get("AAPL") == (info() if is_hit else None)
    assert (answered(), asked) == ((1, []) if is_hit else (0, [("AAPL", ())]))


def test_a_hot_lookup_answers_while_the_word_is_the_same():
    word = [3]
    get, _clock, asked, answered = hot(word, 3)
    assert get("AAPL", ()) is get("AAPL", ()) is not None
    word[0] = 4
    assert get("AAPL", ()) is None
    assert (answered(), asked) == (2, [("AAPL", ())])


@pytest.mark.parametrize("question", [("MSFT", ()), ("AAPL", ("1d",)), ("AAPL", ["1d"])], ids=str)
def test_what_is_not_hot_is_asked_for_elsewhere(question):
    get, _clock, asked, answered = hot()
    assert get(*question) is None
    assert (answered(), asked) == (0, [question])


# -- what can be seen of others' writes --------------------------------------------------------------------------------


class Counting:
    """Counts writes, unless it is out of reach."""

    def __init__(self):
        self.number, self.error = 7, None

    def generation(self):
        if self.error is not None:
            raise self.error
        return self.number


class Watched(Counting):
    """The same with a word in memory, which another writer changes before it counts its write."""

    def __init__(self):
        super().__init__()
        self.shared = [1]

    def word(self):
        return self.shared


def test_of_a_backend_that_cannot_tell_nothing_ever_seems_to_change():
    watch = Watch(object())
    assert (watch.version(), watch.generation(), watch[0]) == (UNKNOWN, None, None)
    assert watch.version().is_current()


def test_a_generation_that_changes_is_seen_without_a_word():
    backend = Counting()
    version = Watch(backend).version()
    assert (version.number, version.generation, version.is_current()) == (7, 7, True)
    backend.number = 8
    assert not version.is_current()


def test_a_word_that_changes_is_seen_without_asking_for_the_generation():
    backend = Watched()
    version = Watch(backend).version()
    assert version == (backend.shared, 1, 7)
    backend.number = 8
    assert version.is_current(), "that would cost more than a look at memory"
    backend.shared[0] = 2
    assert not version.is_current()


def test_a_write_between_the_two_looks_shows_in_the_word():
    class WrittenMeanwhile(Watched):
        def generation(self):
            self.shared[0] += 1
            return super().generation()

    assert not Watch(WrittenMeanwhile()).version().is_current()


def test_a_backend_that_cannot_be_asked_seems_to_be_as_it_was():
    backend = Counting()
    watch = Watch(backend)
    assert watch.generation() == 7
    backend.number, backend.error = 8, BackendUnavailableError("unplugged")
    assert watch.generation() == watch[0] == 7
    backend.error = None
    assert watch.generation() == 8
