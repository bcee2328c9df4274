"""Entries copied between stores: byte for byte, every one accounted for, the newer one kept, nothing invented."""

import base64
import csv
import json
import time
from collections import Counter
from contextlib import ExitStack, closing
from itertools import pairwise

import pytest

from symcache_core.entries import codec
from symcache_core.errors import ConfigurationError
from symcache_core.merging import merge
from symcache_core.models import ContractInfo, ProviderAnswer, ValidationResult
from symcache_core.policy import Policy, keep_until
from symcache_core.settings import SymcacheSettings
from symcache_core.symbols import Instrument
from symcache_core.transfer import Fate, Item, StoredEntries, Unreadable, copy, open_store

DAY = 86400.0
POLICY = Policy()
NOW = time.time()
"""The backends go by the machine's clock."""


@pytest.fixture
def open_backend(tmp_path):
    """Opens a store under a name of its own, again as another program does."""
    with ExitStack() as opened:

        def open_backend(name, backend="json", **options):
            options = options or {"path": str(tmp_path / name)}
            settings = SymcacheSettings(backend=backend, backends={backend: options})
            return opened.enter_context(closing(open_store(settings, backend)))

        yield open_backend


@pytest.fixture(params=["json", "diskcache"])
def store(open_backend, request):
    return open_backend("store", request.param)


def item(symbol, *, age=0.0, provider="ib", is_valid=True, confirmed=True, timeframes=("1d",), heads=None):
    """The entry that an answer of some time ago made."""
    key = Instrument.parse(symbol).key(provider)
    contract = ContractInfo(symbol=symbol, description=f'{symbol} "é" {age}') if is_valid else None
    result = ValidationResult(is_valid=is_valid, symbol=symbol, contract_info=contract, head_timestamps=heads)
    answer = ProviderAnswer(result, confirmed=confirmed)
    return Item.made(key, merge(None, answer, timeframes, key, NOW - age, POLICY))


def put(store, *items):
    for each in items:
        store.write(each.key, each.line, keep_until(each.info, POLICY))


def content(store):
    return {key: store.read(key) for key in store.keys() if not key.startswith("@")}


def run(found, store, **options):
    return copy(found, store, policy=POLICY, now=NOW, **options)


def test_entries_arrive_byte_for_byte(open_backend, store):
    source = open_backend("source")
    items = [item("AAPL"), item("BRK.B", provider="replay"), item("eur/usd", age=DAY), item("RY@TSE:CAD")]
    put(source, *items)
    report = run(StoredEntries(source), store)
    assert report.counts == {Fate.COPIED: 4}
    assert content(store) == {each.key: each.line for each in items}


def of_an_earlier_build(whole):
    _version, body = whole.line.split(b',"entry":', 1)
    entry = {name: value for name, value in json.loads(body[:-1]).items() if name not in ("changes", "doubted")}
    text = json.dumps(entry, indent=None).encode()
    line = b'{"v":1,"sum":"%08x","entry":%b}' % (codec._checksum(whole.key, 1, text), text)
    assert codec.encode(whole.key, codec.decode(whole.key, line)) != line
    return Item(whole.key, line, codec.decode(whole.key, line))


def test_a_line_of_an_earlier_build_keeps_the_bytes_it_has(store):
    earlier = of_an_earlier_build(item("AAPL"))
    run([earlier], store)
    assert store.read(earlier.key) == earlier.line


def test_a_second_run_finds_everything_there(store):
    items = [item("AAPL"), item("MSFT")]
    run(items, store)
    assert run(items, store).counts == {Fate.UNCHANGED: 2}


