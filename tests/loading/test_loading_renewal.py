"""A renewal replaces a history as a whole, whatever interrupts it, and a reader gets one generation."""

import shutil
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from stored_bars import answer_of

from symcache_core.errors import NewerSchemaError
from symcache_core.loading.bars.comparing import Agreement
from symcache_core.loading.bars.frames import stamps_of
from symcache_core.loading.bars.state import NEW, SeriesState
from symcache_core.loading.bars.store import UNSTABLE_WITHIN, BarStore

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def old(source):
    return source["AAPL"].loc["2009-06":"2010-06"]


@pytest.fixture
def new(old):
    halved = (old * 0.5).round(2)
    return halved.assign(volume=old["volume"])


@pytest.fixture
def series(tmp_path, old):
    series = BarStore(tmp_path / "bars", "ib").series("265598", "1d")
    series.save(answer_of(old, NOW))
    return series


def begun(series, why="adjusted", now=NOW):
    assert series.begin_renewal(why, now)
    return series


def test_until_a_renewal_is_over_callers_get_the_old_bars_and_are_told(series, old, new):
    begun(series).save(answer_of(new.head(100), NOW))
    local = series.read()
    pd.testing.assert_frame_equal(local.bars, old)
    assert (local.state.renewing.why, local.state.renewing.at) == ("adjusted", NOW)
    assert list(series.still_to_renew(NOW)) == list(stamps_of(old.index[100:]))
    assert len(series.renewed()) == 100


def test_nothing_is_appended_to_the_old_generation_meanwhile(series, source, old):
    begun(series)
    later = source["AAPL"].loc["2010-07"]
    assert series.save(answer_of(later, NOW)).agreement is Agreement.NOTHING
    pd.testing.assert_frame_equal(series.read().bars, old)


def test_afterwards_callers_get_the_new_bars_and_the_old_ones_stay_loadable(series, old, new):
    begun(series).save(answer_of(new, NOW))
    assert len(series.still_to_renew(NOW)) == 0
    series.end_renewal(NOW + DAY)
    local = series.read()
    pd.testing.assert_frame_equal(local.bars, new)
    assert (local.state.generation, local.state.renewing) == (2, None)
    assert [(each.why, each.ended) for each in local.state.renewals] == [("adjusted", NOW + DAY)]
    assert series.generations() == [1]
    pd.testing.assert_frame_equal(series.read_generation(1).bars, old)
    pd.testing.assert_frame_equal(series.read_generation(2).bars, new)
    pd.testing.assert_frame_equal(pd.read_parquet(series.folder)[list(new.columns)], new.reset_index(drop=True))


def test_a_renewal_goes_on_in_another_process_where_it_was_interrupted(series, tmp_path, old, new):
    begun(series).save(answer_of(new.tail(100), NOW))
    other = BarStore(tmp_path / "bars", "ib").series("265598", "1d")
    left = other.still_to_renew(NOW)
    assert list(left) == list(stamps_of(old.index[:-100]))
    assert other.save(answer_of(new.iloc[:-95], NOW + DAY)).agreement is Agreement.SAME
    assert len(other.still_to_renew(NOW)) == 0


def test_what_is_resumed_is_compared_with_what_the_renewal_brought_so_far(series, old, new):
    begun(series).save(answer_of(new.tail(100), NOW))
    assert series.save(answer_of(old.iloc[:-95], NOW)).agreement is Agreement.ADJUSTED
    assert len(series.renewed()) == 100


def test_what_the_provider_no_longer_has_does_not_hold_a_renewal_up(series, old, new):
    begun(series)
    series.save(answer_of(new.iloc[50:], NOW, old.index[:50]))
    assert len(series.still_to_renew(NOW)) == 50, "one look proves nothing"
    later = NOW + timedelta(minutes=10)
    series.save(answer_of(new.head(0), later, old.index[:50]))
    assert len(series.still_to_renew(later)) == 0
    series.end_renewal(later)
    pd.testing.assert_frame_equal(series.read().bars, new.iloc[50:])
    pd.testing.assert_frame_equal(series.read_generation(1).bars, old)


def test_a_failure_that_may_have_meant_nothing_has_renewed_nothing(series, old, new):
    begun(series)
    series.save(answer_of(new.iloc[50:], NOW))
    series.save(answer_of(new.head(0), NOW, old.index[:50], failed=True))
    again = NOW + timedelta(minutes=10)
    series.save(answer_of(new.head(0), again, old.index[:50], failed=True))
    assert len(series.still_to_renew(again)) == 50
    assert len(series.still_to_renew(NOW + timedelta(days=1))) == 0, "what it has not given for a day is gone"


def test_a_renewal_that_is_contradicted_begins_again_once_and_is_then_given_up(series, old, new):
    begun(series).save(answer_of(new.tail(100), NOW))
    begun(series, now=NOW + DAY)
    assert len(series.renewed()) == 0
    assert not series.begin_renewal("adjusted", NOW + 2 * DAY)
    state = series.state()
    assert (state.renewing, state.unstable) == (None, NOW + 2 * DAY)
    pd.testing.assert_frame_equal(series.read().bars, old)


