"""What the bar store took it gives back, to everyone who shares it, and nobody else's."""

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core.errors import BackendUnavailableError, NewerSchemaError, ProviderError
from symcache_core.loading.bar_store import BarStore, file_name
from symcache_core.loading.bars import conform, empty_bars, merge


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars", "ib")


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


def test_bars_come_back_identical(store, bars):
    merged = store.merge("AAPL", "1d", bars)
    pd.testing.assert_frame_equal(merged, bars)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d"), bars)


def test_of_an_unknown_symbol_there_are_no_bars_in_the_same_form(store, bars):
    nothing = store.read("AAPL", "1d")
    pd.testing.assert_frame_equal(nothing, bars.head(0))
    pd.testing.assert_frame_equal(store.merge("AAPL", "1d", nothing), nothing)


def test_the_last_bar_of_a_stamp_wins(store, bars):
    store.merge("AAPL", "1d", bars)
    corrected = bars.iloc[[3]] + 1.0
    merged = store.merge("AAPL", "1d", corrected)
    assert merged.iloc[3].equals(corrected.iloc[0])
    pd.testing.assert_frame_equal(merged.drop(corrected.index), bars.drop(corrected.index))


def test_bars_that_arrive_out_of_order_are_in_order(store, bars):
    store.merge("AAPL", "1d", bars.tail(5))
    store.merge("AAPL", "1d", bars.head(15).iloc[::-1])
    pd.testing.assert_frame_equal(store.read("AAPL", "1d"), bars)


def test_every_spelling_of_an_instrument_is_one_file(store, bars):
    store.merge("brk.b", "1d", bars)
    assert len(store.read("BRK B", "1d")) == len(store.read("BRK-B", "1d")) == len(bars)
    assert store.read("BRKB", "1d").empty


def test_replayed_bars_are_never_served_to_another_provider(store, bars, tmp_path, caplog):
    replay = BarStore(tmp_path / "bars", "replay")
    replay.merge("AAPL", "1d", bars)
    assert store.read("AAPL", "1d").empty
    smuggled = store.path("AAPL", "1d")
    smuggled.parent.mkdir(parents=True)
    smuggled.write_bytes(replay.path("AAPL", "1d").read_bytes())
    assert store.read("AAPL", "1d").empty
    assert "symcache.provider differs" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all", None])
def test_a_damaged_file_is_set_aside_with_a_warning(store, bars, caplog, damage):
    store.merge("AAPL", "1d", bars)
    path = store.path("AAPL", "1d")
    content = path.read_bytes()
    damaged = content[: len(content) // 2] if damage is None else damage
    path.write_bytes(damaged)
    assert store.read("AAPL", "1d").empty
    assert not path.exists()
    assert path.with_name(f"{path.name}.corrupt").read_bytes() == damaged
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    pd.testing.assert_frame_equal(store.merge("AAPL", "1d", bars), bars)


def test_a_flipped_bit_among_the_prices_is_noticed(store, bars):
    store.merge("AAPL", "1d", bars)
    path = store.path("AAPL", "1d")
    content = bytearray(path.read_bytes())
    content[len(content) // 8] ^= 4
    path.write_bytes(content)
    assert store.read("AAPL", "1d").empty


def test_a_damaged_file_does_not_keep_new_bars_out(store, bars):
    store.merge("AAPL", "1d", bars)
    store.path("AAPL", "1d").write_bytes(b"x")
    pd.testing.assert_frame_equal(store.merge("AAPL", "1d", bars.head(2)), bars.head(2))


def test_a_file_of_a_newer_symcache_is_left_as_it_is(store, bars):
    store.merge("AAPL", "1d", bars)
    path = store.path("AAPL", "1d")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"symcache.version": b"2"}), path)
    content = path.read_bytes()
    for use in (lambda: store.read("AAPL", "1d"), lambda: store.merge("AAPL", "1d", bars)):
        with pytest.raises(NewerSchemaError):
            use()
    assert path.read_bytes() == content


