"""The names of exchanges at Interactive Brokers: some were changed, and answers and users may go by either."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Names that are no longer known there, and what they are called now: "Guide updates" of 2022-10-03,
# https://interactivebrokers.github.io/tws-api/guide_updates.html (GLOBEX, ECBOT, DTB, SOFFEX),
# https://github.com/QuantConnect/Lean.Brokerages.InteractiveBrokers/pull/35 (CMECRYPTO),
# https://ibkrguides.com/releasenotes/api/tws/beta-2022.htm (ISLAND, which requests may still say),
# https://github.com/pst-group/pysystemtrade/issues/679 (the two that became EUREX).
# LIFFE, VIRTX and SWX went the same way earlier; Tokyo's point is left out today.
RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "CMECRYPTO": "CME",
        "DTB": "EUREX",
        "ECBOT": "CBOT",
        "GLOBEX": "CME",
        "ISLAND": "NASDAQ",
        "LIFFE": "ICEEU",
        "SOFFEX": "EUREX",
        "SWX": "EBS",
        "TSE.JPN": "TSEJ",
        "VIRTX": "EBS",
    }
)

# Parts of one exchange between which contracts were moved; each name is still in use. Metals went from NYMEX to COMEX
# (the guide of above), https://github.com/nautechsystems/nautilus_trader lists the parts of ICE, and
# https://github.com/pst-group/pysystemtrade has Osaka under both of its names.
DIVISIONS: tuple[frozenset[str], ...] = (
    frozenset({"COMEX", "NYMEX"}),
    frozenset({"ICEEU", "ICEEUSOFT", "IPE"}),
    frozenset({"ICEUS", "NYBOT"}),
    frozenset({"OSE", "OSE.JPN"}),
)

_HOUSES: Mapping[str, str] = MappingProxyType({name: min(division) for division in DIVISIONS for name in division})
_HAVE_OTHER_NAMES = frozenset({*RENAMED, *RENAMED.values(), *_HOUSES})


def present_name(exchange: str) -> str:
    """What an exchange is called today.

    >>> present_name("DTB"), present_name("LSE")
    ('EUREX', 'LSE')
    """
    return RENAMED.get(exchange, exchange)


def house(exchange: str) -> str:
    """A name by which exchanges can be compared, whichever of its names one goes by.

    What follows a point is left out by some calls.

    >>> house("NYMEX") == house("COMEX"), house("ENEXT.BE")
    (True, 'ENEXT')
    """
    name = present_name(exchange)
    name = present_name(name.partition(".")[0]) if name == exchange else name
    return _HOUSES.get(name, name)


def has_other_names(exchange: str) -> bool:
    """Whether contracts of an exchange may be told under another name."""
    return exchange in _HAVE_OTHER_NAMES
