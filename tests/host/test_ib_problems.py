"""The connection knows why it fails and since when, says so in one line of the log, and tries at once if told to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from ib_async import Future, Stock
from tws.looptime import run
from tws.protocol import HELLO, ClientMessage, frame, handshake
from tws.server import SimulatedTws

from symcache_host.ib.advice import Failure
from symcache_host.ib.announcer import REPEATED_AFTER
from symcache_host.ib.connection import HEARTBEAT, HURRY_APART, RECHECKED, IbConnection
from symcache_host.ib.ports import APART, UsualPorts
from symcache_host.ib.session import IbError

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
APPLE = Stock("AAPL", "SMART", "USD")
WEEK = ("20130228-23:59:59", "1 W", "1 day", "TRADES", True)


def at(seconds):
    return EPOCH + timedelta(seconds=seconds)


def now():
    return at(asyncio.get_running_loop().time())


@asynccontextmanager
async def connecting(port, host="127.0.0.1", **options):
    """An open connection on the loop's clock."""
    connection = IbConnection(host, port, clock=lambda: now().timestamp(), **options)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.aclose()


@asynccontextmanager
async def listening(serve):
    """Another program, at the port that it gives."""
    tws = SimulatedTws()

    async def once(reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    async with tws:
        await tws.stop()
        tws._serve = once
        await tws.start()
        yield tws.port
        tws._server.close()


async def until(condition, every=0.01):
    while not condition():
        await asyncio.sleep(every)


async def problem_of_attempt(connection):
    """What the next attempt, or the one under way, comes to."""
    with suppress(OSError):
        await connection.ready()
    return connection.problem


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


async def silent(reader, _writer):
    await reader.read(-1)


async def hangs_up(_reader, _writer):
    pass


async def speaks_http(reader, writer):
    await reader.read(8)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


async def does_not_log_in(reader, writer):
    await handshake(reader, writer)
    await reader.read(-1)


async def greets_and_hangs_up(reader, writer):
    await handshake(reader, writer)


async def speaks_first(reader, writer):
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await reader.read(-1)


async def is_too_old(reader, writer):
    await reader.read(8)
    writer.write(frame(76, "20130301 16:00:00 EST"))
    await reader.read(-1)


@pytest.mark.parametrize(
    ("serve", "failure", "seconds"),
    [
        (silent, Failure.SILENT, 10),
        (hangs_up, Failure.CLOSED, 0),
        (speaks_http, Failure.NO_TWS, 0),
        (speaks_first, Failure.NO_TWS, 0),
        (does_not_log_in, Failure.NOT_LOGGED_IN, 10),
        (greets_and_hangs_up, Failure.NOT_LOGGED_IN, 0),
        (is_too_old, Failure.TOO_OLD, 0),
    ],
)
def test_what_is_at_the_other_end_is_told_apart(serve, failure, seconds, caplog):
    async def main():
        async with listening(serve) as port, connecting(port) as connection:
            assert "first attempt" in connection.problem.text
            problem = await problem_of_attempt(connection)
            assert problem.text.startswith(f"no connection to 127.0.0.1:{port}: {failure}")
            assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=1)
            assert connection.connectivity.problem_since == now()
            return problem

    problem = run(main())
    assert logged(caplog)[0] == f"{problem.text}: {problem.advice}"


@pytest.mark.parametrize("code", [502, 503, 504])
def test_a_login_that_is_refused_by_a_code_fails_at_once_and_names_it(code):
    async def main():
        async with SimulatedTws() as tws:
            tws.fault("start", code=code, text="as it says itself")
            async with connecting(tws.port) as connection:
                problem = await problem_of_attempt(connection)
                assert (problem.code, problem.text.endswith(": as it says itself")) == (code, True)
                assert asyncio.get_running_loop().time() < 1

    run(main())


def test_a_name_that_leads_nowhere_is_told():
    async def main():
        async with connecting(4002, "no-such-host.invalid") as connection:
            problem = await problem_of_attempt(connection)
            assert str(Failure.NO_SUCH_HOST) in problem.text
            assert "ib_host" in problem.advice

    asyncio.run(main())


def test_a_refused_connection_is_told_since_when_and_when_it_is_tried_again_until_it_is_over():
    async def main():
        async with SimulatedTws() as tws:
            await tws.stop()
            async with connecting(tws.port) as connection:
                problem = await problem_of_attempt(connection)
                assert str(Failure.REFUSED) in problem.text
                assert "API" in problem.advice
                assert "7497" in problem.advice
                await asyncio.sleep(2)
                assert (connection.problem, connection.connectivity.problem_since) == (problem, EPOCH)
                assert connection.last_attempt == at(1)
                assert connection.next_attempt == at(3)
                await tws.start()
                await until(lambda: connection.connectivity.connected)
                assert (connection.problem, connection.connectivity.problem_since) == (None, None)
                assert (connection.last_attempt, connection.next_attempt) == (at(3), None)

    run(main())


