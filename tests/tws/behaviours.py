"""What Interactive Brokers is reported to do, as behaviours of the simulated TWS, each with where that is from.

Some of them it shows always; the others are switched on one by one, or all at once that leave a way to the truth::

    SimulatedTws(behaviours=["no-data", "slow-heads=20"])
    TwsProcess("--behaviour", "all")
"""

from typing import NamedTuple

ALL = "all"


class Behaviour(NamedTuple):
    """One line of the table.

    Args:
        does: What it does; ``N`` is its number.
        source: Where it is reported, ``#`` being an issue of the named repository.
        number: What its number is unless it is told, as in ``slow-heads=20``.
        always: It is how the simulation always is, and is switched on only to be named.
        passes: Asking again helps in the end, so that it is one of "all".
    """

    does: str
    source: str
    number: float | None = None
    always: bool = False
    passes: bool = True


_PACING = "interactivebrokers.github.io/tws-api/historical_limitations.html"
_CODES = "interactivebrokers.github.io/tws-api/message_codes.html"

BEHAVIOURS = {
    # How it always is.
    "sessions": Behaviour(
        "a duration in days goes back so many sessions, the one under way among them; one in seconds is by the clock",
        "wrighter/ib-scripts#5, #6; erdewit/ib_insync#550",
        always=True,
    ),
    "full-hours": Behaviour(
        "a session's first bar begins with it, and the others at multiples of their length: 9:30, 10:00, 11:00",
        "erdewit/ib_insync#607",
        always=True,
    ),
    "currency-days": Behaviour(
        "a currency's day begins at 17:15 in New York, and so does its first bar", "erdewit/ib_insync#607", always=True
    ),
    "logins": Behaviour(
        "a client that is not read-only asks for orders, executions and accounts, and is told that there are none",
        "ib_async: IB.connectAsync",
        always=True,
    ),
    "end-dates": Behaviour(
        "an end is taken as 20130301-22:00:00 in UTC, and as 20130301 17:00:00 with a zone or without; EDT is none",
        "ib-api-reloaded/ib_async#132",
        always=True,
    ),
    "contracts": Behaviour(
        "there are ambiguous, expired, delisted and continuous contracts, and such as are without data; see listings",
        "QuantConnect/Lean#2924, vnpy/vnpy#2489, pst-group/pysystemtrade#329, erdewit/ib_insync#43, "
        "nautechsystems/nautilus_trader#2570, iexg/IEX-API#206",
        always=True,
    ),
    "plain-text": Behaviour(
        "other letters than ASCII's are told by their numbers, as \\u00fc is, and ib_async leaves them so",
        "the clients of Interactive Brokers: MIN_SERVER_VER_ENCODE_MSG_ASCII7",
        always=True,
    ),
    # What goes wrong, and passes.
    "slow-heads": Behaviour("a head timestamp takes N seconds", "erdewit/ib_insync#258", number=8.0),
    "silent-heads": Behaviour(
        "an index's head timestamp never comes, nor does every third other contract's the first time",
        "erdewit/ib_insync#258",
    ),
    "no-data": Behaviour(
        "the first request of a kind for each contract, and every fifth from then on, is told that there is no data; "
        "the same request has its answer the next time",
        "erdewit/ib_insync#550, QuantConnect/Lean#607, wrighter/ib-scripts#17",
    ),
    "german": Behaviour("errors are in German", "Es wurde keine Wertpapierdefinition ...: logs on GitHub"),
    "flaps": Behaviour(
        "every Nth request for historical data finds a farm down for two seconds: it is told 165 and nothing else, or "
        "that there is no data, in turns",
        "vnpy/vnpy_ib#73, nautechsystems/nautilus_trader#4412",
        number=12,
    ),
    "reset": Behaviour(
        "the Nth request for bars is the last before the nightly reset: 1100, nobody is let in for three seconds, "
        "then 1102, or 1101 every second time, and farm by farm comes back; unknown contracts and missing data until "
        "then prove nothing",
        "IbcAlpha/IBC#143, erdewit/ib_insync#330, QuantConnect/Lean.Brokerages.InteractiveBrokers#169",
        number=10,
    ),
    "id-held": Behaviour(
        "the id of a client that has gone is free only after N seconds",
        "stoqey/ib#43, ib-api-reloaded/ib_async#152, nautechsystems/nautilus_trader#4412",
        number=2.0,
    ),
    "strict": Behaviour("the rules of pacing hold in their strictest reading; see pacing", _PACING),
    # What goes wrong, and stays so.
    "chinese": Behaviour(
        "errors are in Chinese, what the historical data service says included", "vnpy/vnpy_ib#22", passes=False
    ),
    "competing": Behaviour(
        "the user has logged in elsewhere: historical data is refused with 10197, or with N=162 for another address",
        "quantverse/ptltrader#1, extrange/ibkr-docker#118",
        number=10197,
        passes=False,
    ),
    "no-subscription": Behaviour(
        "historical data is refused with N: 354, 10089, 10168, 10186, 10187, or 162 for no permissions; for some "
        "symbols only it is a fault with that code",
        f"{_CODES}; softwarespartan/IB4m#60, deephaven-examples/deephaven-ib#44",
        number=354,
        passes=False,
    ),
    "id-taken": Behaviour("another program has the client id N", _CODES, number=1, passes=False),
    "api-closes": Behaviour(
        "the API takes no client: the connection is closed at once", "ib-api-reloaded/ib_async#143", passes=False
    ),
    "api-silent": Behaviour("the API answers nobody's greeting", "erdewit/ib_insync#386", passes=False),
}


class Behaviours:
    """Those that are switched on."""

    def __init__(self, names=()):
        self._on = {}
        for name in names:
            self.switch(name)

    def switch(self, name, *, on=True):
        """Switch one on, as ``slow-heads`` or ``slow-heads=20``, or off again; or all that pass.

        Raises:
            ValueError: There is none of that name, or it has no number.
        """
        plain, _, number = name.partition("=")
        if plain == ALL:
            names = [each for each, behaviour in BEHAVIOURS.items() if behaviour.passes and not behaviour.always]
        elif plain in BEHAVIOURS:
            names = [plain]
        else:
            raise ValueError(f"no behaviour {plain!r}; behaviours: {', '.join(BEHAVIOURS)}, {ALL}")
        if number and (plain == ALL or BEHAVIOURS[plain].number is None):
            raise ValueError(f"{plain} has no number")
        for each in names:
            if on:
                self._on[each] = float(number) if number else BEHAVIOURS[each].number
            else:
                self._on.pop(each, None)

    def __iter__(self):
        return iter(self._on)

    def __contains__(self, name):
        return name in self._on

    def number(self, name):
        """A behaviour's number; ``None`` if it is off."""
        return self._on.get(name)
