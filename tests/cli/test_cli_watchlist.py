"""A list of symbols is read from a file, from standard input or from a universe, and what is wrong with it is named."""

from __future__ import annotations

import io
import json
import sys

import pytest

from symcache_core.cli.watchlist import expand, universe
from symcache_core.errors import ConfigurationError


def write(folder, content, name="list.txt"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"@{name}"


@pytest.mark.parametrize(
    "content",
    [
        "AAPL\nbrk.b\nEUR/USD\n",
        "# mine\n\n  AAPL \nbrk.b # class B\n\nEUR/USD",
        "AAPL\r\nbrk.b\r\nEUR/USD\r\n",
        b"\xef\xbb\xbfAAPL\nbrk.b\nEUR/USD\n",
        "AAPL\nbrk.b\naapl\nBRK-B\nEUR/USD\nEURUSD\n",
        "symbol\nAAPL\nbrk.b\nEUR/USD\n",
        'Symbol,name\nAAPL,"Apple, Inc."\nbrk.b,Berkshire\n\nEUR/USD,\n',
        "# exported\nname,symbol\nApple,AAPL\nBerkshire,brk.b\nEuro,EUR/USD\n",
    ],
    ids=["plain", "comments", "crlf", "bom", "duplicates", "headed", "table", "second column"],
)
def test_a_list_gives_each_of_its_symbols_once_as_written(folder, content):
    assert expand([write(folder, content)]) == ["AAPL", "brk.b", "EUR/USD"]


NARROW = ["FUT:DAX 201303@EUREX:EUR,class=FDXM", "FUT:SI 201303,class=SIL,multiplier=1000", "AAPL"]


@pytest.mark.parametrize(
    "content",
    [
        "FUT:DAX 201303@EUREX:EUR,class=FDXM\nFUT:SI 201303, class=SIL, multiplier=1000\nAAPL\n",
        "symbol\nFUT:DAX 201303@EUREX:EUR,class=FDXM\nFUT:SI 201303,class=SIL,multiplier=1000\nAAPL\n",
        f'rank,symbol,n\n1,{NARROW[0]},1\n2,"{NARROW[1]}",1\n3,{NARROW[2]},1\n',
    ],
    ids=["plain", "headed", "table"],
)
def test_a_comma_before_a_class_or_a_multiplier_is_part_of_the_symbol(folder, content):
    assert expand([write(folder, content)]) == NARROW
    assert expand(NARROW) == NARROW


def test_lists_and_symbols_may_be_mixed_and_what_is_typed_stays_as_it_is(folder):
    first, second = write(folder, "IBM\nMSFT\n"), write(folder, "MSFT\nGOOG\n", "more.txt")
    assert expand(["AAPL", first, "RY@TSE:CAD", second, "aapl"]) == [
        "AAPL",
        "IBM",
        "MSFT",
        "RY@TSE:CAD",
        "GOOG",
        "aapl",
    ]


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "\n \n"], ids=["empty", "comment", "blank"])
def test_an_empty_list_is_a_list(folder, content):
    assert expand([write(folder, content)]) == []


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"AAPL\nIBM\n")))
    assert expand(["-"]) == ["AAPL", "IBM"]


def test_a_file_needs_no_mark_only_where_files_are_expected(folder):
    write(folder, "AAPL\n")
    write(folder, "IBM\n", "mine")
    assert expand(["list.txt", "mine", "BRK.B"]) == ["list.txt", "mine", "BRK.B"]
    assert expand(["list.txt", "mine", "BRK.B"], files_by_name=True) == ["AAPL", "IBM", "BRK.B"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("AAPL\n\nA\x07B\n", "list.txt, line 3: .*control"),
        ("AAPL,MSFT\n", "list.txt, line 1: one symbol a line"),
        ("symbol,name\nAAPL,Apple\n,nobody\n", "list.txt, line 3: empty symbol"),
        ("name,symbol\nApple\n", "list.txt, line 2: empty symbol"),
        (b"AAPL\n\xff\n", "list.txt.* is not UTF-8"),
    ],
    ids=["control", "comma", "no symbol", "short row", "encoding"],
)
def test_a_bad_line_is_named_with_its_file_and_number(folder, content, message):
    with pytest.raises(ConfigurationError, match=message):
        expand([write(folder, content)])


@pytest.mark.parametrize(("symbol", "by_name"), [("@none.txt", False), ("none.txt", True)])
def test_a_list_that_is_not_there_is_an_error_and_not_a_symbol(folder, symbol, by_name):
    with pytest.raises(ConfigurationError, match=r"'none.txt' cannot be read: No such file"):
        expand([symbol], files_by_name=by_name)


def test_the_universe_us_has_every_listing_once():
    symbols = universe("us")
    assert len(symbols) == len(set(symbols)) == 10_366
    assert {"AAPL", "BRK-B", "JEPI"} <= set(symbols)


def test_an_unknown_universe_is_an_error_that_names_the_known():
    with pytest.raises(ConfigurationError, match=r"mars.*there is us"):
        universe("mars")


def test_a_universe_whose_package_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "symcache_host", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'symcache\[host\]'"):
        universe("us")


@pytest.mark.parametrize("command", ["validate", "get"])
def test_the_other_commands_take_lists_too(host, invoke, folder, command):
    listed = write(folder, "AAPL\nMSFT\n")
    invoke("validate", "AAPL", "MSFT")
    done = invoke(command, listed, "--json")
    assert done.exit_code == 0
    assert [json.loads(line)["symbol"] for line in done.stdout.splitlines()] == ["AAPL", "MSFT"]


def test_a_list_that_cannot_be_read_is_wrong_usage(invoke):
    done = invoke("get", "@none.txt")
    assert done.exit_code == 2
    assert "none.txt" in done.stderr
    assert "Traceback" not in done.stderr
