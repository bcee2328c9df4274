"""Why a promise failed is one line: the test's own words, or which call of the backend raised what, and where."""

from __future__ import annotations

import re
from types import FunctionType

import pytest

from symcache_core.cli.contract_reasons import reason_of
from symcache_core.errors import BackendUnavailableError


def of_the_suite(function):
    """A function as if it stood in a module of the suite."""
    return FunctionType(function.__code__, {**globals(), "__name__": "symcache_core.testing.a_case"}, closure=())


class Store:
    def driven(self):
        raise OSError("disk is full")

    def mapped(self):
        raise BackendUnavailableError("disk is full\nand more")


def says():
    raise AssertionError("what the author did wrong\nassert 1 == 2")


def is_silent():
    raise AssertionError("assert 1 == 2")


def calls_driven():
    Store().driven()


def calls_mapped():
    Store().mapped()


def chokes():
    None.strip()


def skips():
    pytest.skip("there is none")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (says, r"what the author did wrong"),
        (is_silent, r"it does not hold that .* \(test_cli_contract_reasons\.py:\d+\)"),
        (
            calls_driven,
            r"Store\.driven raised OSError: disk is full \(\w+\.py:\d+\): only errors of symcache_core\.errors .*",
        ),
        (calls_mapped, r"Store\.mapped raised BackendUnavailableError: disk is full \(test_cli_\w+\.py:\d+\)"),
        (
            chokes,
            r"what the backend gave raised AttributeError: .*'strip', as the test used it \(test_cli_\w+\.py:\d+\)",
        ),
        (skips, r"there is none"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_reason_is_one_line_that_says_who_did_what(case, reason):
    with pytest.raises(BaseException) as caught:  # a skip is one, too
        of_the_suite(case)()
    assert re.fullmatch(reason, reason_of(caught))


def test_nothing_was_raised_and_nothing_is_said():
    assert reason_of(None) == ""
