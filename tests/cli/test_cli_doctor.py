"""doctor lets the host service look now, and says in one line each what is wrong and what to do about it."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from contextlib import contextmanager

import pytest
from host_process import PRESENT, HostProcess
from json_server import JsonServer
from older_host import OlderHost
from tws.process import TwsProcess

FIELDS = {"what", "state", "detail", "advice"}
OWN_LOOPBACK = f"127.0.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250 + 1}"
"""An address of this machine that no other test listens at, whatever the port."""


@pytest.fixture
def tws():
    with TwsProcess() as running:
        yield running


@pytest.fixture
def serve_ib(folder, monkeypatch):
    """Start a host service in front of a TWS that the command's settings point to."""
    hosts = []

    def serve_ib(port, *arguments):
        hosts.append(HostProcess(folder, "--gateway", "ib", "--ib-port", str(port), *arguments, before=PRESENT))
        use(monkeypatch, hosts[-1].url)
        return hosts[-1]

    yield serve_ib
    for host in hosts:
        host.close()


def use(monkeypatch, url):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", url)
    monkeypatch.setenv("SYMCACHE_PROVIDER", "ib")


@contextmanager
def another_program(serve, host="127.0.0.1", port=0):
    """Something else that listens, and what it does with a connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((host, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def hang_up(_connection):
    pass


def be_silent(connection):
    while connection.recv(1024):
        pass


def answer_http(connection):
    connection.recv(8)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def found(done):
    """What a run with ``--json`` found, by what it looked at."""
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(check.keys() == FIELDS for check in checks)
    return {check["what"]: check for check in checks}


def line_about(what, done):
    """The one line about something, without what comes before its text."""
    (line,) = [line for line in done.stdout.splitlines() if line.split("\t")[1] == what]
    return line


def test_tws_that_is_closed_is_told_in_one_line_with_what_to_do(run, serve_ib, unused_url):
    port = unused_url.rpartition(":")[2]
    serve_ib(port)
    done = run("doctor")
    assert done.returncode == 3
    line = line_about("connection", done)
    assert line.startswith(f"fail\tconnection\tno connection to 127.0.0.1:{port}: the connection is refused: ")
    assert "start TWS or IB Gateway and log in" in line
    assert "Enable ActiveX and Socket Clients" in line
    check = found(run("doctor", "--json"))["connection"]
    assert (check["state"], check["detail"].endswith("refused")) == ("fail", True)
    assert "ib_port" in check["advice"]


@pytest.mark.parametrize(
    ("serve", "seen"),
    [
        (hang_up, "the connection is accepted, and closed at once"),
        (be_silent, "the connection is accepted, but nothing answers"),
    ],
)
def test_an_api_that_lets_nobody_in_is_told_in_one_line_with_what_to_do(run, serve_ib, serve, seen):
    with another_program(serve) as port:
        serve_ib(port)
        done = run("doctor")
    assert done.returncode == 3
    line = line_about("connection", done)
    assert line.startswith(f"fail\tconnection\tno connection to 127.0.0.1:{port}: {seen}: ")
    assert "Enable ActiveX and Socket Clients" in line
    assert "Trusted IPs" in line


def test_a_wrong_port_is_told_in_one_line_with_the_right_one(run, serve_ib):
    with another_program(be_silent, OWN_LOOPBACK, 7497):
        serve_ib(7496, "--ib-host", OWN_LOOPBACK)
        done = run("doctor")
    assert done.returncode == 3
    line = line_about("connection", done)
    assert f"no connection to {OWN_LOOPBACK}:7496: the connection is refused: " in line
    assert "7497 (TWS, paper account) answers there: set ib_port to it" in line


def test_another_program_at_that_port_is_told_with_what_it_says(run, serve_ib):
    with another_program(answer_http) as port:
        serve_ib(port)
        line = line_about("connection", run("doctor"))
    assert "no TWS or IB Gateway: HTTP/1.1 400 Bad Request: " in line
    assert "check ib_host and ib_port" in line


def test_a_client_id_that_is_taken_is_told_in_one_line_with_what_to_do(run, serve_ib, tws):
    serve_ib(tws.port)
    done = run("doctor")
    assert done.returncode == 0
    assert line_about("market data", done).endswith(" daily bars of AAPL")
    serve_ib(tws.port)
    done = run("doctor")
    assert done.returncode == 0
    line = line_about("other programs", done)
    assert line.startswith(
        "warn\tother programs\tanother program uses this TWS as client 1, and the pacing rules count"
    )
    assert "let all programs use one host service" in line
    assert "as client 2" in line_about("connection", done)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (354, "Requested market data is not subscribed."),
        (10089, "Requested market data requires additional subscription for API."),
        (162, "Historical Market Data Service error message:No market data permissions for ISLAND STK"),
    ],
)
def test_a_missing_subscription_is_told_in_one_line_with_what_to_do(run, serve_ib, tws, code, text):
    tws.do("fault", kind="bars", code=code, text=text)
    serve_ib(tws.port)
    done = run("doctor")
    assert done.returncode == 3
    line = line_about("market data", done)
    assert line.startswith(f"fail\tmarket data\tno market data subscription: {text} (code {code}) (AAPL): subscribe to")
    assert line_about("contract", done) == "ok\tcontract\tAAPL is Apple Inc."


def test_tws_that_has_lost_its_servers_is_told(run, serve_ib, tws):
    serve_ib(tws.port)
    assert found(run("doctor", "--json"))["connection"]["state"] == "ok"
    tws.do("notice", code=1100)
    done = run("doctor", "--json")
    assert done.returncode == 3
    assert "(code 1100)" in found(done)["connection"]["detail"]
    assert "wait" in found(done)["connection"]["advice"]


def test_an_embedded_host_is_started_to_look_and_leaves_nothing_behind(run, folder, monkeypatch, tws):
    tws.do("fault", kind="bars", code=354)
    use(monkeypatch, "embedded")
    monkeypatch.setenv("SYMCACHE_HOST_IB_PORT", str(tws.port))
    monkeypatch.setenv("SYMCACHE_HOST_IB_QUIET_START", "0")
    done = run("doctor", "--backend", "memory")
    assert (done.returncode, done.stderr) == (3, "")
    assert line_about("provider ib", done) == "ok\tprovider ib\tan embedded host answers, gateway 'ib'"
    assert line_about("contract", done) == "ok\tcontract\tAAPL is Apple Inc."
    assert "no market data subscription" in line_about("market data", done)
    assert not (folder / "data").exists()
    tws.do("stop")
    done = run("doctor", "--backend", "memory")
    assert done.returncode == 3
    assert "the connection is refused" in line_about("connection", done)


def test_a_host_with_a_token_looks_only_for_who_has_it_and_nobody_sees_it(run, serve_ib, monkeypatch, tws):
    monkeypatch.setenv("SYMCACHE_HOST_TOKEN", "t0ken-of-this-test")
    serve_ib(tws.port)
    done = run("doctor", "-vv", "--json")
    assert done.returncode == 0, done.stdout
    assert found(done)["contract"]["state"] == "ok"
    assert "t0ken" not in done.stdout + done.stderr
    monkeypatch.setenv("SYMCACHE_HOST_TOKEN", "an0ther")
    done = run("doctor", "-vv")
    assert done.returncode == 3
    assert "says 401" in line_about("provider ib", done)
    assert "an0ther" not in done.stdout + done.stderr


@pytest.mark.parametrize("connected", [True, False])
def test_of_a_host_that_does_not_look_its_health_is_told(invoke, monkeypatch, connected):
    with OlderHost() as older:
        older.connected = connected
        use(monkeypatch, older.url)
        done = invoke("doctor")
    assert done.exit_code == (0 if connected else 3)
    line = line_about("provider ib", done)
    assert line.startswith("ok\t" if connected else "fail\t")
    assert connected or "not healthy" in line


class Told(JsonServer):
    """A host whose answers to both questions are given."""

    def __init__(self, health, look):
        self.told = {"GET": health, "POST": look}

    def answer(self, method, _path, _question):
        return self.told[method]


HEALTHY = (200, {"healthy": True, "gateway": "ib"})
PROBLEM = {"problem": "no connection", "advice": "start it"}


@pytest.mark.parametrize("told", ["connection_info", "ib_status"])
@pytest.mark.parametrize("status", [404, 405, 500])
def test_the_problem_that_a_health_has_is_told_where_the_host_does_not_look(invoke, monkeypatch, told, status):
    with Told((200, {"healthy": False, "gateway": "ib", told: PROBLEM}), (status, {"detail": "no"})) as host:
        use(monkeypatch, host.url)
        done = invoke("doctor", "--json")
    check = found(done)["provider ib"]
    assert (done.exit_code, check["state"], check["advice"]) == (3, "fail", "start it")
    assert check["detail"].endswith("not healthy: no connection")


@pytest.mark.parametrize(
    "look",
    [
        [],
        "findings",
        {"findings": 7},
        {"findings": [{"what": "x"}]},
        {"findings": [{"what": "x", "state": "no", "detail": "", "advice": None}]},
        {"findings": [{"what": "x", "state": [], "detail": "", "advice": None}]},
    ],
    ids=str,
)
def test_a_look_that_cannot_be_read_is_none(invoke, monkeypatch, look):
    with Told(HEALTHY, (200, look)) as host:
        use(monkeypatch, host.url)
        done = invoke("doctor")
    assert done.exit_code == 0
    assert "answers, gateway 'ib'" in line_about("provider ib", done)


@pytest.mark.parametrize("health", [[], "healthy", 7, None, {}, {"healthy": True, "gateway": ["ib"]}], ids=str)
def test_what_is_no_host_service_is_told(invoke, monkeypatch, health):
    with Told((200, health), (404, {})) as host:
        use(monkeypatch, host.url)
        done = invoke("doctor")
    assert done.exit_code in (2, 3)
    assert line_about("provider ib", done).startswith("fail\t")


def test_a_text_of_a_host_is_one_short_line(invoke, monkeypatch):
    hostile = "x\ty\nfail\tz \x1b[2J" + "long" * 10_000
    findings = [{"what": hostile, "state": "warn", "detail": hostile, "advice": hostile}]
    with Told(HEALTHY, (200, {"findings": findings})) as host:
        use(monkeypatch, host.url)
        done = invoke("doctor")
    line = done.stdout.splitlines()[-1]
    assert line.count("\t") == 2
    assert len(line) < 2500
    assert line.replace("\t", " ").isprintable()


def test_a_host_that_ends_in_the_middle_of_a_look_is_told(invoke, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_once, args=(server,), daemon=True)
        thread.start()
        use(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        done = invoke("doctor")
        thread.join()
    assert done.exit_code == 3
    assert "host_service_url" in line_about("provider ib", done)


def answer_once(server):
    """Answer the first request, and end with the second."""
    body = json.dumps(HEALTHY[1]).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection, _address = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(head.encode() + body)
        connection.recv(65536)
