"""Nobody gets in without the token, and nobody with too much."""

from __future__ import annotations

import pytest

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
