"""What an answer makes of an entry is a pure function of entry, answer, time and policy."""

import time
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from answers import DAY, EXACT, HEAD, NOW, entry, invalid, valid
from hypothesis import given
from hypothesis import strategies as st

from symcache_core import merging, policy
from symcache_core.models import ContractInfo, Part, Provenance, ProviderAnswer, ValidationResult, VerdictChange
from symcache_core.policy import Freshness, Policy, with_changes
from symcache_core.symbols import Instrument


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
    info = entry(valid(contract=contract), now=end - 3 * DAY)
    assert info.cached_at + info.ttl_seconds == end
    assert entry(valid(contract=contract), now=end + DAY).ttl_seconds == EXACT.unconfirmed_ttl


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
    info = entry(valid("1h"), old=entry(valid("1d", contract=ContractInfo(symbol="AAPL", exchange="NASDAQ"))))
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


def test_doubling_a_life_goes_on_for_so_long_that_any_sensible_maximum_is_reached_first():
    rules, info = Policy(jitter=0.0, negative_ttl=1.0, negative_ttl_max=2.0**60), None
    lives = []
    for _ in range(40):
        info = entry(invalid(), old=info, rules=rules)
        lives.append(info.ttl_seconds)
    assert lives == [2.0 ** min(repeats, 32) for repeats in range(40)]


def test_an_entry_tells_who_gave_the_answer():
    said_by = Provenance(provider="ib", code="200")
    assert entry(replace(valid(), provenance=said_by)).provenance == said_by
    assert entry(invalid(provenance=said_by)).provenance == said_by


NO_DATA = {"1w": None}


def lives(info):
    return {name: part.ttl_seconds for name, part in info.parts.items()}


def test_that_there_is_no_data_lives_no_longer_than_a_negative():
    first = entry(valid("1d", **NO_DATA))
    again = entry(valid("1d", **NO_DATA), now=NOW + 600, old=first)
    assert lives(again) == {"1d": 30 * DAY, "1w": EXACT.negative_ttl_max}
    hasty = replace(EXACT, negative_ttl_max=60.0)
    assert lives(entry(valid(**NO_DATA), rules=hasty)) == {"1w": 60}
    assert lives(entry(valid(**NO_DATA), now=NOW + 600, old=first, rules=hasty))["1w"] == 60


def test_that_there_is_no_data_is_asked_about_again_in_ten_minutes():
    first = entry(valid("1d", **NO_DATA))
    assert lives(first) == {"1d": 30 * DAY, "1w": 600}
    assert policy.missing(first, ("1d", "1w"), NOW + 599) == ()
    assert policy.missing(first, ("1d", "1w"), NOW + 600) == ("1w",)
    assert lives(entry(valid(**NO_DATA), now=NOW + 599, old=first))["1w"] == 600, "too soon to prove anything"
    second = entry(valid(**NO_DATA), now=NOW + 600, old=first)
    assert lives(entry(valid(**NO_DATA), now=NOW + 2 * DAY, old=second))["1w"] == EXACT.negative_ttl_max


def test_what_was_never_said_is_no_first_time_that_there_was_no_data():
    unanswered = entry(valid("1d"), asked=("1d", "1w"))
    assert unanswered.parts["1w"].head_timestamp is None
    had_some = entry(valid("1d", "1w"))
    for old in (None, unanswered, had_some, entry(valid("1d")), entry(invalid())):
        assert lives(entry(valid(**NO_DATA), now=NOW + DAY, old=old))["1w"] == 600


def test_that_no_timeframe_has_data_is_asked_about_again_too():
    nothing = replace(valid(**NO_DATA), one_head_timestamp=True)
    first = entry(nothing)
    assert lives(first) == {"1w": 600, "*": 600}
    again = entry(nothing, now=NOW + 600, old=first)
    assert lives(again) == {"1w": EXACT.negative_ttl_max, "*": EXACT.negative_ttl_max}


def test_a_timeframe_that_is_not_answered_any_more_keeps_its_head_timestamp_for_minutes():
    info = entry(valid("1d"), now=NOW + DAY, old=entry(valid("1h")), asked=("1d", "1h"))
    assert info.parts["1h"] == Part(head_timestamp=HEAD, asked_at=NOW + DAY, ttl_seconds=EXACT.unconfirmed_ttl)


