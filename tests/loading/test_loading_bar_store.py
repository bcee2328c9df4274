"""What the bar store took it gives back, to everyone who shares it, and nobody else's."""

import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symcache_core.errors import BackendUnavailableError, ConfigurationError, NewerSchemaError, ProviderError
from symcache_core.loading.bars.frames import conform, empty_bars, frame_of
from symcache_core.loading.bars.store import BarStore

ASKED = datetime(2024, 6, 1, 12, tzinfo=UTC)
LATER = datetime(2024, 6, 2, 12, tzinfo=UTC)
ANY_FOLDER = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars", "ib")


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


def some_bars(stamps):
    """Bars of these stamps, each unlike the others."""
    stamps = pd.DatetimeIndex(stamps).tz_localize(None).as_unit("ns").to_numpy()
    low = 100.0 + np.arange(len(stamps))
    return frame_of(stamps, [low + 1, low + 3, low, low + 2, low * 10])


def times(*texts):
    return pd.DatetimeIndex(texts, tz="UTC", name="timestamp").as_unit("ns")


def files_of(store, timeframe="1d"):
    return sorted(path.name for path in store.folder("AAPL", timeframe).iterdir())


def only_file(store, timeframe="1d"):
    [path] = store.folder("AAPL", timeframe).glob("*.parquet")
    return path


def test_bars_come_back_identical(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)
    assert store.read("AAPL", "1d").empty.empty


def test_of_an_unknown_symbol_there_are_no_bars_in_the_same_form(store, bars):
    nothing = store.read("AAPL", "1d")
    pd.testing.assert_frame_equal(nothing.bars, bars.head(0))
    assert nothing.empty.dtype == nothing.empty.index.dtype == "datetime64[ns, UTC]"
    store.merge("AAPL", "1d", nothing.bars, asked=ASKED)
    assert not store.folder("AAPL", "1d").parent.exists()


