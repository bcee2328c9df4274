"""A look at Interactive Brokers connects at once, asks for what everybody knows, and says what fails and what to do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from tws.looptime import run
from tws.market import NOW
from tws.server import SimulatedTws

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.cli.doctor_host import LOOK_TIMEOUT
from symcache_host.ib.advice import SUBSCRIPTION, Failure
from symcache_host.ib.connection import HURRY_APART, IbConnection
from symcache_host.ib.gateway import IbGateway
from symcache_host.ib.probes import APART, LIMIT, LONGEST_QUIET
from symcache_host.looks import Looks
from symcache_host.replay import ReplayGateway
from symcache_host.service import HostService

SOON = 30.0
"""Seconds after its start, when a gateway asks at its usual pace."""

NIGHT = datetime(2013, 2, 28, 4, 50, tzinfo=UTC)  # 23:50 in New York


@asynccontextmanager
async def connected(now=NOW, quiet=0.0, soon=SOON, **options):
    """A simulated TWS, and a gateway whose clock goes with the loop's."""
    loop = asyncio.get_running_loop()

    def clock():
        return now.timestamp() + loop.time()

    async with SimulatedTws(now=now, **options) as tws:
        connection = IbConnection("127.0.0.1", tws.port, request_timeout=60.0, clock=clock)
        gateway = IbGateway(connection, clock=clock, quiet_start=quiet)
        await gateway.open()
        await asyncio.sleep(soon)
        try:
            yield tws, gateway
        finally:
            await gateway.aclose()


def told(story, **options):
    """What a story about a simulated TWS and a gateway gives."""

    async def main():
        async with connected(**options) as (tws, gateway):
            return await story(tws, gateway)

    return run(main())


def seconds():
    return asyncio.get_running_loop().time()


async def states(gateway):
    return {found.what: found.state for found in await gateway.look()}


def test_where_all_is_well_it_says_so_and_asks_once_for_each():
    async def story(tws, gateway):
        began = seconds()
        findings = await gateway.look()
        assert [(found.what, found.state, found.advice) for found in findings] == [
            ("connection", "ok", None),
            ("contract", "ok", None),
            ("market data", "ok", None),
        ]
        assert "as client 1" in findings[0].detail
        assert tws.counts()["requests"] == {"bars": 1, "details": 1}
        assert tws.counts()["violations"] == {}
        assert seconds() - began < 1

    told(story)


@pytest.mark.parametrize("code", [354, 10089, 10168, 10186, 10187, 162])
def test_without_any_subscription_it_fails_and_names_code_and_text(code):
    async def story(tws, gateway):
        tws.fault("bars", code=code, text="No market data permissions, as it says itself")
        *_others, found = await gateway.look()
        assert (found.what, found.state) == ("market data", "fail")
        assert found.detail.startswith(f"{SUBSCRIPTION}: No market data permissions, as it says itself (code {code})")
        assert "subscribe" in found.advice

    told(story)


@pytest.mark.parametrize("soon", [0.0, 5.0, 14.9])
def test_a_start_just_before_is_none_of_tws_faults(soon):
    async def story(tws, gateway):
        began = seconds()
        tws.fault("bars", code=162, times=1)
        assert await states(gateway) == {"connection": "ok", "contract": "ok", "market data": "ok"}
        assert seconds() - began < LONGEST_QUIET + LIMIT
        assert tws.counts()["violations"] == {}

    told(story, quiet=15.0, soon=soon)


def test_after_a_start_with_a_long_quiet_it_says_until_when_nothing_is_asked():
    async def story(tws, gateway):
        began = seconds()
        *_others, found = await gateway.look()
        assert seconds() - began < 1
        assert (found.what, found.state, found.advice) == ("market data", "warn", "look again then")
        until = gateway.as_of() + timedelta(seconds=gateway.quiet_left)
        assert f"waits until {until:%H:%M:%S} UTC, as nothing may be asked just after a start" in found.detail
        assert "bars" not in tws.counts()["requests"]

    told(story, quiet=3600.0)


