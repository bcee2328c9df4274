"""What ``explain`` says of the next lookup is what the next lookup does: both ask the same rule."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from symcache_core.errors import ProviderUnavailableError
from symcache_core.factory import open_symbol_cache
from symcache_core.models import Outcome, ProviderAnswer, ValidationResult
from symcache_core.policy import Rule
from symcache_core.settings import SymcacheSettings

DAY = 86400.0
HEAD = "1980-12-12T14:30:00+00:00"
AGES = (
    0,
    1,
    299,
    300,
    3599,
    3600,
    27 * DAY - 1,
    27 * DAY,
    30 * DAY - 1,
    30 * DAY,
    37 * DAY - 1,
    37 * DAY,
    -61,
    -90 * DAY,
)


class Broker:
    def __init__(self):
        self.calls, self.error = 0, None

    async def validate(self, symbol, timeframes):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return ValidationResult(is_valid=True, symbol=symbol, head_timestamps=dict.fromkeys(timeframes, HEAD))


async def what_happens(answer, age, wanted, fails_before, fails_now):
    """Which rule is announced, how the lookup was answered, and how often the provider was asked for it."""
    now = [1793000000.0]
    settings = SymcacheSettings(backend="memory", provider="ib", jitter=0)
    with open_symbol_cache(settings, clock=lambda: now[0]) as cache:
        broker = Broker()
        if answer is not None:
            cache.store("AAPL", answer)
        now[0] += age
        if fails_before:
            broker.error = ProviderUnavailableError("down")
            with pytest.raises(ProviderUnavailableError):
                await cache.get_or_validate("MSFT", ["1d"], broker.validate)
        broker.error = ProviderUnavailableError("down") if fails_now else None
        broker.calls = 0
        rule = cache.explain("AAPL", wanted).rule
        try:
            lookup = await cache.get_or_validate("AAPL", wanted, broker.validate)
        except ProviderUnavailableError:
            lookup = None
        await cache._asking.flights.drain(5)
        return rule, None if lookup is None else lookup.outcome, broker.calls


answers = st.one_of(
    st.none(),
    st.sampled_from([(), ("1d",), ("1d", "1h")]).map(
        lambda names: ValidationResult(is_valid=True, symbol="AAPL", head_timestamps=dict.fromkeys(names, HEAD))
    ),
    st.booleans().map(
        lambda confirmed: ProviderAnswer(ValidationResult(is_valid=False, symbol="AAPL"), confirmed=confirmed)
    ),
)


@given(answers, st.sampled_from(AGES), st.sampled_from([(), ("1d",)]), st.booleans(), st.booleans())
@example(None, 0, ("1d",), True, False)
def test_the_next_lookup_is_served_by_the_rule_that_is_announced(answer, age, wanted, fails_before, fails_now):
    rule, outcome, calls = asyncio.run(what_happens(answer, age, wanted, fails_before, fails_now))
    assert (calls > 0) == rule.asks
    if rule is Rule.MISS:
        assert outcome is (None if fails_now else Outcome.MISS)
    elif rule.waits:
        assert outcome in ((Outcome.STALE, Outcome.PARTIAL) if fails_now else (Outcome.MISS,))
    elif rule is Rule.RETRY_THROTTLE:
        assert outcome in (Outcome.STALE, Outcome.PARTIAL)
    else:
        assert outcome is Outcome.HIT
    if fails_before and rule is not Rule.MISS:
        assert not rule.asks, "who has something to serve leaves a failed provider alone"
