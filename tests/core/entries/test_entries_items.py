"""A line is an entry, or it is told why it is none."""

import pytest
from answers import KEY, entry, valid

from symcache_core.entries import codec
from symcache_core.entries.items import Item, Unreadable, understood

INFO = entry(valid("1d"))


def test_an_entry_that_had_no_bytes_gets_the_line_that_is_stored_under_its_key():
    item = Item.made(KEY, INFO)
    assert (item.key, item.line, item.info) == (KEY, codec.encode(KEY, INFO), INFO)


def test_a_line_that_belongs_under_its_key_is_understood_and_stays_as_it_is():
    line = codec.encode(KEY, INFO)
    item = understood(KEY, line)
    assert (item.key, item.line, item.info) == (KEY, line, INFO)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{}", f"entry {KEY!r} is not a line of symcache"),
        (codec.encode("ib||MSFT||", INFO), f"entry {KEY!r} does not match its checksum"),
    ],
)
def test_a_line_that_is_no_entry_is_told_apart_by_its_key_and_the_reason(line, why):
    assert understood(KEY, line) == Unreadable(KEY, why)


def test_a_line_of_a_newer_version_is_told_apart_too(monkeypatch):
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 2)
    line = codec.encode(KEY, INFO)
    monkeypatch.undo()
    assert understood(KEY, line) == Unreadable(KEY, f"entry {KEY!r} has schema 2; this symcache reads up to 1")
