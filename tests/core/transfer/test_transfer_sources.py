"""Files to import from: exports, stores, and what unversioned caches wrote, with every symbol accounted for."""

import io
import json
import subprocess
import sys
import time
from contextlib import closing
from datetime import date
from types import SimpleNamespace

import pytest

from symcache_core.errors import ConfigurationError, NewerSchemaError
from symcache_core.lookup.cache import PolicyCache
from symcache_core.merging import merge
from symcache_core.models import ProviderAnswer, ValidationResult
from symcache_core.policy import Policy
from symcache_core.settings import SymcacheSettings
from symcache_core.symbols import Instrument
from symcache_core.transfer import (
    Fate,
    Item,
    StoredEntries,
    Unreadable,
    copy,
    entries_in,
    import_once,
    open_store,
    write_line,
)

DAY = 86400.0
NOW = time.time()
POLICY = Policy()


def settings(folder, backend="json", **more):
    return SymcacheSettings(backend=backend, data_dir=folder, **more)


def found_in(path, **options):
    with entries_in(path, settings(path.parent), **options) as found:
        return list(found)


def cached(found, provider="ib"):
    """A cache over what was found, and the report of putting it there."""
    store = open_store(SymcacheSettings(backend="json", backends={"json": {"path": "found.json"}}), "json")
    report = copy(found, store, policy=POLICY, now=NOW)
    cache = PolicyCache(
        store,
        name="json",
        provider=provider,
        policy=POLICY,
        clock=lambda: NOW,
        near_cache_size=0,
        near_cache_age=0,
    )
    return closing(cache), report


def verdict(symbol, **changes):
    fields = {"error_message": None, "contract_info": None, "head_timestamps": None, "suggested_symbol": None}
    return {"is_valid": True, "symbol": symbol, **fields, **changes}


def backend_file(now=NOW):
    return {
        "AAPL": {
            "validation_result": verdict("AAPL", head_timestamps={"1d": "1980-12-12T14:30:00+00:00", "1h": None}),
            "cached_at": now - DAY,
            "ttl_seconds": 2592000,
        },
        "EUR.USD": {"validation_result": verdict("EURUSD"), "cached_at": now - 5, "ttl_seconds": 2592000},
        "eurusd": {"validation_result": verdict("EURUSD"), "cached_at": now - 9, "ttl_seconds": 2592000},
        "NOPE": {"validation_result": verdict("NOPE", is_valid=False), "cached_at": now - 60, "ttl_seconds": 2592000},
        "OLD": {"validation_result": verdict("OLD"), "cached_at": now - 40 * DAY, "ttl_seconds": 2592000},
        "BROKEN": {"validation_result": {"is_valid": "maybe"}},
        "": {"validation_result": verdict(""), "cached_at": now, "ttl_seconds": 2592000},
        "ODD": "text",
    }


def described(symbol, now=NOW, **changes):
    return {
        "symbol": symbol,
        "asset_type": "CASH",
        "exchange": "IDEALPRO",
        "currency": "CAD",
        "description": f"{symbol} spot",
        "validated_at": now - DAY,
        "trading_hours": None,
        "head_timestamp": None,
        "head_timestamp_timeframes": None,
        "head_timestamp_fetched_at": None,
        **changes,
    }


SHARE = {"asset_type": "STK", "exchange": "NASDAQ", "currency": "USD"}

HOURS = {
    "timezone": "America/New_York",
    "regular_hours": {"start": "17:00", "end": "17:00", "name": "Regular"},
    "extended_hours": [],
    "trading_days": [0, 1, 2, 3, 4, 6],
    "holidays": [],
}


def host_file(now=NOW, **more):
    heads = {"1h": "2005-03-07T17:00:00+00:00", "default": "2005-03-01T00:00:00+00:00", "5m": None}
    return {
        "cache": {
            "AUDCAD": described(
                "AUDCAD",
                trading_hours=HOURS,
                head_timestamp="2005-03-07T17:00:00+00:00",
                head_timestamp_timeframes=heads,
                head_timestamp_fetched_at=now - 60,
            ),
            "MSFT": described("MSFT", **SHARE, head_timestamp="1986-03-13T14:30:00+00:00"),
            "OLD": described("OLD", now - 50 * DAY, **SHARE),
            "NEVER": described("NEVER", **SHARE, validated_at=None),
            "TORN": described("TORN", **SHARE, head_timestamp="sometime"),
            "BARE": None,
        },
        "validated_symbols": ["AUDCAD", "MSFT", "OLD", "NEVER", "TORN", "BARE", "LISTED"],
        "last_updated": now - 10,
        **more,
    }


