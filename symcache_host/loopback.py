"""Which names and addresses are this machine and no other."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(name: str) -> bool:
    """Whether an address, or the one name that counts, leads nowhere else."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_loopback_authority(authority: str) -> bool:
    """The same of what a ``Host`` header has: a name or an address, and perhaps a port."""
    try:
        return is_loopback(urlsplit(f"//{authority}").hostname or "")
    except ValueError:
        return False
