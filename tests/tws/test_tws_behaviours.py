"""Each behaviour of the simulated TWS does what the table says; the unmodified ib_async drives them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from ib_async import IB, Contract, Stock
from tws.asking import heard, new_client, outcome, told
from tws.behaviours import ALL, BEHAVIOURS, Behaviours
from tws.looptime import run
from tws.process import TwsProcess
from tws.server import SimulatedTws

APPLE, IBM = Stock("AAPL", "SMART", "USD"), Stock("IBM", "SMART", "USD")
INDEX = Contract(secType="IND", symbol="SPX", exchange="CBOE", currency="USD")
PATIENT = 16.0
"""Seconds after which the same may be asked again."""

NOTHING_IN_CHINESE = (
    r"\u5386\u53f2\u5e02\u573a\u6570\u636e\u670d\u52a1\u9519\u8bef\u4fe1\u606f:HMDS"
    r"\u67e5\u8be2\u6ca1\u6709\u8fd4\u56de\u6570\u636e: AAPL@SMART"
)


def details(ib, contract=APPLE):
    return outcome(ib.reqContractDetailsAsync(contract))


def head(ib, contract=APPLE):
    return outcome(ib.reqHeadTimeStampAsync(contract, "TRADES", True, 2))


def bars(ib, contract=APPLE, end="20130301-22:00:00"):
    return outcome(ib.reqHistoricalDataAsync(contract, end, "5 D", "1 day", "TRADES", True, formatDate=2))


def seconds():
    return asyncio.get_running_loop().time()


def test_the_table_names_for_each_behaviour_what_it_does_and_where_that_is_from():
    for name, behaviour in BEHAVIOURS.items():
        assert name == name.lower()
        assert behaviour.does
        assert any(mark in behaviour.source for mark in ("#", "github", "ib_async", "GitHub", "clients"))


def test_all_are_those_that_go_wrong_and_pass():
    passing = "slow-heads silent-heads no-data german flaps reset id-held strict"
    assert set(Behaviours([ALL])) == set(passing.split())


def test_a_behaviour_has_its_number_or_another_and_is_switched_off_again():
    behaviours = Behaviours(["slow-heads", "reset=3", "sessions"])
    assert (behaviours.number("slow-heads"), behaviours.number("reset"), behaviours.number("flaps")) == (8, 3, None)
    behaviours.switch("slow-heads", on=False)
    assert "slow-heads" not in behaviours
    with pytest.raises(ValueError, match="no behaviour 'dance'; behaviours: sessions, "):
        Behaviours(["dance"])
    with pytest.raises(ValueError, match="no-data has no number"):
        Behaviours(["no-data=2"])


def test_a_client_that_is_not_read_only_logs_in_and_is_told_that_there_is_nothing():
    async def main():
        async with SimulatedTws() as tws:
            ib = IB()
            await ib.connectAsync("127.0.0.1", tws.port, 0, raiseSyncErrors=True)
            assert (seconds(), ib.client.getAccounts()) == (0, ["DU0000000"])
            assert (ib.positions(), ib.trades(), ib.executions(), ib.accountValues()) == ([], [], [], [])
            assert await ib.reqAllOpenOrdersAsync() == await ib.reqExecutionsAsync() == []
            ib.reqMarketDataType(4)
            assert (await details(ib))[0].contract.symbol == "AAPL"
            ib.disconnect()
            await tws.drop()

    run(main())


def test_a_message_of_an_unknown_kind_is_an_error_and_no_end():
    async def story(_tws, ib):
        notices = heard(ib)
        ib.client.send(81, 7, "AAPL")  # symbols that match
        assert (await details(ib))[0].contract.symbol == "AAPL"
        assert [code for _number, code, _text in notices] == [320]

    told(story)


def test_slow_heads_take_their_time():
    async def story(_tws, ib):
        began = seconds()
        assert (await head(ib)).year == 2000
        assert seconds() - began == 20
        assert len(await bars(ib)) == 5
        assert seconds() - began == 20, "and bars do not"

    told(story, behaviours=["slow-heads=20"])


def test_silent_heads_never_come_for_an_index_and_for_others_the_second_time():
    async def story(tws, ib):
        silent = []
        for symbol in ("AAPL", "IBM", "MSFT", "KO", "GE", "F"):
            for time in ("first", "second"):
                try:
                    await asyncio.wait_for(head(ib, Stock(symbol, "SMART", "USD")), 30)
                except TimeoutError:
                    silent.append(time)
                    ib.client.cancelHeadTimeStamp(ib.client.getReqId() - 1)
                await asyncio.sleep(PATIENT)
        assert set(silent) == {"first"}
        assert 0 < len(silent) < 6
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(head(ib, INDEX), 300)
        assert tws.counts()["violations"] == {}

    told(story, behaviours=["silent-heads"])


def test_data_is_denied_once_and_there_the_next_time():
    async def story(_tws, ib):
        for ask in (head, bars):
            code, text = await ask(ib)
            assert code == 162
            assert ("No head time stamp" if ask is head else "HMDS query returned no data: AAPL@SMART TRADES") in text
            await asyncio.sleep(PATIENT)
            assert not isinstance(await ask(ib), tuple)
        assert isinstance(await bars(ib, IBM), tuple), "each contract has its own first request"

    told(story, behaviours=["no-data"])


def test_no_request_is_denied_its_data_twice_whatever_comes_between():
    async def story(_tws, ib):
        denied = []
        for day in range(1, 29):
            while isinstance(await bars(ib, end=f"201202{day:02}-22:00:00"), tuple):
                denied.append(day)
                await asyncio.sleep(PATIENT)
            await asyncio.sleep(1)
        assert len(denied) >= 5
        assert len(set(denied)) == len(denied)

    told(story, behaviours=["no-data"])


@pytest.mark.parametrize(
    ("language", "unknown", "nothing", "farm"),
    [
        (
            "german",
            "Es wurde keine Wertpapierdefinition zu der Anfrage gefunden",
            "Fehlermeldung des Dienstes f\\u00fcr historische Marktdaten:HMDS query returned no data: AAPL@SMART",
            "Verbindung zur HMDS-Datenfarm unterbrochen:ushmds",
        ),
        (
            "chinese",
            r"\u672a\u627e\u5230\u8be5\u8bf7\u6c42\u7684\u8bc1\u5238\u5b9a\u4e49",
            NOTHING_IN_CHINESE,
            r"\u5386\u53f2\u5e02\u573a\u6570\u636e\u573a\u8fde\u63a5\u4e2d\u65ad:ushmds",
        ),
    ],
)
def test_errors_are_in_another_language_with_the_same_codes(language, unknown, nothing, farm):
    async def story(tws, ib):
        notices = heard(ib)
        assert await details(ib, Stock("NOSUCH", "SMART", "USD")) == (200, unknown)
        assert await bars(ib, end="19990101-00:00:00") == (162, nothing)
        tws.notice(2105)
        await asyncio.sleep(1)
        assert notices[-1] == (-1, 2105, farm)

    told(story, behaviours=[language])


@pytest.mark.parametrize(
    ("behaviour", "code", "text"),
    [
        ("competing", 10197, "No market data during competing live session"),
        ("competing=162", 162, "Trading TWS session is connected from a different IP address"),
        ("no-subscription", 354, "Requested market data is not subscribed."),
        ("no-subscription=10089", 10089, "requires additional subscription"),
        ("no-subscription=10168", 10168, "Delayed market data is not enabled"),
        ("no-subscription=10186", 10186, "not subscribed"),
        ("no-subscription=10187", 10187, "No market data permissions"),
        ("no-subscription=162", 162, "No market data permissions for SMART STK"),
    ],
)
def test_historical_data_is_refused_for_as_long_as_the_reason_lasts(behaviour, code, text):
    async def story(tws, ib):
        for ask in (head, bars):
            refused = await ask(ib)
            assert refused[0] == code
            assert text in refused[1]
        assert (await details(ib))[0].contract.symbol == "AAPL"
        tws.switch(behaviour.partition("=")[0], on=False)
        await asyncio.sleep(PATIENT)
        assert len(await bars(ib)) == 5

    told(story, behaviours=[behaviour])


def test_a_subscription_may_be_missing_for_some_symbols_only():
    async def story(tws, ib):
        tws.fault("bars", code=10187, symbol="AAPL")
        assert (await bars(ib))[0] == 10187
        assert len(await bars(ib, IBM)) == 5

    told(story)


def test_a_farm_that_flaps_takes_no_request_for_two_seconds():
    async def story(_tws, ib):
        notices = heard(ib)
        asked = [asyncio.create_task(bars(ib, end=f"201202{day:02}-22:00:00")) for day in range(1, 6)]
        await asyncio.sleep(1)
        ends = [task.done() and task.result() for task in asked]
        assert [isinstance(each, list) for each in ends] == [True, True, False, False, False]
        assert [each and each[0] for each in ends[2:]] == [162, False, 162], "every second one is silent"
        assert [code for _number, code, _text in notices] == [2105, 162, 165, 162]
        await asyncio.sleep(2)
        assert [code for _number, code, _text in notices][-1] == 2106
        assert len(await bars(ib)) == 5
        for task in asked:
            task.cancel()

    told(story, behaviours=["flaps=3"])


def test_every_second_time_it_is_the_farm_of_quotes_that_flaps():
    async def story(_tws, ib):
        notices = heard(ib)
        for day in range(1, 9):
            await outcome(asyncio.wait_for(bars(ib, end=f"201202{day:02}-22:00:00"), 5)) if day % 4 else None
            await asyncio.sleep(3)
        return [code for number, code, _text in notices if number == -1]

    assert told(story, behaviours=["flaps=3"]) == [2105, 2106, 2103, 2104]


def test_the_nightly_reset_drops_everybody_and_farm_by_farm_comes_back():
    async def story(tws, ib):
        notices = heard(ib)
        loads = [asyncio.create_task(bars(ib, end=f"201202{day:02}-22:00:00")) for day in range(1, 4)]
        await asyncio.sleep(0.5)
        assert [task.done() for task in loads] == [True, False, False]
        assert [code for _number, code, _text in notices] == [1100]
        await asyncio.sleep(1)
        assert not ib.isConnected()
        with pytest.raises(ConnectionRefusedError):
            await new_client(tws, 2)
        await asyncio.sleep(3)
        back = await new_client(tws, 2)
        notices = heard(back)
        await asyncio.sleep(0.6)
        assert await details(back) == (200, "No security definition has been found for the request")
        assert (await bars(back))[0] == 162
        await asyncio.sleep(3)
        codes = [code for number, code, _text in notices if number == -1]
        assert codes == [1102, 2104, 2106, 2158]
        assert "not connected: usfarm; ushmds; secdefil" in next(text for _n, code, text in notices if code == 1102)
        await asyncio.sleep(PATIENT)
        assert (await details(back))[0].contract.symbol == "AAPL"
        assert len(await bars(back)) == 5
        back.disconnect()

    told(story, behaviours=["reset=2"])


def test_newcomers_in_the_middle_of_a_reset_are_told_what_is_down():
    async def story(tws, ib):
        with pytest.raises(ConnectionError):
            await bars(ib)
        await asyncio.sleep(3.5)
        back = IB()
        notices = heard(back)
        await back.connectAsync("127.0.0.1", tws.port, 2, readonly=True)
        await asyncio.sleep(0)
        assert [code for _number, code, _text in notices] == [2103, 2105, 2157, 2110]
        back.disconnect()

    told(story, behaviours=["reset=1"])


@pytest.mark.parametrize(("behaviour", "wanted"), [("id-taken", 1), ("id-taken=7", 7)])
def test_an_id_that_another_program_has_is_refused(behaviour, wanted):
    async def main():
        async with SimulatedTws(behaviours=[behaviour]) as tws:
            ib = IB()
            notices = heard(ib)
            with pytest.raises((ConnectionError, TimeoutError)):
                await ib.connectAsync("127.0.0.1", tws.port, wanted, readonly=True)
            assert [code for _number, code, _text in notices] == [326]
            other = await new_client(tws, wanted + 1)
            assert tws.counts()["client_ids"] == [wanted + 1]
            other.disconnect()
            await tws.drop()

    run(main())


def test_the_id_of_a_client_that_has_gone_is_held_for_a_while():
    async def story(tws, ib):
        ib.disconnect()
        await asyncio.sleep(0.1)
        with pytest.raises((ConnectionError, TimeoutError)):
            await new_client(tws, 1)
        await asyncio.sleep(2)
        (await new_client(tws, 1)).disconnect()

    told(story, behaviours=["id-held=2"])


@pytest.mark.parametrize(("behaviour", "waits"), [("api-closes", False), ("api-silent", True)])
def test_an_api_that_takes_nobody_closes_the_connection_or_says_nothing(behaviour, waits):
    async def main():
        async with SimulatedTws(behaviours=[behaviour]) as tws:
            reader, writer = await asyncio.open_connection("127.0.0.1", tws.port)
            writer.write(b"API\0")
            if waits:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reader.read(), 60)
            else:
                assert await reader.read() == b""
            with pytest.raises((ConnectionError, TimeoutError)):
                await IB().connectAsync("127.0.0.1", tws.port, readonly=True)
            writer.close()
            tws.switch(behaviour, on=False)
            (await new_client(tws)).disconnect()
            await tws.drop()

    run(main())


def test_behaviours_are_named_on_the_command_line_and_switched_by_order():
    async def ask(port, end):
        ib = IB()
        ib.RaiseRequestErrors = True
        await ib.connectAsync("127.0.0.1", port, 1, readonly=True)
        try:
            return await bars(ib, end=end)
        finally:
            ib.disconnect()
            await asyncio.sleep(0)

    with TwsProcess("--behaviour", "competing=162", "--behaviour", "sessions") as tws:
        assert asyncio.run(ask(tws.port, "20130227-22:00:00"))[0] == 162
        tws.do("switch", name="competing", on=False)
        tws.do("switch", name="no-subscription=354")
        assert asyncio.run(ask(tws.port, "20130228-22:00:00"))[0] == 354
        with pytest.raises(ValueError, match="no behaviour 'dance'"):
            tws.do("switch", name="dance")


def test_with_all_of_them_on_whoever_asks_again_has_the_truth_in_the_end():
    ends = [f"201202{day:02}-22:00:00" for day in range(1, 29)]

    async def ask_until_it_is_there(tws, ib, end):
        while True:
            await asyncio.sleep(PATIENT)
            with suppress(ConnectionError, TimeoutError):
                if not ib.isConnected():
                    await ib.connectAsync("127.0.0.1", tws.port, 1, readonly=True)
                found = await asyncio.wait_for(bars(ib, end=end), 20)
                if not isinstance(found, tuple):
                    return [(bar.date, bar.close) for bar in found]

    async def load(tws, ib):
        found = [await ask_until_it_is_there(tws, ib, end) for end in ends]
        return found, tws.counts()

    truth, _counts = told(load)
    found, counts = told(load, behaviours=[ALL])
    assert found == truth
    assert (counts["violations"], counts["requests"]["bars"] > len(ends) + 5) == ({}, True)