def written(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def unreadable(found):
    return {each.name: each.why for each in found if isinstance(each, Unreadable)}


def test_a_backend_s_file_is_taken_in_with_every_symbol_accounted_for(tmp_path):
    path = written(tmp_path / "backend_symbol_cache.json", backend_file())
    before = path.read_bytes()
    found = found_in(path)
    cache, report = cached(found)
    with cache as cache:
        assert report.counts == {Fate.COPIED: 3, Fate.KEPT: 1, Fate.EXPIRED: 1, Fate.UNREADABLE: 3}
        assert sum(report.counts.values()) == len(backend_file())
        assert set(unreadable(found)) == {"BROKEN", "", "ODD"}
        assert sorted(cache.symbols()) == ["AAPL", "EURUSD", "NOPE"]
        assert cache.get("aapl", ("1d",)).provenance.provider == "ib"
        assert cache.get("AAPL", ("1h",)) is None, "null meant that nobody had asked"
        assert cache.peek("EURUSD").cached_at == NOW - 5, "of two spellings the later answer"
        negative = cache.peek("NOPE")
        assert (negative.confirmed, negative.ttl_seconds) == (False, 300)
    assert path.read_bytes() == before


def test_a_host_s_file_is_taken_in_with_what_it_knew_of_each(tmp_path):
    found = found_in(written(tmp_path / "symbol_discovery_cache.json", host_file()))
    cache, report = cached(found)
    with cache as cache:
        assert report.counts == {Fate.COPIED: 2, Fate.EXPIRED: 1, Fate.UNREADABLE: 4}
        why = unreadable(found)
        assert set(why) == {"NEVER", "TORN", "BARE", "LISTED"}
        assert "validated_at" in why["NEVER"]
        assert "sometime" in why["TORN"]
        info = cache.get("AUD/CAD", ("1h",))
        assert info.cached_at == NOW - DAY
        assert info.parts["1h"].asked_at == NOW - 60
        assert info.validation_result.head_timestamps == {"1h": "2005-03-07T17:00:00+00:00"}
        contract = info.validation_result.contract_info
        assert json.loads(json.dumps(contract.trading_hours)) == HOURS
        assert (contract.description, contract.exchange) == ("AUDCAD spot", "IDEALPRO")
        shared = cache.peek("AUDCAD").parts["*"]
        assert shared.head_timestamp == "2005-03-01T00:00:00+00:00", "asked for without a timeframe, it serves any"
        assert cache.get("AUDCAD", ("1w",)) is not None
        assert cache.peek("MSFT").parts["*"].head_timestamp == "1986-03-13T14:30:00+00:00"


def test_failed_symbols_of_an_older_host_are_unconfirmed_and_never_replace_a_valid_one(tmp_path):
    document = host_file(failed_symbols=["MSFT", "NOPE", " "])
    found = found_in(written(tmp_path / "symbol_discovery_cache.json", document))
    cache, report = cached(found)
    with cache as cache:
        assert report.counts[Fate.COPIED] == 3
        assert report.counts[Fate.KEPT] == 1
        assert report.negatives == 1
        assert cache.peek("MSFT").validation_result.is_valid
        negative = cache.peek("NOPE")
        assert (negative.validation_result.is_valid, negative.confirmed) == (False, False)
        assert negative.cached_at == NOW - 10
        assert negative.ttl_seconds <= 300
        assert " " in unreadable(found)


def test_failed_symbols_of_long_ago_say_nothing_any_more(tmp_path):
    document = host_file(failed_symbols=["NOPE"], last_updated=NOW - DAY)
    cache, report = cached(found_in(written(tmp_path / "symbol_discovery_cache.json", document)))
    with cache as cache:
        assert report.counts[Fate.EXPIRED] == 2
        assert cache.peek("NOPE") is None


INSTRUMENTS = {
    "a share in New York": ("AAPL", ("STK", "NYSE", "USD"), "AAPL"),
    "one whose listing nothing tells": ("AAPL", ("", "", ""), "AAPL"),
    "one in Toronto": ("RY", ("STK", "TSE", "CAD"), "RY@TSE:CAD"),
    "one routed in Canada": ("RY", ("STK", "SMART", "CAD"), "RY@:CAD"),
    "one in London in dollars": ("GGP", ("STK", "LSE", "USD"), "GGP@LSE:USD"),
    "a class share": ("BRK-B", ("STK", "NYSE", "USD"), "BRK.B"),
    "a pair": ("AUD.CAD", ("CASH", "IDEALPRO", "CAD"), "AUDCAD"),
    "a pair by its base": ("EUR", ("CASH", "IDEALPRO", "USD"), "EURUSD"),
    "a coin": ("BTC", ("CRYPTO", "PAXOS", "USD"), "CRYPTO:BTC@PAXOS:USD"),
    "an index": ("SPX", ("IND", "CBOE", "USD"), "IND:SPX@CBOE:USD"),
    "a future by its local name": ("ESZ6", ("FUT", "CME", "USD"), "FUT:ESZ6@CME:USD"),
}


@pytest.mark.parametrize("of", ["a backend's", "a host's"])
@pytest.mark.parametrize(("symbol", "contract", "meant"), INSTRUMENTS.values(), ids=list(INSTRUMENTS))
def test_what_a_plain_symbol_does_not_mean_is_found_under_a_qualified_one_only(tmp_path, of, symbol, contract, meant):
    told = dict(zip(("asset_type", "exchange", "currency"), contract, strict=True))
    result = verdict(symbol, contract_info=told)
    entry = {"validation_result": result, "cached_at": NOW - 9, "ttl_seconds": 2592000}
    host = {"cache": {symbol: described(symbol, **told)}}
    (found,) = found_in(written(tmp_path / "old.json", host if of == "a host's" else {symbol: entry}))
    assert found.key == Instrument.parse(meant).key("ib")


def test_a_future_is_told_by_its_expiry_or_is_not_taken_in(tmp_path):
    future = {"asset_type": "FUT", "exchange": "NYMEX", "currency": "USD"}
    cache = {
        "CL": described("CL", **future),
        "NG": described("NG", **future, contract={"localSymbol": "NGZ6"}),
        "HO": described("HO", **future, contract={"lastTradeDateOrContractMonth": "20261130"}),
        "ODD": described("ODD", **{**future, "asset_type": "OATH"}),
        "EURUSD": described("EURUSD", **SHARE),
    }
    found = found_in(written(tmp_path / "symbol_discovery_cache.json", {"cache": cache}))
    why = unreadable(found)
    assert set(why) == {"CL", "ODD", "EURUSD"}
    assert "future without an expiry" in why["CL"]
    assert "'OATH'" in why["ODD"]
    assert [each.key for each in found if isinstance(each, Item)] == [
        "ib|FUT|NGZ6|NYMEX|USD",
        "ib|FUT|HO 20261130|NYMEX|USD",
    ]


@pytest.mark.parametrize("field", ["validated_at", "head_timestamp_fetched_at"])
@pytest.mark.parametrize("moment", [float("inf"), float("nan"), 1.8e12, 1e300])
def test_a_host_s_moment_that_cannot_be_one_is_unreadable(tmp_path, field, moment):
    cache = {"MSFT": described("MSFT", **SHARE, **{field: moment})}
    (found,) = found_in(written(tmp_path / "symbol_discovery_cache.json", {"cache": cache}))
    assert found.why == f"'{field}' is no moment"


def test_a_future_that_was_over_when_a_host_described_it_is_not_served_as_fresh(tmp_path):
    fields = {"symbol": "ES", "localSymbol": "ESU6", "lastTradeDateOrContractMonth": "20200918"}
    told = described("ESU6", asset_type="FUT", exchange="CME", currency="USD", contract=fields)
    (found,) = found_in(written(tmp_path / "symbol_discovery_cache.json", {"cache": {"ESU6": told}}))
    assert (found.key, found.info.ttl_seconds) == ("ib|FUT|ESU6|CME|USD", 0)
    assert found.info.validation_result.contract_info.last_trade_date == date(2020, 9, 18)


@pytest.mark.parametrize("field", ["failed_symbols", "validated_symbols"])
def test_what_is_no_text_becomes_no_symbol(tmp_path, field):
    document = {"cache": {}, "last_updated": NOW, field: [None, 7, ["A"], {}]}
    found = found_in(written(tmp_path / "symbol_discovery_cache.json", document))
    assert list(unreadable(found)) == [f"{name} in {field}" for name in ("null", "7", '["A"]', "{}")]
    found = found_in(written(tmp_path / "symbol_discovery_cache.json", {"cache": {}, field: "NONE"}))
    assert [*unreadable(found)] == [field], "nor do the letters of a text"


def test_an_unversioned_file_may_be_another_provider_s(tmp_path):
    found = found_in(written(tmp_path / "old.json", backend_file()), provider="replay")
    cache, _report = cached(found, provider="replay")
    with cache as cache:
        assert cache.get("AAPL").provenance.provider == "replay"
    cache, _report = cached(found_in(written(tmp_path / "old.json", host_file()), provider="other"), provider="other")
    with cache as cache:
        assert cache.get("AUDCAD").provenance.provider == "other"


@pytest.mark.parametrize("document", [backend_file(), host_file()], ids=["a backend's", "a host's"])
def test_of_a_file_that_was_cut_short_anywhere_all_that_is_whole_is_taken_in(tmp_path, document):
    text, path = json.dumps(document, indent=1), tmp_path / "old.json"
    whole = {each.line for each in found_in(written(path, document)) if isinstance(each, Item)}
    numbers = []
    for cut in range(len(text) // 2, len(text) - 1, 7):
        found = found_in(written(path, text[:cut]))
        lines = {each.line for each in found if isinstance(each, Item)}
        assert lines <= whole
        assert "cut short here" in found[-1].why
        numbers.append(len(lines))
    assert numbers == sorted(numbers)
    assert numbers[-1] == len(whole)


def test_the_first_symbol_that_a_damaged_file_does_not_give_is_named(tmp_path):
    text = json.dumps(backend_file())
    path = written(tmp_path / "old.json", text[: text.index('"cached_at"', text.index('"eurusd"'))])
    assert list(unreadable(found_in(path))) == ["eurusd"]
    text = json.dumps(host_file())
    path = written(tmp_path / "old.json", text[: text.index('"MSFT spot"')])
    assert list(unreadable(found_in(path))) == ["MSFT"]
    path = written(tmp_path / "old.json", text[: text.index('"last_updated"')])
    assert "the rest of the file" in unreadable(found_in(path))


def test_an_export_gives_back_every_byte(tmp_path):
    key = 'ib|FUT|É "quoted" \\ %7C|CME|'
    info = merge(None, ProviderAnswer(ValidationResult(is_valid=True, symbol='É"\\ }')), (), key, NOW, POLICY)
    items = [Item.made(key, info), Item.made("replay||AAPL||", info)]
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(map(write_line, items)))
    assert found_in(path) == items
    for line, each in zip(path.read_text().splitlines(), items, strict=True):
        assert json.loads(line) == {"symcache": 1, "key": each.key, "entry": json.loads(each.line)}
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert found_in(path) == items


def test_lines_of_an_export_that_are_damaged_or_newer_are_named_and_the_rest_lives(tmp_path):
    info = merge(None, ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL")), (), "ib||AAPL||", NOW, POLICY)
    line = write_line(Item.made("ib||AAPL||", info))
    lines = [
        line,
        line[:-40] + b"\n",
        line.replace(b'"symcache":1', b'"symcache":2'),
        line.replace(b"AAPL", b"MSFT"),
        line.replace(b'"key":', b'"key": '),
        line.replace(b'"ib||', b'"\\q||'),
        b"\n",
        line,
    ]
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(lines))
    found = found_in(path)
    assert [isinstance(each, Item) for each in found] == [True, False, False, False, False, False, True]
    why = unreadable(found)
    assert set(why) == {"line 2", "line 3", "ib||MSFT||", "line 5", "line 6"}
    assert "upgrade" in why["line 3"]


def test_an_export_can_come_through_a_pipe(tmp_path, monkeypatch):
    info = merge(None, ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL")), (), "ib||AAPL||", NOW, POLICY)
    item = Item.made("ib||AAPL||", info)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(write_line(item))))
    with entries_in(tmp_path.with_name("-").relative_to(tmp_path.parent), settings(tmp_path)) as found:
        assert list(found) == [item]


