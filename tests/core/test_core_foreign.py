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
from symcache_core.errors import CorruptEntryError, InvalidAnswerError, ProviderError
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


def slotted(**values):
    """An object whose class has one slot, in text, and its base the others."""
    first, *others = values
    base = type("Base", (), {"__slots__": tuple(others)})
    made = type("Contract", (base,), {"__slots__": first})()
    for name, value in values.items():
        setattr(made, name, value)
    return made


class SlottedContract:
    """The broker's, without a dict."""

    __slots__ = ("_client", "comboLegs", "conId", "secType", "unset")

    def __init__(self):
        self.conId, self.secType, self.comboLegs = 265598, "STK", []
        self._client = object()


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
CONTRACTS = {kind: make for kind, make in VERDICTS.items() if kind != "a pydantic model"}
CONTRACTS["an object with slots"] = slotted
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
    "contract",
    [BrokersContract(), PlainContract(), SlottedContract(), ELEVEN["contract"]],
    ids=lambda c: type(c).__name__,
)
def test_its_contract_may_be_of_any_class_with_the_eleven_fields(cache, make, contract):
    foreign = make(**ELEVEN | {"contract": contract})
    stored = cache.store("AAPL", SimpleNamespace(**SIX | {"contract_info": foreign}))
    assert stored.validation_result.contract_info == KNOWN
    assert stored.validation_result.contract_info.permanent_id == "265598"
    assert ValidationResult(is_valid=True, symbol="AAPL", contract_info=foreign).contract_info == KNOWN


@pytest.mark.parametrize("make", [make for kind, make in CONTRACTS.items() if kind != "an object with properties"])
def test_what_its_contract_says_more_is_kept_in_the_details(make):
    more = {"stock_type": "COMMON", "last_trade_date": date(2026, 12, 18), "legs": [BrokersContract(1)]}
    info = ContractInfo.model_validate(make(**ELEVEN | more))
    assert info.last_trade_date == date(2026, 12, 18)
    assert info.details == {"stock_type": "COMMON", "legs": ({"conId": 1, "secType": "STK", "comboLegs": ()},)}


@pytest.mark.parametrize(
    ("moment", "text"),
    [(datetime(1980, 12, 12, tzinfo=UTC), "1980-12-12T00:00:00+00:00"), (date(1980, 12, 12), "1980-12-12")],
)
def test_times_of_first_bars_may_be_times_or_dates(cache, moment, text):
    contract = SimpleNamespace(**ELEVEN | {"head_timestamp": moment, "head_timestamp_timeframes": {"1d": moment}})
    stored = cache.store(
        "AAPL", SimpleNamespace(**SIX | {"head_timestamps": {"1d": moment}, "contract_info": contract})
    )
    result = stored.validation_result
    assert result.head_timestamps == {"1d": text}
    assert result.head_timestamp("1d") == datetime(1980, 12, 12, tzinfo=UTC)
    assert (result.contract_info.head_timestamp, result.contract_info.head_timestamp_timeframes) == (text, {"1d": text})


@each_kind
def test_a_null_head_timestamp_of_another_class_means_that_nobody_has_asked(cache, make):
    some, none = {"1d": HEAD, "1h": None}, {"1d": None}
    assert ValidationResult.of(make(**SIX | {"head_timestamps": some})).head_timestamps == {"1d": HEAD}
    assert ValidationResult.of(make(**SIX | {"head_timestamps": none})).head_timestamps is None
    assert cache.store("AAPL", make(**SIX | {"head_timestamps": some})).part("1h") is None


def test_a_null_head_timestamp_of_ours_means_that_there_is_no_data(cache):
    stored = cache.store("AAPL", RESULT.model_copy(update={"head_timestamps": {"1d": None}}))
    assert stored.part("1d").head_timestamp is None
    assert stored.validation_result.head_timestamps == {"1d": None}


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
    with pytest.raises(ValidationError, match=missing):
        CachedSymbolInfo.model_validate_json(json.dumps(told))
    body = json.dumps(told).encode()
    line = b'{"v":1,"sum":"%08x","entry":%b}' % (codec._checksum("k", 1, body), body)  # as if it were whole
    with pytest.raises(CorruptEntryError, match="incomplete"):
        codec.decode("k", line)


@pytest.mark.parametrize("missing", ["validation_result", "cached_at"])
def test_an_entry_that_is_put_together_of_a_mapping_says_its_verdict_and_its_moment(missing):
    told = {"validation_result": dict(RESULT), "cached_at": 1000.0}
    del told[missing]
    with pytest.raises(ValidationError, match=missing):
        CachedSymbolInfo.model_validate(told)


@pytest.mark.parametrize(
    ("verdict", "more", "life"),
    [(VALID, {}, TTL), (INVALID, {}, NEGATIVE_TTL), (INVALID, {"confirmed": False}, UNCONFIRMED_TTL)],
)
def test_one_that_does_not_say_its_life_has_the_usual_one(verdict, more, life):
    for result in (verdict, dict(verdict), verdict.model_dump(mode="json")):
        read = CachedSymbolInfo.model_validate({"validation_result": result, "cached_at": 1000.0, **more})
        assert read == CachedSymbolInfo(verdict, 1000.0, life, **more)
