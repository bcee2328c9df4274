"""The spellings of preferred shares: a root, a mark that says so, and the letter of a series.

They differ from one source to the next: https://www.quantumonline.com/PfdSymbolsNamesPF.cfm
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SPELLED = re.compile(
    r"""
    (?P<root>[A-Z]{1,5})
    (?: p                     # CpK, as the exchange writes it
      | [./\ -] P R? [./\ -]?    # BAC-PK and ABR-P, as Yahoo does; BAC PRK, BAC.PR.K
    )
    (?P<series>[A-Z]?)
    """,
    re.VERBOSE,
)


class PreferredShare(NamedTuple):
    """A preferred share; ``series`` is empty where there is but one."""

    root: str
    series: str


def preferred_shares(symbol: str) -> tuple[PreferredShare, ...]:
    """The preferred shares that a symbol may mean, the most likely first; none for most symbols.

    >>> preferred_shares("BAC PR K")
    (PreferredShare(root='BAC', series='K'),)
    >>> preferred_shares("C PR")
    (PreferredShare(root='C', series=''), PreferredShare(root='C', series='R'))
    """
    match = _SPELLED.fullmatch(symbol)
    if match is None:
        return ()
    share = PreferredShare(match["root"], match["series"])
    is_either = symbol.endswith("PR") and not share.series  # the mark alone, or a short mark and a series
    return (share, share._replace(series="R")) if is_either else (share,)