@pytest.mark.parametrize("state", ["closed", "open", "killed"])
def test_a_json_store_is_read_whatever_state_it_is_in(tmp_path, state):
    path = tmp_path / "store.json"
    info = merge(None, ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL")), (), "ib||AAPL||", NOW, POLICY)
    item = Item.made("ib||AAPL||", info)
    store = open_store(settings(tmp_path), "json", {"path": str(path)})
    store.write(item.key, item.line, NOW + DAY)
    if state == "closed":
        store.close()
    assert path.exists() == (state == "closed")
    assert found_in(path) == [item]
    store.close()


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


KILLED = """
import os, sys
from symcache_core.settings import SymcacheSettings
from symcache_core.transfer import open_store
store = open_store(SymcacheSettings(backend=sys.argv[1]), sys.argv[1], {"path": sys.argv[2]})
store.write(sys.argv[3], sys.argv[4].encode(), float(sys.argv[5]))
os._exit(9)
"""


@pytest.mark.parametrize("backend", ["json", "diskcache"])
def test_a_store_whose_program_was_killed_is_read_and_stays_as_it_was_left(tmp_path, backend):
    info = merge(None, ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL")), (), "ib||AAPL||", NOW, POLICY)
    item, source = Item.made("ib||AAPL||", info), tmp_path / "left"
    source.mkdir()
    path = source / "store"
    arguments = [backend, str(path), item.key, item.line.decode(), str(NOW + DAY)]
    assert subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, timeout=60).returncode == 9
    before = content(source)
    assert found_in(path) == [item]
    assert content(source) == before
    for each in (source, *source.rglob("*")):
        each.chmod(0o500 if each.is_dir() else 0o400)
    assert found_in(path) == [item], "whoever can read it can import it"


def test_a_store_that_cannot_be_opened_is_called_by_the_name_it_was_given(tmp_path):
    path = written(tmp_path / "store.json", '{"symcache":{"schema":2},"entries":{\n}}\n')
    with pytest.raises(NewerSchemaError, match=f"^{path} has schema 2"):
        found_in(path)


def test_a_diskcache_folder_is_read(tmp_path):
    info = merge(None, ProviderAnswer(ValidationResult(is_valid=True, symbol="AAPL")), (), "ib||AAPL||", NOW, POLICY)
    item = Item.made("ib||AAPL||", info)
    with closing(open_store(settings(tmp_path), "diskcache", {"path": str(tmp_path / "folder")})) as store:
        store.write(item.key, item.line, NOW + DAY)
    assert found_in(tmp_path / "folder") == [item]


@pytest.mark.parametrize("content", ["text", "[1]", '{"other": {"program": 1}}', '{"other": tor', '"cache"', "\0" * 99])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    with pytest.raises(ConfigurationError, match=r"argument 'FILE': .* is neither an export of symcache nor"):
        found_in(written(tmp_path / "file", content))


@pytest.mark.parametrize("content", ["", " \n", "{}", '{"cache": {}}'])
def test_a_file_of_nothing_is_nothing(tmp_path, content):
    assert found_in(written(tmp_path / "file", content)) == []


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="nosuch cannot be read: No such file"):
        found_in(tmp_path / "nosuch")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        found_in(tmp_path)


