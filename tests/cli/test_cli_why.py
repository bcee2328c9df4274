"""why tells who said what of a symbol, and which rule serves the next lookup."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from contextlib import closing

import pytest

from symcache_core import ProviderAnswer, SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.entries import codec
from symcache_core.models import CachedSymbolInfo, ContractInfo, Provenance
from symcache_core.symbols import Instrument
from symcache_core.transfer.stores import open_store

ODD = (0.0, 1e18, 1e300, -1e300, float("inf"), float("nan"))


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


def stored(folder, *steps, ttl=None):
    """Store answers one after another, ten seconds apart, up to the present."""
    settings = SymcacheSettings(data_dir=folder / "data", provider="ib", **({} if ttl is None else {"ttl": ttl}))
    now = [time.time() - 10 * len(steps)]
    with open_symbol_cache(settings, clock=lambda: now[0]) as cache:
        for symbol, asked, answer in steps:

            async def validate(_symbol, _timeframes, answer=answer):
                return answer

            asyncio.run(cache.get_or_validate(symbol, asked, validate))
            now[0] += 10


def test_why_tells_not_answered_from_no_data(invoke, folder, monkeypatch):
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    told = ValidationResult(is_valid=True, symbol="AAPL", head_timestamps={"1d": None})
    stored(folder, ("AAPL", ["1d", "1h"], told))
    lines = dict(line.split("\t", 1) for line in invoke("why", "AAPL").stdout.splitlines())
    assert lines["bars 1d"].startswith("none, ")
    assert lines["bars 1h"].startswith("not answered, ")
    known = json.loads(invoke("why", "AAPL", "--json").stdout)["timeframes"]
    assert {name: (each["head_timestamp"], each["answered"]) for name, each in known.items()} == {
        "1d": (None, True),
        "1h": (None, False),
    }


def test_why_and_validate_say_that_a_verdict_is_doubted(invoke, folder, monkeypatch, unused_url):
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    valid = ValidationResult(is_valid=True, symbol="AAPL", head_timestamps={"1d": "2000-01-03"})
    negative = ProviderAnswer(ValidationResult(is_valid=False, symbol="AAPL"), confirmed=False)
    stored(folder, ("AAPL", ["1d"], valid), ("AAPL", ["1h"], negative))
    lines = dict(line.split("\t", 1) for line in invoke("why", "AAPL").stdout.splitlines())
    assert lines["verdict"] == "valid, doubted: the provider has said otherwise since"
    assert lines["bars 1h"].startswith("not answered, ")
    assert json.loads(invoke("why", "AAPL", "--json").stdout)["doubted"] is True
    done = invoke("validate", "AAPL", "-t", "1d", "-t", "1h")
    assert [line for line in done.stderr.splitlines() if "doubted" in line] == [
        "warning: AAPL: this is doubted: the provider has said otherwise since, and is asked again soon"
    ]
    assert "1d:2000-01-03 1h:not answered" in done.stdout
    about = json.loads(invoke("validate", "AAPL", "-t", "1h", "--json").stdout)
    assert (about["missing"], about["doubted"], about["outcome"]) == (["1h"], True, "hit")


def test_no_stamp_and_no_life_stops_why_or_list_or_makes_json_that_is_none(invoke, folder, monkeypatch):
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")
    stored(folder, ("LONG", [], ValidationResult(is_valid=True, symbol="LONG")), ttl="1e300")
    valid = ValidationResult(is_valid=True, symbol="X")
    with closing(open_store(SymcacheSettings(data_dir=folder / "data"), "json")) as store:
        for number, (cached_at, ttl) in enumerate(itertools.product(ODD, ODD)):
            key = Instrument(f"X{number}").key("ib")
            store.write(key, codec.encode(key, CachedSymbolInfo(valid, cached_at, ttl)), time.time() + 1e6)
    symbols = ["LONG", *(f"X{number}" for number in range(len(ODD) ** 2))]
    for command in (["list"], ["get", *symbols], ["why", *symbols]):
        for form in ([], ["--json"]):
            done = invoke(*command, *form)
            assert done.exit_code == 0, done
            assert done.stdout.count("LONG") >= 1
            if form:
                read = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]
                assert len(read) == len(symbols)
