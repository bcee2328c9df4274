"""A clock that a test moves, and a provider that counts what it is asked."""

import pytest

from symcache_core.testing.symbol_cache_contract import Clock, Provider


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def provider():
    return Provider()