def test_what_was_read_is_the_callers_own_to_change(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    mine = store.read("AAPL", "1d").bars
    mine.iloc[0, 0] = -1.0
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


def test_the_last_bar_of_a_stamp_wins(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    corrected = bars.iloc[[3]] + 1.0
    store.merge("AAPL", "1d", corrected, asked=LATER)
    merged = store.read("AAPL", "1d").bars
    assert merged.iloc[3].equals(corrected.iloc[0])
    pd.testing.assert_frame_equal(merged.drop(corrected.index), bars.drop(corrected.index))


def test_bars_that_arrive_out_of_order_are_in_order(store, bars):
    store.merge("AAPL", "1d", bars.tail(5), asked=ASKED)
    store.merge("AAPL", "1d", bars.head(15).iloc[::-1], asked=ASKED)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


@pytest.mark.parametrize(
    ("timeframe", "files"),
    [
        ("1m", ["2019-12.parquet", "2020-01.parquet", "2024-03.parquet"]),
        ("5m", ["2019.parquet", "2020.parquet", "2024.parquet"]),
        ("4h", ["2019.parquet", "2020.parquet", "2024.parquet"]),
        ("1d", ["2010s.parquet", "2020s.parquet"]),
        ("1w", ["2010s.parquet", "2020s.parquet"]),
    ],
)
def test_each_period_has_a_file_and_adding_to_one_rewrites_no_other(store, timeframe, files):
    bars = some_bars(times("2019-12-31 23:59", "2020-01-01", "2024-03-04 10:00", "2024-03-04 10:01"))
    store.merge("AAPL", timeframe, bars, asked=ASKED)
    folder = store.folder("AAPL", timeframe)
    assert files_of(store, timeframe) == files
    pd.testing.assert_frame_equal(store.read("AAPL", timeframe).bars, bars)
    inodes = {name: (folder / name).stat().st_ino for name in files}
    store.merge("AAPL", timeframe, bars.tail(1), asked=LATER)
    assert [name for name in files if (folder / name).stat().st_ino != inodes[name]] == files[-1:]


def test_bars_from_before_1970_are_in_their_decade(store):
    bars = some_bars(times("1959-12-31", "1960-01-04", "1969-12-31", "1970-01-02"))
    store.merge("AAPL", "1d", bars, asked=ASKED)
    assert files_of(store) == ["1950s.parquet", "1960s.parquet", "1970s.parquet"]
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


@settings(max_examples=40)
@given(start=st.integers(-50, 800), end=st.integers(-50, 800))
def test_a_range_is_read_with_both_its_ends(year_of_minutes, start, end):
    store, bars = year_of_minutes
    start, end = (datetime(2002, 1, 1, tzinfo=UTC) + number * timedelta(hours=18) for number in (start, end))
    pd.testing.assert_frame_equal(store.read("AAPL", "1m", start, end).bars, bars.loc[start:end])
    pd.testing.assert_frame_equal(store.read("AAPL", "1m", start=start).bars, bars.loc[start:])
    pd.testing.assert_frame_equal(store.read("AAPL", "1m", end=end).bars, bars.loc[:end])


@pytest.fixture(scope="module")
def year_of_minutes(tmp_path_factory):
    store = BarStore(tmp_path_factory.mktemp("bars"), "ib")
    bars = some_bars(pd.date_range("2002-01-01", "2002-12-31", freq="6h", tz="UTC").append(times("2003-06-01")))
    store.merge("AAPL", "1m", bars, asked=ASKED)
    return store, bars


def test_of_a_range_only_the_files_that_it_touches_are_opened(store, bars):
    bars = some_bars(times("2020-01-31 23:59", "2020-02-01", "2020-02-29", "2020-03-01"))
    store.merge("AAPL", "1m", bars, asked=ASKED)
    for month in ("01", "03"):
        (store.folder("AAPL", "1m") / f"2020-{month}.parquet").write_bytes(b"not to be looked at")
    february = store.read("AAPL", "1m", bars.index[1].to_pydatetime(), bars.index[2].to_pydatetime()).bars
    pd.testing.assert_frame_equal(february, bars.iloc[1:3])
    assert len(files_of(store, "1m")) == 3


def test_any_moment_may_end_a_range(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d", first, last).bars, bars)
    assert store.read("AAPL", "1d", last, first).bars.empty


def test_that_the_provider_has_no_bar_is_kept_with_the_time_of_its_answer(store, bars):
    store.merge("AAPL", "1d", bars.drop(bars.index[[2, 3]]), empty=pd.DatetimeIndex(bars.index[[2, 3]]), asked=ASKED)
    local = store.read("AAPL", "1d")
    pd.testing.assert_frame_equal(local.bars, bars.drop(bars.index[[2, 3]]))
    assert local.empty.to_dict() == dict.fromkeys(bars.index[[2, 3]], pd.Timestamp(ASKED))
    assert pd.read_parquet(only_file(store))["asked"].notna().sum() == 2


def test_a_bar_takes_the_place_of_none_and_none_never_that_of_a_bar(store, bars):
    store.merge("AAPL", "1d", bars.head(0), empty=pd.DatetimeIndex(bars.index), asked=ASKED)
    store.merge("AAPL", "1d", bars.head(5), empty=pd.DatetimeIndex(bars.index[3:8]), asked=LATER)
    store.merge("AAPL", "1d", bars.head(0), empty=pd.DatetimeIndex(bars.index[:2]), asked=LATER)
    local = store.read("AAPL", "1d")
    pd.testing.assert_frame_equal(local.bars, bars.head(5))
    assert local.empty.to_dict() == {
        stamp: pd.Timestamp(LATER if number < 8 else ASKED) for number, stamp in enumerate(bars.index) if number >= 5
    }


answers = st.lists(
    st.tuples(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.integers(1, 9)), min_size=1, max_size=5
)


@settings(max_examples=50)
@given(answers=answers)
def test_answers_add_up_as_in_a_dict(tmp_path_factory, answers):
    store = BarStore(tmp_path_factory.mktemp("bars"), "ib")
    days = pd.date_range("2019-12-20", periods=31, tz="UTC", unit="ns", name="timestamp")
    expected_bars, expected_empty = {}, {}
    for with_bar, without, number in answers:
        asked = ASKED.replace(day=number)
        bars = some_bars(days[sorted(with_bar)]) + number
        store.merge("AAPL", "1d", bars, empty=days[sorted(without)], asked=asked)
        expected_bars.update(zip(bars.index, bars["close"], strict=True))
        expected_empty.update(dict.fromkeys(days[sorted(without)], pd.Timestamp(asked)))
    local = store.read("AAPL", "1d")
    assert local.bars["close"].to_dict() == expected_bars
    assert local.bars.index.is_monotonic_increasing
    assert local.empty.to_dict() == {day: time for day, time in expected_empty.items() if day not in expected_bars}


def test_a_volume_that_nobody_knows_is_kept_as_that(store, bars):
    unknown = bars.assign(volume=bars["volume"].where(bars["volume"] > bars["volume"].median()))
    store.merge("AAPL", "1d", unknown, asked=ASKED)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, unknown)


@pytest.mark.parametrize("change", [{"close": np.nan}, {"open": np.inf}, {"high": -1.0}, {"volume": np.inf}])
def test_what_could_not_be_read_back_is_not_written(store, bars, change):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    with pytest.raises(ValueError, match="AAPL 1d: these bars cannot be stored"):
        store.merge("AAPL", "1d", bars.tail(1).assign(**change), asked=LATER)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


def test_a_file_tells_any_tool_what_it_holds(store, bars):
    bars.attrs["adjustment"] = "split"
    store.merge("brk.b", "1d", bars, asked=ASKED)
    [path] = store.folder("BRK B", "1d").iterdir()
    says = pq.read_schema(path).metadata
    assert {name: says[f"symcache.{name}".encode()].decode() for name in ("version", "provider", "symbol")} == {
        "version": "2",
        "provider": "ib",
        "symbol": "BRK B",
    }
    assert says[b"symcache.timeframe"] == b"1d"
    assert says[b"symcache.adjustment"] == b"split"
    assert says[b"symcache.verified"] == b"2024-06-01T12:00:00+00:00"
    assert pd.read_parquet(path.parent).shape == (20, 7)


def test_how_bars_are_adjusted_is_said_and_a_mixture_is_called_one(store, bars):
    first, second = bars.head(10), bars.tail(10)
    store.merge("AAPL", "1d", first, asked=ASKED)
    assert "adjustment" not in store.read("AAPL", "1d").bars.attrs
    first.attrs["adjustment"] = second.attrs["adjustment"] = "split"
    store.merge("MSFT", "1d", first, asked=ASKED)
    store.merge("MSFT", "1d", second, asked=ASKED)
    store.merge("MSFT", "1d", empty_bars(), empty=times("2012-01-01", "2000-01-01"), asked=ASKED)
    assert store.read("MSFT", "1d").bars.attrs["adjustment"] == "split"
    store.merge("AAPL", "1d", second, asked=ASKED)
    assert store.read("AAPL", "1d").bars.attrs["adjustment"] == "mixed"


def test_every_spelling_of_an_instrument_is_one_folder(store, bars):
    store.merge("brk.b", "1d", bars, asked=ASKED)
    assert len(store.read("BRK B", "1d").bars) == len(store.read("BRK-B", "1d").bars) == len(bars)
    assert store.read("BRKB", "1d").bars.empty


def test_a_timeframe_that_there_is_not_is_refused(store, bars):
    for use in (
        lambda: store.read("AAPL", "../1d"),
        lambda: store.merge("AAPL", "3d", bars, asked=ASKED),
        lambda: store.claim("AAPL", ""),
    ):
        with pytest.raises(ConfigurationError, match="use one of 1m"):
            use()


@pytest.mark.parametrize("foreign", [("ib", "MSFT", "1d"), ("replay", "AAPL", "1d"), ("ib", "AAPL", "1w")])
def test_bars_of_something_else_are_never_served(tmp_path, store, bars, caplog, foreign):
    provider, symbol, timeframe = foreign
    other = BarStore(tmp_path / "elsewhere", provider)
    other.merge(symbol, timeframe, bars, asked=ASKED)
    [smuggled] = other.folder(symbol, timeframe).iterdir()
    store.folder("AAPL", "1d").mkdir(parents=True)
    (store.folder("AAPL", "1d") / smuggled.name).write_bytes(smuggled.read_bytes())
    assert store.read("AAPL", "1d").bars.empty
    assert "does not hold what its place says" in caplog.text


def test_bars_in_another_periods_file_are_never_served(store, bars, caplog):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    path = only_file(store)
    path.rename(path.with_name("1990s.parquet"))
    assert store.read("AAPL", "1d").bars.empty
    assert "its bars are of another period" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all", None], ids=["empty", "magic", "text", "cut"])
def test_a_damaged_file_is_set_aside_with_one_warning_and_the_others_are_served(store, caplog, damage):
    bars = some_bars(times("2019-12-31", "2020-01-02"))
    store.merge("AAPL", "1d", bars, asked=ASKED)
    path = store.folder("AAPL", "1d") / "2020s.parquet"
    content = path.read_bytes()
    damaged = content[: len(content) // 2] if damage is None else damage
    path.write_bytes(damaged)
    for _ in range(2):
        pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars.head(1))
    assert files_of(store) == ["2010s.parquet", "2020s.parquet.corrupt"]
    assert (path.with_name("2020s.parquet.corrupt")).read_bytes() == damaged
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    store.merge("AAPL", "1d", bars.tail(1), asked=ASKED)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


def test_a_damaged_file_does_not_keep_new_bars_out(store, bars, caplog):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    only_file(store).write_bytes(b"x")
    store.merge("AAPL", "1d", bars.head(2), asked=ASKED)
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars.head(2))
    assert "2000s.parquet.corrupt" in caplog.text


def edited(path, edit):
    """Rewrite a file with other values, saying of itself what it said before."""
    table = pq.read_table(path)
    frame = table.to_pandas()
    edit(frame)
    pq.write_table(pa.Table.from_pandas(frame, schema=table.schema), path)


def test_a_value_that_was_changed_by_hand_is_noticed(store, bars, caplog):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    edited(only_file(store), lambda frame: frame.__setitem__("close", frame["close"] + 0.01))
    assert store.read("AAPL", "1d").bars.empty
    assert "its checksum is wrong" in caplog.text


damages = st.tuples(
    st.sampled_from(["flip", "cut", "zero", "double"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 400),
    st.integers(0, 7),
)


def damaged(data, kind, where, size, bit):
    at = int(where * len(data))
    before, piece, after = data[:at], data[at : at + size], data[at + size :]
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    return {"cut": before, "zero": before + bytes(len(piece)) + after, "double": before + piece + piece + after}[kind]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A file's bytes, and what is in it."""
    store = BarStore(tmp_path_factory.mktemp("bars"), "ib")
    days = pd.date_range("2020-01-01", periods=60, freq="B", tz="UTC")
    store.merge("AAPL", "1d", some_bars(days[:50]), empty=days[50:], asked=ASKED)
    return only_file(store).read_bytes(), store.read("AAPL", "1d")


def check_damage(folder, original, damage):
    data, local = original
    store = BarStore(folder / "bars", "ib")
    path = store.folder("AAPL", "1d") / "2020s.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = damaged(data, *damage)
    path.write_bytes(content)
    try:
        found = store.read("AAPL", "1d")
    except NewerSchemaError:
        assert path.read_bytes() == content
        return
    if path.exists():
        pd.testing.assert_frame_equal(found.bars, local.bars)
        pd.testing.assert_series_equal(found.empty, local.empty)
    else:
        assert found.bars.empty
        assert found.empty.empty
        assert path.with_name("2020s.parquet.corrupt").read_bytes() == content


@settings(max_examples=150)
@given(damage=damages)
def test_a_damaged_file_gives_what_was_stored_or_nothing(tmp_path, original, damage):
    check_damage(tmp_path, original, damage)


@pytest.mark.soak
@settings(max_examples=5_000, derandomize=False)
@given(damage=damages)
def test_thousands_of_damaged_files_give_what_was_stored_or_nothing(tmp_path, original, damage):
    check_damage(tmp_path, original, damage)


@pytest.mark.soak
def test_every_single_flipped_bit_gives_what_was_stored_or_nothing(tmp_path, original, caplog):
    caplog.set_level(logging.CRITICAL, "symcache")
    for at in range(len(original[0])):
        for bit in range(8):
            check_damage(tmp_path, original, ("flip", at / len(original[0]), 1, bit))


def test_a_file_of_a_newer_symcache_is_left_as_it_is(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    path = only_file(store)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"symcache.version": b"3"}), path)
    content = path.read_bytes()
    for use in (lambda: store.read("AAPL", "1d"), lambda: store.merge("AAPL", "1d", bars, asked=ASKED)):
        with pytest.raises(NewerSchemaError, match=r"2000s\.parquet was written by a newer symcache"):
            use()
    assert path.read_bytes() == content


