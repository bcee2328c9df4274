"""The memory backend: bounded, and the least recently used entry goes first."""

import pytest
from pydantic import ValidationError

from symcache_backends.memory import MemoryBackend, MemorySettings

FAR = 4102444800.0


def test_the_least_recently_used_entry_makes_room():
    store = MemoryBackend(MemorySettings(max_entries=2))
    store.write("a", b"1", FAR)
    store.write("b", b"2", FAR)
    assert store.read("a") == b"1"
    store.write("c", b"3", FAR)
    assert sorted(store.keys()) == ["a", "c"]
    store.update("a", lambda entry: (entry + b"1", FAR))
    store.write("d", b"4", FAR)
    assert sorted(store.keys()) == ["a", "d"]


def test_it_holds_at_least_one_entry():
    with pytest.raises(ValidationError):
        MemorySettings(max_entries=0)
