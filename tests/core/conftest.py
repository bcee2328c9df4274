"""A clock that a test moves, and a provider that counts what it is asked."""

import pytest

from symcache_core.testing.cache_bench import Clock, Provider


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def provider():
    return Provider()
