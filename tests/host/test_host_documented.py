"""The pages about the host service are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from symcache_host.app import create_app
from symcache_host.reports import DetailedHealth, IbStatus
from symcache_host.settings import HostSettings
from symcache_host.wire import Basis, CallOptions, ErrorKind, HistoricalAnswer, VerdictAnswer

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "host.md").read_text()
DESCRIPTION = create_app(service=None).openapi()


def test_every_setting_is_documented_with_its_option_and_variable():
    page = (DOCS / "settings.md").read_text()
    for name, field in HostSettings.model_fields.items():
        named = rf"`{name}` \| `--{name.replace('_', '-')}` \| `SYMCACHE_HOST_{name.upper()}`"
        assert re.search(rf"^\| {named} \|.*\| {re.escape(field.description)} \|$", page, re.MULTILINE), name


def test_every_route_status_kind_and_header_is_documented():
    routes = {
        f"{method.upper()} {path}": operation
        for path, methods in DESCRIPTION["paths"].items()
        for method, operation in methods.items()
    }
    rows = set(re.findall(r"^\| `?([^`|]+?)`? \|", PAGE, re.MULTILINE))
    statuses = {status for operation in routes.values() for status in operation["responses"]}
    headers = {name.replace("_", "-") for name in CallOptions.model_fields}
    assert routes.keys() | statuses | set(get_args(ErrorKind)) <= rows
    assert headers <= {row.lower() for row in rows}


def test_every_field_that_an_older_host_does_not_send_is_documented():
    theirs = {"success", "is_valid", "error_message", "contract_info", "head_timestamps", "error"}
    about_bars = {"success", "data", "rows", "error"}
    ours = (VerdictAnswer.model_fields.keys() - theirs) | (HistoricalAnswer.model_fields.keys() - about_bars)
    assert ours | Basis.model_fields.keys() <= set(re.findall(r"`(\w+)`", PAGE))


def test_every_field_of_the_health_is_documented():
    fields = set(DetailedHealth.model_fields) - {"service", "timestamp", "ib_status"}
    assert fields <= set(re.findall(r"`(\w+)`", PAGE))
    assert set(IbStatus.model_fields) <= set(re.findall(r"`(?:ib_status)?\.(\w+)`", PAGE))
