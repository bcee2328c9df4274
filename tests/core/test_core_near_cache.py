"""The near cache keeps what was read, never what has been overwritten meanwhile."""

from symcache_core.models import CachedSymbolInfo, ValidationResult
from symcache_core.near_cache import NearCache

NOW = 1793000000.0


def info(symbol="AAPL"):
    result = ValidationResult(is_valid=True, symbol=symbol)
    return CachedSymbolInfo(validation_result=result, cached_at=NOW, ttl_seconds=3600.0)


def test_an_entry_is_trusted_for_its_age_and_no_longer():
    near = NearCache(10, 5.0)
    near.keep("key", "AAPL", info(), NOW, 0, near.ticket())
    slot = near.find("AAPL")
    assert slot.serves((), NOW + 4.9)
    assert not slot.serves((), NOW + 5.0)
    assert not slot.serves(("1d",), NOW)
    assert not slot.serves((), NOW - 61)


def test_what_was_read_before_a_write_is_not_kept():
    near = NearCache(10, 5.0)
    ticket = near.ticket()
    near.forget("key")
    near.keep("key", "AAPL", info(), NOW, 0, ticket)
    assert near.find("AAPL") is None


def test_a_slot_that_somebody_still_holds_is_no_longer_trusted():
    near = NearCache(10, 5.0)
    for drop in (lambda: near.forget("key"), near.clear):
        near.keep("key", "AAPL", info(), NOW, 0, near.ticket())
        held = near.find("AAPL")
        drop()
        assert near.find("AAPL") is None
        assert not held.serves((), NOW)


def test_all_spellings_of_a_key_go_together():
    near = NearCache(10, 5.0)
    for spelling in ("AAPL", "aapl", " Aapl"):
        near.keep("key", spelling, info(), NOW, 0, near.ticket())
    near.forget("key")
    assert [near.find(spelling) for spelling in ("AAPL", "aapl", " Aapl")] == [None] * 3


def test_it_stays_within_its_size_even_under_endless_spellings():
    near = NearCache(10, 5.0)
    for number in range(100):
        near.keep(f"key{number}", f"S{number}", info(), NOW, 0, near.ticket())
        near.keep("one", " " * number + "ONE", info("ONE"), NOW, 0, near.ticket())
        assert len(near._by_spelling) <= 10
    assert near.find("S99") is not None


def test_size_zero_keeps_nothing():
    near = NearCache(0, 5.0)
    near.keep("key", "AAPL", info(), NOW, 0, near.ticket())
    assert near.find("AAPL") is None
