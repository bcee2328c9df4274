"""What ``symcache load`` says below its table: why there are no bars, and what has happened to a series."""

from __future__ import annotations

from collections.abc import Iterator

from .output import Record

BAD_ROWS_NAMED = 5
"""How many of a provider's bad rows are named; ``--json`` has them all."""


def notes_on(bars: Record) -> Iterator[str]:
    """Tell what the figures of a load cannot, in sentences.

    Args:
        bars: The report of the load, and how many rows there are (``rows``).
    """
    about = f"{bars['symbol']} {bars['timeframe']}"
    if not bars["rows"] and bars["reason"]:
        yield f"{about}: no bars: {bars['reason']}"
    for sentence in _happened(bars):
        yield f"{about}: {sentence}"
    if bars["bad"]:
        named = ", ".join(bars["bad_rows"][:BAD_ROWS_NAMED])
        more = f" and {bars['bad'] - BAD_ROWS_NAMED} more" if bars["bad"] > BAD_ROWS_NAMED else ""
        yield f"{about}: {_rows(bars['bad'])} of the provider cannot be bars and are left out: {named}{more}"


def happened(bars: Record) -> str:
    """What has happened to a series in words for one cell, with the ids of the others that bore its symbol."""
    words = [*bars["happened"], *(["renewing"] if bars["renewing"] else [])]
    others = f"others: {' '.join(bars['others'])}" if bars["others"] else ""
    return ", ".join([*words, others] if others else words)


def _happened(bars: Record) -> Iterator[str]:
    what, series = bars["happened"], bars["series"]
    since = f"since {bars['since'][:10]}" if bars["since"] else "since now"
    if "renamed" in what:
        yield f"series {series} had another symbol before; it has been seen under this one {since}"
    if "reused" in what:
        yield f"the symbol was another series' before; it has been seen as {series} {since}"
    for other in bars["others"]:
        yield f"series {other} bore the symbol as well: symcache load --series {other} -t {bars['timeframe']} reads it"
    if "bound" in what:
        yield f"bars that were kept without an id turned out to be those of series {series}, and are part of it"
    if "renewed" in what:
        listed = f"symcache series {bars['symbol']} lists the old one"
        yield f"the provider has adjusted its prices, and the history was asked for anew; {listed}"
    if bars["renewing"]:
        yield "the history is being asked for anew, and these are the old bars until that is done: load again to go on"
    if "unstable" in what:
        yield "the provider contradicts a history that has just been renewed, and nothing was added to it"
    if "uncompared" in what:
        yield "the provider no longer has the bars that new ones had to be compared with, so the prices may not fit"


def _rows(count: int) -> str:
    return "one row" if count == 1 else f"{count} rows"