def test_one_that_is_contradicted_within_a_week_of_its_end_is_not_repeated_but_reported(series, new):
    begun(series).save(answer_of(new, NOW))
    series.end_renewal(NOW)
    assert not series.begin_renewal("adjusted", NOW + UNSTABLE_WITHIN - timedelta(seconds=1))
    assert series.state().unstable is not None
    pd.testing.assert_frame_equal(series.read().bars, new)
    assert series.begin_renewal("adjusted", NOW + UNSTABLE_WITHIN)
    assert series.state().unstable is None


def switching(series, new):
    """A series whose holder died as soon as the switch was decided."""
    begun(series).save(answer_of(new, NOW))
    series.remember(renewing=None)
    state = series.state().with_changes(switching=True)
    series.folder.with_suffix(".json").write_text(state.model_dump_json())
    return series.folder, series.folder.with_suffix(".new"), series.folder.with_suffix(".old")


@pytest.mark.parametrize("step", range(4))
def test_a_switch_that_was_killed_is_done_by_whoever_comes_next(series, old, new, step):
    folder, fresh, replaced = switching(series, new)
    if step >= 1:
        replaced.mkdir()
    if step >= 2:
        folder.rename(replaced / "1")
    if step >= 3:
        fresh.rename(folder)
    local = series.read()
    pd.testing.assert_frame_equal(local.bars, new)
    assert (local.state.generation, local.state.switching) == (2, False)
    pd.testing.assert_frame_equal(series.read_generation(1).bars, old)
    assert not fresh.exists()
    pd.testing.assert_frame_equal(series.read().bars, new)


def test_a_switch_whose_new_bars_are_gone_keeps_the_old_ones(series, old, new):
    _, fresh, _ = switching(series, new)
    shutil.rmtree(fresh)
    pd.testing.assert_frame_equal(series.read().bars, old)


def test_what_is_left_of_another_renewal_never_passes_for_this_ones(series, new):
    begun(series).save(answer_of(new, NOW))
    series.remember(renewing=None)
    begun(series)
    assert len(series.renewed()) == 0


def test_a_reader_during_many_switches_gets_one_generation_whole(series, old, new):
    frames, over = {1: old}, threading.Event()

    def switch():
        now = NOW
        for number in range(2, 12):
            now += 8 * DAY
            frames[number] = (old if number % 2 else new).iloc[number:]
            begun(series, now=now).save(answer_of(frames[number], now))
            series.end_renewal(now)
        over.set()

    writer = threading.Thread(target=switch)
    writer.start()
    reads = 0
    while not over.is_set() or not reads:
        local = series.read()
        pd.testing.assert_frame_equal(local.bars, frames[local.state.generation])
        reads += 1
    writer.join()
    assert series.generations() == list(range(1, 11))


def test_a_state_that_cannot_be_understood_loses_no_bars_and_is_said(series, old, caplog):
    path = series.folder.with_suffix(".json")
    for content in (b"", b"{", b"[]", b'{"generation": "many"}', b"\xff"):
        path.write_bytes(content)
        assert series.state() == NEW
        pd.testing.assert_frame_equal(series.read().bars, old)
    assert "cannot be understood" in caplog.text


@pytest.mark.parametrize("use", ["state", "read", "save", "renew", "remember"])
def test_the_state_of_a_newer_symcache_is_left_as_it_is(series, old, use):
    path = series.folder.with_suffix(".json")
    content = SeriesState(version=2).model_dump_json().encode()
    path.write_bytes(content)
    uses = {
        "state": series.state,
        "read": series.read,
        "save": lambda: series.save(answer_of(old, NOW)),
        "renew": lambda: series.begin_renewal("", NOW),
        "remember": lambda: series.remember(head="x"),
    }
    with pytest.raises(NewerSchemaError, match=r"usual\.json was written by a newer symcache"):
        uses[use]()
    assert path.read_bytes() == content


def test_a_damaged_state_makes_no_later_generation_take_an_older_ones_place(series, old, new):
    begun(series).save(answer_of(new, NOW))
    series.end_renewal(NOW)
    series.folder.with_suffix(".json").write_bytes(b"{")
    begun(series, now=NOW + 30 * DAY).save(answer_of(old, NOW + 30 * DAY))
    series.end_renewal(NOW + 30 * DAY)
    pd.testing.assert_frame_equal(series.read().bars, old)
    kept = [series.read_generation(number).bars for number in series.generations()]
    assert any(frame.equals(old) for frame in kept)
    assert any(frame.equals(new) for frame in kept)


def test_stamps_of_nothing_are_no_work(series):
    assert isinstance(series.still_to_renew(NOW), np.ndarray)
    series.end_renewal(NOW)
    assert series.state().generation == 1
