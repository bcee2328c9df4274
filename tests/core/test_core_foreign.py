"""A program that has classes of its own for verdicts and contracts drops in: they are kept as values of ours."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from symcache_core import CachedSymbolInfo, ContractInfo, Outcome, ProviderAnswer, SymcacheSettings, ValidationResult
from symcache_core import open_symbol_cache as open_cache
from symcache_core.entries import codec
from symcache_core.errors import InvalidAnswerError, ProviderError
from symcache_core.models import NEGATIVE_TTL, TTL, UNCONFIRMED_TTL

HEAD = "1980-12-12T14:30:00+00:00"
SIX = {
    "is_valid": True,
    "symbol": "AAPL",
    "error_message": None,
    "contract_info": None,
    "head_timestamps": {"1d": HEAD},
    "suggested_symbol": None,
}
HOURS = {"timezone": "US/Eastern", "regular_hours": {"start": "09:30", "end": "16:00"}, "trading_days": [0, 1, 2, 3, 4]}
ELEVEN = {
    "symbol": "AAPL",
    "contract": {"conId": 265598, "secType": "STK", "comboLegs": []},
    "asset_type": "STK",
    "exchange": "NASDAQ",
    "currency": "USD",
    "description": "APPLE INC",
    "validated_at": 1750000000.25,
    "trading_hours": HOURS,
    "head_timestamp": HEAD,
    "head_timestamp_timeframes": {"1d": HEAD},
    "head_timestamp_fetched_at": 1750000001.5,
}
KNOWN = ContractInfo(**ELEVEN)
RESULT = ValidationResult(**SIX | {"contract_info": KNOWN})


@dataclass
class BrokersContract:
    """As ib_insync and ib_async have it."""

    conId: int = 265598  # noqa: N815  # the broker's spelling
    secType: str = "STK"  # noqa: N815  # the same
    comboLegs: list[Any] = field(default_factory=list)  # noqa: N815  # the same


class PlainContract:
    """As the broker's own client has it: attributes, and no fields."""

    def __init__(self):
        self.conId, self.secType, self.comboLegs = 265598, "STK", []
        self._client = object()


class Verdict(BaseModel):
    """Another program's, with a field more."""

    model_config = ConfigDict(extra="allow")

    is_valid: bool
    symbol: str
    error_message: str | None
    contract_info: Any
    head_timestamps: dict[str, Any] | None
    suggested_symbol: str | None
    asked_by: str = "somebody"


class Slotted:
    """Fields that are neither declared nor in a dict."""

    __slots__ = tuple(SIX)

    def __init__(self, **values):
        for name, value in values.items():
            setattr(self, name, value)


class Computed:
    """Fields that are properties."""

    def __init__(self, **values):
        self._values = values

    def __getattr__(self, name):
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None


VERDICTS = {
    "a dataclass": lambda **values: make_dataclass("Result", values)(**values),
    "a frozen dataclass": lambda **values: make_dataclass("Result", values, frozen=True, slots=True)(**values),
    "a pydantic model": Verdict,
    "a named tuple": lambda **values: NamedTuple("Result", [(name, Any) for name in values])(**values),
    "a namespace": SimpleNamespace,
    "an object with slots": Slotted,
    "an object with properties": Computed,
    "a mapping": lambda **values: values,
}
CONTRACTS = {kind: make for kind, make in VERDICTS.items() if kind not in ("a pydantic model", "an object with slots")}
CONTRACTS.pop("an object with properties")
each_kind = pytest.mark.parametrize("make", VERDICTS.values(), ids=VERDICTS.keys())
each_contract = pytest.mark.parametrize("make", CONTRACTS.values(), ids=CONTRACTS.keys())


@pytest.fixture
def cache(clock):
    with open_cache(SymcacheSettings(backend="memory", provider="ib"), clock=clock) as cache:
        yield cache


@each_kind
def test_a_verdict_of_any_class_with_the_six_fields_is_stored(cache, make):
    stored = cache.store("aapl", make(**SIX | {"contract_info": ELEVEN}))
    assert stored.validation_result == RESULT
    assert type(stored.validation_result) is ValidationResult
    assert (stored.provenance.provider, stored.confirmed) == ("ib", True)
    assert cache.get("AAPL", ["1d"]) == stored


