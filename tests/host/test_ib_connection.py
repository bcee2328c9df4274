"""The connection to Interactive Brokers asks, waits, gives up and comes back as it should, over real sockets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from ib_async import Stock
from patience import PATIENCE
from tws.listings import known_on
from tws.looptime import run
from tws.market import NOW
from tws.process import TwsProcess
from tws.protocol import HELLO, ClientMessage, ServerMessage, frame
from tws.server import SimulatedTws

from symcache_core.errors import ConfigurationError
from symcache_host.ib.connection import LONGEST_PAUSE, IbConnection
from symcache_host.ib.connectivity import SETTLING
from symcache_host.ib.logins import CLIENT_IDS
from symcache_host.ib.session import IbError
from symcache_host.settings import HostSettings

EPOCH = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
APPLE = Stock("AAPL", "SMART", "USD")
TIMEOUT = 60.0
SAME_AGAIN = 15.0
"""Seconds after which Interactive Brokers lets the same request be asked again."""

WEEK = ("20130228-23:59:59", "1 W", "1 day", "TRADES", True)
ASK = {
    "details": lambda connection, contract=APPLE: connection.contract_details(contract),
    "head": lambda connection, contract=APPLE: connection.head_timestamp(contract, "TRADES", rth=True),
    "bars": lambda connection, contract=APPLE: connection.bars(contract, *WEEK),
}
EVERY_REQUEST = pytest.mark.parametrize("kind", ASK)


@asynccontextmanager
async def connected(tws, **options):
    """An open connection; its clock is the loop's, so that simulated time is its time."""
    loop = asyncio.get_running_loop()
    connection = IbConnection("127.0.0.1", tws.port, clock=lambda: EPOCH + loop.time(), **options)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.aclose()


def told(story, **options):
    """Run a story about a simulated TWS and a connection to it; everything is given back in the end."""

    async def main():
        async with SimulatedTws() as tws:
            async with connected(tws, **options) as connection:
                result = await story(tws, connection)
                await settled()
                assert tws.counts()["open_slots"] == 0, "a slot has leaked"
                assert connection.open_requests == 0, "a request has leaked"
            await settled()
            assert tws.counts()["client_ids"] == [], "a client id has leaked"
            return result

    return run(main())


async def settled():
    """Let everything that is on its way arrive."""
    await asyncio.sleep(0.1)


async def again(kind, connection):
    """The answer to the same request, as soon as it may be asked again."""
    await asyncio.sleep(SAME_AGAIN)
    return await ASK[kind](connection)


async def until(condition, every=0.01):
    while not condition():
        await asyncio.sleep(every)


async def reconnected(tws, connection, what_ends_it):
    """What comes of something that ends the socket; waits until the connection is back."""
    connects = tws.counts()["connects"]
    result = await what_ends_it
    await until(lambda: tws.counts()["connects"] > connects and connection.connectivity.connected)
    return result


async def outcome_of(request):
    try:
        return await request
    except (IbError, OSError) as error:
        return error


async def error_of(request):
    outcome = await outcome_of(request)
    assert isinstance(outcome, Exception), f"an answer: {outcome}"
    return outcome


def seconds():
    return asyncio.get_running_loop().time()


def test_each_request_has_its_answer():
    async def story(tws, connection):
        details, head, bars = [await ask(connection) for ask in ASK.values()]
        assert details[0].contract.primaryExchange == "NASDAQ"
        assert head == datetime(2000, 3, 1, 14, 30, tzinfo=UTC)
        assert [bar.close for bar in bars][-1] == 441.4
        assert tws.counts()["requests"] == {"bars": 1, "details": 1, "head": 1}

    told(story)


def test_many_requests_at_once_keep_their_answers_apart():
    symbols = "AAPL IBM MSFT GOOG F GE BA CAT".split()

    async def story(_tws, connection):
        contracts = [Stock(symbol, "SMART", "USD") for symbol in symbols]
        found = await asyncio.gather(*(connection.contract_details(contract) for contract in contracts))
        assert [each.contract.symbol for (each,) in found] == symbols

    told(story)


