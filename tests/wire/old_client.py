"""A client as there were before, which makes objects of what it gets by keyword, and dies of any field that is new.

Its shapes are those of ktrdr's client of ib-host-service (``ktrdr/data/ib_data_adapter.py`` and
``ktrdr/ib/symbol_validator.py`` of https://github.com/kpiteira/ktrdr).
"""

import io
from dataclasses import dataclass
from datetime import datetime

import httpx
import pandas as pd


class FailedError(Exception):
    """The host says that it could not."""


@dataclass
class ContractInfo:
    symbol: str
    contract: object
    asset_type: str
    exchange: str
    currency: str
    description: str
    validated_at: float
    trading_hours: dict | None = None
    head_timestamp: str | None = None
    head_timestamp_timeframes: dict[str, str] | None = None
    head_timestamp_fetched_at: float | None = None


@dataclass
class ValidationResult:
    is_valid: bool
    symbol: str
    error_message: str | None = None
    contract_info: ContractInfo | None = None
    head_timestamps: dict[str, str] | None = None
    suggested_symbol: str | None = None


class OldClient:
    """The client; a context manager."""

    def __init__(self, url):
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._http.close()

    def validate(self, symbol, timeframes):
        body = {"symbol": symbol, "timeframes": timeframes}
        return _verdict(symbol, self._answer("POST", "/data/validate", json=body))

    def symbol_info(self, symbol):
        """It writes a symbol into the path as it is."""
        return _verdict(symbol, self._answer("GET", f"/data/symbol-info/{symbol}"))

    def historical(self, symbol, timeframe, start, end, instrument_type=None):
        body = {
            "symbol": symbol,
            "timeframe": timeframe,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "instrument_type": instrument_type,
        }
        answer = self._answer("POST", "/data/historical", json=body)
        if not answer["data"] or answer["data"] == "{}":
            return pd.DataFrame()
        frame = pd.read_json(io.StringIO(answer["data"]), orient="index")
        frame.index = pd.to_datetime(frame.index, utc=True)
        assert len(frame) == answer["rows"]
        return frame

    def head_timestamp(self, symbol, timeframe, instrument_type=None):
        query = {"symbol": symbol, "timeframe": timeframe, "instrument_type": instrument_type}
        query = {name: value for name, value in query.items() if value is not None}
        stamp = self._answer("GET", "/data/head-timestamp", params=query)["timestamp"]
        return stamp and datetime.fromisoformat(stamp)

    def health(self):
        answer = self._get("/health/")
        return answer["healthy"], answer["ib_status"]["connected"], answer["connection_info"]

    def _get(self, path):
        response = self._http.get(path)
        response.raise_for_status()
        return response.json()

    def _answer(self, method, path, **question):
        response = self._http.request(method, path, **question)
        response.raise_for_status()
        answer = response.json()
        if not answer["success"]:
            raise FailedError(answer["error"])
        return answer


def _verdict(symbol, answer):
    told = answer["contract_info"]
    return ValidationResult(
        is_valid=answer["is_valid"],
        symbol=symbol,
        error_message=answer["error_message"],
        contract_info=ContractInfo(**told) if told else None,
        head_timestamps=answer["head_timestamps"] or {},
    )
