"""Whatever anyone sends, the service answers in its own words, stays up, and writes nothing but its cache."""

from __future__ import annotations

import json
import re
import socket
from contextlib import contextmanager
from itertools import cycle, islice, product
from random import Random
from urllib.parse import quote

import pytest
from patience import PATIENCE
from tws.looptime import run
from tws.market import NOW
from tws.process import TwsProcess
from tws.server import SimulatedTws

from symcache_core.errors import InvalidSymbolError, ProviderError
from symcache_core.symbols import Instrument
from symcache_host.gateway import Caller
from symcache_host.ib.connection import IbConnection
from symcache_host.ib.gateway import IbGateway

pytestmark = pytest.mark.once

POLITE = {200, 404, 405, 413, 422}
AS_JSON = {"Content-Type": "application/json"}
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) (symcache|uvicorn\.error): \S")
FORGED = "2026-01-01 00:00:00,000 ERROR symcache: FORGED"

SYMBOLS = [
    *("", " ", "\t", "\x00", "A\x00B", "\x7f", "\x1b[31mRED\x1b[0m", "A\x85B", "A\u2028B", "A\u2029B", "A\u200bB"),
    *(f"AAPL\n{FORGED}", f"AAPL\r\n{FORGED}", f"AAPL\r{FORGED}", f"AAPL%0d%0a{FORGED}", f"AAPL\\n{FORGED}"),
    *("\ud800", "\udfffA", "A\ud83d", "\ufeffAAPL", "\ufffe", "\U0010ffff", "\u202eLPAA", "e\u0301" * 64, "ﬁ" * 128),
    *("../../etc/passwd", "..\\..\\windows", "/etc/passwd", "file:///etc/passwd", "C:\\NUL", "NUL", "~root", ".", ".."),
    *("....//....//", "%2e%2e%2f", "%252e%252e%252f", "%00", "%c0%ae", "%ff", "%", "%%", "%s%s%n", "%(symbol)s", "{0}"),
    *("{symbol.__class__}", "${jndi:ldap://127.0.0.1/a}", "{{7*7}}", "$(reboot)", "`reboot`", "; rm -rf /", "| cat"),
    *("' OR 1=1 --", '"; DROP TABLE symbols; --', "1; SELECT pg_sleep(9)", "') UNION SELECT NULL--", "<script>", "<b>"),
    *("ib|STK|AAPL||", "@counters|replay", "@imported|x", "||||", "STK:@:", "STK:AAPL@", "@SMART", "AAPL@@:USD", ":::"),
    *(
        "A" * 128,
        "A" * 129,
        "A" * 4096,
        "A" * 60000,
        "股" * 128,
        "\U0001f4a9" * 128,
        "İ" * 128,
        "ß" * 128,
        "NaN",
        "null",
    ),
    *("true", "-1", "1e999", "0x41", "__proto__", "constructor", "self", "None", "\\", "\\u0000", '"', "'", "?", "#"),
    *("AAPL?x=1", "AAPL#x", "AAPL&symbol=B", "AAPL;x", "EUR/USD", "EUR//USD", "EUR/US", "BRK.B.C", "con.txt", "-rf"),
]
TOO_DEEP = 50_000
BODIES = [
    *(
        b"",
        b" ",
        b"null",
        b"true",
        b"7",
        b"-0",
        b"1e999",
        b"NaN",
        b'"AAPL"',
        b"[]",
        b"{}",
        b"{",
        b"}",
        b"[[",
        b'{"symbol"',
    ),
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"\xed\xa0\x80", b'{"symbol": "\\ud800"}', b'{"symbol": "\\u0000"}'),
    *(b"[" * TOO_DEEP, b'{"a":' * TOO_DEEP, b"[" * TOO_DEEP + b"]" * TOO_DEEP, b'{"symbol": "AAPL"} trailing'),
    *(b'{"symbol": ' + b"[" * 900 + b"]" * 900 + b"}", b'{"symbol": ' + b"9" * 5000 + b"}", b"<xml/>", b"a=b&c=d"),
    *(b'{"symbol": "AAPL", "symbol": 7}', b'{"symbol": "' + b"A" * 1_000_000 + b'"}', b" " * (1024 * 1024 + 1)),
]
WRONG = [None, True, 7, -1, 1e308, [], {}, [[]], {"a": 1}, [None], "", "1d", ["1d", 7], ["3d"], "\u0000", 10**400]
TIMES = [
    "",
    "now",
    "0",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "2012-13-01",
    "\u0662\u0660\u0661\u0662-\u0660\u0661-\u0660\u0661",
]
POSTS = ["/data/validate", "/data/validate-batch", "/data/historical"]
TERMS = ["X-Symcache-Client", "X-Symcache-Priority", "X-Symcache-Deadline"]
WORDS = [b"", b"-1", b"0", b"nan", b"inf", b"1e400", b"\xff\xfe", b"A" * 5000, b"warming\tx", b"a b", b"%0d%0a", b"\\n"]


