"""Lists of symbols: in files, on standard input, and the universes that come with the package."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from ..errors import ConfigurationError, InvalidSymbolError
from ..symbols import Instrument

STDIN = "-"
SUFFIXES = (".txt", ".csv")
COLUMN = "symbol"

_OPTION = re.compile(r"(?:class|multiplier)\s*=", re.IGNORECASE)
"""What follows a comma that is part of a symbol."""

UNIVERSES = {"us": ("symcache_host", "data/us_symbols.csv")}
"""The package and the file of each list that comes with symcache."""


def expand(symbols: Iterable[str], *, files_by_name: bool = False) -> list[str]:
    """Put in place of each ``@FILE`` and ``-`` the symbols listed there, each once.

    Args:
        symbols: As typed; symbols that are none of these stay as they are.
        files_by_name: Whether what looks like a file is one without the ``@``, too.

    Raises:
        ConfigurationError: A list cannot be read, or a line of it is no symbol; the message names it.
    """
    expanded: list[str] = []
    known: set[Instrument] = set()
    for symbol in symbols:
        source = _source(symbol, files_by_name=files_by_name)
        if source is None:
            expanded.append(symbol)
            continue
        for listed in _listed(_read(source), source):
            instrument = Instrument.parse(listed)
            if instrument not in known:
                known.add(instrument)
                expanded.append(listed)
    return expanded


def universe(name: str) -> list[str]:
    """The symbols of a list that comes with symcache.

    Raises:
        ConfigurationError: There is none of that name, or its package is not installed.
    """
    if name not in UNIVERSES:
        raise ConfigurationError(f"--universe {name}: there is no such universe; there is {', '.join(UNIVERSES)}")
    package, path = UNIVERSES[name]
    try:
        text = files(package).joinpath(path).read_text()
    except (ModuleNotFoundError, FileNotFoundError):
        raise ConfigurationError(f"--universe {name} needs {package}: pip install 'symcache[host]'") from None
    return list(_listed(text, name))


def _source(symbol: str, *, files_by_name: bool) -> str | None:
    """The file that is meant, or ``-``; ``None`` for a symbol."""
    if symbol == STDIN:
        return symbol
    if symbol.startswith("@"):
        return symbol[1:]
    if files_by_name and (symbol.lower().endswith(SUFFIXES) or os.path.isfile(symbol)):
        return symbol
    return None


def _read(source: str) -> str:
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"the list of symbols {source!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the list of symbols {source!r} is not UTF-8 text") from None


def _listed(text: str, source: str) -> Iterator[str]:
    """The symbols of a list: one a line, or a column of a CSV file whose first row names it ``symbol``."""
    rows = csv.reader(line.partition("#")[0] for line in io.StringIO(text))
    column: int | None = None
    for row in rows:
        cells = _joined(cell.strip() for cell in row)
        if not any(cells):
            continue
        if column is None:
            titles = [cell.lower() for cell in cells]
            column = titles.index(COLUMN) if COLUMN in titles else 0
            is_table = COLUMN in titles
            if is_table:
                continue
        if len(cells) > 1 and not is_table:
            raise _bad(source, rows.line_num, f"one symbol a line, or a first row with a column {COLUMN!r}")
        try:
            Instrument.parse(cells[column] if column < len(cells) else "")
        except InvalidSymbolError as error:
            raise _bad(source, rows.line_num, str(error)) from None
        yield cells[column]


def _joined(cells: Iterable[str]) -> list[str]:
    """Cells, of which those that a comma within a symbol has made are put together again."""
    joined: list[str] = []
    for cell in cells:
        if joined and _OPTION.match(cell):
            joined[-1] += f",{cell}"
        else:
            joined.append(cell)
    return joined


def _bad(source: str, line: int, why: str) -> ConfigurationError:
    return ConfigurationError(f"{'standard input' if source == STDIN else source}, line {line}: {why}")
