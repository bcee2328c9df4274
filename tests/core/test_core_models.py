"""Values that nobody can change, and that always have a JSON form."""

import copy
import pickle
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from symcache_core.errors import InvalidAnswerError
from symcache_core.frozen import FrozenDict, freeze
from symcache_core.models import (
    CachedSymbolInfo,
    ContractInfo,
    Counters,
    Part,
    ProviderAnswer,
    ValidationResult,
    VerdictChange,
)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 2),
        lambda d: d.__delitem__("a"),
        lambda d: d.__ior__({"b": 2}),
        lambda d: d.update(a=2),
        lambda d: d.setdefault("b", 2),
        lambda d: d.pop("a"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
    ],
)
def test_a_frozen_dict_refuses_every_change(change):
    frozen = FrozenDict(a=1)
    with pytest.raises(TypeError, match="immutable"):
        change(frozen)
    assert frozen == {"a": 1}


def test_a_frozen_dict_can_be_copied_and_sent_to_another_process():
    frozen = freeze({"a": {"b": [1]}})
    assert copy.deepcopy(frozen) == copy.copy(frozen) == pickle.loads(pickle.dumps(frozen)) == {"a": {"b": (1,)}}
    assert (frozen | {"c": 1})["c"] == 1


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", float("nan"), float("inf"), "\ud800"], ids=lambda v: type(v).__name__
)
def test_what_has_no_json_form_is_refused_at_once(value):
    with pytest.raises(ValidationError, match="JSON"):
        ContractInfo(details={"deep": [value]})


def test_dates_in_details_become_text():
    info = ContractInfo.model_validate({"expiry": date(2026, 12, 18)})
    assert info.details == {"expiry": "2026-12-18"}


def test_fields_of_a_provider_that_we_do_not_know_are_kept_in_details():
    info = ContractInfo.model_validate({"symbol": "AAPL", "conId": 265598, "details": {"a": 1}, "exchange": None})
    assert info.details == {"a": 1, "conId": 265598}
    assert info.exchange == ""
    assert ContractInfo.model_validate_json(info.model_dump_json()) == info


def test_a_verdict_has_exactly_its_six_fields():
    fields = {"is_valid", "symbol", "error_message", "contract_info", "head_timestamps", "suggested_symbol"}
    assert set(ValidationResult.model_fields) == fields
    with pytest.raises(ValidationError):
        ValidationResult(is_valid=True, symbol="AAPL", confirmed=True)


def test_head_timestamps_are_iso_text_and_read_as_utc():
    result = ValidationResult(
        is_valid=True,
        symbol="AAPL",
        head_timestamps={"1d": datetime(1980, 12, 12, tzinfo=UTC), "1h": "2004-01-23T14:30:00", "1m": None},
    )
    assert result.head_timestamps == {"1d": "1980-12-12T00:00:00+00:00", "1h": "2004-01-23T14:30:00", "1m": None}
    assert result.head_timestamp("1h") == datetime(2004, 1, 23, 14, 30, tzinfo=UTC)
    assert result.head_timestamp("1m") is None
    assert result.head_timestamp("1w") is None
    with pytest.raises(ValidationError, match="ISO 8601"):
        ValidationResult(is_valid=True, symbol="AAPL", head_timestamps={"1d": "last tuesday"})


def test_an_entry_tells_whether_it_is_over():
    info = CachedSymbolInfo(
        validation_result=ValidationResult(is_valid=True, symbol="AAPL"),
        cached_at=1000.0,
        ttl_seconds=60.0,
        parts={"1d": Part(head_timestamp=None, asked_at=1000.0, ttl_seconds=60.0)},
    )
    assert not info.is_expired(1059.9)
    assert info.is_expired(1060.0)
    assert info.is_expired()
    with pytest.raises(TypeError):
        info.parts["1h"] = None


def test_counters_add_up_and_know_their_hit_ratio():
    total = Counters(hits=1, misses=1) + Counters(hits=1, coalesced=1)
    assert (total.hits, total.misses, total.coalesced, total.hit_ratio) == (2, 1, 1, 0.5)
    assert Counters().hit_ratio is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"conId": 265598}, "265598"),
        ({"conId": " 265598 ", "id": "other"}, "265598"),
        ({"conId": 0, "id": "A-1"}, "A-1"),
        ({"conId": "0"}, None),
        ({"conId": True}, None),
        ({"conId": None, "id": " "}, None),
        ({"conId": [265598]}, None),
        ({}, None),
    ],
)
def test_a_contract_tells_its_permanent_id_if_its_provider_did(told, expected):
    assert ContractInfo(contract=told).permanent_id == expected


def test_a_change_of_a_verdict_that_was_stored_without_contracts_is_read():
    old = VerdictChange.model_validate_json('{"at": 1.0, "is_valid": true, "code": "200"}')
    assert old == VerdictChange(at=1.0, is_valid=True, code="200")
    assert (old.contract, old.former_contract) == (None, None)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"valid_until": "2030-01-01"}, "valid_until as a str"),
        ({"valid_until": datetime(2030, 1, 1, tzinfo=UTC)}, "valid_until as a datetime"),
        ({"confirmed": None}, "confirmed as None"),
        ({"confirmed": "no"}, "confirmed as no"),
    ],
)
def test_an_answer_that_says_what_cannot_be_is_refused_by_name(said, message):
    with pytest.raises(InvalidAnswerError, match=message):
        ProviderAnswer.of(ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL"), **said))


@pytest.mark.parametrize("until", [None, 0, 1.9e9, float("inf"), float("nan"), -1e300])
def test_an_answer_may_end_at_any_moment(until):
    answer = ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL"), valid_until=until)
    assert ProviderAnswer.of(answer) is answer


@pytest.mark.parametrize(
    ("stamp", "nearest"),
    [
        ("0001-01-01T00:00:00+14:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59+14:00", datetime(9999, 12, 31, 9, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_beyond_all_years_is_the_nearest_that_there_is(stamp, nearest):
    result = ValidationResult(is_valid=True, symbol="AAPL", head_timestamps={"1d": stamp})
    assert result.head_timestamp("1d") == nearest
