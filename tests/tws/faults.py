"""What can be made to go wrong at the simulated TWS, and for how often."""

from dataclasses import dataclass

KINDS = ("start", "time", "details", "head", "bars")


@dataclass
class Fault:
    """What happens to requests of a kind in place of their answers.

    Args:
        kind: Which requests; ``start`` is a client's first one, ``time`` its sign of life.
        code: Answer with this error,
        text: in these words.
        hang: Do not answer.
        drop: Send half of the answer, and end the connection.
        slow: Answer after so many seconds.
        times: For so many requests; for all from now on when left out.
        symbol: Only for requests about this one.
    """

    kind: str
    code: int | None = None
    text: str | None = None
    hang: bool = False
    drop: bool = False
    slow: float = 0.0
    times: int | None = None
    symbol: str | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"there are no requests of the kind {self.kind!r}; kinds: {', '.join(KINDS)}")


class Faults:
    """The faults in force; where several fit, the one that came last counts."""

    def __init__(self):
        self._faults = []

    def add(self, fault):
        self._faults.append(fault)

    def clear(self):
        self._faults.clear()

    def take(self, kind, symbol):
        """What happens to this request; it is one of the times that a fault was meant to happen."""
        for fault in reversed(self._faults):
            if fault.kind == kind and fault.symbol in (None, symbol) and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
