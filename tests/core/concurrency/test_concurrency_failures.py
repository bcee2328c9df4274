"""What is remembered of an exception says the same as it did, and keeps nothing alive."""

from __future__ import annotations

import gc
import weakref

import httpx
import pytest

from symcache_core.concurrency.failures import remembered
from symcache_core.errors import ProviderPacingError, SymbolNotFoundError


class Response:
    """Something large that a failing call has at hand."""


class Odd(Exception):  # noqa: N818  # as programs have them
    """Its constructor does not take what it leaves in ``args``."""

    def __init__(self, code, *, url):
        super().__init__(f"{code} from {url}")
        self.code, self.url = code, url


EXCEPTIONS = [
    ValueError("no"),
    ConnectionRefusedError(111, "refused"),
    ProviderPacingError("slowly", code="100", retry_after=2.0),
    SymbolNotFoundError("none", suggested_symbol="AAPL"),
    Odd(503, url="http://host"),
    httpx.ConnectError("down"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    KeyError("AAPL"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_it_is_of_the_same_kind_and_says_the_same(error):
    kept = remembered(error)
    assert kept is not error
    assert type(kept) is type(error)
    assert (str(kept), repr(kept), kept.args) == (str(error), repr(error), error.args)
    assert vars(kept) == vars(error)


def test_neither_its_frames_nor_its_causes_are_kept_alive():
    def fail(response):
        try:
            raise OSError("reset")
        except OSError as error:
            raise Odd(response and 503, url="http://host") from error

    response = Response()
    gone = weakref.ref(response)
    with pytest.raises(Odd) as raised:
        fail(response)
    kept = remembered(raised.value)
    assert raised.value.__cause__ is not None, "the one on its way stays as it is"
    assert raised.value.__traceback__ is not None
    del response, raised
    gc.collect()
    assert gone() is None
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)
