"""Is interrupted again and again at work on bars, each time at another moment, and tells which locks are held then."""

import json
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from stored_bars import answer_of

from symcache_core.loading.bars.listing import drop_series
from symcache_core.loading.bars.locks import Claim, alone
from symcache_core.loading.bars.store import BarStore

what, root, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
store = BarStore(root, "ib", 5.0)
series = store.series("AAPL", "1d")
home = series.folder.parent
bars = BarStore(root, "source").series("AAPL", "1d").read().bars
asked = datetime(2024, 6, 1, 12, tzinfo=UTC)


def lock():
    for _ in range(20):
        alone(home / "usual.lock", 5, lambda check: check())


def claim():
    for _ in range(20):
        taken = None
        try:
            taken = series.claim()
        finally:
            try:
                taken.release()
            except AttributeError:
                pass
            finally:  # an interrupt may come as the first one is entered
                taken and taken.release()


def save():
    series.save(answer_of(bars.tail(1), asked))


def drop():
    drop_series(store, "ib:AAPL")


def prepare():
    """Have everything there that the work needs."""
    home.mkdir(parents=True, exist_ok=True)
    if not series.read().rows.has_bar.any():
        series.save(answer_of(bars, asked))


def held():
    """Which locks nobody gets."""
    home.mkdir(parents=True, exist_ok=True)
    taken, names = Claim.attempt(home / "usual.claim"), []
    if taken is None:
        names.append("claim")
    else:
        taken.release()
    for path in (home / "usual.lock", store.folder / "names.lock"):
        try:
            alone(path, 0.0, lambda _check: None)
        except Exception as error:
            names.append(str(error))
    return names


def how_long(work):
    """Seconds that it takes undisturbed."""
    prepare()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main():
    moments, work = random.Random(what), {"lock": lock, "claim": claim, "save": save, "drop": drop}[what]
    longest = min(how_long(work) for _ in range(5))
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # what a timer sends comes between any two instructions
    descriptors, kept, faults, lost = len(os.listdir("/dev/fd")), [], [], 0
    for _ in range(count):
        prepare()
        try:
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, longest))
            work()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt as error:
            kept.append(error)  # as a notebook keeps it, with all its frames
        faults += held()
        lost += what == "save" and len(series.read().bars) != len(bars)
        if len(kept) % 100 == 99:
            kept = [None] * len(kept)
    interrupted = len(kept)
    kept.clear()
    said = {"held": faults, "lost": lost, "interrupted": interrupted}
    print(json.dumps({**said, "descriptors": len(os.listdir("/dev/fd")) - descriptors}))


if __name__ == "__main__":
    main()
