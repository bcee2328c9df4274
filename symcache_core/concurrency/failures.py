"""Exceptions that outlive what raised them."""

from __future__ import annotations

import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def remembered(error: E) -> E:
    """A copy of an exception that can be kept: whatever its traceback leads to would be kept alive with it.

    The exception itself stays as it is, since it may be on its way to somebody.
    """
    try:
        kept = copy.copy(error)
    except Exception:  # noqa: BLE001  # a constructor of somebody's that does not take what it has put into ``args``
        kept = _without_constructor(error)
    if type(kept) is not type(error) or kept is error:
        kept = _without_constructor(error)
    kept.__traceback__ = kept.__cause__ = kept.__context__ = None
    kept.__suppress_context__ = True
    return kept


def _without_constructor(error: E) -> E:
    kind = type(error)
    kept = kind.__new__(kind, *error.args)
    kept.args = error.args
    kept.__dict__.update(vars(error))
    return kept
