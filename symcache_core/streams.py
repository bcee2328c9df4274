"""Standard streams that are closed, as cron and daemons leave them."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""In the order of their descriptors: what is opened takes the lowest one that is free."""


def open_closed_streams() -> None:
    """Put the null device in place of each standard stream that is closed.

    Python has ``None`` there, and the descriptor would become that of the next file that is opened, into which every
    message would then go.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the process's life
