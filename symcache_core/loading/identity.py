"""What a series is known by: the provider's permanent id, else the qualified symbol with its currency."""

from __future__ import annotations

from dataclasses import replace

from ..models import ContractInfo
from ..symbols import Instrument
from ..timeframes import TIMEFRAMES
from .bars.ids import escaped


def permanent_identity(contract: ContractInfo | None) -> str | None:
    """What a contract's series is known by, if its provider gives it a permanent id."""
    told = None if contract is None else contract.permanent_id
    return None if told is None else escaped(told)


def symbolic_identity(instrument: Instrument, contract: ContractInfo | None) -> str:
    """What an instrument without a permanent id is known by: its symbol as it is asked for, with its currency.

    >>> symbolic_identity(Instrument("AAPL"), ContractInfo(currency="USD"))
    'AAPL@:USD'
    """
    currency = instrument.currency or (contract.currency if contract is not None else "")
    identity = escaped(str(replace(instrument, currency=currency.upper())))
    # What could be somebody's id, or the folder of 0.1.0's bars of that length, is told apart.
    return f"STK:{identity}" if identity.isdigit() or identity.lower() in TIMEFRAMES else identity
