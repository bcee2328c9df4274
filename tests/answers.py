"""Answers and entries, as tests of the rules need them: given at a fixed moment, with lives that no jitter shortens."""

from symcache_core import merging
from symcache_core.models import ProviderAnswer, ValidationResult
from symcache_core.policy import Policy

NOW = 1793000000.0
DAY = 86400.0
HEAD = "2000-03-01T00:00:00+00:00"
EXACT = Policy(jitter=0.0)
KEY = "ib||AAPL||"


def valid(*timeframes, contract=None, **heads):
    """A valid verdict, with a head timestamp for each timeframe."""
    stamps = {**dict.fromkeys(timeframes, HEAD), **heads}
    return ProviderAnswer(
        ValidationResult(is_valid=True, symbol="AAPL", head_timestamps=stamps or None, contract_info=contract)
    )


def invalid(**fields):
    """A negative; a confirmed one, if nothing else is said."""
    return ProviderAnswer(ValidationResult(is_valid=False, symbol="AAPL"), **fields)


def entry(answer, now=NOW, old=None, asked=(), rules=EXACT):
    """What an answer makes of an entry."""
    return merging.merge(old, answer, asked, KEY, now, rules)


class Like:
    """Equal to every exception of the same kind that says the same: what is remembered of one is a copy."""

    def __init__(self, error):
        self._error = error._error if isinstance(error, Like) else error

    def __eq__(self, other):
        return type(other) is type(self._error) and other.args == self._error.args

    __hash__ = None

    def __repr__(self):
        return repr(self._error)