def test_what_says_itself_whose_answers_it_holds_is_not_told_otherwise(tmp_path):
    (tmp_path / "export.jsonl").touch()
    with pytest.raises(ConfigurationError, match="option '--provider'"):
        found_in(tmp_path / "export.jsonl", provider="ib")
    open_store(settings(tmp_path), "json", {"path": str(tmp_path / "store.json")}).close()
    with pytest.raises(ConfigurationError, match="option '--provider'"):
        found_in(tmp_path / "store.json", provider="ib")


def test_what_is_taken_in_once_is_not_taken_in_again(tmp_path):
    path = written(tmp_path / "symbol_discovery_cache.json", host_file())
    report = import_once(path, settings(tmp_path))
    assert report.counts[Fate.COPIED] == 2
    written(path, {"cache": {"IBM": described("IBM", **SHARE)}})
    assert import_once(path, settings(tmp_path)) is None
    with closing(open_store(settings(tmp_path), "json")) as store:
        assert sorted(each.key for each in StoredEntries(store)) == ["ib|CASH|AUD||CAD", "ib||MSFT||"]


def test_what_could_not_be_taken_in_is_tried_again(tmp_path):
    path = written(tmp_path / "symbol_discovery_cache.json", "text")
    with pytest.raises(ConfigurationError):
        import_once(path, settings(tmp_path))
    written(path, host_file())
    assert import_once(path, settings(tmp_path)).counts[Fate.COPIED] == 2


FORGETTING = """
from symcache_backends.json_file import JsonSettings
from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.plugin import Backend, hookimpl

class Forgetting(JsonFileBackend):
    def update(self, key, change):
        if not (self._path.parent / "mended").exists():
            change(None)
        else:
            super().update(key, change)

@hookimpl
def symcache_backends():
    yield Backend(name="forgetting", settings=JsonSettings, open=lambda settings: Forgetting(settings.path))
"""


def test_what_a_store_lost_is_taken_in_the_next_time(tmp_path, monkeypatch):
    (tmp_path / "forgetting_backend.py").write_text(FORGETTING)
    monkeypatch.syspath_prepend(tmp_path)
    path = written(tmp_path / "symbol_discovery_cache.json", host_file())
    chosen = settings(tmp_path, "forgetting", plugins=("forgetting_backend",))
    assert import_once(path, chosen).counts[Fate.UNVERIFIED] == 2
    (tmp_path / "mended").touch()
    assert import_once(path, chosen).counts[Fate.COPIED] == 2
    assert import_once(path, chosen) is None
