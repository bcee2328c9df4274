"""A caller who leaves frees its questions at once: nothing that only it waited for goes on."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from patience import PATIENCE

from symcache_core import SymcacheSettings
from symcache_core.loading import DataManager
from symcache_core.providers import IbDataAdapter
from symcache_host.departures import Departures

BARS = {"symbol": "AAPL", "timeframe": "1d", "start": "2012-01-01", "end": "2012-02-01"}
SYMBOLS = [f"X{number}" for number in range(500)]
SLIGHTLY_LATER = 1.5
"""Seconds within which much more would be asked, if it still were."""


def request(method, path, body=None):
    """The bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    length = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n" if content else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n".encode() + content


@asynccontextmanager
async def sent(host, content):
    """A request through a socket of its own."""
    url = httpx.URL(host.ready["url"])
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(content)
    await writer.drain()
    try:
        yield reader, writer
    finally:
        writer.close()


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


def at_work(host):
    status = host.http.get("/health/").json()["ib_status"]
    return status["open_requests"] + status["waiting"]


def asked(tws):
    return sum(tws.counts()["requests"].values())


def test_a_disconnect_in_the_middle_of_a_batch_of_500_leaves_nothing_to_ask(broker, tws):
    async def story():
        async with sent(broker, request("POST", "/data/validate-batch", {"symbols": SYMBOLS, "timeframes": ["1d"]})):
            await until(lambda: asked(tws) > 60)
        before = asked(tws)
        await until(lambda: at_work(broker) == 0)
        await asyncio.sleep(SLIGHTLY_LATER)
        return asked(tws) - before

    # Of a thousand; until a busy host notices that nobody waits, it may send for half a second, by fifty a second.
    assert asyncio.run(story()) < 25
    assert tws.counts()["violations"] == {}


QUESTIONS = {
    "details": [request("POST", "/data/validate", {"symbol": "MSFT"}), request("GET", "/data/symbol-info/MSFT")],
    "head": [request("GET", "/data/head-timestamp?symbol=MSFT&timeframe=1d")],
    "bars": [request("POST", "/data/historical", BARS)],
}


@pytest.mark.parametrize("leave", ["close", "reset", "half-close"])
def test_whoever_leaves_leaves_no_request_open(broker, tws, leave):
    async def asked_and_left(question):
        async with sent(broker, question) as (_reader, writer):
            await until(lambda: at_work(broker) == 1)
            if leave == "reset":
                writer.transport.abort()
            elif leave == "half-close":  # whom the server cannot answer either
                writer.write_eof()
                await until(lambda: at_work(broker) == 0)
        await until(lambda: at_work(broker) == 0)
        await until(lambda: tws.counts()["open_slots"] == 0)

    for kind, questions in QUESTIONS.items():
        tws.do("fault", kind=kind, hang=True)
        for question in questions:
            asyncio.run(asked_and_left(question))
        tws.do("clear_faults")


BODILESS = [
    "",
    "Content-Length: 0\r\n",
    "Content-Length: 000\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 9\r\n",
]