def test_a_lost_connection_is_the_beginning_of_what_comes_after_it():
    async def main():
        async with SimulatedTws() as tws, connecting(tws.port) as connection:
            await connection.ready()
            await asyncio.sleep(100)
            tws.notice(1100)
            await until(lambda: connection.problem)
            assert connection.problem.code == 1100
            await asyncio.sleep(100)
            await tws.stop()
            await until(lambda: connection.problem.code is None)
            await asyncio.sleep(100)
            assert str(Failure.REFUSED) in connection.problem.text
            assert connection.connectivity.problem_since.replace(microsecond=0) == at(100)
            await tws.start()
            await until(lambda: connection.problem is None)

    run(main())


def test_one_that_is_frozen_is_said_to_be_silent(caplog):
    async def main():
        async with SimulatedTws() as tws, connecting(tws.port) as connection:
            await connection.ready()
            tws.fault("time", hang=True, times=1)
            await asyncio.sleep(90)

    run(main())
    assert "no sign of life for 10 s" in logged(caplog)[0]


def test_a_closed_connection_is_not_said_to_be_connecting():
    async def main():
        async with SimulatedTws() as tws:
            async with connecting(tws.port) as connection:
                await connection.ready()
            assert "not open" in connection.problem.text

    run(main())


def test_the_same_is_logged_once_in_minutes_and_anew_after_it_was_over(caplog):
    async def main():
        async with SimulatedTws() as tws:
            await tws.stop()
            async with connecting(tws.port) as connection:
                await asyncio.sleep(3 * REPEATED_AFTER)
                assert 3 <= len(logged(caplog)) <= 4
                await tws.start()
                await connection.hurry()
                await until(lambda: connection.connectivity.connected)
                caplog.clear()
                await tws.stop()
                await asyncio.sleep(100)
                lost, refused = logged(caplog)
                assert str(Failure.LOST) in lost
                assert str(Failure.REFUSED) in refused

    run(main())


def test_another_usual_port_that_answers_is_named_and_asked_seldom(monkeypatch):
    asked = []
    answers = UsualPorts._answers

    async def counted(ports, port):
        asked.append(port)
        return await answers(ports, port)

    monkeypatch.setattr(UsualPorts, "_answers", counted)

    async def main():
        async with SimulatedTws() as tws, SimulatedTws() as other:
            monkeypatch.setattr("symcache_host.ib.ports.PORTS", {tws.port: "one", other.port: "another"})
            monkeypatch.setattr("symcache_host.ib.advice.PORTS", {tws.port: "one", other.port: "another"})
            await tws.stop()
            async with connecting(tws.port) as connection:
                problem = await problem_of_attempt(connection)
                assert problem.advice.startswith(f"{other.port} (another) answers there: set ib_port to it")
                await asyncio.sleep(APART - 60)
                assert asked == [other.port]
                await connection.hurry()
                assert asked == [other.port] * 2
            assert other.counts()["messages"] == 0

    run(main())


def test_who_is_in_a_hurry_does_not_wait_for_the_pause_but_no_more_often_than_every_few_seconds():
    async def main():
        async with SimulatedTws() as tws:
            await tws.stop()
            async with connecting(tws.port) as connection:
                await until(lambda: connection.next_attempt and connection.next_attempt > now() + timedelta(seconds=50))
                await asyncio.sleep(10)
                await tws.start()
                await connection.hurry()
                assert connection.connectivity.connected
                assert (connection.last_attempt, connection.next_attempt) == (now(), None)
                await tws.stop()
                await until(lambda: connection.next_attempt)
                await asyncio.sleep(20)
                tried = set()
                began = now()
                for _time in range(20):
                    await asyncio.gather(connection.hurry(), connection.hurry())
                    tried.add(connection.last_attempt)
                assert len(tried) <= (now() - began).total_seconds() / HURRY_APART + 1

    run(main())


def test_who_is_in_a_hurry_joins_an_attempt_that_is_under_way():
    async def main():
        async with SimulatedTws() as tws:
            tws.fault("start", slow=5, times=1)
            async with connecting(tws.port) as connection:
                await asyncio.gather(*(connection.hurry() for _ in range(10)))
                assert connection.connectivity.connected
                assert tws.counts()["connects"] == 1

    run(main())


def test_closing_while_somebody_is_in_a_hurry_leaves_nothing_behind():
    async def main():
        async with SimulatedTws() as tws:
            await tws.stop()
            async with connecting(tws.port) as connection:
                await asyncio.sleep(100)
                await tws.start()
                hurry = asyncio.ensure_future(connection.hurry())
                await asyncio.sleep(0)
            await hurry
            await asyncio.sleep(0.1)
            assert tws.counts()["client_ids"] == []
            assert len(asyncio.all_tasks()) <= 2

    run(main())


