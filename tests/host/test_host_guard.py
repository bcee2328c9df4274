"""Nobody gets in without the token, and nobody with too much."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from patience import PATIENCE

from symcache_core.errors import ConfigurationError
from symcache_host.settings import HostSettings

TOKEN = "a-token-of-this-test"
PATHS = ["/", "/health", "/health/", "/data/symbol-info/AAPL", "/openapi.json", "/nowhere"]
WRONG = ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer caf\xe9"]


def test_every_path_asks_for_the_token_and_never_shows_it(start, tmp_path):
    host = start("--bind", "0.0.0.0", SYMCACHE_HOST_TOKEN=TOKEN)
    for path in PATHS:
        for header in WRONG:
            refused = host.http.get(path, headers={"Authorization": header.encode("latin-1")})
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer"), (path, header)
            assert TOKEN not in refused.text
        assert host.http.get(path).status_code == 401
    right = {"Authorization": f"bearer {TOKEN}"}
    assert [host.http.get(path, headers=right).status_code for path in PATHS] == [200] * 5 + [404]
    assert TOKEN not in (tmp_path / "host.log").read_text()
    refused_ones = host.http.get("/health/", headers=right).json()["calls"]
    assert refused_ones == {"requests": 1, "gateway": 1}


REFUSED = {"date", "server", "content-length", "content-type", "www-authenticate"}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["no token", "a wrong one"])
def test_without_the_token_every_route_and_method_gives_401_and_nothing_else(start, headers):
    host = start("--bind", "0.0.0.0", SYMCACHE_HOST_TOKEN=TOKEN)
    bodies = [b"", b"{", b'{"symbol": "AAPL"}', b" " * (2 * 1024 * 1024)]
    for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "X"):
        for path in [*PATHS, "/data/validate", "/data/validate-batch", "/data/historical", "/data/head-timestamp"]:
            for body in bodies if method == "POST" else [b""]:
                refused = host.http.request(method, path, headers=headers, content=body)
                assert refused.status_code == 401, (method, path)
                assert set(refused.headers) - {"connection"} == REFUSED
                said = refused.content if method != "HEAD" else b'{"detail":"a valid bearer token is needed"}'
                assert said == b'{"detail":"a valid bearer token is needed"}'
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert host.http.get("/health/", headers=right).json()["calls"] == {"requests": 0, "gateway": 0}


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "a-name.example"])
def test_beyond_loopback_it_does_not_start_without_a_token(bind, tmp_path):
    command = [sys.executable, "-m", "symcache_host", "--bind", bind, "--port", "0"]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE, env=dict(os.environ))
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "'token'" in line
    assert "SYMCACHE_HOST_TOKEN" in line
    assert list(tmp_path.iterdir()) == [], "nothing was opened"


@pytest.mark.parametrize("name", ["evil.example", "evil.example:5001", "192.0.2.1", "127.0.0.1.evil.example", "", "["])
def test_without_a_token_it_answers_to_no_name_but_this_machine_s(host, name):
    refused = host.http.get("/data/symbol-info/AAPL", headers={"Host": name})
    assert refused.status_code == 421
    assert refused.json() == {"detail": "without a token, only loopback addresses lead here"}


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:5001", "LOCALHOST:80", "[::1]:5001", "127.1.2.3"])
def test_to_those_it_does(host, name):
    assert host.http.get("/health", headers={"Host": name}).status_code == 200


def test_with_a_token_it_answers_to_any(start):
    host = start(SYMCACHE_HOST_TOKEN=TOKEN)
    mine = {"Host": "symbols.example", "Authorization": f"Bearer {TOKEN}"}
    assert host.http.get("/health", headers=mine).status_code == 200


@pytest.mark.parametrize("token", ["two words", "caf\xe9", "line\n", " "])
def test_a_token_that_nobody_could_send_is_refused_and_not_shown(token):
    with pytest.raises(ConfigurationError, match="visible ASCII") as caught:
        HostSettings(token=token)
    assert token.strip() == "" or token not in str(caught.value)


def test_a_token_shows_in_no_repr_and_no_error():
    settings = HostSettings(bind="0.0.0.0", token=TOKEN)
    assert TOKEN not in repr(settings)
    with pytest.raises(ConfigurationError) as caught:
        HostSettings(token=TOKEN, port="no port")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_token(bind):
    assert HostSettings(bind=bind).token is None


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "a-name.example"])
def test_beyond_loopback_a_token_is_needed(bind):
    with pytest.raises(ConfigurationError, match="token"):
        HostSettings(bind=bind)


def test_a_body_over_one_mebibyte_is_too_much(host):
    exactly = b" " * (1024 * 1024)
    as_json = {"Content-Type": "application/json"}
    assert host.http.post("/data/validate", content=exactly + b" ", headers=as_json).status_code == 413
    assert host.http.post("/data/validate", content=exactly, headers=as_json).status_code == 422
    chunks = (b" " * 65536 for _ in range(17))
    assert host.http.post("/data/validate", content=chunks, headers=as_json).status_code == 413
    assert host.http.get("/health").json()["healthy"]
