"""Freshness is a pure function of entry, time and policy."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core import merging, policy
from symcache_core.models import ContractInfo, ProviderAnswer, ValidationResult
from symcache_core.policy import Freshness, Policy

NOW = 1793000000.0
DAY = 86400.0
EXACT = Policy(jitter=0.0)
KEY = "ib||AAPL||"


def valid(*timeframes, **fields):
    heads = dict.fromkeys(timeframes, "2000-03-01T00:00:00+00:00")
    return ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL", head_timestamps=heads, **fields))


def invalid(**fields):
    return ProviderAnswer(ValidationResult(is_valid=False, symbol="AAPL"), **fields)


def entry(answer, now=NOW, old=None, asked=(), rules=EXACT):
    return merging.merge(old, answer, asked, KEY, now, rules)


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


@given(st.text(), st.floats(0, 0.5))
def test_jitter_is_the_same_each_time_and_only_shortens(key, jitter):
    rules = Policy(jitter=jitter)
    lives = {merging.merge(None, valid(), (), key, NOW, rules).ttl_seconds for _ in range(2)}
    (life,) = lives
    assert rules.ttl * (1 - jitter) <= life <= rules.ttl


def test_jitter_spreads_what_was_stored_at_once():
    lives = {merging.merge(None, valid(), (), f"ib||S{n}||", NOW, Policy()).ttl_seconds for n in range(1000)}
    assert max(lives) - min(lives) > 0.045 * Policy().ttl


def test_a_life_is_cut_at_the_last_trade_date():
    contract = ContractInfo(symbol="ESZ6", last_trade_date=date(2026, 12, 18))
    end = datetime(2026, 12, 19, tzinfo=UTC).timestamp()
    info = entry(valid(contract_info=contract), now=end - 3 * DAY)
    assert info.cached_at + info.ttl_seconds == end
    assert entry(valid(contract_info=contract), now=end + DAY).ttl_seconds == EXACT.unconfirmed_ttl


def test_doubling_ends_and_a_valid_answer_ends_it():
    info = None
    for _ in range(2000):
        info = entry(invalid(), old=info)
    assert info.ttl_seconds == EXACT.negative_ttl_max
    assert entry(invalid(), old=entry(valid(), old=info)).validation_result.is_valid
    assert entry(valid(), old=info).repeats == 0


def test_an_unconfirmed_negative_does_not_double():
    info = entry(invalid(confirmed=False), old=entry(invalid(confirmed=False)))
    assert (info.ttl_seconds, info.repeats) == (EXACT.unconfirmed_ttl, 0)


def test_a_contradicted_verdict_is_asked_about_again_in_ten_minutes():
    doubted = entry(invalid(), now=NOW + DAY, old=entry(valid("1d")))
    assert doubted.validation_result.is_valid
    assert policy.answers(doubted, ("1d",), NOW + DAY + 599)
    assert not policy.answers(doubted, ("1d",), NOW + DAY + 600)
    assert not entry(invalid(), now=NOW + DAY + 600, old=doubted).validation_result.is_valid
    assert entry(valid(), now=NOW + DAY + 600, old=doubted).suspect_since is None
    assert doubted.cached_at == NOW, "it is as old as it was"
    assert policy.freshness(doubted, NOW + DAY + 599, EXACT) is Freshness.FRESH, "and is not asked about meanwhile"


def test_an_unconfirmed_negative_never_overturns_a_valid_verdict():
    info, now = entry(valid("1d")), NOW
    for _ in range(10):
        now += 3600
        info = entry(invalid(confirmed=False), now=now, old=info)
        assert info.validation_result.is_valid
        assert policy.answers(info, ("1d",), now + 299)
        assert not policy.answers(info, ("1d",), now + 300)


def test_a_verdict_that_could_not_even_serve_an_outage_gives_way_at_once():
    assert not entry(invalid(), now=NOW + 40 * DAY, old=entry(valid())).validation_result.is_valid


def test_a_part_that_was_asked_and_not_answered_is_asked_again_soon():
    info = entry(valid("1d"), asked=("1d", "1h"))
    assert policy.missing(info, ("1d", "1h"), NOW + 299) == ()
    assert policy.missing(info, ("1d", "1h"), NOW + 300) == ("1h",)
    assert set(info.validation_result.head_timestamps) == {"1d"}, "null would say that there is no data"


def test_an_answer_without_a_contract_keeps_the_one_that_was_known():
    info = entry(valid("1h"), old=entry(valid("1d", contract_info=ContractInfo(symbol="AAPL", exchange="NASDAQ"))))
    assert info.validation_result.contract_info.exchange == "NASDAQ"
    assert set(info.validation_result.head_timestamps) == {"1d", "1h"}


@given(st.lists(st.tuples(st.sampled_from(["1d", "1h", "5m"]), st.integers(0, 40)), max_size=8))
def test_merging_never_loses_nor_renews_a_timeframe(steps):
    info, now, asked_at = None, NOW, {}
    for timeframe, days in steps:
        now += days * DAY
        asked_at[timeframe] = now
        info = entry(valid(timeframe), now=now, old=info, asked=(timeframe,))
    if info is not None:
        assert {name: part.asked_at for name, part in info.parts.items()} == asked_at
        assert policy.keep_until(info, EXACT) >= max(asked_at.values()) + EXACT.ttl + EXACT.stale_if_error


@given(st.lists(st.sampled_from(["1d", "1h"]), unique=True), st.integers(-2, 60))
def test_fresh_until_agrees_with_answers(timeframes, days):
    info = entry(valid("1h"), now=NOW + 10 * DAY, old=entry(valid("1d")))
    now = NOW + days * DAY
    end = policy.fresh_until(info, timeframes)
    since = info.cached_at - policy.CLOCK_TOLERANCE
    assert policy.answers(info, timeframes, now) == (since <= now < end)