@pytest.fixture
def machine_in_new_york(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("machine_in_new_york")
def test_the_last_trade_date_ends_with_the_day_in_utc_wherever_the_machine_stands():
    info = entry(valid(contract=ContractInfo(symbol="ESZ6", last_trade_date=date(2026, 12, 18))), now=NOW)
    end = datetime(2026, 12, 19, tzinfo=UTC).timestamp()
    assert NOW + info.ttl_seconds == min(end, NOW + 30 * DAY)
    info = entry(valid(contract=ContractInfo(symbol="ESZ6", last_trade_date=date(2026, 12, 18))), now=end - DAY)
    assert info.cached_at + info.ttl_seconds == end


# -- a contradicted verdict --------------------------------------------------------------------------------------------


def doubted(now, old, asked=(), **fields):
    return entry(invalid(**fields), now=now, old=old, asked=asked)


def test_what_is_known_of_a_timeframe_stays_when_the_verdict_is_contradicted():
    old = entry(valid("1d"))
    info = doubted(NOW + DAY, old, ("1d",))
    assert info.parts["1d"] == old.parts["1d"], "it is as old as it was, and lives as long"


def test_a_timeframe_that_is_over_lives_on_until_the_second_opinion():
    old = entry(valid("1d")).model_copy(update={"ttl_seconds": 40 * DAY})
    info = doubted(NOW + 35 * DAY, old, ("1d", "1h"))
    assert info.parts["1d"] == Part(head_timestamp=HEAD, asked_at=NOW, ttl_seconds=35 * DAY + 600)
    assert info.parts["1h"] == Part(head_timestamp=None, asked_at=NOW + 35 * DAY, ttl_seconds=600)


def test_the_second_opinion_is_due_ten_minutes_after_the_first_contradiction_whatever_comes_between():
    first = doubted(NOW + DAY, entry(valid("1d")), ("1d",))
    again = doubted(NOW + DAY + 599.5, first, ("1d", "1h"))
    assert again.suspect_since == NOW + DAY
    assert again.cached_at + again.ttl_seconds == NOW + DAY + 600
    assert again.parts["1h"].asked_at + again.parts["1h"].ttl_seconds == NOW + DAY + 600


def test_a_contradicted_verdict_from_the_future_is_as_old_as_the_contradiction():
    old = entry(valid("1d"), now=NOW + DAY)
    info = doubted(NOW, old, ("1d",))
    assert (info.cached_at, info.ttl_seconds) == (NOW, 600)
    assert info.parts["1d"].asked_at == NOW
    assert info.parts["1d"].ttl_seconds == 31 * DAY


# -- what could not be stored in time ----------------------------------------------------------------------------------


def reconciled(stored, late, now=NOW + DAY):
    return merging.reconcile(stored, late, now, EXACT)


def test_a_stored_stamp_is_from_the_future_only_past_the_tolerance_of_clocks():
    stored, late = entry(valid("1d"), now=NOW + 60), entry(valid("1h"), now=NOW - 60)
    assert set(reconciled(stored, late, NOW).parts) == {"1d", "1h"}
    assert reconciled(stored, late, NOW - 1) == late


def test_a_late_negative_of_the_same_moment_makes_a_stored_valid_verdict_a_suspect():
    info = reconciled(entry(valid("1d")), entry(invalid()))
    assert (info.validation_result.is_valid, info.suspect_since, info.doubted) == (True, NOW, True)


def test_a_stored_negative_stands_against_an_older_valid_verdict_that_comes_late():
    stored, late = entry(invalid(), now=NOW + 60), entry(valid("1d"))
    change = VerdictChange(at=NOW + 60, is_valid=False)
    assert reconciled(stored, late) == stored.model_copy(update={"changes": (change,)})


def test_a_late_negative_stands_against_what_could_not_even_serve_an_outage():
    stored, late = entry(valid("1d")), entry(invalid(), now=NOW + 40 * DAY)
    info = reconciled(stored, late, NOW + 40 * DAY)
    assert (info.validation_result, info.parts) == (late.validation_result, {})


def test_where_two_meet_that_disagree_the_change_is_remembered():
    told = replace(valid("1d"), provenance=Provenance(code="0"))
    stored, late = entry(invalid()), entry(told, now=NOW + 60)
    assert reconciled(stored, late).changes == (VerdictChange(at=NOW + 60, is_valid=True, code="0"),)


def test_a_change_that_the_newer_one_knows_of_is_not_remembered_twice():
    stored = entry(invalid())
    late = entry(valid("1d"), now=NOW + 60, old=stored)
    assert len(late.changes) == 1
    assert reconciled(stored, late).changes == late.changes


def of_contract(number, name="conId"):
    return valid("1d", contract=ContractInfo(symbol="META", contract={name: number}))


def test_that_a_symbol_became_another_contracts_is_remembered():
    fund = entry(of_contract(490489223))
    company = entry(of_contract(107113386), now=NOW + 40 * DAY, old=fund)
    change = VerdictChange(at=NOW + 40 * DAY, is_valid=True, contract="107113386", former_contract="490489223")
    assert company.changes == (change,)
    assert entry(of_contract(107113386), now=NOW + 41 * DAY, old=company).changes == (change,)
    assert entry(of_contract("A-2", "id"), old=entry(of_contract("A-1", "id"))).changes[0].contract == "A-2"


def test_a_contract_that_is_not_told_is_no_other_one():
    told, untold = of_contract(490489223), valid("1d", contract=ContractInfo(symbol="META"))
    for first, then in ((told, untold), (untold, told), (told, valid("1d")), (told, of_contract("490489223"))):
        assert entry(then, now=NOW + DAY, old=entry(first)).changes == ()
    contracts = [of_contract(number).result.contract_info for number in (1, 2)]
    negatives = [ProviderAnswer(with_changes(invalid().result, contract_info=contract)) for contract in contracts]
    assert entry(negatives[1], now=NOW + DAY, old=entry(negatives[0])).changes == ()


def test_only_the_last_five_contracts_are_remembered():
    info = entry(of_contract(1))
    for number in range(2, 9):
        info = entry(of_contract(number), now=NOW + number * DAY, old=info)
    assert [change.former_contract for change in info.changes] == ["3", "4", "5", "6", "7"]


def test_where_two_meet_that_are_of_different_contracts_it_is_remembered_once():
    stored, late = entry(of_contract(1)), entry(of_contract(2), now=NOW + 60)
    met = reconciled(stored, late)
    assert [(change.former_contract, change.contract) for change in met.changes] == [("1", "2")]
    made = entry(of_contract(2), now=NOW + 60, old=stored)
    assert reconciled(stored, made).changes == made.changes == met.changes


def test_what_is_known_of_a_negative_does_not_pass_to_the_valid_verdict_after_it():
    negative = ProviderAnswer(
        ValidationResult(is_valid=False, symbol="AAPL", contract_info=ContractInfo(symbol="AAPL", exchange="LSE"))
    )
    assert reconciled(entry(negative), entry(valid("1d"), now=NOW + 60)).validation_result.contract_info is None


@pytest.mark.parametrize("suspect_is", ["stored", "late"])
def test_of_two_of_the_same_moment_a_suspect_stays_one_whichever_comes_late(suspect_is):
    plain = entry(valid("1d"))
    suspect = doubted(NOW + 600, plain, ("1d",))
    assert suspect.cached_at == plain.cached_at
    pair = (suspect, plain) if suspect_is == "stored" else (plain, suspect)
    assert reconciled(*pair) == suspect


def test_of_two_suspects_of_the_same_moment_the_earlier_doubt_counts():
    plain = entry(valid("1d"))
    one, other = (doubted(NOW + seconds, plain) for seconds in (600, 900))
    assert [reconciled(*pair).suspect_since for pair in ((one, other), (other, one))] == [NOW + 600] * 2


def test_a_later_valid_verdict_ends_a_doubt():
    suspect, later = doubted(NOW + 600, entry(valid("1d"))), entry(valid("1d"), now=NOW + 700)
    for pair in ((suspect, later), (later, suspect)):
        info = reconciled(*pair)
        assert (info.suspect_since, info.doubted, info.cached_at) == (None, False, NOW + 700)


def test_of_two_of_the_same_moment_a_doubt_that_may_be_a_failure_does_not_hide_a_suspicion():
    plain = entry(valid("1d"))
    suspect, doubtful = doubted(NOW + 500, plain), doubted(NOW + 600, plain, confirmed=False)
    assert doubtful.suspect_since is None
    for pair in ((suspect, doubtful), (doubtful, suspect)):
        info = reconciled(*pair)
        assert (info.suspect_since, info.ttl_seconds) == (NOW + 500, doubtful.ttl_seconds)


# -- two of different origin -------------------------------------------------------------------------------------------


def settled(known, other, now=NOW + DAY):
    return merging.settle(known, other, now, EXACT)


def test_two_valid_verdicts_that_serve_make_one_with_the_timeframes_of_both():
    known, other = entry(valid("1d")), entry(valid("1h"), now=NOW + 60)
    for pair in ((known, other), (other, known)):
        info = settled(*pair)
        assert (info.cached_at, set(info.parts)) == (NOW + 60, {"1d", "1h"})


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("passed", [-60, 0, 60])
def test_a_valid_verdict_that_serves_stays_whatever_negative_comes_from_elsewhere(confirmed, passed):
    known, negative = entry(valid("1d")), entry(invalid(confirmed=confirmed), now=NOW + passed)
    now = NOW + 60
    assert settled(known, negative, now) is known
    if confirmed:
        assert settled(negative, known, now) is (known if passed < 0 else negative)
    else:
        assert settled(negative, known, now) is known


def test_what_could_not_even_serve_an_outage_gives_way_to_anything():
    known = entry(valid("1d"))
    for answer in (valid("1h"), invalid()):
        other = entry(answer, now=NOW + 37 * DAY)
        assert settled(known, other, NOW + 37 * DAY) is other
    other = entry(invalid(), now=NOW + 37 * DAY - 1)
    assert settled(known, other, NOW + 37 * DAY - 1) is known


def test_of_two_negatives_the_later_one_stays():
    early, late = entry(invalid()), entry(invalid(), now=NOW + 60)
    assert settled(early, late, NOW + 60) is settled(late, early, NOW + 60) is late
    assert settled(early, early.model_copy(), NOW + 60) is early


def test_a_stamp_from_the_future_never_makes_one_the_later_of_two():
    present, future = entry(invalid()), entry(invalid(), now=NOW + 61)
    assert settled(present, future, NOW) is settled(future, present, NOW) is present
    tolerated = entry(invalid(), now=NOW + 60)
    assert settled(present, tolerated, NOW) is tolerated
    valid_in_future = entry(valid("1d"), now=NOW + 61)
    assert settled(entry(valid("1h")), valid_in_future, NOW).parts.keys() == {"1h"}


# -- a negative about an alias -----------------------------------------------------------------------------------------

RY = ContractInfo(symbol="RY", asset_type="STK", exchange="TSE", currency="CAD")


@pytest.mark.parametrize(("passed", "expected"), [(-1, False), (0, True), (1, True)])
def test_a_plain_symbols_verdict_overrules_a_negative_of_before_or_of_the_same_moment(passed, expected):
    plain = entry(valid(contract=RY), now=NOW + passed)
    assert merging.overrules(plain, entry(invalid()), Instrument.parse("RY@TSE:CAD")) is expected


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("RY@TSE:CAD", True),
        ("RY@TSE", True),
        ("RY:CAD", True),
        ("STK:RY", True),
        ("RY@NYSE:CAD", False),
        ("RY@TSE:USD", False),
        ("FUT:RY@TSE:CAD", False),
    ],
)
def test_it_overrules_only_what_is_said_of_that_very_contract(spelling, expected):
    plain = entry(valid(contract=RY), now=NOW + 1)
    assert merging.overrules(plain, entry(invalid()), Instrument.parse(spelling)) is expected