def as_json(document):
    return json.dumps(document).encode()


def of_symbols():
    """A thousand of them: those above, and what comes of two of them side by side, each to one of the routes."""
    pairs = Random(6)
    mixed = ("".join(pairs.sample(SYMBOLS, 2))[: pairs.randrange(1, 300)] for _ in cycle([0]))
    for number, symbol in enumerate(islice((*SYMBOLS, *islice(mixed, 1000)), 1000)):
        yield of_a_symbol(number % 5, symbol)


def of_a_symbol(route, symbol):
    escaped = quote(symbol, safe="", errors="surrogatepass")
    bars = {"symbol": symbol, "timeframe": "1d", "start": "2012-01-01", "end": "2012-02-01"}
    return [
        ("POST", "/data/validate", as_json({"symbol": symbol, "timeframes": ["1d"]}), AS_JSON),
        ("POST", "/data/validate-batch", as_json({"symbols": ["AAPL", symbol]}), AS_JSON),
        ("POST", "/data/historical", as_json(bars), AS_JSON),
        ("GET", f"/data/symbol-info/{escaped}", b"", {}),
        ("GET", f"/data/head-timestamp?symbol={escaped}&timeframe=1d", b"", {}),
    ][route]


def of_bodies():
    for path, body, kind in product(POSTS, BODIES, [AS_JSON, {}, {"Content-Type": "text/plain"}]):
        yield "POST", path, body, kind
    for wrong in WRONG:
        yield "POST", "/data/validate", as_json({"symbol": wrong}), AS_JSON
        yield "POST", "/data/validate", as_json({"symbol": "AAPL", "timeframes": wrong}), AS_JSON
        yield "POST", "/data/validate-batch", as_json({"symbols": wrong}), AS_JSON
        yield "POST", "/data/validate-batch", as_json({"symbols": [wrong]}), AS_JSON
        for field in ("symbol", "timeframe", "start", "end", "instrument_type"):
            fields = {"symbol": "AAPL", "timeframe": "1d", "start": "2012-01-01", "end": "2012-02-01", field: wrong}
            yield "POST", "/data/historical", as_json(fields), AS_JSON
    for first, last in product(TIMES, TIMES):
        fields = {"symbol": "AAPL", "timeframe": "1d", "start": first, "end": last}
        yield "POST", "/data/historical", as_json(fields), AS_JSON


def of_the_rest():
    for name, word in product(TERMS, WORDS):
        yield "GET", "/data/symbol-info/AAPL", b"", {name: word}
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "X" * 100):
        for path in ("/", "/health", "/data/validate", "/data/symbol-info/AAPL", "/nowhere"):
            yield method, path, b"", {}
    for path in (
        "//",
        "/data",
        "/data/",
        "/data/../data/validate",
        "/%2e%2e/",
        "/health//",
        "/docs",
        "/" + "a" * 30000,
    ):
        yield "GET", path, b"", {}