def test_another_program_is_told_of_once_and_no_longer_when_it_has_gone(caplog):
    async def main():
        async with SimulatedTws() as tws:
            others = [await occupant(tws, client_id) for client_id in (1, 2)]
            async with connecting(tws.port) as connection:
                await connection.ready()
                assert connection.connectivity.client_id == 3
                assert connection.connectivity.taken_ids == (1, 2)
                assert connection.problem is None
                (warned,) = logged(caplog)
                assert "another program uses this TWS as clients 1 to 2" in warned
                await connection.recheck_taken_ids()
                assert connection.connectivity.taken_ids == (1, 2)
                others[0].close()
                await asyncio.sleep(0.1)
                await connection.recheck_taken_ids()
                assert connection.connectivity.taken_ids == (2,)
                others[1].close()
                await asyncio.sleep(0.1)
                await tws.drop()
                await until(lambda: connection.connectivity.client_id == 1)
                assert connection.connectivity.taken_ids == ()
            await asyncio.sleep(0.1)
            assert tws.counts()["client_ids"] == []

    run(main())
    assert sum("another program" in line for line in logged(caplog)) <= 2


def test_an_id_of_ones_own_lost_socket_is_no_other_program(caplog):
    async def main():
        async with SimulatedTws(behaviours=["id-held=2"]) as tws, connecting(tws.port) as connection:
            await connection.ready()
            await tws.drop()
            await until(lambda: connection.connectivity.client_id == 2)
            assert (connection.connectivity.taken_ids, connection.warning) == ((1,), None)
            await asyncio.sleep(2 * HEARTBEAT)
            assert (connection.connectivity.taken_ids, connection.warning) == ((), None)
            assert connection.connectivity.client_id == 2

    run(main())
    assert not any("another program" in line for line in logged(caplog))


def test_another_program_that_has_gone_is_no_longer_warned_of():
    async def main():
        async with SimulatedTws() as tws:
            others = [await occupant(tws, client_id) for client_id in range(1, 2 * RECHECKED)]
            async with connecting(tws.port) as connection:
                await connection.ready()
                before = tws.counts()["connects"]
                await asyncio.sleep(10 * HEARTBEAT)
                assert "another program" in connection.warning.text
                assert tws.counts()["connects"] - before <= 10 * RECHECKED
                for other in others:
                    other.close()
                await asyncio.sleep(3 * HEARTBEAT)
                assert (connection.connectivity.taken_ids, connection.warning) == ((), None)
                assert connection.connectivity.connected

    run(main())


def test_an_id_that_is_still_in_use_after_a_minute_is_warned_of_as_long_as_it_is():
    async def main():
        async with SimulatedTws(behaviours=["id-held=200"]) as tws, connecting(tws.port) as connection:
            await connection.ready()
            await tws.drop()
            await until(lambda: connection.connectivity.client_id == 2)
            assert connection.warning is None
            await asyncio.sleep(2 * HEARTBEAT)
            assert "as client 1," in connection.warning.text
            await asyncio.sleep(3 * HEARTBEAT)
            assert connection.warning is None

    run(main())


def test_a_session_that_ends_while_ids_are_looked_at_again_is_noticed_at_once():
    async def main():
        async with SimulatedTws() as tws:
            other = await occupant(tws, 1)
            async with connecting(tws.port) as connection:
                await connection.ready()
                tws.fault("start", slow=9, times=1)
                await asyncio.sleep(HEARTBEAT + 1)
                await tws.drop()
                began = now()
                await until(lambda: connection.connectivity.client_id is None)
                assert (now() - began).total_seconds() < 1
            other.close()

    run(main())


async def occupant(tws, client_id):
    """Somebody else, who has a client id until it is closed."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", tws.port)
    offer = b"v157..178"
    writer.write(HELLO + len(offer).to_bytes(4, "big") + offer + frame(ClientMessage.START, 2, client_id, ""))
    await until(lambda: client_id in tws.counts()["client_ids"])
    return writer


def test_the_last_refusal_is_kept_until_the_same_contract_is_answered():
    async def main():
        async with SimulatedTws() as tws, connecting(tws.port) as connection:
            (found,) = await connection.contract_details(APPLE)
            tws.fault("bars", code=354, text="not\nsubscribed", times=1)
            with pytest.raises(Exception, match="354"):
                await connection.bars(found.contract, *WEEK)
            refused = connection.last_refusal
            assert (refused.symbol, refused.code, refused.text) == ("AAPL", 354, r"not\nsubscribed")
            assert refused.at == now()
            await connection.contract_details(Stock("IBM", "SMART", "USD"))
            assert connection.last_refusal == refused
            await asyncio.sleep(20)
            await connection.bars(found.contract, *WEEK)
            assert connection.last_refusal is None

    run(main())


def test_a_refusal_to_say_which_contract_it_is_is_kept_while_others_are_answered():
    async def main():
        async with SimulatedTws() as tws, connecting(tws.port) as connection:
            tws.fault("details", code=203, symbol="AAPL", times=1)
            with pytest.raises(Exception, match="203"):
                await connection.contract_details(APPLE)
            refused = connection.last_refusal
            for other in (Stock("IBM", "SMART", "USD"), Future("AAPL", "20130315", "CME")):
                with suppress(IbError):
                    await connection.contract_details(other)
                assert connection.last_refusal == refused
            await connection.contract_details(APPLE)
            assert connection.last_refusal is None

    run(main())
