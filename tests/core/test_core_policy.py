"""Freshness is a pure function of entry, time and policy."""

import pytest
from answers import DAY, EXACT, HEAD, NOW, entry, invalid, valid
from hypothesis import given
from hypothesis import strategies as st

from symcache_core import policy
from symcache_core.models import ANY_TIMEFRAME, CachedSymbolInfo, Part, ValidationResult
from symcache_core.policy import Freshness, Rule


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, Freshness.FRESH),
        (27 * DAY - 1, Freshness.FRESH),
        (27 * DAY, Freshness.REFRESH_AHEAD),
        (30 * DAY - 1, Freshness.REFRESH_AHEAD),
        (30 * DAY, Freshness.STALE),
        (37 * DAY - 1, Freshness.STALE),
        (37 * DAY, Freshness.EXPIRED),
        (-60, Freshness.FRESH),
        (-61, Freshness.STALE),
        (-1000 * DAY, Freshness.STALE),
    ],
)
def test_a_verdict_goes_through_four_states(age, expected):
    info = entry(valid())
    assert policy.freshness(info, NOW + age, EXACT) is expected
    assert policy.answers(info, (), NOW + age) == (expected in (Freshness.FRESH, Freshness.REFRESH_AHEAD))


def test_a_negative_that_may_be_a_failure_never_outlives_its_life():
    info = entry(invalid(confirmed=False))
    assert policy.freshness(info, NOW + 299, EXACT) is Freshness.REFRESH_AHEAD
    assert policy.freshness(info, NOW + 300, EXACT) is Freshness.EXPIRED
    assert policy.freshness(info, NOW - DAY, EXACT) is Freshness.EXPIRED


@given(st.lists(st.sampled_from(["1d", "1h"]), unique=True), st.integers(-2, 60))
def test_fresh_until_agrees_with_answers(timeframes, days):
    info = entry(valid("1h"), now=NOW + 10 * DAY, old=entry(valid("1d")))
    now = NOW + days * DAY
    end = policy.fresh_until(info, timeframes)
    since = info.cached_at - policy.CLOCK_TOLERANCE
    assert policy.answers(info, timeframes, now) == (since <= now < end)


def test_a_timeframe_is_fresh_from_the_tolerance_of_clocks_before_it_was_asked_until_its_end():
    info = entry(valid("1h"), now=NOW + 10 * DAY, old=entry(valid("1d")))
    asked_at = NOW + 10 * DAY
    known = {moment: not policy.missing(info, ("1h",), asked_at + moment) for moment in (-61, -60, 0, 30 * DAY - 1)}
    assert known == {-61: False, -60: True, 0: True, 30 * DAY - 1: True}
    assert policy.missing(info, ("1h",), asked_at + 30 * DAY) == ("1h",)


def test_what_an_entry_knows_of_a_timeframe_is_not_from_the_future_before_it_was_asked_for():
    older = entry(valid("1d"))
    info = older.model_copy(update={"parts": {**older.parts, **entry(valid("1h"), now=NOW + DAY).parts}})
    assert policy.fresh_since(info, ()) == policy.fresh_since(info, ("1d",)) == NOW - 60
    assert policy.fresh_since(info, ("1d", "1h", "5m")) == NOW + DAY - 60


def test_of_an_invalid_symbol_no_timeframe_is_looked_at():
    info = entry(invalid()).model_copy(update={"parts": entry(valid("1d"), now=NOW + DAY).parts})
    assert policy.fresh_since(info, ("1d",)) == NOW - 60
    assert policy.fresh_until(info, ("1d", "1h")) == NOW + EXACT.negative_ttl


def test_an_entry_is_kept_until_the_last_of_it_cannot_even_serve_an_outage():
    info = entry(valid("1d"))
    assert policy.keep_until(info, EXACT) == NOW + 37 * DAY
    longer = info.model_copy(update={"parts": entry(valid("1h"), now=NOW + 5 * DAY).parts})
    assert policy.keep_until(longer, EXACT) == NOW + 42 * DAY
    shorter = info.model_copy(update={"parts": entry(valid("1h"), now=NOW - 5 * DAY).parts})
    assert policy.keep_until(shorter, EXACT) == NOW + 37 * DAY


def test_a_verdict_to_which_the_shared_head_timestamp_adds_nothing_stays_as_it_was_given():
    given = ValidationResult(is_valid=True, symbol="AAPL")
    shared = Part(head_timestamp=HEAD, asked_at=NOW, ttl_seconds=DAY)
    info = CachedSymbolInfo(validation_result=given, cached_at=NOW, ttl_seconds=DAY, parts={ANY_TIMEFRAME: shared})
    assert policy.verdict_for(info, ()) is given
    assert policy.verdict_for(info, ("1d", "1h")).head_timestamps == {"1d": HEAD, "1h": HEAD}


def test_a_changed_verdict_cannot_be_changed_either_and_one_without_changes_is_not_copied():
    given = valid("1d").result
    assert policy.with_changes(given, head_timestamps={"1d": HEAD}, symbol="AAPL") is given
    changed = policy.with_changes(given, head_timestamps={"1h": HEAD})
    assert (given.head_timestamps, changed.head_timestamps) == ({"1d": HEAD}, {"1h": HEAD})
    with pytest.raises(TypeError):
        changed.head_timestamps["1d"] = HEAD


@pytest.mark.parametrize(
    ("rule", "waits", "asks", "asks_with_fallback"),
    [
        (Rule.MISS, True, True, False),
        (Rule.TTL, False, False, False),
        (Rule.NEGATIVE_TTL, False, False, False),
        (Rule.UNCONFIRMED_TTL, False, False, False),
        (Rule.REFRESH_AHEAD, False, True, True),
        (Rule.TIMEFRAMES, True, True, True),
        (Rule.STALE_IF_ERROR, True, True, True),
        (Rule.RETRY_THROTTLE, False, False, False),
    ],
)
def test_each_rule_says_whether_the_provider_is_asked_and_waited_for_and_what_serves_if_it_fails(
    rule, waits, asks, asks_with_fallback
):
    assert (rule.waits, rule.asks, rule.asks_with_fallback) == (waits, asks, asks_with_fallback)
