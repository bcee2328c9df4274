"""A host service that starts beside what an unversioned one left takes that in, once, and leaves it as it is."""

from __future__ import annotations

import json
import time

from symcache_core import SymcacheSettings, open_symbol_cache


def leave(tmp_path, document):
    path = tmp_path / "data" / "symbol_discovery_cache.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def entry(symbol, **changes):
    return {"symbol": symbol, "asset_type": "STK", "currency": "USD", "validated_at": time.time() - 60, **changes}


def known(tmp_path):
    settings = SymcacheSettings(
        backend="json", backends={"json": {"path": tmp_path / "data" / "host_symbol_cache.json"}}, provider="ib"
    )
    with open_symbol_cache(settings) as cache:
        return {symbol: cache.peek(symbol) for symbol in cache.symbols()}


def test_it_is_taken_in_at_the_first_start_and_kept(start, tmp_path):
    heads = {"default": "1980-12-12T14:30:00+00:00"}
    path = leave(tmp_path, {"cache": {"AAPL": entry("AAPL", head_timestamp_timeframes=heads), "BAD\n": {}}})
    before = path.read_bytes()
    start().stop()
    assert path.read_bytes() == before
    info = known(tmp_path)["AAPL"]
    assert info.provenance.provider == "ib", "whatever this host's gateway is"
    assert info.parts["*"].head_timestamp == heads["default"]
    log = (tmp_path / "host.log").read_text()
    assert "symbol_discovery_cache.json is taken in: 1 copied, 1 unreadable" in log
    assert "'BAD\\n'" in log, "what a file says cannot forge a line"
    leave(tmp_path, {"cache": {"MSFT": entry("MSFT")}})
    start().stop()
    assert list(known(tmp_path)) == ["AAPL"]
    assert "taken in" not in (tmp_path / "host.log").read_text()


def test_what_is_no_such_file_is_told_and_keeps_nothing_from_working(start, tmp_path):
    path = leave(tmp_path, "text")
    host = start()
    assert host.http.post("/data/validate", json={"symbol": "AAPL", "timeframes": ["1d"]}).json()["is_valid"]
    host.stop()
    assert "symbol_discovery_cache.json is not taken in" in (tmp_path / "host.log").read_text()
    assert path.read_text() == "text"
