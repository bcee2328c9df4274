"""The glossary has the words of the code, and no others."""

import re
from pathlib import Path

import symcache_core
from symcache_core.models import Outcome
from symcache_core.policy import Freshness

SITE = Path(symcache_core.__file__).parent.parent
GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+\.) \| `([^`|]+)` \|$", GLOSSARY, re.MULTILINE)
WORDS = [word for word, _meaning, _place in ROWS]


def test_each_line_has_a_word_a_sentence_and_a_place():
    _head, _rule, *lines = [line for line in GLOSSARY.splitlines() if line.startswith("|")]
    assert len(ROWS) == len(lines) > 50


def test_the_words_are_sorted_and_each_is_there_once():
    assert sorted(set(WORDS)) == WORDS


def test_each_word_is_one_of_the_module_in_which_it_lives():
    assert [word for word, _meaning, place in ROWS if not _is_said(word, place)] == []


def test_every_outcome_and_every_state_of_an_entry_has_its_line():
    assert {*map(str, Outcome), *map(str, Freshness)} <= set(WORDS)


def _is_said(word, place):
    """Whether a module has a word, in its name, its code or its comments; ``plug-in`` is a plugin there."""
    said = _plain(f"{place} {(SITE / place).read_text()}")
    return re.search(rf"\b{_plain(word).replace('plug in', 'plug ?in')}", said)


def _plain(text):
    """The words of a text in small letters, those that make up a name among them."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)).lower()
