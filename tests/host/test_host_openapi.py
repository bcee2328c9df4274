"""The service describes itself in full, and does nothing that is not in its description."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from patience import PATIENCE
from tws.process import TwsProcess

from symcache_core.timeframes import TIMEFRAMES

pytestmark = pytest.mark.once

TOKEN = "a-token-of-this-test"
LET_IN = {"401", "421"}
STATUSES = {
    ("POST", "/data/validate"): {"200", "413", "422"} | LET_IN,
    ("POST", "/data/validate-batch"): {"200", "413", "422"} | LET_IN,
    ("POST", "/data/historical"): {"200", "413", "422"} | LET_IN,
    ("GET", "/data/symbol-info/{symbol}"): {"200", "404", "422"} | LET_IN,
    ("GET", "/data/head-timestamp"): {"200", "422"} | LET_IN,
    ("GET", "/"): {"200"} | LET_IN,
    ("GET", "/health"): {"200"} | LET_IN,
    ("GET", "/health/"): {"200"} | LET_IN,
    ("GET", "/health/detailed"): {"200"} | LET_IN,
    ("POST", "/health/look"): {"200"} | LET_IN,
}

SECONDS_AN_EXAMPLE = 10
"""For all the routes; far more than it takes, even on a busy machine."""

# Most symbols are unknown, and the second look that Interactive Brokers gets takes seconds.
NOT_PATIENTLY = ("--header", "X-Symcache-Deadline: 0.2")

# A schema cannot say that a symbol has no control characters, and a header that nobody knows hurts nobody.
BEYOND_A_SCHEMA = "positive_data_acceptance,negative_data_rejection"


@pytest.fixture(scope="module")
def described(host):
    return host.http.get("/openapi.json").json()


def operations(described):
    return {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_names_every_status_that_it_can_give(described):
    assert {route: set(each["responses"]) for route, each in operations(described).items()} == STATUSES


def test_every_route_answer_and_parameter_is_described(described):
    for route, operation in operations(described).items():
        assert operation["description"], route
        assert all(parameter["description"] for parameter in operation.get("parameters", ())), route
        for status, response in operation["responses"].items():
            assert response["description"], (route, status)
            assert "$ref" in response["content"]["application/json"]["schema"], (route, status)


def test_every_field_of_every_shape_is_described(described):
    shapes = described["components"]["schemas"]
    assert len(shapes) > 10
    bare = [
        (name, field)
        for name, shape in shapes.items()
        for field, about in shape["properties"].items()
        if not about.get("description")
    ]
    assert not bare
    assert all(shape["description"] for shape in shapes.values())


def test_a_timeframe_is_one_of_those_that_the_core_knows(described):
    shapes = described["components"]["schemas"]
    listed = shapes["ValidateRequest"]["properties"]["timeframes"]["anyOf"][0]["items"]
    one = shapes["HistoricalRequest"]["properties"]["timeframe"]
    query = {each["name"]: each["schema"] for each in described["paths"]["/data/head-timestamp"]["get"]["parameters"]}
    for schema in (listed, one, query["timeframe"]):
        assert (schema["type"], schema["enum"]) == ("string", list(TIMEFRAMES))


def test_the_token_is_described_where_there_is_one(start, described):
    assert "securitySchemes" not in described["components"]
    guarded = start(SYMCACHE_HOST_TOKEN=TOKEN)
    mine = guarded.http.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    (scheme,) = mine["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert all(operation["security"] for operation in operations(mine).values())


def explore(host, folder, examples, *options):
    """Let schemathesis look for requests that are answered otherwise than described; a seed makes them the same."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{host.ready['url']}/openapi.json"]
    command += ["--max-examples", str(examples), "--seed", "6", "--generation-database", "none", "--no-color"]
    command += ["--exclude-checks", BEYOND_A_SCHEMA, "--continue-on-failure", *options]
    environment = os.environ | {"NO_PROXY": "*", "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE + SECONDS_AN_EXAMPLE * examples,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(STATUSES)} selected" in ended.stdout
    assert host.process.poll() is None
    assert "Traceback" not in (folder / "host.log").read_text()


def test_no_request_is_answered_otherwise_than_described(start, tmp_path):
    explore(start(), tmp_path, 10)


@pytest.mark.soak
def test_nor_where_a_token_is_asked_for(start, tmp_path):
    explore(start(SYMCACHE_HOST_TOKEN=TOKEN), tmp_path, 3, "--header", f"Authorization: Bearer {TOKEN}")


@pytest.fixture
def start_broker(start):
    """Start a host whose gateway is Interactive Brokers."""
    with TwsProcess() as tws:
        yield lambda: start("--gateway", "ib", "--ib-port", str(tws.port))


@pytest.mark.soak
def test_nor_where_interactive_brokers_is_asked(start_broker, tmp_path):
    explore(start_broker(), tmp_path, 3, "--phases", "examples,fuzzing", *NOT_PATIENTLY)


@pytest.mark.soak
def test_nor_of_very_many(start, tmp_path):
    explore(start(), tmp_path, 2000)


@pytest.mark.soak
def test_nor_of_many_where_interactive_brokers_is_asked(start_broker, tmp_path):
    explore(start_broker(), tmp_path, 300, *NOT_PATIENTLY)
