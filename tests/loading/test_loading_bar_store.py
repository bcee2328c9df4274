"""What the bar store took it gives back, to everyone who shares it, and nobody else's."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_bars import answer_of, rows_of, some_bars, times

from symcache_core.errors import BackendUnavailableError, ConfigurationError, NewerSchemaError
from symcache_core.loading.bars.comparing import Agreement
from symcache_core.loading.bars.rows import Rows, RowState
from symcache_core.loading.bars.store import BarStore

ASKED = datetime(2024, 6, 1, 12, tzinfo=UTC)
LATER = datetime(2024, 6, 2, 12, tzinfo=UTC)
ANY_FOLDER = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars", "ib")


@pytest.fixture
def series(store):
    return store.series("265598", "1d")


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


def files_of(series):
    return sorted(path.name for path in series.folder.iterdir())


def only_file(series):
    [path] = series.folder.glob("*.parquet")
    return path


def absent_of(local):
    """The stamps of which there is no bar, with when that was last said."""
    rows = local.rows[~local.rows.has_bar]
    return dict(zip(pd.DatetimeIndex(rows.stamps, tz="UTC"), pd.DatetimeIndex(rows.asked, tz="UTC"), strict=True))


def test_bars_come_back_identical(series, bars):
    series.save(answer_of(bars, ASKED))
    pd.testing.assert_frame_equal(series.read().bars, bars)
    assert (series.read().rows.states == RowState.BAR).all()


def test_of_an_unknown_series_there_are_no_bars_in_the_same_form(series, bars):
    nothing = series.read()
    pd.testing.assert_frame_equal(nothing.bars, bars.head(0))
    assert len(nothing.rows) == 0
    assert not series.exists()
    series.save(answer_of(nothing.bars, ASKED))
    assert not series.folder.exists()
    assert not series.exists()


def test_what_was_read_is_the_callers_own_to_change(series, bars):
    series.save(answer_of(bars, ASKED))
    mine = series.read().bars
    mine.iloc[0, 0] = -1.0
    pd.testing.assert_frame_equal(series.read().bars, bars)


def test_the_last_bar_of_a_stamp_wins(series, bars):
    series.save(answer_of(bars, ASKED))
    corrected = bars.iloc[[3]].assign(close=bars["low"], volume=1.0)
    series.save(answer_of(corrected, LATER))
    merged = series.read().bars
    assert merged.iloc[3].equals(corrected.iloc[0])
    pd.testing.assert_frame_equal(merged.drop(corrected.index), bars.drop(corrected.index))


def test_parts_that_arrive_out_of_order_are_in_order(series, bars):
    series.save(answer_of(bars.tail(5), ASKED))
    series.save(answer_of(bars.head(15), ASKED))
    pd.testing.assert_frame_equal(series.read().bars, bars)


@pytest.mark.parametrize(
    ("timeframe", "files"),
    [
        ("1m", ["2019-12.parquet", "2020-01.parquet", "2024-03.parquet"]),
        ("5m", ["2019.parquet", "2020.parquet", "2024.parquet"]),
        ("4h", ["2019.parquet", "2020.parquet", "2024.parquet"]),
        ("1d", ["2010s.parquet", "2020s.parquet"]),
        ("1w", ["2010s.parquet", "2020s.parquet"]),
        ("1M", ["2010s.parquet", "2020s.parquet"]),
    ],
)
def test_each_period_has_a_file_and_adding_to_one_rewrites_no_other(store, timeframe, files):
    series = store.series("265598", timeframe)
    bars = some_bars(times("2019-12-31 23:59", "2020-01-01", "2024-03-04 10:00", "2024-03-04 10:01"))
    series.save(answer_of(bars, ASKED))
    assert files_of(series) == files
    pd.testing.assert_frame_equal(series.read().bars, bars)
    inodes = {name: (series.folder / name).stat().st_ino for name in files}
    series.save(answer_of(bars.tail(1), LATER))
    assert [name for name in files if (series.folder / name).stat().st_ino != inodes[name]] == files[-1:]


def test_bars_from_before_1970_are_in_their_decade(series):
    bars = some_bars(times("1959-12-31", "1960-01-04", "1969-12-31", "1970-01-02"))
    series.save(answer_of(bars, ASKED))
    assert files_of(series) == ["1950s.parquet", "1960s.parquet", "1970s.parquet"]
    pd.testing.assert_frame_equal(series.read().bars, bars)


@settings(max_examples=40)
@given(start=st.integers(-50, 800), end=st.integers(-50, 800))
def test_a_range_is_read_with_both_its_ends(year_of_minutes, start, end):
    series, bars = year_of_minutes
    start, end = (datetime(2002, 1, 1, tzinfo=UTC) + number * timedelta(hours=18) for number in (start, end))
    pd.testing.assert_frame_equal(series.read(start, end).bars, bars.loc[start:end])
    pd.testing.assert_frame_equal(series.read(start=start).bars, bars.loc[start:])
    pd.testing.assert_frame_equal(series.read(end=end).bars, bars.loc[:end])


@pytest.fixture(scope="module")
def year_of_minutes(tmp_path_factory):
    series = BarStore(tmp_path_factory.mktemp("bars"), "ib").series("265598", "1m")
    bars = some_bars(pd.date_range("2002-01-01", "2002-12-31", freq="6h", tz="UTC").append(times("2003-06-01")))
    series.save(answer_of(bars, ASKED))
    return series, bars


def test_of_a_range_only_the_files_that_it_touches_are_opened(store):
    series = store.series("265598", "1m")
    bars = some_bars(times("2020-01-31 23:59", "2020-02-01", "2020-02-29", "2020-03-01"))
    series.save(answer_of(bars, ASKED))
    for month in ("01", "03"):
        (series.folder / f"2020-{month}.parquet").write_bytes(b"not to be looked at")
    february = series.read(bars.index[1].to_pydatetime(), bars.index[2].to_pydatetime()).bars
    pd.testing.assert_frame_equal(february, bars.iloc[1:3])
    assert len(files_of(series)) == 3


def test_any_moment_may_end_a_range(series, bars):
    series.save(answer_of(bars, ASKED))
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    pd.testing.assert_frame_equal(series.read(first, last).bars, bars)
    assert series.read(last, first).bars.empty


def test_that_the_provider_has_no_bar_is_kept_with_the_time_of_its_answer(series, bars):
    gone = bars.index[[2, 3]]
    series.save(answer_of(bars.drop(gone), ASKED, gone, proven=True))
    local = series.read()
    pd.testing.assert_frame_equal(local.bars, bars.drop(gone))
    assert absent_of(local) == dict.fromkeys(gone, pd.Timestamp(ASKED))
    assert pd.read_parquet(only_file(series))["state"].tolist() == [0, 0, 4, 4] + [0] * 16


def test_a_bar_takes_the_place_of_none_and_none_never_that_of_a_bar(series, bars):
    series.save(answer_of(bars.head(0), ASKED, bars.index, proven=True))
    series.save(answer_of(bars.head(5), LATER, bars.index[3:8], proven=True))
    series.save(answer_of(bars.head(0), LATER, bars.index[:2], proven=True))
    local = series.read()
    pd.testing.assert_frame_equal(local.bars, bars.head(5))
    assert absent_of(local) == {
        stamp: pd.Timestamp(LATER if number < 8 else ASKED) for number, stamp in enumerate(bars.index) if number >= 5
    }


def test_a_second_look_ten_minutes_later_proves_what_the_first_one_did_not(series, bars):
    nothing, gone = bars.head(0), bars.index[:1]
    states = []
    for minutes in (0, 9, 10):
        series.save(answer_of(nothing, ASKED + timedelta(minutes=minutes), gone))
        states += series.read().rows.states.tolist()
    assert states == [RowState.ABSENT, RowState.ABSENT_AGAIN, RowState.ABSENT_AGAIN]
    series.save(answer_of(nothing, ASKED + timedelta(minutes=19), gone))
    assert series.read().rows.states.tolist() == [RowState.NONE]


def test_a_failure_that_may_have_meant_nothing_is_kept_as_such_and_proves_nothing(series, bars):
    series.save(answer_of(bars.head(2), ASKED))
    series.save(answer_of(bars.head(0), LATER, bars.index[1:4], failed=True))
    assert series.read().rows.states.tolist() == [RowState.BAR] * 2 + [RowState.FAILED] * 2


def test_a_failure_takes_nothing_back_that_was_proven(series, bars):
    series.save(answer_of(bars.head(0), ASKED, bars.index[:3], proven=True))
    series.save(answer_of(bars.head(0), ASKED + timedelta(minutes=1), bars.index[:3], failed=True))
    assert series.read().rows.states.tolist() == [RowState.NONE] * 3


def test_a_provisional_bar_that_is_not_given_again_stays_and_has_been_asked_for(series, bars):
    provisional = replace(
        rows_of(bars.head(3)), asked=np.full(3, np.datetime64("2024-06-01", "ns")), states=np.ones(3, "uint8")
    )
    series.save(replace(answer_of(bars.head(3), ASKED), rows=provisional))
    final_until = rows_of(bars).stamps[1]
    series.save(replace(answer_of(bars.head(1), LATER, bars.index[1:3]), final_until=final_until))
    rows = series.read().rows
    assert rows.states.tolist() == [RowState.BAR, RowState.BAR, RowState.PROVISIONAL], "what is over stays as it is"
    assert list(rows.asked[2:]) == [np.datetime64("2024-06-02T12:00", "ns")]


def test_a_row_that_cannot_be_a_bar_is_remembered_and_never_in_the_place_of_a_bar(series, bars):
    bad = Rows.of_none(rows_of(bars.head(2)).stamps, np.datetime64("2024-06-02", "ns"), RowState.BAD)
    series.save(answer_of(bars.head(1), ASKED))
    series.save(replace(answer_of(bars.head(2), LATER), rows=bad))
    local = series.read()
    assert local.rows.states.tolist() == [RowState.BAR, RowState.BAD]
    pd.testing.assert_frame_equal(local.bars, bars.head(1))


answers = st.lists(
    st.tuples(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.integers(1, 9)), min_size=1, max_size=5
)


@settings(max_examples=50)
@given(answers=answers)
def test_answers_add_up_as_in_a_dict(tmp_path_factory, answers):
    series = BarStore(tmp_path_factory.mktemp("bars"), "ib").series("265598", "1d")
    days = pd.date_range("2019-12-20", periods=31, tz="UTC", unit="ns", name="timestamp")
    expected_bars, expected_absent = {}, {}
    for with_bar, without, number in answers:
        asked = ASKED.replace(day=number)
        bars = some_bars(days).iloc[sorted(with_bar)].assign(volume=float(number))
        series.save(answer_of(bars, asked, days[sorted(without)], proven=True))
        expected_bars.update(dict.fromkeys(bars.index, float(number)))
        expected_absent.update(dict.fromkeys(days[sorted(without)], pd.Timestamp(asked)))
    local = series.read()
    assert local.bars["volume"].to_dict() == expected_bars
    assert local.bars.index.is_monotonic_increasing
    assert absent_of(local) == {day: time for day, time in expected_absent.items() if day not in expected_bars}


def test_a_volume_that_nobody_knows_is_kept_as_that(series, bars):
    unknown = bars.assign(volume=bars["volume"].where(bars["volume"] > bars["volume"].median()))
    series.save(answer_of(unknown, ASKED))
    pd.testing.assert_frame_equal(series.read().bars, unknown)


@pytest.mark.parametrize("change", [{"close": np.nan}, {"open": np.inf}, {"high": -1.0}, {"volume": np.inf}])
def test_what_could_not_be_read_back_is_not_written(series, bars, change):
    series.save(answer_of(bars, ASKED))
    with pytest.raises(ValueError, match="these bars cannot be stored"):
        series.save(answer_of(bars.tail(1).assign(**change), LATER))
    with pytest.raises(ValueError, match="the stamps do not rise"):
        series.save(replace(answer_of(bars, LATER), rows=rows_of(bars.iloc[::-1])))
    pd.testing.assert_frame_equal(series.read().bars, bars)


def test_a_file_tells_any_tool_what_it_holds(store, bars):
    series = store.series("BRK B@:USD", "1d")
    series.save(answer_of(bars, ASKED, basis={"show": "TRADES", "adjustment": "split", "session": "regular"}))
    says = pq.read_schema(only_file(series)).metadata
    assert {name.removeprefix(b"symcache."): value for name, value in says.items() if b"sum" not in name} == {
        b"version": b"3",
        b"provider": b"ib",
        b"timeframe": b"1d",
        b"series": b"BRK B@:USD",
        b"basis": b"usual",
    }
    assert pd.read_parquet(series.folder).shape == (20, 8)
    state = json.loads(series.folder.with_suffix(".json").read_text())
    assert state["basis"] == {"show": "TRADES", "adjustment": "split", "session": "regular"}


def test_two_bases_never_stand_together(series, bars):
    series.save(answer_of(bars.head(10), ASKED, basis={"adjustment": "split"}))
    other = series.save(answer_of(bars.tail(15), LATER, basis={"adjustment": "none"}))
    assert other.agreement is Agreement.ADJUSTED
    pd.testing.assert_frame_equal(series.read().bars, bars.head(10))
    assert series.save(answer_of(bars.tail(15), LATER)).agreement is Agreement.SAME
    assert series.read().state.basis == {"adjustment": "split"}, "who says nothing changes nothing"
    pd.testing.assert_frame_equal(series.read().bars, bars)


@pytest.mark.parametrize("factor", [0.5, 1.37, 0.98])
def test_bars_that_contradict_what_is_at_hand_are_not_stored(series, bars, factor):
    series.save(answer_of(bars, ASKED))
    prices = ["open", "high", "low", "close"]
    scaled = bars.assign(**{name: (bars[name] * factor).round(2) for name in prices})
    comparison = series.save(answer_of(scaled, LATER))
    assert (comparison.agreement, comparison.compared, comparison.differing) == (Agreement.ADJUSTED, 20, 20)
    pd.testing.assert_frame_equal(series.read().bars, bars)


def test_when_bars_were_last_compared_is_remembered(series, bars):
    series.save(answer_of(bars.head(10), ASKED))
    assert series.state().compared is None
    series.save(answer_of(bars.tail(10), ASKED))
    assert series.state().compared is None, "nothing of it was there before"
    series.save(answer_of(bars.tail(1), LATER))
    assert series.state().compared == LATER


@pytest.mark.parametrize("timeframe", ["../1d", "3d", ""])
def test_a_timeframe_that_there_is_not_is_refused(store, timeframe):
    with pytest.raises(ConfigurationError, match="use one of 1m"):
        store.series("265598", timeframe)


@pytest.mark.parametrize(
    "foreign",
    [
        ("ib", "272093", "1d", "usual"),
        ("replay", "265598", "1d", "usual"),
        ("ib", "265598", "1w", "usual"),
        ("ib", "265598", "1d", "extended"),
    ],
)
def test_bars_of_something_else_are_never_served(tmp_path, series, bars, caplog, foreign):
    provider, identity, timeframe, basis = foreign
    other = BarStore(tmp_path / "elsewhere", provider).series(identity, timeframe, basis)
    other.save(answer_of(bars, ASKED))
    smuggled = only_file(other)
    series.folder.mkdir(parents=True)
    (series.folder / smuggled.name).write_bytes(smuggled.read_bytes())
    assert series.read().bars.empty
    assert "does not hold what its place says" in caplog.text


def test_bars_in_another_periods_file_are_never_served(series, bars, caplog):
    series.save(answer_of(bars, ASKED))
    path = only_file(series)
    path.rename(path.with_name("1990s.parquet"))
    assert series.read().bars.empty
    assert "its bars are of another period" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all", None], ids=["empty", "magic", "text", "cut"])
def test_a_damaged_file_is_set_aside_with_one_warning_and_the_others_are_served(series, caplog, damage):
    bars = some_bars(times("2019-12-31", "2020-01-02"))
    series.save(answer_of(bars, ASKED))
    path = series.folder / "2020s.parquet"
    content = path.read_bytes()
    damaged = content[: len(content) // 2] if damage is None else damage
    path.write_bytes(damaged)
    for _ in range(2):
        pd.testing.assert_frame_equal(series.read().bars, bars.head(1))
    assert files_of(series) == ["2010s.parquet", "2020s.parquet.corrupt"]
    assert (path.with_name("2020s.parquet.corrupt")).read_bytes() == damaged
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    series.save(answer_of(bars.tail(1), ASKED))
    pd.testing.assert_frame_equal(series.read().bars, bars)


def test_a_damaged_file_does_not_keep_new_bars_out(series, bars, caplog):
    series.save(answer_of(bars, ASKED))
    only_file(series).write_bytes(b"x")
    series.save(answer_of(bars.head(2), ASKED))
    pd.testing.assert_frame_equal(series.read().bars, bars.head(2))
    assert "2000s.parquet.corrupt" in caplog.text


def edited(path, edit):
    """Rewrite a file with other values, saying of itself what it said before."""
    table = pq.read_table(path)
    frame = table.to_pandas()
    edit(frame)
    pq.write_table(pa.Table.from_pandas(frame, schema=table.schema), path)


def test_a_value_that_was_changed_by_hand_is_noticed(series, bars, caplog):
    series.save(answer_of(bars, ASKED))
    edited(only_file(series), lambda frame: frame.__setitem__("close", frame["close"] + 0.01))
    assert series.read().bars.empty
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
    series = BarStore(tmp_path_factory.mktemp("bars"), "ib").series("265598", "1d")
    days = pd.date_range("2020-01-01", periods=60, freq="B", tz="UTC")
    series.save(answer_of(some_bars(days[:50]), ASKED, days[50:]))
    return only_file(series).read_bytes(), series.read()


def check_damage(folder, original, damage):
    data, local = original
    series = BarStore(folder / "bars", "ib").series("265598", "1d")
    path = series.folder / "2020s.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = damaged(data, *damage)
    path.write_bytes(content)
    try:
        found = series.read()
    except NewerSchemaError:
        assert path.read_bytes() == content
        return
    if path.exists():
        pd.testing.assert_frame_equal(found.bars, local.bars)
        assert absent_of(found) == absent_of(local)
        assert (found.rows.states == local.rows.states).all()
    else:
        assert len(found.rows) == 0
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


def test_a_file_of_a_newer_symcache_is_left_as_it_is(series, bars):
    series.save(answer_of(bars, ASKED))
    path = only_file(series)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"symcache.version": b"4"}), path)
    content = path.read_bytes()
    for use in (series.read, lambda: series.save(answer_of(bars, ASKED))):
        with pytest.raises(NewerSchemaError, match=r"2000s\.parquet was written by a newer symcache"):
            use()
    assert path.read_bytes() == content


def test_what_is_no_file_of_the_store_is_left_alone(series, bars):
    series.save(answer_of(bars, ASKED))
    notes = series.folder / "notes.parquet"
    notes.write_text("mine")
    pd.testing.assert_frame_equal(series.read().bars, bars)
    assert notes.read_text() == "mine"


def test_a_place_that_cannot_be_used_is_an_error_that_names_it(tmp_path, series, bars):
    (tmp_path / "bars").write_text("a file where a folder should be")
    for use in (lambda: series.save(answer_of(bars, ASKED)), series.claim):
        with pytest.raises(BackendUnavailableError, match=r"265598/1d/usual cannot be written"):
            use()
    with pytest.raises(BackendUnavailableError, match=r"265598/1d/usual\S* cannot be read"):
        series.read()


WEEKS_AHEAD = ASKED + timedelta(weeks=6)


def test_a_clock_that_was_weeks_ahead_keeps_no_bars_out(series, bars):
    series.save(answer_of(bars.head(10), ASKED))
    seam = {"is_seam": True, "first": bars.index[5].to_pydatetime(), "last": bars.index[-1].to_pydatetime()}
    assert series.save(answer_of(bars.tail(10), WEEKS_AHEAD, **seam)).agreement is Agreement.UNSEEN
    assert series.save(answer_of(bars.tail(10), ASKED, **seam)).agreement is Agreement.UNSEEN
    series.save(answer_of(bars.tail(10), ASKED + timedelta(minutes=10), **seam))
    pd.testing.assert_frame_equal(series.read().bars, bars)


def test_a_renewal_that_ended_weeks_ahead_keeps_no_other_from_beginning(series, bars):
    series.save(answer_of(bars, ASKED))
    assert series.begin_renewal("adjusted", WEEKS_AHEAD)
    series.save(answer_of(bars * 0.5, WEEKS_AHEAD))
    series.end_renewal(WEEKS_AHEAD)
    assert series.begin_renewal("adjusted", ASKED)
    series.end_renewal(ASKED)
    assert not series.begin_renewal("adjusted", LATER), "one that has just been contradicted is not repeated"
