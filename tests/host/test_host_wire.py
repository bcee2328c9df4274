"""The wire contract: every endpoint's shape is exactly this one."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from tws.process import TwsProcess

from symcache_core.timeframes import TIMEFRAMES

ORIGIN = {"gateway": "replay", "host": "symcache 0.1.0"}
NO_ERROR = {"error": None, "error_kind": None, "error_code": None, "retry_after": None, "alternatives": None}
DATA = ("open", "high", "low", "close", "volume")


def post(host, path, **body):
    response = host.http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_valid_verdict(host):
    answer = post(host, "/data/validate", symbol="aapl", timeframes=["1d", "1h"])
    contract = answer.pop("contract_info")
    assert answer == {
        "success": True,
        "is_valid": True,
        "error_message": None,
        "head_timestamps": {"1d": "2000-03-01T00:00:00+00:00", "1h": None},
        "one_head_timestamp": False,
        "suggested_symbol": None,
        "provenance": ORIGIN,
        "confirmed": True,
        "contract_details": {"provider": "replay"},
        "last_trade_date": None,
        **NO_ERROR,
    }
    assert isinstance(contract.pop("validated_at"), float)
    assert contract == {
        "symbol": "AAPL",
        "asset_type": "STK",
        "exchange": "Nasdaq",
        "currency": "USD",
        "description": "Apple Inc.",
        "contract": {},
        "trading_hours": None,
        "head_timestamp": None,
        "head_timestamp_timeframes": None,
        "head_timestamp_fetched_at": None,
    }


def test_a_negative_is_permanent_and_confirmed_and_proposes_a_near_symbol(host):
    assert post(host, "/data/validate", symbol="MSFFT", timeframes=["1d"]) == {
        "success": True,
        "is_valid": False,
        "error_message": "Symbol MSFFT not found",
        "contract_info": None,
        "contract_details": None,
        "last_trade_date": None,
        "head_timestamps": None,
        "one_head_timestamp": False,
        "suggested_symbol": "MSFT",
        "provenance": ORIGIN,
        "confirmed": True,
        **NO_ERROR,
        "error_kind": "permanent",
    }


@pytest.mark.parametrize("timeframes", [{}, {"timeframes": None}, {"timeframes": []}])
def test_without_timeframes_no_head_timestamps_are_given(host, timeframes):
    assert post(host, "/data/validate", symbol="IBM", **timeframes)["head_timestamps"] is None


def test_only_what_was_asked_for_is_answered(host):
    post(host, "/data/validate", symbol="GOOG", timeframes=["1d", "4h"])
    assert post(host, "/data/validate", symbol="GOOG", timeframes=["1d"])["head_timestamps"] == {
        "1d": "2004-08-19T00:00:00+00:00"
    }


def test_interactive_brokers_one_head_timestamp_is_said_to_serve_every_timeframe(start):
    with TwsProcess() as tws:
        host = start("--gateway", "ib", "--ib-port", str(tws.port))
        unasked = post(host, "/data/validate", symbol="AAPL")
        assert (unasked["one_head_timestamp"], unasked["contract_info"]["head_timestamp"]) == (False, None)
        for timeframe in ("1d", "1h", "5m"):
            answer = post(host, "/data/validate", symbol="AAPL", timeframes=[timeframe])
            stamp = answer["head_timestamps"][timeframe]
            assert (answer["one_head_timestamp"], answer["contract_info"]["head_timestamp"]) == (True, stamp)
            assert isinstance(answer["contract_info"]["head_timestamp_fetched_at"], float)
        assert tws.counts()["requests"]["head"] == 1


@pytest.mark.parametrize(
    ("path", "symbol"), [("MSFT", "MSFT"), ("brk.b", "BRK B"), ("brk%20b", "BRK B"), ("jepi", "JEPI")]
)
def test_symbol_info_is_a_verdict_with_the_hourly_head_timestamp(host, path, symbol):
    answer = host.http.get(f"/data/symbol-info/{path}").json()
    assert (answer["is_valid"], answer["head_timestamps"], answer["contract_info"]["symbol"]) == (
        True,
        {"1h": None},
        symbol,
    )


@pytest.mark.parametrize(
    "symbol",
    [
        "EUR/USD",
        "BRK/B",
        "RY@TSE:CAD",
        "AAPL@NASDAQ:USD",
        "CASH:EUR/USD@IDEALPRO",
        "FUT:ES 202612@CME",
        "50%",
    ],
)
def test_symbol_info_is_the_same_with_a_slash_or_its_escape_and_for_a_qualified_symbol(host, symbol):
    asked = post(host, "/data/validate", symbol=symbol, timeframes=["1h"])
    for path in {symbol.replace("%", "%25").replace(" ", "%20"), quote(symbol, safe="")}:
        response = host.http.get(f"/data/symbol-info/{path}")
        assert (response.status_code, response.json()) == (200, asked), path


@pytest.mark.parametrize(
    "path",
    ["/data/symbol-info"]
    + [f"/data/symbol-info/{rest}" for rest in ("", "/", "AAPL/", "/AAPL", "EUR//USD", "%2FAAPL")],
)
def test_there_is_nothing_at_a_path_that_names_no_symbol(host, path):
    assert host.http.get(path).status_code == 404


def test_a_path_that_names_what_cannot_be_a_symbol_is_refused(host):
    assert host.http.get("/data/symbol-info/A%00B").status_code == 422
    assert host.http.get(f"/data/symbol-info/{'A/' * 65}").status_code == 422


def test_bars_are_the_text_of_an_object_keyed_by_time(host):
    answer = post(host, "/data/historical", symbol="AAPL", timeframe="1d", start="2000-03-01", end="2000-03-02")
    bars = json.loads(answer.pop("data"))
    assert answer.pop("contract") == {"symbol": "AAPL", "exchange": "Nasdaq", "currency": "USD"}
    assert answer.pop("basis") == {"show": "TRADES", "adjustment": "none", "session": "regular"}
    assert answer == {"success": True, "rows": 2, "suggested_symbol": None, "provenance": ORIGIN, **NO_ERROR}
    assert bars == {
        "2000-03-01T00:00:00+00:00": dict(zip(DATA, (118.56, 132.06, 118.5, 130.31, 9616100.0), strict=True)),
        "2000-03-02T00:00:00+00:00": dict(zip(DATA, (127.0, 127.94, 120.69, 122.0, 2779100.0), strict=True)),
    }


def test_a_session_may_be_asked_for_and_one_that_there_is_not_is_a_failure_for_good(host):
    span = {"symbol": "AAPL", "timeframe": "1d", "start": "2000-03-01", "end": "2000-03-02"}
    assert post(host, "/data/historical", **span, session="regular") == post(host, "/data/historical", **span)
    refused = post(host, "/data/historical", **span, session="extended")
    assert (refused["success"], refused["error_kind"], refused["basis"]) == (False, "permanent", None)
    assert "extended" in refused["error"]
    assert host.http.post("/data/historical", json={**span, "session": "night"}).status_code == 422


@pytest.mark.parametrize(
    ("timeframe", "start", "end"),
    [("1d", "1990-01-01", "1999-12-31"), ("1d", "2013-03-02", "2026-01-01"), ("1h", "2010-01-01", "2012-01-01")],
)
def test_no_bars_are_an_empty_object(host, timeframe, start, end):
    answer = post(host, "/data/historical", symbol="AAPL", timeframe=timeframe, start=start, end=end)
    assert (answer["success"], answer["data"], answer["rows"]) == (True, "{}", 0)


def test_bars_of_an_unknown_symbol_are_a_handled_failure(host):
    answer = post(
        host,
        "/data/historical",
        symbol="FB",
        timeframe="1d",
        start="2012-05-18T00:00:00Z",
        end="2013-01-01T00:00:00+01:00",
        instrument_type="STK",
    )
    assert answer == {
        "success": False,
        "data": None,
        "rows": 0,
        "contract": None,
        "basis": None,
        "suggested_symbol": None,
        "provenance": ORIGIN,
        **NO_ERROR,
        "error": "Symbol FB not found",
        "error_kind": "permanent",
    }


@pytest.mark.parametrize(
    ("symbol", "timeframe", "stamp"),
    [("AAPL", "1d", "2000-03-01T00:00:00+00:00"), ("AAPL", "1w", None), ("A", "1d", None)],
)
def test_a_head_timestamp_is_null_where_there_is_no_data(host, symbol, timeframe, stamp):
    query = {"symbol": symbol, "timeframe": timeframe, "instrument_type": "STK"}
    answer = host.http.get("/data/head-timestamp", params=query).json()
    assert answer == {
        "success": True,
        "timestamp": stamp,
        "suggested_symbol": None,
        "provenance": ORIGIN,
        **NO_ERROR,
    }


def test_a_head_timestamp_of_an_unknown_symbol_is_a_handled_failure(host):
    answer = host.http.get("/data/head-timestamp", params={"symbol": "QQQQQ", "timeframe": "1d"}).json()
    assert (answer["success"], answer["timestamp"], answer["error_kind"]) == (False, None, "permanent")


def test_the_front_page_says_what_this_is(host):
    about = host.http.get("/").json()
    assert "REPLAY" in about.pop("notice")
    assert about == {"name": "symcache-host", "version": "0.1.0", "wire_version": 1, "gateway": "replay"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"symbol": ""},
        {"symbol": "   "},
        {"symbol": "A" * 129},
        {"symbol": 7},
        {"symbol": "A\x00B"},
        {"symbol": "A\nB"},
        {"symbol": "\u202eLPAA"},
        {"symbol": "AAPL", "timeframes": ["3d"]},
        {"symbol": "AAPL", "timeframes": "1d"},
        {"symbol": "AAPL", "timeframes": ["1d"] * 1000},
        ["AAPL"],
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_its_place(host, body):
    response = host.http.post("/data/validate", json=body)
    assert response.status_code == 422
    assert all({"type", "loc", "msg"} == set(problem) for problem in response.json()["detail"])


def test_a_timeframe_that_nobody_knows_is_refused_with_those_there_are(host):
    response = host.http.post("/data/validate", json={"symbol": "AAPL", "timeframes": ["1d", "3d"]})
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    assert (problem["type"], problem["loc"]) == ("literal_error", ["body", "timeframes", 1])
    assert all(repr(timeframe) in problem["msg"] for timeframe in TIMEFRAMES)


@pytest.mark.parametrize(
    "change",
    [
        {"start": "2013-01-02", "end": "2013-01-01"},
        {"start": "yesterday"},
        {"start": 1325376000},
        {"start": "1325376000.5"},
        {"start": "0001-01-01T00:00:00+14:00"},
        {"timeframe": "1s"},
        {"symbol": None},
    ],
)
def test_a_range_that_does_not_fit_is_refused(host, change):
    body = {"symbol": "AAPL", "timeframe": "1d", "start": "2012-01-01", "end": "2013-01-01"} | change
    assert host.http.post("/data/historical", json=body).status_code == 422


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"symbol": "\\ud800"}', b'{"symbol": NaN}', b"[" * 100_000, b"null"]
)
def test_a_body_that_is_no_json_is_refused_and_hurts_nobody(host, content):
    response = host.http.post("/data/validate", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert all({"type", "loc", "msg"} == set(problem) for problem in response.json()["detail"])
    assert host.http.get("/health").json()["healthy"]


def test_a_symbol_whose_key_would_be_too_long_is_an_invalid_one(host):
    answer = post(host, "/data/validate", symbol="\N{CJK UNIFIED IDEOGRAPH-80A1}" * 128, timeframes=["1d"])
    assert (answer["success"], answer["error_kind"], answer["error_code"]) == (False, "permanent", "invalid_symbol")
    assert "at most 511" in answer["error"]


@pytest.mark.parametrize("symbol", ["../../etc/passwd", "NUL", "%s%n", "' OR 1=1 --", "<b>", "ÅÄÖ", "股票", "A" * 128])
def test_a_hostile_symbol_is_only_an_unknown_one(host, symbol):
    answer = post(host, "/data/validate", symbol=symbol, timeframes=["1d"])
    assert (answer["success"], answer["is_valid"], answer["error_kind"]) == (True, False, "permanent")
