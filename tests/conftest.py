"""What all tests share: which backend is under test, and a home of their own."""

import os

import pytest


def pytest_collection_modifyitems(config, items):
    """Leave the contract suites of other backends to their own tox environments."""
    chosen = os.environ.get("SYMCACHE_TEST_BACKEND")
    if chosen is None:
        return
    others = [item for item in items if getattr(getattr(item, "cls", None), "backend", chosen) != chosen]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path, monkeypatch):
    """No test sees the configuration of the machine or writes outside its own folder."""
    for name in list(os.environ):
        if name.startswith("SYMCACHE_") and name != "SYMCACHE_TEST_BACKEND":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