def test_files_are_for_their_owner_only_and_no_other_tool_is_needed_to_read_them(store, bars):
    store.merge("AAPL", "1d", bars)
    path = store.path("AAPL", "1d")
    assert path.stat().st_mode & 0o777 == 0o600
    assert pd.read_parquet(path).shape == (20, 6)
    assert not list(path.parent.glob("*.tmp"))


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path, bars):
    (tmp_path / "bars").write_text("a file where a folder should be")
    with pytest.raises(BackendUnavailableError, match=r"AAPL\.parquet cannot be written"):
        BarStore(tmp_path / "bars", "ib").merge("AAPL", "1d", bars)


def test_threads_that_merge_into_one_file_lose_nothing(store, bars):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: store.merge("AAPL", "1d", bars.iloc[[at]]), range(len(bars))))
    pd.testing.assert_frame_equal(store.read("AAPL", "1d"), bars)


_MERGE_ONE_BY_ONE = """
import sys
from pathlib import Path
from symcache_core.loading.bar_store import BarStore
root, first = sys.argv[1:]
bars = BarStore(Path(root), "source").read("AAPL", "1d")
for at in range(int(first), len(bars), 2):
    BarStore(Path(root), "ib").merge("AAPL", "1d", bars.iloc[[at]])
"""


def test_processes_that_merge_into_one_file_lose_nothing(store, bars, tmp_path):
    root = tmp_path / "bars"
    BarStore(root, "source").merge("AAPL", "1d", bars)
    writers = [subprocess.Popen([sys.executable, "-c", _MERGE_ONE_BY_ONE, root, str(first)]) for first in (0, 1)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    pd.testing.assert_frame_equal(store.read("AAPL", "1d"), bars)


@pytest.mark.parametrize("symbol", ["..", ".", "A/B", "CON", "NUL", "COM1", "ÄÖÜ", "漢字", "A B", "%41", "漢" * 128])
def test_any_symbol_makes_a_file_inside_its_folder(store, bars, symbol):
    store.merge(symbol, "1d", bars)
    path = store.path(symbol, "1d")
    assert path.parent == store.path("AAPL", "1d").parent
    assert path.is_file()
    assert path.name.isascii()
    assert len(path.name) <= 230
    assert path.name.partition(".")[0] not in {"", "CON", "NUL", "COM1"}
    pd.testing.assert_frame_equal(store.read(symbol, "1d"), bars)


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(min_size=1, max_size=128).map(str.upper), min_size=2, max_size=2, unique=True))
def test_no_two_symbols_share_a_file_name_even_where_case_is_ignored(symbols):
    assert len({file_name(symbol).casefold() for symbol in symbols}) == 2


def test_any_frame_of_a_provider_takes_the_one_form(bars):
    local_time = bars.tz_convert("America/New_York").iloc[::-1].assign(volume=bars["volume"].astype("int64"), extra=1)
    pd.testing.assert_frame_equal(conform(local_time), bars)
    pd.testing.assert_frame_equal(conform(bars.tz_localize(None)), bars)
    late = bars.set_axis(bars.index + pd.Timedelta(hours=14.5)).rename_axis("date")
    pd.testing.assert_frame_equal(conform(late), bars)
    pd.testing.assert_frame_equal(conform(pd.DataFrame()), empty_bars())
    pd.testing.assert_frame_equal(conform(pd.concat([bars + 1.0, bars])), bars)
    pd.testing.assert_frame_equal(merge(empty_bars(), empty_bars()), empty_bars())


def test_a_frame_that_does_not_hold_bars_is_the_providers_error(bars):
    with pytest.raises(ProviderError, match="no close, volume"):
        conform(bars.drop(columns=["close", "volume"]))
    with pytest.raises(ProviderError, match="index of times"):
        conform(bars.reset_index(drop=True))