def test_an_interrupted_run_leaves_whole_entries_and_the_next_one_completes(store):
    items = [item(f"S{number}") for number in range(10)]

    def until_interrupted():
        yield from items[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(until_interrupted(), store)
    assert content(store) == {each.key: each.line for each in items[:4]}
    assert run(items, store).counts == {Fate.UNCHANGED: 4, Fate.COPIED: 6}
    assert content(store) == {each.key: each.line for each in items}


VALID, INVALID, UNCONFIRMED = {}, {"is_valid": False}, {"is_valid": False, "confirmed": False}

CASES = {
    "the newer valid one wins": (VALID, 1, VALID, 2, Fate.COPIED),
    "the newer valid one stays": (VALID, 2, VALID, 1, Fate.KEPT),
    "a negative never replaces a valid one": (INVALID, 1, VALID, 2 * DAY, Fate.KEPT),
    "nor does one that is not confirmed": (UNCONFIRMED, 1, VALID, 2 * DAY, Fate.KEPT),
    "a valid one that serves no more is replaced by a negative": (INVALID, 1, VALID, 40 * DAY, Fate.COPIED),
    "a newer valid one replaces a negative": (VALID, 1, INVALID, 60, Fate.COPIED),
    "a confirmed negative that is newer stays": (VALID, DAY, INVALID, 60, Fate.KEPT),
    "an unconfirmed negative gives way to any valid one": (VALID, DAY, UNCONFIRMED, 60, Fate.COPIED),
    "what is over gives way to what is not": (VALID, DAY, UNCONFIRMED, 400, Fate.COPIED),
    "a stamp from the future is no newer": (VALID, -DAY, VALID, 60, Fate.KEPT),
    "and gives way": (VALID, 60, VALID, -DAY, Fate.COPIED),
}


@pytest.mark.parametrize(("new", "age", "old", "old_age", "fate"), CASES.values(), ids=list(CASES))
def test_of_two_entries_the_one_stays_that_ought_to(store, new, age, old, old_age, fate):
    incoming, there = item("AAPL", age=age, **new), item("AAPL", age=old_age, **old)
    store.write(there.key, there.line, NOW + DAY)
    assert run([incoming], store).counts == {fate: 1}
    assert store.read(there.key) == (incoming if fate is Fate.COPIED else there).line


def test_what_is_expired_is_counted_and_left_out_and_what_bridges_an_outage_is_not(store):
    stale, expired = item("STALE", age=31 * DAY), item("GONE", age=38 * DAY)
    over = item("OVER", age=400, is_valid=False, confirmed=False)
    report = run([stale, expired, over], store)
    assert report.counts == {Fate.COPIED: 1, Fate.EXPIRED: 2}
    assert list(content(store)) == [stale.key]


def test_what_cannot_be_read_is_named_and_stays_where_it_is(open_backend, store):
    source = open_backend("source")
    good, bad, newer = item("AAPL"), item("MSFT"), item("IBM")
    put(source, good)
    damaged = bad.line.replace(b'"MSFT"', b'"MSFX"')
    body = newer.line.split(b',"entry":', 1)[1][:-1]
    from_the_future = b'{"v":2,"sum":"%08x","entry":%b}' % (codec._checksum(newer.key, 2, body), body)
    source.write(bad.key, damaged, NOW + DAY)
    source.write(newer.key, from_the_future, NOW + DAY)
    report = run(StoredEntries(source), store)
    assert report.counts == {Fate.COPIED: 1, Fate.UNREADABLE: 2}
    assert {problem.name: "schema 2" in problem.why for problem in report.problems} == {bad.key: False, newer.key: True}
    assert content(store) == {good.key: good.line}
    assert content(source) == {good.key: good.line, bad.key: damaged, newer.key: from_the_future}


def test_an_entry_of_a_newer_schema_is_not_overwritten(store):
    incoming = item("AAPL")
    body = incoming.line.split(b',"entry":', 1)[1][:-1]
    from_the_future = b'{"v":2,"sum":"%08x","entry":%b}' % (codec._checksum(incoming.key, 2, body), body)
    store.write(incoming.key, from_the_future, NOW + DAY)
    assert run([incoming], store).counts == {Fate.KEPT: 1}
    assert store.read(incoming.key) == from_the_future


def test_what_is_damaged_there_is_replaced_and_its_bytes_are_kept(store):
    incoming = item("AAPL")
    damaged = incoming.line.replace(b"true", b"null")
    store.write(incoming.key, damaged, NOW + DAY)
    assert run([incoming], store, dry_run=True).counts == {Fate.COPIED: 1}
    assert store.read(incoming.key) == damaged
    assert run([incoming], store).counts == {Fate.COPIED: 1}
    assert store.read(incoming.key) == incoming.line
    aside = json.loads(store.read(f"@corrupt|{incoming.key}"))
    assert base64.b64decode(aside["corrupt"]) == damaged


def test_over_what_is_damaged_an_entry_still_goes_byte_for_byte(store):
    earlier = of_an_earlier_build(item("AAPL"))
    store.write(earlier.key, b"damaged", NOW + DAY)
    assert run([earlier], store).counts == {Fate.COPIED: 1}
    assert store.read(earlier.key) == earlier.line


HEADS = {"1d": "1980-12-12T00:00:00+00:00", "1h": "2004-01-02T00:00:00+00:00"}


@pytest.mark.parametrize("there", ["1d", "1h"])
@pytest.mark.parametrize("ages", [(DAY, 60), (60, DAY)], ids=["the newer one comes", "the newer one is there"])
def test_of_two_valid_entries_the_newer_one_gets_the_timeframes_that_only_the_older_one_knows(store, there, ages):
    (comes,) = set(HEADS) - {there}
    old, new = (
        item("AAPL", age=age, timeframes=[name], heads={name: HEADS[name]})
        for name, age in zip((there, comes), ages, strict=True)
    )
    put(store, old)
    assert run([new], store, dry_run=True).counts == {Fate.MERGED: 1}
    assert store.read(old.key) == old.line
    assert run([new], store).counts == {Fate.MERGED: 1}
    both, newer = codec.decode(old.key, store.read(old.key)), max(old.info, new.info, key=lambda info: info.cached_at)
    assert both.validation_result.head_timestamps == HEADS
    assert both.parts == {**old.info.parts, **new.info.parts}, "each as old as it was"
    assert (both.cached_at, both.ttl_seconds) == (newer.cached_at, newer.ttl_seconds)
    assert both.validation_result.contract_info == newer.validation_result.contract_info
    assert run([new], store).counts == {Fate.KEPT: 1}, "a second run finds it all there"


def test_a_rehearsal_tells_the_same_and_writes_nothing(open_backend, store):
    put(store, item("KEPT"), item("SAME"))
    before = content(store)
    found = [
        item("AAPL", age=60),
        item("aapl"),
        item("KEPT", age=DAY),
        item("SAME"),
        item("GONE", age=40 * DAY),
        Unreadable("BROKEN", "torn"),
    ]
    rehearsed = run(found, store, dry_run=True)
    assert content(store) == before
    assert rehearsed == run(found, store)
    assert rehearsed.counts == Counter("copied copied kept unchanged expired unreadable".split())


def test_counters_and_other_records_of_a_store_are_its_own(open_backend, store):
    source = open_backend("source")
    put(source, item("AAPL"))
    for key in ("@counters|ib", "@corrupt|ib||X||", "@imported|old.json"):
        source.write(key, b"{}", NOW + DAY)
    assert run(StoredEntries(source), store).counts == {Fate.COPIED: 1}
    assert [key for key in store.keys() if key.startswith("@")] == []


def test_the_entries_of_one_provider_can_be_had_alone(open_backend):
    source = open_backend("source")
    put(source, item("AAPL"), item("AAPL", provider="replay"), item("AAPL", provider="ib2"))
    assert [each.key for each in StoredEntries(source, "ib")] == ["ib||AAPL||"]
    assert len(StoredEntries(source)) == 3


def test_an_entry_that_is_dropped_meanwhile_is_accounted_for(open_backend):
    source = open_backend("source")
    put(source, item("AAPL"), item("MSFT"))
    entries = StoredEntries(source)
    source.delete("ib||AAPL||")
    gone, there = entries
    assert isinstance(gone, Unreadable)
    assert there.key == "ib||MSFT||"


class Plain:
    """A third party's store with the six plain methods; under some keys it is found to have something else."""

    def __init__(self, instead):
        self._entries, self._instead = {}, instead

    def read(self, key):
        return self._entries.get(key)

    def write(self, key, entry, keep_until):
        self._entries[key] = self._instead.get(key, entry)

    def delete(self, key):
        return self._entries.pop(key, None) is not None

    def keys(self):
        return iter(list(self._entries))

    def clear(self):
        self._entries.clear()

    def close(self):
        pass


def test_what_is_not_there_when_it_is_read_back_is_not_called_copied():
    lost, changed, renewed = "ib||MSFT||", "ib||IBM||", "ib||NVDA||"
    instead = {lost: None, changed: item("IBM", age=9).line, renewed: item("NVDA", age=-1).line}
    report = run([item("AAPL"), item("MSFT", is_valid=False), item("IBM"), item("NVDA")], Plain(instead))
    assert report.counts == {Fate.COPIED: 2, Fate.UNVERIFIED: 2}, "a new answer that came meanwhile is no loss"
    assert report.negatives == 0
    assert {problem.name for problem in report.problems} == {lost, changed}


def test_a_backend_that_keeps_nothing_is_refused(open_backend):
    with pytest.raises(ConfigurationError, match="'memory' keeps nothing beyond this process"):
        open_backend("store", "memory")


class TestAllTheWayRound:
    backend = "redis"

    def test_from_json_to_diskcache_to_redis_to_json_every_entry_of_10365_stays_byte_for_byte(
        self, open_backend, redis_server, tmp_path, us_symbols
    ):
        items = [item(symbol, age=number % 1000) for number, symbol in enumerate(us_symbols)]
        first = open_backend("first.json")
        first.write_many({each.key: (each.line, keep_until(each.info, POLICY)) for each in items})
        stops = [
            first,
            open_backend("folder", "diskcache"),
            open_backend("server", "redis", url=redis_server.url, namespace=tmp_path.name),
            open_backend("last.json"),
        ]
        for source, target in pairwise(stops):
            assert run(StoredEntries(source), target).counts == {Fate.COPIED: len(items)}
        assert content(stops[-1]) == {each.key: each.line for each in items}
        first.compact()
        stops[-1].compact()
        files = [tmp_path / name for name in ("first.json", "last.json")]
        assert files[0].read_bytes() == files[1].read_bytes(), "until when to keep each is the same, too"


@pytest.fixture
def us_symbols():
    host = pytest.importorskip("symcache_host")
    with open(f"{host.__path__[0]}/data/us_symbols.csv", newline="", encoding="utf-8") as file:
        symbols = [row["symbol"] for row in csv.DictReader(file)]
    assert len(symbols) >= 10_365
    return symbols
