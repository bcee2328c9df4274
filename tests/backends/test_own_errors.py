"""What a caller's function raises within an update goes out of it as it was raised, its own cause included."""

import pytest

from symcache_backends.own_errors import updated_by

# No storage is asked for: once is enough.
backend = "memory"


def translating(change):
    """An update of a storage that takes each OSError for one of its own."""
    try:
        change(b"{}")
    except OSError as error:
        raise RuntimeError("the storage is away") from error


def test_what_a_change_raises_keeps_its_cause():
    cause, error = KeyError("what led to it"), OSError("the caller's own")

    def change(_entry):
        raise error from cause

    with pytest.raises(OSError, match="the caller's own") as caught:
        updated_by(change, translating)
    assert caught.value is error
    assert error.__cause__ is cause


def test_what_the_storage_raises_goes_out_as_well():
    def fails(change):
        change(b"{}")
        raise RuntimeError("the storage is away")

    with pytest.raises(RuntimeError, match="the storage is away"):
        updated_by(lambda entry: None, fails)


def test_a_change_that_a_storage_calls_again_after_its_error_may_succeed():
    calls = []

    def change(entry):
        calls.append(entry)
        if len(calls) == 1:
            raise OSError("once")

    def again(change):
        for _ in range(2):
            try:
                change(b"{}")
            except OSError:
                continue

    updated_by(change, again)
    assert len(calls) == 2
