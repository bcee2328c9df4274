"""The names that series have borne are known to all who share them, whatever becomes of who writes them."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from symcache_core.loading.bars.names import Names

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ib" / "names.jsonl"


def told(names):
    return {(each.series, each.name, each.first, each.last) for each in names.all()}


def test_a_name_is_known_once_it_was_seen(path):
    seen = Names(path).saw("265598", "AAPL", NOW, "265598")
    assert (seen.series, seen.name, seen.first, seen.last, seen.permanent_id) == ("265598", "AAPL", NOW, NOW, "265598")
    assert Names(path).of("AAPL") == Names(path).borne_by("265598") == [seen]
    assert Names(path).of("aapl") == Names(path).borne_by("AAPL") == []


def test_that_it_is_seen_again_is_written_once_a_day(path):
    names = Names(path)
    names.saw("265598", "AAPL", NOW)
    content = path.read_bytes()
    assert names.saw("265598", "AAPL", NOW + DAY - timedelta(seconds=1)).last == NOW
    assert path.read_bytes() == content
    again = names.saw("265598", "AAPL", NOW + DAY)
    assert (again.first, again.last) == (NOW, NOW + DAY)
    assert names.of("AAPL") == [again]


def test_the_one_that_was_last_seen_is_at_the_end(path):
    names = Names(path)
    for number, (series, name) in enumerate([("2", "FB"), ("1", "FB"), ("1", "META"), ("2", "FB")]):
        names.saw(series, name, NOW + 2 * DAY * number)
    assert [each.series for each in names.of("FB")] == ["1", "2"]
    assert [each.name for each in names.borne_by("1")] == ["FB", "META"]


@pytest.mark.parametrize("keep", [0, 1, 20, -2, -1])
def test_a_torn_last_line_is_dropped_and_nothing_else(path, keep):
    names = Names(path)
    names.saw("1", "FB", NOW)
    whole = path.read_bytes()
    names.saw("2", "META", NOW)
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:keep])
    expected = {("1", "FB", NOW, NOW)} | ({("2", "META", NOW, NOW)} if keep == -1 else set())
    assert told(Names(path)) == expected
    Names(path).saw("3", "GOOG", NOW)
    assert told(Names(path)) == expected | {("3", "GOOG", NOW, NOW)}


def test_lines_that_say_the_same_are_gathered(path):
    Names(path).saw("1", "FB", NOW)
    path.write_bytes(path.read_bytes() * 999)
    counts = []
    for number in range(1, 7):
        Names(path).saw("1", "FB", NOW + DAY * number)
        counts.append(len(path.read_bytes().splitlines()))
    assert counts[0] == 1000, "not yet"
    assert counts[-1] < 7
    assert told(Names(path)) == {("1", "FB", NOW, NOW + 6 * DAY)}
    assert sorted(file.name for file in path.parent.iterdir()) == ["names.jsonl", "names.lock"]


def test_what_another_one_writes_is_seen(path):
    mine, other = Names(path), Names(path)
    assert mine.of("FB") == []
    other.saw("1", "FB", NOW)
    assert [each.series for each in mine.of("FB")] == ["1"]
    other.forget("1")
    assert mine.of("FB") == []


_SAW = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from symcache_core.loading.bars.names import Names
for number in range(100):
    Names(Path(sys.argv[1])).saw(f"{sys.argv[2]}-{number}", "FB", datetime.now(UTC))
"""


def test_two_processes_lose_no_name(path):
    writers = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", _SAW, path, which]) for which in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert {each.series for each in Names(path).of("FB")} == {f"{which}-{at}" for which in "ab" for at in range(100)}


def test_one_series_is_forgotten_with_all_its_names(path):
    names = Names(path)
    for series, name in (("1", "FB"), ("1", "META"), ("2", "FB")):
        names.saw(series, name, NOW)
    names.forget("1")
    assert told(Names(path)) == {("2", "FB", NOW, NOW)}


def test_a_field_of_a_newer_version_hides_no_name(path):
    Names(path).saw("1", "FB", NOW)
    line = json.loads(path.read_bytes()) | {"series": "2", "colour": "blue"}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert [each.series for each in Names(path).of("FB")] == ["1", "2"]


@pytest.mark.parametrize(
    "line", [b"[]", b"7", b"null", b'"x"', b"{}", b'{"series": "1"}', b"\xff\xfe", b'{"first": 3}']
)
def test_a_line_that_is_none_is_passed_over(path, line):
    Names(path).saw("1", "FB", NOW)
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert told(Names(path)) == {("1", "FB", NOW, NOW)}