@pytest.mark.parametrize("announced", BODILESS)
@pytest.mark.parametrize("path", ["/data/symbol-info/MSFT", "/data/head-timestamp?symbol=MSFT&timeframe=1d"])
def test_whoever_asks_without_a_body_is_missed_whatever_the_request_says_of_one(broker, tws, announced, path):
    tws.do("fault", kind="details", hang=True)
    end = b"0\r\n\r\n" if "chunked" in announced else b"{} and so" if "9" in announced else b""

    async def story():
        async with sent(broker, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{announced}\r\n".encode() + end):
            await until(lambda: at_work(broker) == 1)
        await until(lambda: at_work(broker) == 0)

    asyncio.run(story())


def test_whoever_sends_a_body_that_means_nothing_is_missed_however_long_it_is(broker, tws):
    tws.do("fault", kind="details", hang=True)
    head = b"GET /data/symbol-info/MSFT HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000\r\n\r\n"

    async def story():
        async with sent(broker, head + b"x" * 400_000):
            await until(lambda: at_work(broker) == 1)
        await until(lambda: at_work(broker) == 0)

    asyncio.run(story())


def test_whoever_stays_is_answered_though_another_who_asked_the_same_has_left(broker, tws):
    tws.do("fault", kind="details", slow=1.0)
    question = request("POST", "/data/validate", {"symbol": "MSFT"})

    async def story():
        before = asked(tws)
        async with httpx.AsyncClient(base_url=broker.ready["url"], trust_env=False, timeout=PATIENCE) as http:
            async with sent(broker, question):
                await until(lambda: asked(tws) == before + 1)
                staying = asyncio.create_task(http.post("/data/validate", json={"symbol": "msft"}))
                await until(lambda: broker.calls["requests"] == 3)
            answer = (await staying).json()
        return answer["is_valid"], asked(tws) - before

    assert asyncio.run(story()) == (True, 1)


def test_whoever_cancels_the_adapter_leaves_the_host(broker, tws):
    async def story():
        adapter = IbDataAdapter(broker.ready["url"])
        try:
            asking = asyncio.create_task(adapter.validate_many(SYMBOLS, ["1d"]))
            await until(lambda: asked(tws) > 60)
            asking.cancel()
            await asyncio.wait({asking})
            before = asked(tws)
            await until(lambda: at_work(broker) == 0)
            await asyncio.sleep(SLIGHTLY_LATER)
            return asked(tws) - before
        finally:
            await adapter.aclose()

    assert asyncio.run(story()) < 5


@pytest.mark.parametrize("hangs", ["details", "head", "bars"])
def test_whoever_cancels_a_load_leaves_the_host(broker, tws, tmp_path, hangs):
    tws.do("fault", kind=hangs, hang=True)
    settings = SymcacheSettings(host_service_url=broker.ready["url"], data_dir=tmp_path, backend="memory")

    async def story():
        with DataManager(settings) as manager:
            loading = asyncio.create_task(manager.aload("MSFT", "1d", start_date="2012-01-01", end_date="2012-02-01"))
            await until(lambda: at_work(broker) == 1)
            loading.cancel()
            await asyncio.wait({loading})
            await until(lambda: at_work(broker) == 0)

    asyncio.run(story())
    assert tws.counts()["open_slots"] == 0


def test_a_second_request_behind_the_first_has_its_answer_too(host):
    async def story():
        both = request("POST", "/data/validate", {"symbol": "AAPL"}) + request("GET", "/health")
        async with sent(host, both) as (reader, _writer):
            answers = [await answer(reader), await answer(reader)]
        return answers[0]["is_valid"], answers[1]["service"]

    assert asyncio.run(story()) == (True, "symcache-host")


def test_a_connection_serves_one_request_after_another(host):
    async def story():
        async with sent(host, b"") as (reader, writer):
            for symbol in ("AAPL", "MSFT", "NOSUCH"):
                writer.write(request("POST", "/data/validate", {"symbol": symbol}))
                assert (await answer(reader))["is_valid"] == (symbol != "NOSUCH")

    asyncio.run(story())


def test_a_body_in_pieces_arrives_whole(host):
    content = request("POST", "/data/validate-batch", {"symbols": ["AAPL", "MSFT"]})

    async def story():
        async with sent(host, content[:100]) as (reader, writer):
            for piece in (content[100:130], content[130:]):
                await asyncio.sleep(0.05)
                writer.write(piece)
            return (await answer(reader))["results"].keys()

    assert asyncio.run(story()) == {"AAPL", "MSFT"}


async def answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    length = next(int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length"))
    return json.loads(await reader.readexactly(length))


def test_whoever_leaves_is_no_matter_for_the_log(broker, tws, tmp_path):
    tws.do("fault", kind="details", hang=True)

    async def story():
        for _ in range(3):
            async with sent(broker, request("POST", "/data/validate", {"symbol": "MSFT"})):
                await until(lambda: at_work(broker) == 1)
            await until(lambda: at_work(broker) == 0)

    before = (tmp_path / "host.log").read_text()
    asyncio.run(story())
    assert "ASGI" not in (tmp_path / "host.log").read_text()
    assert (tmp_path / "host.log").read_text().startswith(before)
    assert "Traceback" not in (tmp_path / "host.log").read_text()


class Server:
    """What a server does with one request of an application, without a socket."""

    def __init__(self, *parts):
        self.parts = asyncio.Queue()
        for number, part in enumerate(parts, 1):
            self.parts.put_nowait({"type": "http.request", "body": part, "more_body": number < len(parts)})
        self.sent = []
        self.read = 0

    async def receive(self):
        message = await self.parts.get()
        self.read += 1
        return message

    async def send(self, message):
        self.sent.append(message["type"])

    def disconnect(self):
        self.parts.put_nowait({"type": "http.disconnect"})

    def run(self, app, *headers):
        return Departures(app)({"type": "http", "headers": headers}, self.receive, self.send)


LENGTH = (b"content-length", b"3")


def test_no_more_of_a_body_is_read_than_is_wanted_and_one_part_of_it():
    async def story():
        server, go_on = Server(*[b"x"] * 100), asyncio.Event()

        async def app(_scope, receive, send):
            await asyncio.sleep(0.01)
            assert server.read == 0
            await receive()
            await asyncio.sleep(0.01)
            assert server.read <= 3
            await send({"type": "http.response.body"})
            go_on.set()

        await server.run(app, LENGTH)
        assert go_on.is_set()

    asyncio.run(story())


def test_a_request_that_announces_an_empty_body_is_watched_before_anybody_reads_it():
    async def story():
        server, ended = Server(b""), []

        async def app(_scope, _receive, _send):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        serving = asyncio.create_task(server.run(app, (b"content-length", b"0")))
        await asyncio.sleep(0.01)
        server.disconnect()
        await asyncio.wait_for(serving, PATIENCE)
        assert ended

    asyncio.run(story())


def test_an_error_of_the_application_goes_on_to_the_server():
    async def app(_scope, _receive, _send):
        raise ZeroDivisionError

    async def story():
        with pytest.raises(ZeroDivisionError):
            await Server().run(app)

    asyncio.run(story())


def test_whatever_is_still_to_be_done_after_the_answer_is_done():
    done = []

    async def story():
        server = Server(b"")

        async def app(_scope, _receive, send):
            await send({"type": "http.response.body"})
            server.disconnect()  # which a server says, too, when the answer is sent
            await asyncio.sleep(0.01)
            done.append(True)

        await server.run(app)

    asyncio.run(story())
    assert done


def test_a_server_that_gives_up_a_request_ends_the_work_on_it():
    ended = []

    async def app(_scope, _receive, _send):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def story():
        serving = asyncio.create_task(Server(b"").run(app))
        await asyncio.sleep(0.01)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert ended

    asyncio.run(story())