@pytest.mark.parametrize("kind", ["details", "bars"])
def test_what_never_answers_after_a_start_is_given_up_all_the_same(kind):
    async def story(tws, gateway):
        tws.fault(kind, hang=True)
        began = seconds()
        *_others, found = await gateway.look()
        assert (found.what, found.state) == ("answers", "fail")
        assert seconds() - began <= LONGEST_QUIET + LIMIT + 1 < LOOK_TIMEOUT

    told(story, quiet=15.0, soon=0.0)


FOREIGN = "历史市场数据服务错误消息" * 5


@pytest.mark.parametrize("kind", ["details", "bars"])
def test_a_text_in_another_language_is_shown_with_how_to_have_it_in_english(kind):
    async def story(tws, gateway):
        tws.fault(kind, code=162 if kind == "bars" else 99999, text=FOREIGN.encode("unicode_escape").decode())
        *_others, found = await gateway.look()
        assert found.state == "fail"
        assert FOREIGN in found.detail
        assert found.advice.startswith("TWS can say that in English: Global Configuration")
        assert "English" not in found.detail

    told(story)


def test_without_a_subscription_for_one_exchange_it_warns():
    async def story(tws, gateway):
        tws.fault("bars", code=354, symbol="AAPL")
        *_others, found = await gateway.look()
        assert (found.what, found.state) == ("market data", "warn")
        assert "(AAPL)" in found.detail
        assert "EURUSD" in found.detail
        assert "subscribe" in found.advice

    told(story)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (10197, "No market data during competing live session"),
        (162, "error message:Trading TWS session is connected from a different IP address"),
    ],
)
def test_another_session_is_told_from_a_missing_subscription(code, text):
    async def story(tws, gateway):
        tws.fault("bars", code=code, text=text)
        *_others, found = await gateway.look()
        assert (found.what, found.state) == ("market data", "fail")
        assert found.detail.startswith("another session has the market data: ")
        assert "log out" in found.advice
        assert tws.counts()["requests"]["bars"] == 1

    told(story)


def test_where_there_are_no_bars_it_warns():
    async def story(tws, gateway):
        tws.fault("bars", code=162, text="HMDS query returned no data: AAPL@SMART")
        *_others, found = await gateway.look()
        assert (found.what, found.state) == ("market data", "warn")

    told(story)


@pytest.mark.parametrize("kind", ["details", "bars"])
def test_what_does_not_answer_is_given_up(kind):
    async def story(tws, gateway):
        tws.fault(kind, hang=True)
        began = seconds()
        *_others, found = await gateway.look()
        assert found.state == "fail"
        assert seconds() - began == pytest.approx(LIMIT, abs=1)

    told(story)


def test_where_a_known_contract_is_unknown_nothing_more_is_asked():
    async def story(tws, gateway):
        tws.fault("details", code=200)
        *_others, found = await gateway.look()
        assert (found.what, found.state) == ("contract", "fail")
        assert "bars" not in tws.counts()["requests"]

    told(story)


def test_without_tws_it_says_why_and_as_soon_as_there_is_one_it_connects():
    async def story(tws, gateway):
        await gateway.look()
        await tws.stop()
        await asyncio.sleep(300)
        (found,) = await gateway.look()
        assert (found.what, found.state) == ("connection", "fail")
        assert str(Failure.REFUSED) in found.detail
        assert "ib_port" in found.advice
        await tws.start()
        assert await states(gateway) == {"connection": "ok", "contract": "ok", "market data": "ok"}

    told(story)


def test_a_lost_link_is_told_and_nothing_is_asked():
    async def story(tws, gateway):
        await gateway.look()
        tws.notice(1100)
        await asyncio.sleep(60)
        messages = tws.counts()["messages"]
        (found,) = await gateway.look()
        assert (found.state, "1100" in found.detail) == ("fail", True)
        assert tws.counts()["messages"] == messages

    told(story)