@each_kind
def test_what_a_callable_gives_may_be_of_any_such_class(cache, make):
    async def validate(symbol, timeframes):
        return make(**SIX | {"symbol": symbol, "contract_info": ELEVEN})

    lookup = asyncio.run(cache.get_or_validate("AAPL", ["1d"], validate))
    assert (lookup.result, lookup.outcome) == (RESULT, Outcome.MISS)
    assert cache.get("AAPL", ["1d"]) is not None


@each_kind
def test_an_answer_may_have_such_a_verdict_in_it(cache, make):
    negative = make(**SIX | {"is_valid": False, "head_timestamps": None, "error_message": "Symbol AAPL not found"})
    stored = cache.store("AAPL", ProviderAnswer(negative, confirmed=False))
    assert (stored.validation_result.is_valid, stored.confirmed) == (False, False)
    assert stored.validation_result.error_message == "Symbol AAPL not found"


@each_contract
@pytest.mark.parametrize(
    "contract", [BrokersContract(), PlainContract(), ELEVEN["contract"]], ids=lambda c: type(c).__name__
)
def test_its_contract_may_be_of_any_class_with_the_eleven_fields(cache, make, contract):
    foreign = make(**ELEVEN | {"contract": contract})
    stored = cache.store("AAPL", SimpleNamespace(**SIX | {"contract_info": foreign}))
    assert stored.validation_result.contract_info == KNOWN
    assert stored.validation_result.contract_info.permanent_id == "265598"
    assert ValidationResult(is_valid=True, symbol="AAPL", contract_info=foreign).contract_info == KNOWN


@each_contract
def test_what_its_contract_says_more_is_kept_in_the_details(make):
    more = {"stock_type": "COMMON", "last_trade_date": date(2026, 12, 18), "legs": [BrokersContract(1)]}
    info = ContractInfo.model_validate(make(**ELEVEN | more))
    assert info.last_trade_date == date(2026, 12, 18)
    assert info.details == {"stock_type": "COMMON", "legs": ({"conId": 1, "secType": "STK", "comboLegs": ()},)}


def test_times_of_first_bars_may_be_times(cache):
    stored = cache.store(
        "AAPL", SimpleNamespace(**SIX | {"head_timestamps": {"1d": datetime(1980, 12, 12, tzinfo=UTC)}})
    )
    assert stored.validation_result.head_timestamps == {"1d": "1980-12-12T00:00:00+00:00"}


@each_kind
@pytest.mark.parametrize("field", SIX)
def test_a_verdict_that_lacks_a_field_is_refused_and_the_field_named(cache, make, field):
    if make is VERDICTS["a pydantic model"]:
        verdict = Verdict(**SIX)
        del verdict.__dict__[field]
    else:
        verdict = make(**{name: value for name, value in SIX.items() if name != field})

    async def validate(symbol, timeframes):
        return verdict

    for attempt in (
        lambda: cache.store("AAPL", verdict),
        lambda: cache.store("AAPL", ProviderAnswer(verdict)),
        lambda: asyncio.run(cache.get_or_validate("AAPL", ["1d"], validate)),
        lambda: CachedSymbolInfo(verdict, 0.0),
    ):
        with pytest.raises(InvalidAnswerError, match=rf"without {field}\b") as raised:
            attempt()
        assert isinstance(raised.value, ProviderError)
        assert isinstance(raised.value, ValueError)
    assert cache.peek("AAPL") is None


@pytest.mark.parametrize("field", ELEVEN)
def test_a_contract_that_lacks_a_field_is_refused_and_the_field_named(cache, field):
    foreign = SimpleNamespace(**{name: value for name, value in ELEVEN.items() if name != field})
    with pytest.raises(InvalidAnswerError, match=rf"'contract_info'.* has no {field}$"):
        cache.store("AAPL", SimpleNamespace(**SIX | {"contract_info": foreign}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_valid", "maybe"),
        ("is_valid", None),
        ("symbol", 7),
        ("head_timestamps", {"1d": "last tuesday"}),
        ("head_timestamps", [HEAD]),
        ("contract_info", 7),
        ("contract_info", ELEVEN | {"contract": object()}),
        ("contract_info", ELEVEN | {"details": {"deep": {1, 2}}}),
        ("contract_info", SimpleNamespace(**ELEVEN | {"validated_at": "soon"})),
    ],
)
def test_what_does_not_fit_into_a_field_is_refused_and_the_field_named(cache, field, value):
    with pytest.raises(InvalidAnswerError, match=field):
        cache.store("AAPL", SimpleNamespace(**SIX | {field: value}))
    assert cache.peek("AAPL") is None


