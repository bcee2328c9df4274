"""An entry survives its line of JSON, and nothing else passes for one."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.entries import codec
from symcache_core.errors import CorruptEntryError, NewerSchemaError
from symcache_core.models import CachedSymbolInfo, ContractInfo, Part, Provenance, ValidationResult

KEY = "ib||AAPL||"
INFO = CachedSymbolInfo(
    validation_result=ValidationResult(
        is_valid=True,
        symbol="AAPL",
        contract_info=ContractInfo(symbol="AAPL", exchange="NASDAQ", contract={"conId": 265598, "deep": {"list": [1]}}),
        head_timestamps={"1d": "1980-12-12T14:30:00+00:00", "1w": None},
    ),
    cached_at=1793000000.25,
    ttl_seconds=2592000.0,
    parts={"1d": Part(head_timestamp="1980-12-12T14:30:00+00:00", asked_at=1793000000.25, ttl_seconds=2592000.0)},
    provenance=Provenance(provider="ib", code="0"),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.dictionaries(st.text(), JSON, max_size=4), st.floats(0, 4e9), st.booleans())
def test_any_entry_survives_its_line(message, details, moment, confirmed):
    info = CachedSymbolInfo(
        validation_result=ValidationResult(
            is_valid=True, symbol="A", error_message=message, contract_info=ContractInfo(details=details)
        ),
        cached_at=moment,
        ttl_seconds=1.5,
        parts={"1d": Part(head_timestamp=None, asked_at=moment, ttl_seconds=1.0)},
        confirmed=confirmed,
    )
    line = codec.encode(KEY, info)
    assert b"\n" not in line
    assert codec.decode(KEY, line) == info
    assert json.loads(line)["v"] == 1


def test_no_flipped_bit_passes_for_another_value():
    line = codec.encode(KEY, INFO)
    for position in range(len(line) * 8):
        flipped = bytearray(line)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises((CorruptEntryError, NewerSchemaError)):
            codec.decode(KEY, bytes(flipped))


def test_no_cut_line_passes():
    line = codec.encode(KEY, INFO)
    for end in range(len(line)):
        with pytest.raises(CorruptEntryError):
            codec.decode(KEY, line[:end])


def test_an_entry_does_not_pass_under_another_key():
    with pytest.raises(CorruptEntryError, match="checksum"):
        codec.decode("ib||MSFT||", codec.encode(KEY, INFO))


def test_an_entry_of_a_newer_schema_is_known_as_such(monkeypatch):
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 2)
    line = codec.encode(KEY, INFO)
    monkeypatch.undo()
    with pytest.raises(NewerSchemaError, match="schema 2"):
        codec.decode(KEY, line)


def line_of(body):
    return b'{"v":1,"sum":"%08x","entry":%b}' % (zlib.crc32(body, zlib.crc32(f"1|{KEY}|".encode())), body)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"junk", f"entry {KEY!r} is not a line of symcache"),
        (codec.encode("ib||MSFT||", INFO), f"entry {KEY!r} does not match its checksum"),
        (line_of(b'{"cached_at":1.0}'), f"entry {KEY!r} is incomplete: 2 fields do not fit"),
    ],
    ids=["no line", "another key's", "incomplete"],
)
def test_what_is_wrong_with_a_line_is_told_with_its_key(line, why):
    with pytest.raises(CorruptEntryError) as raised:
        codec.decode(KEY, line)
    assert str(raised.value) == why


def test_a_line_is_written_as_it_is_documented():
    body = codec.encode(KEY, INFO).partition(b'"entry":')[2][:-1]
    assert codec.encode(KEY, INFO) == line_of(body)
    assert json.loads(body)["cached_at"] == 1793000000.25