def test_a_farm_that_is_down_is_a_warning():
    async def story(tws, gateway):
        await gateway.look()
        tws.notice(2103)
        await asyncio.sleep(60)
        assert (await states(gateway))["connection"] == "warn"

    told(story)


def test_a_connection_that_is_lost_in_the_middle_is_told():
    async def story(tws, gateway):
        tws.fault("bars", hang=True)
        look = asyncio.ensure_future(gateway.look())
        await asyncio.sleep(5)
        await tws.stop()
        assert {found.what: found.state for found in await look} == {
            "connection": "fail",
            "contract": "ok",
            "market data": "fail",
        }

    told(story)


def test_other_programs_are_told_as_long_as_they_are_there():
    async def story(tws, gateway):
        await gateway.look()
        second = IbConnection("127.0.0.1", tws.port, clock=lambda: 0.0)
        await second.open()
        await second.ready()
        other = IbGateway(second, clock=lambda: gateway.as_of().timestamp())
        found = {each.what: each for each in await other.look()}
        assert found["other programs"].state == "warn"
        assert "as client 1," in found["other programs"].detail
        assert other.status()["taken_client_ids"] == [1]
        assert other.status()["warning"] == f"{found['other programs'].detail}: {found['other programs'].advice}"
        await gateway.aclose()
        await asyncio.sleep(APART)
        assert "other programs" not in await states(other)
        assert (other.status()["taken_client_ids"], other.status()["warning"]) == ([], None)
        await other.aclose()

    told(story)


def test_many_looks_cost_a_few_questions():
    async def story(tws, gateway):
        looks = Looks(gateway.look)
        for _time in range(300):
            await asyncio.gather(*(looks.look() for _ in range(10)))
            await asyncio.sleep(0.2)
        asked = tws.counts()["requests"]
        assert asked["bars"] <= seconds() / APART
        assert asked["details"] <= seconds() / APART
        assert tws.counts()["violations"] == {}

    told(story)


def test_many_looks_at_a_tws_that_is_away_do_not_hammer_it():
    async def story(tws, gateway):
        tws.fault("start", drop=True)
        await tws.drop()
        before, began, looks = tws.counts()["connects"], seconds(), Looks(gateway.look)
        while seconds() - began < 60:
            await looks.look()
        # What a lost login may have sent counts for some seconds more.
        assert 8 <= tws.counts()["connects"] - before <= 60 / HURRY_APART + 2

    told(story)


def test_whoever_leaves_ends_nobody_elses_look():
    async def story(tws, gateway):
        tws.fault("details", slow=3)
        looks = Looks(gateway.look)
        first, second = asyncio.ensure_future(looks.look()), asyncio.ensure_future(looks.look())
        await asyncio.sleep(1)
        first.cancel()
        assert [found.state for found in await second] == ["ok", "ok", "ok"]
        third = asyncio.ensure_future(looks.look())
        await asyncio.sleep(0)
        await looks.aclose()
        with pytest.raises(asyncio.CancelledError):
            await third

    told(story)


def test_at_night_the_advice_is_to_wait_first():
    async def story(tws, gateway):
        await tws.stop()
        await asyncio.sleep(10)
        assert gateway.status()["advice"].startswith("wait until 05:45 UTC, when Interactive Brokers has restarted")
        assert "ib_port" in gateway.problem.advice
        (found,) = await gateway.look()
        assert found.advice == gateway.problem.advice

    told(story, now=NIGHT)


def test_the_service_looks_and_tells_the_health_that_follows_from_it():
    async def story(tws, gateway):
        service = HostService(gateway, open_symbol_cache(SymcacheSettings(backend="memory", provider="ib")))
        report = await service.look()
        assert (report.healthy, report.gateway) == (True, "ib")
        assert [found.what for found in report.findings] == ["connection", "contract", "market data"]
        await service.aclose()

    told(story)


def test_recorded_history_is_never_away():
    (found,) = asyncio.run(ReplayGateway(latency=0.0, as_of=date(2013, 3, 1)).look())
    assert (found.state, found.detail) == ("ok", "recorded history up to 2013-03-01")
