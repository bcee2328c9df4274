"""validate, get, list, forget and clear tell what is known about symbols, to people and to scripts."""

from __future__ import annotations

import json
import time

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_valid_symbol_is_a_row_on_stdout_and_everything_else_is_on_stderr(host, run):
    done = run("validate", "jepi")
    assert done.returncode == 0
    (row,) = done.stdout.splitlines()
    assert row.split("\t")[:2] == ["JEPI", "valid"]
    assert "REPLAY" in done.stderr
    assert "2013-03-01" in done.stderr
    assert "REPLAY" not in done.stdout


def test_an_invalid_symbol_is_an_answer_and_ends_in_1(host, invoke):
    done = invoke("validate", "NOSUCHSYM")
    assert done.exit_code == 1
    assert done.stdout.split("\t")[:2] == ["NOSUCHSYM", "invalid"]
    assert "error:" not in done.stderr


def test_of_several_symbols_each_is_reported_and_the_worst_decides(host, invoke):
    done = invoke("validate", "JEPI", "NOSUCHSYM", "AB\x07CD", "AAPL")
    assert done.exit_code == 2
    assert [row.split("\t")[:2] for row in done.stdout.splitlines()] == [
        ["JEPI", "valid"],
        ["NOSUCHSYM", "invalid"],
        ["AAPL", "valid"],
    ]
    assert "control or invisible" in done.stderr
    assert "\x07" not in done.stderr


def test_a_symbol_whose_key_would_be_too_long_is_an_invalid_one(host, invoke):
    before = host.requests()
    for command in ("validate", "get", "forget", "why"):
        done = invoke(command, "\N{CJK UNIFIED IDEOGRAPH-80A1}" * 128)
        assert done.exit_code == 2, command
        assert "at most 511" in done.stderr
    assert host.requests() == before


def test_a_second_validate_makes_no_host_call(host, invoke):
    before = host.requests()
    first, second = invoke("validate", "JEPI", "--json"), invoke("validate", "JEPI", "--json")
    assert host.requests() - before == 1
    assert json.loads(first.stdout)["outcome"] == "miss"
    assert json.loads(second.stdout)["outcome"] == "hit"


def test_json_is_one_object_for_each_result_and_says_whose_data_it_is(host, invoke):
    done = invoke("validate", "AAPL", "NOSUCHSYM", "--timeframe", "1d", "--json")
    assert done.exit_code == 1
    valid, invalid = records(done.stdout)
    assert (valid["symbol"], valid["is_valid"], valid["provider"]) == ("AAPL", True, "replay")
    assert valid["head_timestamps"]["1d"].startswith("2000-03-01")
    assert valid["contract_info"]["currency"] == "USD"
    assert (invalid["is_valid"], invalid["provider"]) == (False, "replay")
    assert invalid["error_message"]


def test_get_shows_what_is_cached_and_never_asks_the_host(host, invoke):
    before = host.requests()
    missing = invoke("get", "JEPI")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "not cached" in missing.stderr
    assert host.requests() == before
    invoke("validate", "JEPI")
    found = invoke("get", "jepi", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["state"] == "fresh"


def test_looking_at_the_cache_is_not_counted_as_using_it(host, invoke):
    invoke("validate", "JEPI")
    before = json.loads(invoke("stats", "--json").stdout)["totals"]
    invoke("get", "JEPI")
    invoke("list")
    assert json.loads(invoke("stats", "--json").stdout)["totals"] == before


def test_list_is_sorted_and_knows_every_symbol_once(host, invoke):
    invoke("validate", "MSFT", "brk.b", "BRK-B", "AAPL")
    assert [row.split("\t")[0] for row in invoke("list").stdout.splitlines()] == ["AAPL", "BRK B", "MSFT"]
    assert [record["symbol"] for record in records(invoke("list", "--json").stdout)] == ["AAPL", "BRK B", "MSFT"]


def test_forget_drops_what_it_names_and_says_what_was_not_there(host, invoke):
    invoke("validate", "AAPL", "MSFT")
    done = invoke("forget", "AAPL", "IBM")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["AAPL\tforgotten", "IBM\tnot cached"]
    assert [record["symbol"] for record in records(invoke("list", "--json").stdout)] == ["MSFT"]


def test_when_the_provider_fails_an_old_answer_is_shown_as_what_it_is(invoke, monkeypatch, unused_url):
    monkeypatch.setenv("SYMCACHE_HOST_SERVICE_URL", unused_url)
    month_ago = time.time() - 31 * 86400
    with open_symbol_cache(SymcacheSettings(), clock=lambda: month_ago) as cache:
        cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL"))
    done = invoke("validate", "AAPL", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["outcome"] == "stale"
    assert "warning: AAPL: this answer is 31d old" in done.stderr
    assert unused_url in done.stderr
    assert json.loads(invoke("get", "AAPL", "--json").stdout)["state"] == "stale"


def test_clear_drops_everything_and_tells_how_much(host, invoke):
    invoke("validate", "AAPL", "MSFT")
    assert json.loads(invoke("clear", "--yes", "--json").stdout) == {"dropped": 2}
    assert invoke("list").stdout == ""


def test_clear_drops_nothing_when_there_is_nobody_to_ask(host, invoke):
    invoke("validate", "AAPL")
    done = invoke("clear")
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert invoke("get", "AAPL").exit_code == 0


def test_hostile_text_from_a_provider_cannot_steer_a_terminal_or_break_a_row(invoke):
    hostile = "no\x1b[2J\tsuch\nthing [red]here[/red]"
    with open_symbol_cache(SymcacheSettings()) as cache:
        cache.store("EVIL", ValidationResult(is_valid=False, symbol="EVIL", error_message=hostile))
    (row,) = invoke("get", "EVIL").stdout.splitlines()
    assert row.endswith("\tno [2J such thing [red]here[/red]")
    assert json.loads(invoke("get", "EVIL", "--json").stdout)["error_message"] == hostile