@EVERY_REQUEST
@pytest.mark.parametrize("code", [100, 162, 200, 321, 354, 420, 10090, 10197, 10314, 4711])
def test_an_error_is_raised_at_once_with_its_code_and_words(kind, code):
    async def story(tws, connection):
        tws.fault(kind, code=code, text="as it says itself", times=1)
        error = await error_of(ASK[kind](connection))
        assert isinstance(error, IbError)
        assert (error.code, error.text, str(error)) == (code, "as it says itself", f"as it says itself (IB {code})")
        assert seconds() < 1
        assert await again(kind, connection), "the next request is answered"

    told(story)


@EVERY_REQUEST
@pytest.mark.parametrize("code", [2103, 2105, 2110, 2157])
def test_a_request_that_is_told_of_a_breakdown_has_ended(kind, code):
    async def story(tws, connection):
        tws.fault(kind, code=code, times=1)
        assert (await error_of(ASK[kind](connection))).code == code
        assert seconds() < 1
        assert connection.connectivity.conclusive, "what one request is told is no notice for all"

    told(story)


@EVERY_REQUEST
@pytest.mark.parametrize("code", [2103, 2105, 2110, 2157])
def test_a_breakdown_that_is_told_to_all_ends_no_request(kind, code):
    async def story(tws, connection):
        tws.fault(kind, slow=5, times=1)
        request = asyncio.ensure_future(ASK[kind](connection))
        await settled()
        tws.notice(code)
        assert await request
        assert not connection.connectivity.conclusive

    told(story)


@EVERY_REQUEST
@pytest.mark.parametrize("code", [165, 2104, 2107, 2119, 2174, 10167])
def test_a_notice_about_a_request_does_not_end_it(kind, code):
    async def story(tws, connection):
        tws.fault(kind, code=code)
        assert isinstance(await error_of(ASK[kind](connection)), TimeoutError)

    told(story)


@EVERY_REQUEST
def test_a_request_without_an_answer_is_given_up_and_cancelled(kind):
    async def story(tws, connection):
        tws.fault(kind, hang=True)
        assert isinstance(await error_of(ASK[kind](connection)), TimeoutError)
        assert seconds() == pytest.approx(TIMEOUT, abs=1)

    told(story, request_timeout=TIMEOUT)


@EVERY_REQUEST
def test_an_answer_that_comes_too_late_does_no_harm(kind, caplog):
    async def story(tws, connection):
        tws.fault(kind, slow=2 * TIMEOUT, times=1)
        assert isinstance(await error_of(ASK[kind](connection)), TimeoutError)
        await asyncio.sleep(2 * TIMEOUT)
        assert await again(kind, connection)

    told(story, request_timeout=TIMEOUT)
    assert "Error handling fields" not in caplog.text


