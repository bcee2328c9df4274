"""The wire contract of hosts as there were before: what was asked and answered, from either side.

``exchanges.json`` has requests and answers in the shapes of ktrdr's ib-host-service (``endpoints/data.py`` and
``endpoints/health.py`` of https://github.com/kpiteira/ktrdr). Our host has to answer each request with every field of
the answer; our adapter has to read each answer as it is meant.
"""

import asyncio
import json
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from json_server import JsonServer

from symcache_core import errors
from symcache_core.providers import IbDataAdapter

EXCHANGES = json.loads(Path(__file__).with_name("exchanges.json").read_text())
EACH = [pytest.param(exchange, id=exchange["says"]) for exchange in EXCHANGES]
READ = [
    each for each in EACH if {"read", "error"} & set(each.values[0]) and each.values[0]["request"]["method"] == "POST"
]

TEXT, NUMBER, OBJECT, TRUTH, LIST = str, (int, float), dict, bool, list
TYPES = {
    "success": TRUTH,
    "error": TEXT,
    "is_valid": TRUTH,
    "error_message": TEXT,
    "contract_info": OBJECT,
    "head_timestamps": OBJECT,
    "data": TEXT,
    "rows": NUMBER,
    "timestamp": TEXT,
    "healthy": TRUTH,
    "service": TEXT,
    "status": TEXT,
    "ib_status": OBJECT,
    "connection_info": OBJECT,
    "detail": LIST,
}
CONTRACT_TYPES = {
    "symbol": TEXT,
    "contract": OBJECT,
    "asset_type": TEXT,
    "exchange": TEXT,
    "currency": TEXT,
    "description": TEXT,
    "validated_at": NUMBER,
}
NULLABLE = {
    "trading_hours": OBJECT,
    "head_timestamp": TEXT,
    "head_timestamp_timeframes": OBJECT,
    "head_timestamp_fetched_at": NUMBER,
}
NEVER_NULL = {"success", "healthy", "service", "status", "ib_status", "connection_info", "detail"}


def test_every_kind_of_request_is_among_them():
    asked = {(each["request"]["method"], each["request"]["path"].split("?")[0]) for each in EXCHANGES}
    assert {path for _method, path in asked} >= {
        "/data/validate",
        "/data/historical",
        "/data/head-timestamp",
        "/data/symbol-info/EUR/USD",
        "/health",
        "/health/",
    }


@pytest.mark.parametrize("exchange", EACH)
def test_our_host_answers_with_every_field_of_old_in_its_type_and_meaning(host, exchange):
    request, recorded = exchange["request"], exchange["answer"]
    response = httpx.request(
        request["method"], host.url + request["path"], json=request.get("body"), trust_env=False, timeout=60
    )
    assert response.status_code == exchange["status"]
    answer = response.json()
    assert recorded.keys() <= answer.keys()
    assert {name: answer[name] for name in exchange["same"]} == {name: recorded[name] for name in exchange["same"]}
    for name in recorded:
        value = answer[name]
        assert isinstance(value, TYPES[name]) or (value is None and name not in NEVER_NULL), name
    if recorded.get("contract_info"):
        check_contract(answer["contract_info"])
    if recorded.get("data") not in (None, "{}"):
        check_bars(answer["data"], recorded["data"])


def check_contract(told):
    assert told.keys() == CONTRACT_TYPES.keys() | NULLABLE.keys()
    assert all(isinstance(told[name], kind) for name, kind in CONTRACT_TYPES.items())
    assert all(told[name] is None or isinstance(told[name], kind) for name, kind in NULLABLE.items())
    if told["head_timestamp"] is not None:
        assert datetime.fromisoformat(told["head_timestamp"]).tzinfo is not None


def check_bars(told, recorded):
    ours, theirs = json.loads(told), json.loads(recorded)
    assert [*map(datetime.fromisoformat, ours)] == [*map(datetime.fromisoformat, theirs)]
    assert [*map(set, ours.values())] == [*map(set, theirs.values())]
    assert all(isinstance(figure, NUMBER) for bar in ours.values() for figure in bar.values())


class Recorded(JsonServer):
    """A host that has one answer."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.asked = []

    def answer(self, method, path, question):
        self.asked.append((method, path, question))
        return self.exchange["status"], self.exchange["answer"]


def ask(url, request):
    """What our adapter makes of the answer to a recorded request, or the error that it raises."""
    body = request["body"]

    async def main():
        adapter = IbDataAdapter(url)
        try:
            if request["path"] == "/data/validate":
                return await adapter.validate_and_get_metadata(body.get("symbol", ""), body["timeframes"] or ())
            start, end = (datetime.fromisoformat(body[name]) for name in ("start", "end"))
            return await adapter.fetch_historical_data(
                body["symbol"], body["timeframe"], start, end, body["instrument_type"]
            )
        except errors.ProviderError as error:
            return error
        finally:
            await adapter.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("exchange", READ)
def test_our_adapter_reads_what_a_host_of_old_answers_and_asks_as_its_clients_did(exchange):
    with Recorded(exchange) as older:
        got = ask(older.url, exchange["request"])
    method, path, question = older.asked[0]
    assert (method, path) == (exchange["request"]["method"], exchange["request"]["path"])
    assert question.keys() <= {"symbol", "timeframes"} | {"timeframe", "start", "end", "instrument_type"}
    if (failed := exchange.get("error")) is not None:
        assert getattr(errors, failed["kind"]) in type(got).__mro__[:2]
        assert failed["says"] in str(got)
    elif path == "/data/validate":
        check_verdict(got, exchange)
    else:
        read = exchange["read"]
        assert [stamp.isoformat() for stamp in got.index] == read["index"]
        assert (got["close"].tolist(), got.attrs) == (read["close"], read["attrs"])


def check_verdict(got, exchange):
    read, told, result = exchange["read"], exchange["answer"]["contract_info"], got.result
    assert {
        "is_valid": result.is_valid,
        "confirmed": got.confirmed,
        "head_timestamps": result.head_timestamps,
        "error_message": result.error_message,
        "spelling": got.provenance.spelling,
    } == read
    if told is None:
        assert result.contract_info is None
    else:
        read_back = result.contract_info.model_dump(mode="json")
        assert {name: read_back[name] for name in told} == told
        assert not result.contract_info.details
