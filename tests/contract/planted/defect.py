"""What a planted defect is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Defect:
    """`says` goes on from "a backend that ...", `sentence` is the promise that it breaks.

    `case` is the case of the suite that catches it, empty if none does; `why_not` then says why. `outage` is how its
    server is out of reach meanwhile, by a method of the proxy.
    """

    says: str
    sentence: str
    make: Callable[[Any], Any]
    case: str = ""
    why_not: str = ""
    outage: str = "away"