@pytest.mark.parametrize("value", [None, True, 7, "AAPL", ["AAPL"], object(), ValidationResult, {}])
def test_what_has_nothing_of_a_verdict_is_refused(cache, value):
    with pytest.raises(InvalidAnswerError, match=r"a ValidationResult or a ProviderAnswer is expected|without"):
        cache.store("AAPL", value)


def test_nobody_can_change_what_was_stored_through_the_object_that_it_came_from(cache):
    contract, heads = json.loads(json.dumps(ELEVEN)), {"1d": HEAD}
    verdict = SimpleNamespace(**SIX | {"contract_info": SimpleNamespace(**contract), "head_timestamps": heads})
    stored = cache.store("AAPL", verdict)
    verdict.is_valid, heads["1d"] = False, "2020-01-01"
    verdict.contract_info.contract["conId"] = 1
    assert stored.validation_result == RESULT
    assert cache.get("AAPL", ["1d"]) == stored


VALID, INVALID = RESULT, ValidationResult(is_valid=False, symbol="AAPL")


@pytest.mark.parametrize(
    ("verdict", "more", "life"),
    [(VALID, {}, TTL), (INVALID, {}, NEGATIVE_TTL), (INVALID, {"confirmed": False}, UNCONFIRMED_TTL)],
)
def test_an_entry_is_made_of_a_verdict_and_its_moment_and_lives_as_long_as_is_usual(verdict, more, life):
    foreign = SimpleNamespace(**dict(verdict))
    for made in (
        CachedSymbolInfo(verdict, 1000.0, **more),
        CachedSymbolInfo(foreign, 1000.0, **more),
        CachedSymbolInfo(dict(verdict), 1000.0, **more),
        CachedSymbolInfo(validation_result=verdict, cached_at=1000.0, **more),
        CachedSymbolInfo(validation_result=foreign, cached_at=1000.0, ttl_seconds=life, **more),
        CachedSymbolInfo(verdict, 1000.0, life, **more),
    ):
        assert (made.validation_result, made.cached_at, made.ttl_seconds) == (verdict, 1000.0, life)
        assert made.to_validation_result() is made.validation_result
        assert (made.is_expired(1000.0 + life - 1), made.is_expired(1000.0 + life)) == (False, True)


def test_the_usual_lives_are_those_of_the_settings():
    usual = SymcacheSettings()
    assert (usual.ttl, usual.negative_ttl, usual.unconfirmed_ttl) == (TTL, NEGATIVE_TTL, UNCONFIRMED_TTL)


def test_such_an_entry_can_be_changed_no_more_than_another_and_is_stored_in_full():
    made = CachedSymbolInfo(SimpleNamespace(**SIX), 1000.0)
    with pytest.raises(ValidationError, match="frozen"):
        made.cached_at = 0.0
    assert codec.decode("k", codec.encode("k", made)) == made
    assert CachedSymbolInfo.model_validate(made) is made
    with pytest.raises(TypeError):
        CachedSymbolInfo(RESULT)


@pytest.mark.parametrize("missing", ["validation_result", "cached_at", "ttl_seconds"])
def test_what_is_stored_says_all_of_its_fields_itself(missing):
    told = CachedSymbolInfo(RESULT, 1000.0).model_dump(mode="json")
    assert CachedSymbolInfo.model_validate(told) == CachedSymbolInfo(RESULT, 1000.0)
    del told[missing]
    for read in (CachedSymbolInfo.model_validate, lambda told: CachedSymbolInfo.model_validate_json(json.dumps(told))):
        with pytest.raises(ValidationError, match=missing):
            read(told)
