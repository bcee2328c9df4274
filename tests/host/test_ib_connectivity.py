"""What Interactive Brokers says about the way to it is remembered as long as it holds, and no longer."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from tws.codes import words_of

from symcache_host.gateway import Problem
from symcache_host.ib.connectivity import HELD, OUTAGE, SETTLING, Connectivity, Notice
from symcache_host.ib.resets import reset_ends

START = datetime(2026, 1, 5, tzinfo=UTC)
UP = Connectivity().opened(7, START)


def after(minutes, connectivity, *codes):
    """What a connectivity becomes after notices of these codes, one a minute."""
    for minute, code in enumerate(codes, minutes):
        farm = code[1] if isinstance(code, tuple) else None
        number = code[0] if isinstance(code, tuple) else code
        connectivity = connectivity.after(Notice(number, words_of(number, farm)), at(minute))
    return connectivity


def at(minute):
    return START + timedelta(minutes=minute)


def test_before_the_first_connection_there_is_nothing_to_say():
    before = Connectivity()
    assert (before.connected, before.conclusive, before.since, before.last_reset) == (False, False, None, None)
    assert before.closed(at(1)) == before


def test_a_first_connection_is_no_reset():
    assert (UP.connected, UP.conclusive, UP.since, UP.last_reset) == (True, True, START, None)


@pytest.mark.parametrize(
    "before",
    [
        Connectivity().failed(Problem("refused", "start it"), START),
        Connectivity().failed(Problem("refused", "start it"), START).closed(START),
        after(0, Connectivity(), 1100).failed(Problem("no login", "log in"), START),
        after(0, Connectivity(), 1100).closed(START, Problem("lost", "wait")),
    ],
)
def test_a_first_connection_after_an_attempt_that_failed_is_one(before):
    opened = before.closed(at(1)).opened(7, at(2))
    assert (opened.connected, opened.conclusive, opened.last_reset) == (True, False, at(2))
    assert opened.at(at(2) + SETTLING).conclusive


def test_a_first_connection_whose_link_is_mended_after_its_handshake_is_one():
    assert after(3, after(1, Connectivity(), 2110).opened(7, at(2)), 2104).last_reset == at(3)


@pytest.mark.parametrize(
    ("lost", "restored"),
    [(1100, 1101), (1100, 1102), (2110, 1101), (2110, 1102), (2110, 2104), (2110, 2106), (2110, 2158)],
)
def test_a_lost_link_is_no_connection_until_it_is_restored(lost, restored):
    without = after(1, UP, lost)
    assert (without.connected, without.since, without.lost.code) == (False, at(1), lost)
    again = after(2, without, restored)
    assert (again.connected, again.since, again.lost, again.last_reset) == (True, at(2), None, at(2))


@pytest.mark.parametrize("told", [2104, 2106, 2107, 2108, 2110, 2158, 2103, 165])
def test_what_is_said_of_farms_does_not_restore_a_lost_link(told):
    without = after(1, UP, 1100, told)
    assert (without.connected, without.lost.code, without.since) == (False, 1100, at(1))


@pytest.mark.parametrize("told", [2107, 2108])
def test_a_sleeping_farm_does_not_mend_a_broken_link(told):
    assert after(1, UP, 2110, told).lost.code == 2110


def test_a_broken_link_that_turns_out_to_be_lost_is_no_more_mended_by_a_farm():
    assert after(1, UP, 2110, 1100, 2106).lost.code == 1100
    assert after(1, UP, 1100, 2110, 2106).lost.code == 1100


@pytest.mark.parametrize(
    "back",
    [after(1, UP, 1100, 1101), after(2, UP, 1102), after(1, UP, 2110, 2106), UP.closed(at(1)).opened(7, at(2))],
    ids=["data lost", "restored", "mended", "another socket"],
)
def test_for_a_minute_after_a_reset_an_answer_proves_nothing(back):
    assert (back.connected, back.conclusive, back.last_reset) == (True, False, at(2))
    assert not back.at(at(2) + SETTLING - timedelta(microseconds=1)).conclusive
    settled = back.at(at(2) + SETTLING)
    assert (settled.conclusive, settled.last_reset) == (True, at(2))
    assert not settled.after(Notice(1102, words_of(1102)), at(9)).conclusive


def test_a_clock_that_was_set_back_does_not_make_a_reset_last():
    assert after(1, UP, 1100, 1101).at(START - timedelta(hours=1)).conclusive


def test_a_restored_link_is_a_reset_even_if_nobody_saw_it_go():
    assert after(3, UP, 1102).last_reset == at(3)


@pytest.mark.parametrize(("down", "up"), [(2103, 2104), (2105, 2106), (2157, 2158)], ids=str)
def test_a_farm_is_down_until_it_is_up_and_has_settled(down, up):
    without = after(1, UP, down)
    assert (without.connected, without.conclusive, list(without.farms_down.values())) == (True, False, [down])
    up_again = after(2, without, up)
    assert (up_again.farms_down, up_again.conclusive, up_again.last_reset) == ({}, False, None)
    assert up_again.at(at(2) + SETTLING).conclusive


@pytest.mark.parametrize(("down", "asleep"), [(2103, 2108), (2105, 2107)])
def test_a_farm_that_is_down_is_so_no_more_when_it_sleeps_until_it_is_asked(down, asleep):
    sleeping = after(1, UP, down, asleep)
    assert (sleeping.farms_down, sleeping.problem, sleeping.conclusive) == ({}, None, False)
    assert sleeping.at(at(2) + SETTLING).conclusive


@pytest.mark.parametrize("told", [2104, 2106, 2158, 2107, 2108])
def test_a_farm_that_was_never_down_changes_nothing_by_what_is_said_of_it(told):
    assert after(1, UP, told) == UP


@pytest.mark.parametrize("codes", [(2157,), (2157, 2158), (2105, 2107)], ids=str)
def test_a_farm_that_goes_down_or_comes_up_is_a_disturbance_even_when_it_is_over(codes):
    assert after(1, UP, *codes).disturbances != UP.disturbances
    assert after(1, UP, *codes).at(at(60)).disturbances != UP.disturbances


@pytest.mark.parametrize(
    ("down", "back"),
    [
        ("HMDS数据服务器连接中断\uff1aushmds", "HMDS数据服务器连接正常\uff1aushmds"),
        ("HMDS-Datenfarm ist getrennt: ushmds", "HMDS-Datenfarm ist bereit: ushmds"),
    ],
)
def test_the_name_of_a_farm_is_read_in_any_language(down, back):
    without = UP.after(Notice(2105, down), at(1))
    assert without.farms_down == {"ushmds": 2105}
    assert without.after(Notice(2106, back), at(2)).farms_down == {}
    for asleep in ("inaktiv, bei Bedarf verfügbar.ushmds", "处于非活动状态\uff0c但在需要时应可用。ushmds"):
        assert without.after(Notice(2107, asleep), at(2)).farms_down == {}


@pytest.mark.parametrize(
    ("said", "still_down"),
    [
        ("data maintained. All data farms are connected: usfarm; ushmds.", set()),
        ("data maintained. The following farms are connected: usfarm; ushmds; secdefil.", {"cashfarm.nj"}),
        ("data maintained. The following farms are connected: cashfarm.nj, usfarm; ushmds", set()),
        (
            "data maintained. The following farms are connected: usfarm. The following are not connected: ushmds.",
            {"ushmds", "cashfarm.nj"},
        ),
        ("The following farms are connected: usfarm; not connected: ushmds", {"ushmds", "cashfarm.nj"}),
        ("The following farms are disconnected: usfarm; ushmds", {"usfarm", "ushmds", "cashfarm.nj"}),
        ("Not all data farms are connected: usfarm", {"usfarm", "ushmds", "cashfarm.nj"}),
        ("wiederhergestellt - Daten erhalten. Alle Datenfarmen sind verbunden: usfarm; ushmds; cashfarm.nj.", set()),
        ("Daten erhalten. Folgende Farmen sind nicht verbunden: usfarm", {"usfarm", "ushmds", "cashfarm.nj"}),
        (
            "连接已恢复。以下数据服务器已连接\uff1ausfarm\uff1bushmds。以下数据服务器未连接\uff1acashfarm.nj。",
            {"cashfarm.nj"},
        ),
        ("what nobody can read: usfarm; ushmds", {"usfarm", "ushmds", "cashfarm.nj"}),
        ("data maintained.", {"usfarm", "ushmds", "cashfarm.nj"}),
    ],
)
@pytest.mark.parametrize("code", [1101, 1102])
def test_a_link_that_is_restored_restores_the_farms_that_are_said_to_be_connected(code, said, still_down):
    without = after(1, UP, 1100, (2103, "usfarm"), (2105, "ushmds"), (2103, "cashfarm.nj"))
    back = without.after(Notice(code, f"Connectivity has been restored - {said}"), at(5))
    assert set(back.farms_down) == still_down
    assert (back.connected, back.conclusive) == (True, False)


def test_a_farm_of_which_nothing_more_is_said_is_not_down_for_good():
    without = after(1, UP, 2103)
    almost = without.at(at(1) + OUTAGE - timedelta(microseconds=1))
    assert (almost.farms_down, almost.problem is None, almost.problem_since) == ({"usfarm": 2103}, False, at(1))
    over = without.at(at(1) + OUTAGE)
    assert (over.farms_down, over.problem, over.problem_since) == ({}, None, None)
    assert (over.conclusive, over.disturbances) == (False, (None, at(1) + OUTAGE))
    assert over.at(at(1) + OUTAGE + SETTLING).conclusive
    later = without.after(Notice(1100, words_of(1100)), at(1) + 2 * OUTAGE)
    assert (later.farms_down, later.problem_since) == ({}, at(1) + 2 * OUTAGE)


def test_a_farm_that_is_said_to_be_down_again_is_down_from_then_on():
    assert after(1, UP, 2103, 2103).at(at(1) + OUTAGE).farms_down == {"usfarm": 2103}


def test_no_restart_of_the_servers_outlasts_what_is_remembered_of_a_farm():
    for hour in range(24 * 7):
        now = START + timedelta(hours=hour, minutes=50)
        assert (reset_ends(now) or now) - now < OUTAGE


def test_farms_go_down_and_come_up_one_by_one():
    some = after(1, UP, (2103, "usfarm.nj"), (2105, "ushmds"), (2103, "cashfarm"), (2104, "usfarm.nj"))
    assert some.farms_down == {"ushmds": 2105, "cashfarm": 2103}
    told = Notice(1102, "Connectivity restored - data maintained. All data farms are connected: cashfarm; ushmds.")
    assert some.after(told, at(9)).at(at(9) + SETTLING).conclusive


def test_a_socket_takes_with_it_what_was_said_on_it():
    gone = after(1, UP, 2105, 1100).closed(at(5))
    assert (gone.client_id, gone.lost, gone.farms_down, gone.since) == (None, None, {}, at(2))
    back = gone.opened(8, at(6))
    assert (back.client_id, back.since, back.last_reset) == (8, at(6), at(6))


def test_what_is_said_during_a_handshake_holds_after_it():
    assert after(1, Connectivity(), 2105).opened(1, at(2)).farms_down == {"ushmds": 2105}


@pytest.mark.parametrize("code", [165, 2100, 2119, 10167, 399])
def test_other_notices_change_nothing(code):
    assert UP.after(Notice(code, "whatever it says: usfarm"), at(1)) == UP


REFUSED = Problem("no connection to here: refused", "start it")
EVENTS = {
    "opened": lambda state, now: state.opened(1, now),
    "lost": lambda state, now: state.closed(now, REFUSED),
    "tried": lambda state, now: state if state.client_id else state.closed(now),
    "failed": lambda state, now: state if state.client_id else state.failed(REFUSED, now),
    **{
        f"{code} {farm or ''}": lambda state, now, code=code, farm=farm: state.after(
            Notice(code, words_of(code, farm)), now
        )
        for code, farm in [
            *((code, None) for code in (1100, 1101, 1102, 2110, 165)),
            *((code, farm) for code in (2103, 2104, 2105, 2106) for farm in ("usfarm", "ushmds")),
        ]
    },
}


@pytest.mark.parametrize("seed", range(50))
def test_what_is_wrong_is_told_at_every_moment_and_nothing_when_all_is_well(seed):
    dice, state, began = random.Random(seed), Connectivity().failed(REFUSED, START), START
    for minute in range(1, 200):
        before, state = state, EVENTS[dice.choice(list(EVENTS))](state, at(minute))
        assert (state.problem is None) == (state.connected and not state.farms_down)
        assert (state.problem_since is None) == (state.problem is None)
        if before.problem is None:
            began = at(minute)
        if state.problem is not None:
            assert state.problem_since == began, "as long as something is wrong, whatever it is"
        if state.lost is not None:
            assert state.problem.code == state.lost.code
        elif state.client_id is None:
            assert state.problem.text


def test_a_lost_link_is_the_problem_until_it_is_restored():
    lost = after(1, UP, 1100)
    assert (UP.problem, lost.problem.code, lost.problem_since) == (None, 1100, at(1))
    assert "has been lost" in lost.problem.text
    restored = after(2, lost, 1102)
    assert (restored.problem, restored.problem_since) == (None, None)


def test_a_login_that_fails_because_the_link_is_lost_says_that_until_it_is_known_better():
    failed = after(1, Connectivity(), 1100).failed(REFUSED, at(2))
    assert failed.problem.code == 1100
    again = failed.closed(at(3))
    assert (again.lost, again.problem.code, again.problem_since) == (None, 1100, at(1))
    assert again.failed(REFUSED, at(4)).problem == REFUSED


def test_ids_that_others_have_are_known_as_long_as_the_socket_lasts():
    shared = Connectivity().opened(3, START, (1, 2))
    assert shared.taken_ids == (1, 2)
    assert shared.taken((2,)).taken_ids == (2,)
    assert shared.closed(at(1)).taken_ids == shared.failed(REFUSED, at(1)).taken_ids == ()


def test_an_id_of_ones_own_lost_socket_is_no_others_until_tws_must_have_noticed():
    again = Connectivity().opened(2, START, (1,)).closed(at(1)).opened(3, at(1), (1, 2))
    assert (again.taken_ids, again.others(at(1))) == ((1, 2), (1,))
    assert again.others(at(1) + HELD) == (1, 2)
    third = again.closed(at(1.5)).opened(4, at(1.5), (2, 3))
    assert third.others(at(1.5)) == ()
    assert set(third.closed(at(9)).lost_ids) == {4}
