"""What a gateway knows of a contract arrives, through a host of this version or of the one before, and our adapter."""

from __future__ import annotations

import asyncio
import json
from datetime import date

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire.old_client import ContractInfo as OldContractInfo

from symcache_core import ContractInfo, ProviderAnswer, SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import ProviderError
from symcache_core.providers.wire import read_answer, read_answers
from symcache_host.app import create_app
from symcache_host.replay import ReplayGateway
from symcache_host.service import HostService

ASKED = {"symbol": "AAPL", "provider": "replay", "url": "http://127.0.0.1:5001"}
OURS_ALONE = {"validated_at": None, "head_timestamp_fetched_at": None, "head_timestamp": None}
"""Fields that a host fills from its own cache."""

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=6)
SCALARS = (
    TEXT | st.integers(-(2**53), 2**53) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2))
NAMES = st.sampled_from([*ContractInfo.model_fields, "stock_type", "alternatives", "note"]) | TEXT
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
CONTRACTS = st.builds(
    ContractInfo,
    **dict.fromkeys(("symbol", "asset_type", "exchange", "currency", "description"), TEXT),
    contract=OBJECTS,
    trading_hours=st.none() | OBJECTS,
    last_trade_date=st.none() | st.dates(date(1990, 1, 1)),
    head_timestamp_timeframes=st.none() | OBJECTS,
    details=OBJECTS,
)
RICH = ContractInfo(
    symbol="ES",
    asset_type="FUT",
    exchange="CME",
    currency="USD",
    description="E-mini S&P 500",
    contract={"conId": 495512563, "localSymbol": "ESZ6"},
    trading_hours={"timezone": "US/Central", "regular_hours": {"start": "08:30", "end": "15:00"}},
    last_trade_date=date(2026, 12, 18),
    details={
        "alternatives": ["FUT:MESZ6@CME:USD"],
        "note": "ambiguous",
        "time_zone_id": "US/Central",
        "min_tick": 0.25,
    },
)


class Knowing(ReplayGateway):
    """A gateway that knows one contract."""

    def __init__(self, contract):
        super().__init__(latency=0, as_of=date(2013, 3, 1))
        self.contract = contract

    async def validate(self, symbol, timeframes, caller):
        heads = dict.fromkeys(timeframes, "1980-12-12T14:30:00+00:00")
        result = ValidationResult(
            is_valid=True, symbol=symbol, contract_info=self.contract, head_timestamps=heads or None
        )
        return ProviderAnswer(result)


def sent(contract):
    """What our host sends of a contract: alone, and among many."""

    async def main():
        service = HostService(
            Knowing(contract), open_symbol_cache(SymcacheSettings(backend="memory", provider="replay"))
        )
        app = create_app(service)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5001") as client:
            one = await client.post("/data/validate", json={"symbol": "AAPL", "timeframes": ["1d"]})
            many = await client.post("/data/validate-batch", json={"symbols": ["AAPL"], "timeframes": ["1d"]})
        await service.aclose()
        return one.content, many.content

    return asyncio.run(main())


def as_before(content):
    """The same answer as hosts of version 0.1.0 sent it: all that they knew of a contract among its fields."""
    answer = json.loads(content)
    more = {"last_trade_date": answer.pop("last_trade_date"), **(answer.pop("contract_details") or {})}
    answer["contract_info"] = more | answer["contract_info"]
    return json.dumps(answer).encode()


def check(read, contract):
    assert read.result.contract_info.model_copy(update=OURS_ALONE) == contract.model_copy(update=OURS_ALONE)


@settings(max_examples=60)
@given(CONTRACTS)
def test_nothing_that_a_gateway_knows_of_a_contract_is_lost_on_the_way(contract):
    one, many = sent(contract)
    check(read_answer(one, **ASKED), contract)
    check(read_answers(many, symbols=["AAPL"], provider="replay", url="")["AAPL"], contract)


@settings(max_examples=60)
@given(CONTRACTS)
def test_an_old_client_makes_its_object_whatever_a_gateway_knows(contract):
    one, many = map(json.loads, sent(contract))
    for answer in (one, many["results"]["AAPL"]):
        OldContractInfo(**answer["contract_info"])
        assert len(answer["contract_info"]) == 11


def test_what_the_version_before_sent_is_read_as_well():
    check(read_answer(as_before(sent(RICH)[0]), **ASKED), RICH)


def test_a_contract_that_has_nothing_more_to_it_has_nothing_beside_it():
    bare = RICH.model_copy(update={"details": {}, "last_trade_date": None})
    answer = json.loads(sent(bare)[0])
    assert (answer["contract_details"], answer["last_trade_date"]) == (None, None)
    check(read_answer(sent(bare)[0], **ASKED), bare)


@pytest.mark.parametrize(
    "beside",
    [
        {"contract_details": 7},
        {"contract_details": [1]},
        {"last_trade_date": "soon"},
        {"last_trade_date": "2026-13-01"},
    ],
)
def test_what_stands_beside_a_contract_and_makes_no_sense_is_a_providers_error(beside):
    content = json.dumps(json.loads(sent(RICH)[0]) | beside).encode()
    with pytest.raises(ProviderError, match=next(iter(beside))):
        read_answer(content, **ASKED)
