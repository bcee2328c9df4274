"""why tells who said what of a symbol, and which rule serves the next lookup."""

from __future__ import annotations

import json
import re
import time

from symcache_core import ProviderAnswer, SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.models import ContractInfo, Provenance


def test_why_tells_who_said_what_and_what_comes_next(host, invoke):
    before = host.requests()
    unknown = invoke("why", "AAPL")
    assert unknown.exit_code == 1
    assert "next lookup\tmiss: nothing that could serve is stored" in unknown.stdout
    assert host.requests() == before, "why asked the provider"
    invoke("validate", "AAPL", "--timeframe", "1d")
    known = invoke("why", "aapl", "-t", "1d")
    assert known.exit_code == 0
    lines = dict(line.split("\t", 1) for line in known.stdout.splitlines())
    assert lines["verdict"] == "valid"
    assert lines["next lookup"].startswith("ttl: ")
    assert re.fullmatch(
        r"replay, gateway replay, host symcache \S+, adapter symcache \S+, spelled AAPL", lines["said by"]
    )
    assert lines["bars 1d"].startswith("2000-03-01")
    assert lines["asked again from"].endswith("in 26d")


def test_why_in_json_has_every_figure(host, invoke):
    invoke("validate", "AAPL", "--timeframe", "1d")
    about = json.loads(invoke("why", "AAPL", "-t", "1h", "--json").stdout)
    assert (about["rule"], about["missing"], about["state"]) == ("timeframes", ["1h"], "fresh")
    assert about["fresh_until"] > about["asks_again_at"] > about["cached_at"]


def test_why_shows_a_negative_its_code_and_what_it_overturned(invoke, folder, monkeypatch):
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    now = [time.time() - 2100]
    negative = ProviderAnswer(
        ValidationResult(is_valid=False, symbol="NOVA", error_message="delisted\x1b[2J"),
        provenance=Provenance(provider="ib", code="200"),
    )
    with open_symbol_cache(SymcacheSettings(data_dir=folder / "data"), clock=lambda: now[0]) as cache:
        cache.store("NOVA", ValidationResult(is_valid=True, symbol="NOVA"))
        for _ in range(3):
            now[0] += 700
            cache.store("NOVA", negative)
    done = invoke("why", "NOVA")
    assert "verdict\tinvalid, 2 times in a row: delisted [2J\n" in done.stdout
    assert "said by\tib (code 200)\n" in done.stdout
    assert "changed\tto invalid (code 200), " in done.stdout
    assert "\x1b" not in done.stdout


def test_why_shows_that_a_symbol_became_another_contracts(invoke, folder, monkeypatch):
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    now = [time.time() - 3 * 86400]
    with open_symbol_cache(SymcacheSettings(data_dir=folder / "data"), clock=lambda: now[0]) as cache:
        for number in (107113386, 999):
            contract = ContractInfo(symbol="META", contract={"conId": number})
            cache.store("META", ValidationResult(is_valid=True, symbol="META", contract_info=contract))
    done = invoke("why", "META")
    assert re.search(r"^changed\tcontract 107113386 to 999, .* UTC, 3d ago$", done.stdout, re.MULTILINE)
    (change,) = json.loads(invoke("why", "META", "--json").stdout)["changes"]
    assert (change["former_contract"], change["contract"]) == ("107113386", "999")