def test_what_is_no_file_of_the_store_is_left_alone(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    notes = store.folder("AAPL", "1d") / "notes.parquet"
    notes.write_text("mine")
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)
    assert notes.read_text() == "mine"


def test_a_place_that_cannot_be_used_is_an_error_that_names_it(tmp_path, bars):
    (tmp_path / "bars").write_text("a file where a folder should be")
    store = BarStore(tmp_path / "bars", "ib")
    for use in (lambda: store.merge("AAPL", "1d", bars, asked=ASKED), lambda: store.claim("AAPL", "1d")):
        with pytest.raises(BackendUnavailableError, match=r"AAPL cannot be written"):
            use()
    with pytest.raises(BackendUnavailableError, match=r"AAPL cannot be read"):
        store.read("AAPL", "1d")


def test_any_frame_of_a_provider_takes_the_one_form(bars):
    local_time = bars.tz_convert("America/New_York").iloc[::-1].assign(volume=bars["volume"].astype("int64"), extra=1)
    pd.testing.assert_frame_equal(conform(local_time, "1d"), bars)
    pd.testing.assert_frame_equal(conform(bars.tz_localize(None), "1d"), bars)
    late = bars.set_axis(bars.index + pd.Timedelta(hours=14.5)).rename_axis("date")
    pd.testing.assert_frame_equal(conform(late, "1d"), bars)
    pd.testing.assert_frame_equal(conform(pd.DataFrame(), "1d"), empty_bars())
    pd.testing.assert_frame_equal(conform(pd.concat([bars + 1.0, bars]), "1d"), bars)


