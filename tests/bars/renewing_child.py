"""Forks processes that load the bars of a share that was split: once, to be killed; or on and on, looking at each.

Each line of JSON on standard input has one forked; answers go as lines of JSON to standard output.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from bars.truth import PRICES, Clock, Daily, Listing, TruthProvider, at, is_beginning

from symcache_core.errors import ProviderError

FIRST, LAST, SPLIT = "2009-01-05", "2024-03-28", "2024-01-10"
THEN, NOW = "2024-01-06T12:00", "2024-01-16T12:00"
CON_ID = 265598
LATENCY = 0.02


def split(daily, now):
    if now < at(SPLIT):
        return daily
    daily = daily.copy()
    old = daily.index < at(SPLIT)
    daily.loc[old, PRICES] = (daily.loc[old, PRICES] / 10).round(4)
    daily.loc[old, "volume"] *= 10
    return daily


TRUTH = Daily(FIRST, LAST, split)


def provider_at(moment, latency=LATENCY, **options):
    listing = Listing(TRUTH, con_id=CON_ID, head=f"{FIRST}T14:30:00+00:00")
    return TruthProvider(Clock(moment), {"NVDA": listing}, latency=lambda: latency, **options)


def manager_of(provider, folder):
    return provider.manager(folder / "bars", backend="json", backends={"json": {"path": folder / "symbols.json"}})


def which(frame):
    """Whose truth a frame is: of then, of now, or of neither."""
    then, now = (TRUTH(at(moment), "1d") for moment in (THEN, NOW))
    if is_beginning(frame, now) and len(frame) >= len(then):
        return "now"
    if is_beginning(frame, then):
        return "then" if len(frame) == len(then) else "a part of then"
    return "neither"


def say(**answer):
    print(json.dumps(answer), flush=True)


def note_requests(folder):
    """Appends each request to a file, so that those of a killed process count too."""

    def note(_number, asked):
        with (folder / "requests").open("a") as file:
            file.write(f"{asked.start.isoformat()} {asked.end.isoformat()}\n")

    return note


def renew(folder, order):
    provider = provider_at(NOW, trouble=note_requests(folder))
    with manager_of(provider, folder) as manager:
        say(began=os.getpid())
        frame = manager.load("NVDA", "1d", mode="full")
    if order["told"]:
        say(truth=which(frame), bars=len(frame))


def read(folder, order):
    """Look again and again, in each of some modes, until there is a file that says to stop."""
    seen = {mode: {} for mode in order["modes"]}
    provider = provider_at(NOW, trouble=note_requests(folder))
    with manager_of(provider, folder) as manager:
        say(began=os.getpid())
        last = False
        while not last:
            last = (folder / "stop").exists()
            for mode, truths in seen.items():
                try:
                    truth = which(manager.load("NVDA", "1d", mode=mode))
                except ProviderError as error:
                    truth = repr(error)
                truths[truth] = truths.get(truth, 0) + 1
            time.sleep(0.005)
    say(**seen)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    say(ready=True)
    for line in sys.stdin:
        if os.fork():
            continue
        order = json.loads(line)
        {"renew": renew, "read": read}[order["what"]](Path(order["folder"]), order)
        os._exit(0)


if __name__ == "__main__":
    main()