@contextmanager
def siege(start, tmp_path, *arguments):
    """A host whose surroundings are looked at before and after."""
    folder = tmp_path / "host"
    folder.mkdir()
    host = start(*arguments, SYMCACHE_HOST_DATA_DIR="host")
    before = host.http.post("/data/validate", json={"symbol": "MSFT", "timeframes": ["1d"]}).json()
    files = sorted(tmp_path.rglob("*"))
    yield host
    assert host.process.poll() is None
    host.http.headers.pop("X-Symcache-Deadline", None)
    assert host.http.post("/data/validate", json={"symbol": "MSFT", "timeframes": ["1d"]}).json() == before
    assert sorted(tmp_path.rglob("*")) == files, "nothing is written but what was there"
    assert host.stop() == 0
    lines = (tmp_path / "host.log").read_text().splitlines()
    assert all(map(LOG_LINE.match, lines)), "every line is the host's own"


@pytest.fixture
def besieged(start, tmp_path):
    """One with the replay gateway."""
    with siege(start, tmp_path) as host:
        yield host


@pytest.fixture
def besieged_broker(start, tmp_path):
    """One whose gateway is Interactive Brokers, where nobody waits for a second look at what is unknown."""
    with TwsProcess() as tws, siege(start, tmp_path, "--gateway", "ib", "--ib-port", str(tws.port)) as host:
        host.http.headers["X-Symcache-Deadline"] = "0.2"
        yield host


def assail(host, requests):
    asked = 0
    for method, path, content, headers in requests():
        answer = host.http.request(method, path, content=content, headers=headers)
        assert answer.status_code in POLITE, (method, path[:200], content[:200], headers, answer.text[:500])
        if method != "HEAD":
            assert isinstance(answer.json(), dict), path
        asked += 1
    assert asked == 1000 or requests is not of_symbols


@pytest.mark.parametrize("requests", [of_symbols, of_bodies, of_the_rest], ids=["symbols", "bodies", "the rest"])
def test_whatever_comes_gets_a_polite_answer(besieged, requests):
    assail(besieged, requests)


@pytest.mark.parametrize(
    "requests",
    [pytest.param(of_symbols, marks=pytest.mark.soak), of_bodies, pytest.param(of_the_rest, marks=pytest.mark.soak)],
    ids=["symbols", "bodies", "the rest"],
)
def test_and_where_interactive_brokers_is_asked(besieged_broker, requests):
    assail(besieged_broker, requests)


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\r\n\r\n",
        b"GET /data/symbol-info/A\x00B HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET /data/symbol-info/A\r\n{FORGED} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
    ids=["bytes", "a null in the path", "a line break in the path", "a length below none", "endless", "two hosts"],
)
def test_what_is_no_http_at_all_is_turned_away(besieged, line):
    with socket.create_connection(("127.0.0.1", besieged.http.base_url.port), timeout=PATIENCE) as connection:
        connection.sendall(line)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_interactive_brokers_knows_or_does_not_know_each_of_them():
    async def verdict(gateway, symbol):
        try:
            return (await gateway.validate(str(Instrument.parse(symbol)), ["1d"], Caller())).result.is_valid
        except InvalidSymbolError:
            return None
        except ProviderError as error:
            return error

    async def main():
        async with SimulatedTws(now=NOW) as tws:
            gateway = IbGateway(IbConnection("127.0.0.1", tws.port), clock=NOW.timestamp)
            await gateway.open()
            verdicts = [await verdict(gateway, symbol) for symbol in SYMBOLS]
            await gateway.aclose()
            return verdicts, tws.counts()

    verdicts, counts = run(main())
    assert set(verdicts) == {True, False, None}
    assert verdicts.count(True) < 5
    assert counts["connects"] == 1, "none of them broke the connection"