MINI_DAX = ContractInfo(
    symbol="DAX",
    asset_type="FUT",
    exchange="EUREX",
    currency="EUR",
    contract={"tradingClass": "FDXM", "multiplier": "5.0"},
)


@pytest.mark.parametrize(
    ("narrower", "expected"),
    [
        (",class=FDXM", True),
        (",multiplier=5", True),
        (",class=FDXM,multiplier=5", True),
        (",class=FDAX", False),
        (",multiplier=25", False),
        (",class=FDXM,multiplier=25", False),
    ],
)
def test_it_overrules_only_what_is_said_of_its_class_and_its_multiplier(narrower, expected):
    plain = entry(valid(contract=MINI_DAX), now=NOW + 1)
    assert merging.overrules(plain, entry(invalid()), Instrument.parse(f"FUT:DAX 201303{narrower}")) is expected


def test_a_contract_without_a_class_or_a_multiplier_is_none_that_has_one():
    plain = entry(valid(contract=RY), now=NOW + 1)
    for spelling in ("RY,class=RY", "RY,multiplier=5"):
        assert merging.overrules(plain, entry(invalid()), Instrument.parse(spelling)) is False


def test_a_negative_or_a_verdict_without_a_contract_overrules_nothing():
    negative = ProviderAnswer(ValidationResult(is_valid=False, symbol="RY", contract_info=RY))
    for plain in (entry(negative, now=NOW + 1), entry(valid(), now=NOW + 1)):
        assert merging.overrules(plain, entry(invalid()), Instrument.parse("RY@TSE:CAD")) is False


@pytest.mark.parametrize("age", [DAY, 33 * DAY], ids=["fresh", "past its life"])
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_contradicted_verdict_stays_contradicted_whichever_form_of_it_comes_late(age, confirmed):
    before = entry(valid("1d"))
    after = entry(invalid(confirmed=confirmed), now=NOW + age, old=before)
    assert after.doubted
    for pair in ((before, after), (after, before)):
        made = reconciled(*pair, NOW + age)
        assert (made.doubted, made.suspect_since, made.ttl_seconds) == (True, after.suspect_since, after.ttl_seconds)