def test_a_stamp_is_the_bars_beginning_its_day_or_its_weeks_monday():
    stamps = times("2024-03-01 14:30", "2024-03-04", "2024-03-08 21:00", "2024-03-10 22:00")
    assert list(conform(some_bars(stamps), "1h").index) == list(stamps)
    assert list(conform(some_bars(stamps), "1d").index) == list(
        times("2024-03-01", "2024-03-04", "2024-03-08", "2024-03-10")
    )
    weekly = conform(some_bars(stamps), "1w")
    assert list(weekly.index) == list(times("2024-02-26", "2024-03-04"))
    assert weekly["low"].tolist() == [100.0, 103.0]
    with pytest.raises(ConfigurationError):
        conform(some_bars(stamps), "1y")


def test_a_conforming_frame_keeps_how_it_is_adjusted_and_nothing_else(bars):
    bars.attrs.update(adjustment="split", anything="else")
    assert conform(bars, "1d").attrs == {"adjustment": "split"}
    assert conform(bars.head(0), "1d").attrs == {"adjustment": "split"}


def test_what_cannot_be_a_bar_is_dropped_with_one_warning_that_counts(bars, caplog):
    bad = bars.copy()
    bad.iloc[1, 3] = np.nan
    bad.iloc[2, 0] = np.inf
    bad.iloc[3, 1] = 0.0
    bad.index = bad.index.where(np.arange(len(bad)) != 4)
    pd.testing.assert_frame_equal(conform(bad, "1d"), bars.drop(bars.index[1:5]))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "4 of 20 bars of the provider are dropped"
    ]


def test_a_volume_that_is_not_finite_is_unknown(bars, caplog):
    conforming = conform(bars.assign(volume=np.inf), "1d")
    assert conforming["volume"].isna().all()
    assert len(conforming) == 20
    assert not caplog.records


def test_a_frame_that_does_not_hold_bars_is_the_providers_error(bars):
    with pytest.raises(ProviderError, match="no close, volume"):
        conform(bars.drop(columns=["close", "volume"]), "1d")
    with pytest.raises(ProviderError, match="index of times"):
        conform(bars.reset_index(drop=True), "1d")
