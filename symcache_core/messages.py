"""Words that several errors share: what was perhaps meant, and what is wrong with some settings."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from itertools import count

from pydantic import ValidationError

_LONG = 10**18
"""From here on the digits of a number tell nobody anything."""


@lru_cache(maxsize=256)
def _times(*_what: Hashable) -> Iterator[int]:
    return count()


def is_news(*what: Hashable) -> bool:
    """Whether this is the first time that something is to be said; the second one may be while it is being said.

    >>> is_news("the sky falls", 7), is_news("the sky falls", 7), is_news("the sky falls", 8)
    (True, False, True)
    """
    return not next(_times(*what))


def did_you_mean(name: str, known: Sequence[str]) -> str | None:
    """A question that proposes the nearest of the known names, if one is near.

    >>> did_you_mean("memry", ["json", "memory"])
    "did you mean 'memory'?"
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def shown(value: object) -> str:
    """A few words for what somebody gave: text and plain values as they are, of anything else only what it is.

    >>> shown("AAPL"), shown(float("nan")), shown(b"AAPL"), shown(["AAPL"])
    ('AAPL', 'nan', 'a bytes', 'a list')
    """
    if isinstance(value, str):
        return value
    return str(value) if is_plain(value) else f"a {type(value).__name__}"


def is_plain(value: object) -> bool:
    """Whether something is no text, and its own words tell what it is: nothing, yes or no, or a number not too long."""
    return value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < _LONG)


class Names:
    """Names for what somebody gave, in the words of :func:`shown`; who is shown as another is gets a number besides.

    >>> names = Names()
    >>> [names.of(value) for value in (None, "None", ["AAPL"], ["MSFT"], None)]
    ['None', 'None (2)', 'a list', 'a list (2)', 'None']
    """

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._numbers: dict[str, int] = {}
        self._given: list[object] = []  # kept, so that nothing else gets the identity of one

    def of(self, value: object) -> str:
        """The name of a value: the same for the same text or plain value, or the same object."""
        words = shown(value)
        if isinstance(value, str):
            key: Hashable = (True, str.__str__(value))
        elif is_plain(value):
            key = (False, words)
        else:
            key = id(value)
        if key not in self._names:
            number = self._numbers[words] = self._numbers.get(words, 0) + 1
            self._names[key] = words if number == 1 else f"{words} ({number})"
            self._given.append(value)
        return self._names[key]


def warn_unclosed(owner: object, what: str, how: str = "close() it, or use 'with'") -> None:
    """Warn, from an object's ``__del__``, that nobody has closed it; at the end of the program nobody has to.

    Only that: it may be the garbage collector that calls, in any thread and amid anything, and to close takes locks and
    time. ``__del__`` and not ``weakref.finalize``, because whether it was closed stands in the object itself.

    Args:
        owner: The object.
        what: What it is.
        how: What to do about it.
    """
    if not sys.is_finalizing():
        warnings.warn(f"{what} was not closed: {how}", ResourceWarning, stacklevel=3, source=owner)


def unknown(what: str, name: str, known: Sequence[str], *, within: str = "") -> str:
    """Say that there is no such thing, and what there is.

    >>> unknown("setting", "pth", ["fsync", "path"], within="backends.json.")
    "unknown setting 'backends.json.pth'; did you mean 'path'?"
    """
    return f"unknown {what} {within + name!r}; {did_you_mean(name, known) or 'known: ' + (', '.join(known) or 'none')}"


def explain(error: ValidationError, what: str, known: Sequence[str]) -> str:
    """Say in one line a problem what is wrong with the given settings, without their values.

    Args:
        error: What pydantic found.
        what: What one of them is called, such as "setting".
        known: The names there are, for a suggestion.
    """
    lines = []
    for problem in error.errors(include_input=False, include_context=False, include_url=False):
        name = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            lines.append(unknown(what, name, known))
        else:
            lines.append(f"{what} {name!r}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
