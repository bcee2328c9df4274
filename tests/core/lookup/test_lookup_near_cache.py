"""The near cache keeps what was read, never what has been overwritten meanwhile."""

from symcache_core.lookup.near_cache import NearCache, Version
from symcache_core.models import CachedSymbolInfo, ValidationResult

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
