"""Whatever goes wrong on the way to Interactive Brokers is told in one line that says what to do about it."""

from __future__ import annotations

import socket

import pytest
from tws.codes import TEXTS, words_of

from symcache_host.ib.advice import (
    FAILURE_OF_CODE,
    LONGEST,
    SUBSCRIPTION,
    ConnectError,
    Failure,
    failure_of,
    one_line,
    problem_of,
    problem_of_code,
    problem_of_farms,
    warning_of_others,
)

PLACE = "127.0.0.1:4002"
GREETING = b"\0\0\0\x1a176\x0020130301 16:00:00 EST\0"
OLD = b"\0\0\0\x1976\x0020130301 16:00:00 EST\0"


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_its_advice(failure):
    problem = problem_of(PLACE, ConnectError(failure))
    assert problem.text == f"no connection to {PLACE}: {failure}"
    assert len(problem.advice) > 10
    assert "\n" not in problem.advice


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 4002)"), Failure.REFUSED),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 99] Cannot assign"), Failure.REFUSED),
        (socket.gaierror(-2, "Name or service not known"), Failure.NO_SUCH_HOST),
        (OSError(113, "No route to host"), Failure.OUT_OF_REACH),
        (TimeoutError(), Failure.OUT_OF_REACH),
        (ValueError("something else"), Failure.OTHER),
    ],
    ids=str,
)
def test_without_a_socket_the_machine_says_why(error, failure):
    told = failure_of(error, opened=False, heard=b"")
    assert (told.failure, told.opened) == (failure, False)


@pytest.mark.parametrize(
    ("error", "heard", "failure"),
    [
        (TimeoutError(), b"", Failure.SILENT),
        (ConnectionError("closed"), b"", Failure.CLOSED),
        (TimeoutError(), b"HTTP/1.1 400 Bad Request\r\n", Failure.NO_TWS),
        (ConnectionError("closed"), b"SSH-2.0-OpenSSH_9.6\r\n", Failure.NO_TWS),
        (ConnectionError("closed"), b"\0", Failure.NO_TWS),
        (ConnectionError("closed"), OLD, Failure.TOO_OLD),
        (TimeoutError(), GREETING, Failure.NOT_LOGGED_IN),
        (ConnectionError("closed"), GREETING, Failure.NOT_LOGGED_IN),
    ],
)
def test_what_was_heard_says_what_is_at_the_other_end(error, heard, failure):
    assert failure_of(error, opened=True, heard=heard).failure is failure


def test_what_answers_and_is_no_tws_is_shown_without_what_could_steer_a_terminal():
    error = failure_of(TimeoutError(), opened=True, heard=b"HTTP/1.1 400\r\n\x1b[2J\xff")
    assert str(error) == rf"{Failure.NO_TWS}: HTTP/1.1 400\r\n\x1b[2J\ufffd"


@pytest.mark.parametrize("code", FAILURE_OF_CODE)
def test_every_code_that_ends_a_handshake_has_its_advice(code):
    problem = problem_of(PLACE, ConnectError(FAILURE_OF_CODE[code], TEXTS.get(code, "as it says"), code))
    assert problem.code == code
    assert FAILURE_OF_CODE[code] in problem.text


@pytest.mark.parametrize(
    ("code", "text", "name"),
    [
        (1100, words_of(1100), "lost its servers"),
        (2110, words_of(2110), "lost its servers"),
        (354, "Requested market data is not subscribed.", SUBSCRIPTION),
        (10089, "Requested market data requires additional subscription for API.", SUBSCRIPTION),
        (10168, "Requested market data is not subscribed. Delayed market data is not enabled.", SUBSCRIPTION),
        (10186, "Requested market data is not subscribed.", SUBSCRIPTION),
        (10187, "Failed to request historical ticks: No market data permissions", SUBSCRIPTION),
        (162, "Historical Market Data Service error message:No market data permissions for ISLAND STK", SUBSCRIPTION),
        (162, "... Trading TWS session is connected from a different IP address", "another session"),
        (10197, "No market data during competing live session", "another session"),
        (354, "Angeforderte Marktdaten sind nicht abonniert.", SUBSCRIPTION),
    ],
    ids=str,
)
def test_a_code_is_named_in_plain_words_before_its_own(code, text, name):
    problem = problem_of_code(code, text)
    assert name in problem.text.partition(":")[0]
    assert problem.text.endswith(f": {text} (code {code})")
    assert problem.code == code
    assert problem.advice


def test_a_code_that_nobody_knows_is_told_all_the_same():
    assert problem_of_code(4711, "as it says itself").text == "as it says itself (code 4711)"


@pytest.mark.parametrize(
    "said",
    ["one\nINFO two", "\x1b[2J", "\u202egnp", "\ud800", "x" * 100_000],
    ids=["line", "escape", "direction", "surrogate", "length"],
)
def test_a_text_from_the_network_is_one_short_printable_line(said):
    texts = [
        one_line(said),
        str(ConnectError(Failure.NO_TWS, said)),
        problem_of(PLACE, RuntimeError(said)).text,
        problem_of_code(4711, said).text,
        problem_of_code(1100, said).text,
        problem_of_farms({said: 2103, "ushmds": 2105}).text,
    ]
    for text in texts:
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < LONGEST + 120


@pytest.mark.parametrize(
    "said", ["历史市场数据服务错误", "Маркет-данные", "für ägyptische Märkte", "ข้อมูล", 'it\'s "so"']
)
def test_a_text_in_any_language_is_shown_in_its_own_letters_and_cut_by_them(said):
    assert one_line(said) == said
    assert one_line(f"  {said}\r\n\x1b[2J\u202e\u2028\u200b") == said + r"\r\n\x1b[2J\u202e\u2028\u200b"
    assert len(one_line(said * LONGEST)) == LONGEST + len("...")


def test_a_backslash_of_the_text_is_told_from_one_that_escapes():
    assert (one_line(r"a\n"), one_line("a\nb")) == (r"a\\n", r"a\nb")


def test_another_port_that_answers_is_named_first():
    refused = ConnectError(Failure.REFUSED)
    assert problem_of(PLACE, refused, [7497]).advice.startswith(
        "7497 (TWS, paper account) answers there: set ib_port to it"
    )
    assert problem_of(PLACE, refused, [4001, 7496]).advice.startswith(
        "4001 (IB Gateway, live account) and 7496 (TWS, live account) answer there: set ib_port to it"
    )


def test_other_programs_are_named_by_their_ids():
    assert warning_of_others(()) is None
    assert "as client 1," in warning_of_others([1]).text
    assert "as clients 1 to 3," in warning_of_others([1, 2, 3]).text
    assert "pacing" in warning_of_others([1]).text
    assert "one host service" in warning_of_others([1]).advice
