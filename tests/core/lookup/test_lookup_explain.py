"""An explanation tells all that is known of a symbol, and of when it is asked about again."""

import pytest
from answers import DAY, EXACT, HEAD, KEY, NOW, entry, invalid, valid

from symcache_core.errors import BackendUnavailableError, ProviderError
from symcache_core.lookup.explain import BECAUSE, Explanation, TimeframeState, explain
from symcache_core.models import Provenance, ProviderAnswer, ValidationResult, VerdictChange
from symcache_core.policy import Freshness, Rule


def explained(info, wanted=(), passed=0.0, *, error=None, throttled_until=None, storage_error=None):
    about = {"symbol": "AAPL", "key": KEY, "provider": "ib", "error": error, "storage_error": storage_error}
    return explain(info, wanted, NOW + passed, EXACT, throttled_until=throttled_until, **about)


def test_of_a_symbol_of_which_nothing_is_stored_it_tells_who_is_asked_and_what_is_out_of_order():
    errors = {"error": ProviderError("no verdict"), "storage_error": BackendUnavailableError("unplugged")}
    assert explained(None, ("1d",), **errors) == Explanation(
        symbol="AAPL",
        key=KEY,
        provider="ib",
        state=None,
        rule=Rule.MISS,
        because=BECAUSE[Rule.MISS],
        missing=("1d",),
        error="ProviderError: no verdict",
        storage_error="BackendUnavailableError: unplugged",
    )


def test_of_a_valid_symbol_it_tells_every_moment_that_counts():
    info = entry(valid("1h"), now=NOW + DAY, old=entry(valid("1d")))
    assert explained(info, ("1d", "1h", "5m"), 2 * DAY) == Explanation(
        symbol="AAPL",
        key=KEY,
        provider="ib",
        state=Freshness.FRESH,
        rule=Rule.TIMEFRAMES,
        because=BECAUSE[Rule.TIMEFRAMES],
        is_valid=True,
        confirmed=True,
        cached_at=NOW + DAY,
        age=DAY,
        fresh_until=NOW + 31 * DAY,
        asks_again_at=NOW + 2 * DAY,
        serves_until=NOW + 38 * DAY,
        timeframes={
            "1d": TimeframeState(head_timestamp=HEAD, asked_at=NOW, fresh_until=NOW + 30 * DAY),
            "1h": TimeframeState(head_timestamp=HEAD, asked_at=NOW + DAY, fresh_until=NOW + 31 * DAY),
        },
        missing=("5m",),
    )


def test_of_a_negative_it_tells_what_was_wrong_how_often_and_what_it_overturned():
    said_by = Provenance(provider="ib", code="200")
    unknown = ValidationResult(is_valid=False, symbol="AAPL", error_message="no such symbol")
    negative = ProviderAnswer(unknown, provenance=said_by)
    info = entry(negative, now=NOW + 40 * DAY, old=entry(valid("1d")))
    info = entry(negative, now=NOW + 41 * DAY, old=info)
    about = explained(info, passed=41 * DAY)
    assert (about.is_valid, about.error_message, about.repeats) == (False, "no such symbol", 1)
    assert about.provenance == said_by
    assert about.changes == (VerdictChange(at=NOW + 40 * DAY, is_valid=False, code="200"),)


def test_of_a_contradicted_symbol_it_tells_since_when_it_is_a_suspect():
    assert explained(entry(invalid(), now=NOW + 60, old=entry(valid())), passed=60).suspect_since == NOW + 60


def test_a_negative_that_may_be_a_failure_serves_no_longer_than_it_lives():
    about = explained(entry(invalid(confirmed=False)))
    assert about.confirmed is False
    assert about.fresh_until == about.serves_until == NOW + EXACT.unconfirmed_ttl


@pytest.mark.parametrize(
    ("passed", "throttled_until", "expected"),
    [
        (0, None, NOW + 27 * DAY),
        (26 * DAY, NOW + 26 * DAY + 30, NOW + 27 * DAY),
        (27 * DAY, None, NOW + 27 * DAY),
        (27 * DAY, NOW + 27 * DAY + 30, NOW + 27 * DAY + 30),
        (28 * DAY, None, NOW + 28 * DAY),
    ],
    ids=["fresh", "fresh and throttled", "nearly over", "nearly over and throttled", "long nearly over"],
)
def test_the_provider_is_asked_again_when_it_is_due_and_not_throttled(passed, throttled_until, expected):
    assert explained(entry(valid()), passed=passed, throttled_until=throttled_until).asks_again_at == expected