@EVERY_REQUEST
def test_whoever_stops_waiting_leaves_nothing_behind(kind):
    async def story(tws, connection):
        tws.fault(kind, slow=5, times=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ASK[kind](connection)
        await settled()
        assert connection.open_requests == tws.counts()["open_slots"] == 0
        assert await again(kind, connection)
        assert connection._session._wrapper._futures == {}, "ib_async has forgotten it, too"

    told(story)


@EVERY_REQUEST
def test_a_connection_that_drops_in_the_middle_of_an_answer_ends_every_request(kind):
    async def story(tws, connection):
        tws.fault(kind, drop=True, times=1)
        tws.fault("bars" if kind != "bars" else "head", hang=True, times=1)
        other = asyncio.ensure_future(error_of(ASK["bars" if kind != "bars" else "head"](connection)))
        await settled()
        assert isinstance(await error_of(ASK[kind](connection)), ConnectionError)
        assert isinstance(await other, ConnectionError)
        assert seconds() < 1, "nobody waited for a timeout"
        await until(lambda: connection.connectivity.connected)
        assert await again(kind, connection)

    told(story)


def test_a_head_timestamp_gives_its_slot_back_before_the_next_request():
    async def story(tws, connection):
        symbols = [f"{first}{second}" for first in "ABC" for second in "ABCDEFGHIJKLMNOPQRST"]
        for symbol in symbols:
            await outcome_of(connection.head_timestamp(Stock(symbol, "SMART", "USD"), "TRADES", rth=True))
            await asyncio.sleep(0.05)
        counts = tws.counts()
        assert (counts["most_open_slots"], counts["violations"]) == (1, {})

    told(story)


@pytest.mark.parametrize("nonsense", ["soon", "94694400", "20000101"])
def test_a_head_timestamp_that_cannot_be_read_is_an_error(nonsense):
    async def story(tws, connection):
        tws.fault("head", hang=True)
        request = asyncio.ensure_future(error_of(ASK["head"](connection)))
        await settled()
        (client,) = tws._handler._clients.values()
        client.tell(frame(ServerMessage.HEAD, 1, nonsense))
        assert (await request).code == 0

    told(story)


@pytest.mark.parametrize("lost", [1100, 2110])
def test_a_lost_link_is_no_connection_although_the_socket_lives(lost):
    async def story(tws, connection):
        await ASK["details"](connection)
        tws.notice(lost)
        await settled()
        assert not connection.connectivity.connected
        messages = tws.counts()["messages"]
        assert (await error_of(ASK["details"](connection))).code == lost
        assert tws.counts()["messages"] == messages, "nothing was sent"
        tws.notice(1102)
        await settled()
        assert connection.connectivity.connected
        assert connection.connectivity.last_reset == datetime.fromtimestamp(EPOCH + seconds(), UTC) - settle_time()
        assert await ASK["details"](connection)
        assert tws.counts()["messages"] == messages + 1, "and nothing was asked about the account"

    told(story)


def settle_time():
    """How long ago a notice arrived after which everything has settled."""
    return datetime.fromtimestamp(0.1, UTC) - datetime.fromtimestamp(0, UTC)


@EVERY_REQUEST
def test_when_data_was_lost_open_requests_are_to_be_asked_again(kind):
    async def story(tws, connection):
        tws.fault(kind, hang=True, times=1)
        request = asyncio.ensure_future(error_of(ASK[kind](connection)))
        await settled()
        tws.notice(1100)
        await settled()
        assert not request.done(), "it may still be answered"
        tws.notice(1101)
        assert (await request).code == 1101
        assert seconds() < 1

    told(story)


def test_farms_that_are_down_are_known_from_the_handshake_on():
    async def story(tws, connection):
        await ASK["details"](connection)
        assert connection.connectivity.conclusive
        tws.notice(2105)
        tws.notice(2103, farm="usfarm.nj")
        await settled()
        assert connection.connectivity.farms_down == {"ushmds": 2105, "usfarm.nj": 2103}
        tws.notice(2104, farm="usfarm.nj")
        await reconnected(tws, connection, tws.restart())
        assert connection.connectivity.farms_down == {"ushmds": 2105}
        tws.notice(2106)
        await asyncio.sleep(SETTLING.total_seconds())
        assert connection.connectivity.conclusive

    told(story)


def test_a_connection_that_is_back_is_whole_only_after_a_minute():
    async def story(tws, connection):
        await ASK["details"](connection)
        await reconnected(tws, connection, tws.restart())
        back = seconds()
        await until(lambda: connection.connectivity.conclusive, every=1)
        assert seconds() - back == pytest.approx(60, abs=2)

    told(story)


def test_what_the_other_end_says_reaches_the_log_as_one_line(caplog):
    async def story(tws, connection):
        await ASK["details"](connection)
        tws.notice(2103, text="broken:usfarm\nINFO all is well \x1b[2J")
        await settled()

    with caplog.at_level("INFO", "symcache"):
        told(story)
    (said,) = [record.getMessage() for record in caplog.records if "2103" in record.getMessage()]
    assert said.isprintable()


def test_client_0_who_would_take_over_orders_placed_by_hand_is_refused():
    with pytest.raises(ValueError, match="client id"):
        IbConnection("127.0.0.1", 4002, client_id=0)
    with pytest.raises(ConfigurationError, match="ib_client_id"):
        HostSettings(ib_client_id=0)


def test_what_a_failed_attempt_was_told_does_not_hold_for_the_next():
    async def main():
        async with SimulatedTws() as tws:
            tws.notice(2105, farm="euhmds")
            tws.fault("start", drop=True, times=1)
            async with connected(tws) as connection:
                await error_of(ASK["details"](connection))
                assert connection.connectivity.farms_down == {"euhmds": 2105}
                tws.notice(2106, farm="euhmds")
                await until(lambda: connection.connectivity.connected)
                assert connection.connectivity.farms_down == {}
                await asyncio.sleep(SETTLING.total_seconds())
                assert connection.connectivity.conclusive

    run(main())


def test_no_queue_of_its_own_holds_up_what_may_be_sent():
    symbols = list(known_on(NOW.date()))[:40]

    async def story(tws, connection):
        await ASK["details"](connection)
        await asyncio.sleep(1)
        asked = [ASK["details"](connection, Stock(symbol, "SMART", "USD")) for symbol in [*symbols, *symbols[:10]]]
        began = seconds()
        await asyncio.gather(*asked)
        assert seconds() == began
        assert tws.counts()["violations"] == {}

    told(story)


def test_a_client_id_in_use_is_passed_over():
    async def story(tws, first):
        await ASK["details"](first)
        async with connected(tws, client_id=7) as second, connected(tws, client_id=7) as third:
            await asyncio.gather(*(ASK["details"](each) for each in (second, third)))
            assert {each.connectivity.client_id for each in (first, second, third)} == {7, 8, 9}
            assert seconds() < 1, "refusal is not waited for"
        await settled()
        assert tws.counts()["client_ids"] == [7]

    told(story, client_id=7)


def test_when_every_client_id_is_in_use_it_says_so_and_tries_again():
    async def main():
        async with SimulatedTws() as tws:
            others = [await occupant(tws, client_id) for client_id in range(1, CLIENT_IDS + 1)]
            async with connected(tws) as connection:
                assert "every client id from 1 to 32 is in use" in str(await error_of(ASK["details"](connection)))
                for other in others:
                    other.close()
                await until(lambda: connection.connectivity.connected)
                assert connection.connectivity.client_id == 1

    run(main())


async def occupant(tws, client_id):
    """Somebody else, who has a client id until it is closed."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", tws.port)
    offer = b"v157..178"
    writer.write(HELLO + len(offer).to_bytes(4, "big") + offer + frame(ClientMessage.START, 2, client_id, ""))
    await until(lambda: client_id in tws.counts()["client_ids"])
    return writer


@pytest.mark.parametrize("fault", ["hang", "drop"])
def test_a_handshake_that_is_not_finished_is_given_up_and_tried_again(fault):
    async def main():
        async with SimulatedTws() as tws:
            tws.fault("start", **{fault: True}, times=1)
            async with connected(tws, connect_timeout=10) as connection:
                assert isinstance(await error_of(ASK["details"](connection)), OSError)
                assert seconds() == pytest.approx(10 if fault == "hang" else 0, abs=1)
                await until(lambda: connection.connectivity.connected)
                assert await ASK["details"](connection)

    run(main())


def test_nobody_waits_for_a_connection_that_is_refused():
    async def main():
        async with SimulatedTws() as tws:
            await tws.stop()
            async with connected(tws) as connection:
                for _time in range(2):
                    error = await error_of(ASK["details"](connection))
                    assert isinstance(error, ConnectionError)
                    assert f"no connection to 127.0.0.1:{tws.port}" in str(error)
                assert seconds() < 0.5
                assert not connection.connectivity.connected

    run(main())


def test_it_comes_back_after_the_nightly_reset_and_knows_when():
    pauses = []

    async def sleep(pause):
        pauses.append(pause)
        await asyncio.sleep(pause)

    async def story(tws, connection):
        await ASK["details"](connection)
        await asyncio.sleep(3600)
        await tws.reset(300)
        await settled()
        down = connection.connectivity
        assert (down.connected, down.since) == (False, datetime.fromtimestamp(EPOCH + 3600, UTC))
        await until(lambda: connection.connectivity.connected, every=1)
        back = connection.connectivity
        assert 3900 <= back.last_reset.timestamp() - EPOCH <= 3900 + LONGEST_PAUSE + 1
        assert back.since == back.last_reset
        assert pauses[:8] == [0, 1, 2, 4, 8, 16, 32, 60]
        assert await ASK["details"](connection)

    told(story, sleep=sleep)


def test_an_other_end_that_drops_everybody_at_once_is_not_called_in_a_hurry():
    async def main():
        async with SimulatedTws() as tws:
            tws.fault("start", drop=True)
            async with connected(tws):
                await asyncio.sleep(3600)
            return tws.counts()["messages"]

    assert 50 < run(main()) < 70


def test_an_other_end_that_is_frozen_is_left():
    async def story(tws, connection):
        await ASK["details"](connection)
        tws.fault("time", hang=True, times=1)
        await asyncio.sleep(90)
        await until(lambda: connection.connectivity.connected)
        assert tws.counts()["connects"] == 2
        assert await ASK["details"](connection)

    told(story)


def test_twenty_restarts_under_load_cost_no_client_id_no_slot_and_no_wrong_answer():
    symbols = [symbol for symbol, listings in known_on(NOW.date()).items() if len(listings) == 1][:1000]
    right = {"details": lambda symbol, found: [each.contract.symbol for each in found] == [symbol]}

    async def story(tws, connection):
        ended = []

        async def ask_for_ever(kind):
            for symbol in symbols:
                outcome = await outcome_of(ASK[kind](connection, Stock(symbol, "SMART", "USD")))
                ended.append((kind, symbol, outcome))
                await asyncio.sleep(0.1)

        asking = [asyncio.ensure_future(ask_for_ever(kind)) for kind in ASK]
        for restart in range(20):
            tws.fault(list(ASK)[restart % 3], hang=True, times=1)
            await asyncio.sleep(2)
            await reconnected(tws, connection, tws.restart())
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        counts = tws.counts()
        assert (counts["client_ids_used"], counts["refused_ids"], counts["violations"]) == ([1] * 21, 0, {})
        failed = [outcome for _kind, _symbol, outcome in ended if isinstance(outcome, Exception)]
        assert len(failed) >= 20
        assert all(isinstance(error, ConnectionError) for error in failed), failed
        answered = [each for each in ended if not isinstance(each[2], Exception)]
        assert len(answered) > 500
        assert all(right.get(kind, has_data)(symbol, found) for kind, symbol, found in answered)

    told(story)


def has_data(_symbol, found):
    return bool(found)


def test_over_tcp_to_another_process_all_is_the_same():
    contracts = [Stock(symbol, "SMART", "USD") for symbol in "AAPL IBM MSFT GOOG GE".split()]

    async def story(tws, connection):
        for kind, ask in ASK.items():
            answered, dropped, invalid, abandoned, last = contracts
            assert await ask(connection, answered)
            tws.do("fault", kind=kind, drop=True, times=1)
            error = await reconnected(tws, connection, error_of(ask(connection, dropped)))
            assert isinstance(error, ConnectionError)
            tws.do("fault", kind=kind, code=321, times=1)
            assert (await error_of(ask(connection, invalid))).code == 321
            tws.do("fault", kind=kind, hang=True, times=1)
            waiting = asyncio.ensure_future(ask(connection, abandoned))
            await until(lambda kind=kind: tws.counts()["requests"][kind] == 4)
            waiting.cancel()
            assert await ask(connection, last)
            await until(lambda: tws.counts()["open_slots"] == connection.open_requests == 0)
        assert tws.counts()["violations"] == {}

    over_tcp(story)


def over_tcp(story):
    """Run a story about a simulated TWS in another process, in real time but without long pauses."""

    async def main(tws):
        async with connected(tws, sleep=lambda _pause: asyncio.sleep(0.02)) as connection:
            await asyncio.wait_for(story(tws, connection), PATIENCE)

    with TwsProcess() as tws:
        asyncio.run(main(tws))


def test_without_open_or_after_aclose_there_is_no_connection():
    async def main():
        async with SimulatedTws() as tws:
            connection = IbConnection("127.0.0.1", tws.port)
            assert "not open" in str(await error_of(ASK["details"](connection)))
            await connection.aclose()
            await connection.open()
            await ASK["details"](connection)
            tws.fault("head", hang=True)
            request = asyncio.ensure_future(error_of(ASK["head"](connection)))
            await settled()
            await connection.aclose()
            assert isinstance(await request, ConnectionError)
            assert "not open" in str(await error_of(ASK["details"](connection)))
            assert not connection.connectivity.connected

    run(main())


def test_it_closes_in_the_middle_of_an_attempt():
    async def main():
        async with SimulatedTws() as tws:
            tws.fault("start", hang=True)
            async with connected(tws) as connection:
                request = asyncio.ensure_future(error_of(ASK["details"](connection)))
                await settled()
            assert "not open" in str(await request)

    run(main())


def test_a_host_that_asks_another_gateway_does_not_import_ib_async():
    command = "import sys, symcache_host.server, symcache_host.ib; sys.exit('ib_async' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False, timeout=PATIENCE).returncode == 0
