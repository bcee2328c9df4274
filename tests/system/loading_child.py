"""Forks, for each line of JSON on standard input, a process that loads symbols, and tells its id and its result."""

import json
import os
import signal
import sys
from pathlib import Path

from symcache_core import SymcacheSettings
from symcache_core.loading import DataManager


def load(order):
    settings = SymcacheSettings(
        backend=order["backend"], provider="replay", host_service_url=order["url"], data_dir=Path(order["folder"])
    )
    with DataManager(settings) as manager:
        many = manager.load_many(order["symbols"], mode="full")
    return {"bars": {symbol: len(frame) for symbol, frame in many.frames.items()}, "requests": many.report.requests}


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        child = os.fork()
        if not child:
            answer = load(json.loads(line))
            os.write(1, json.dumps(answer).encode() + b"\n")
            os._exit(0)
        os.write(1, json.dumps({"pid": child}).encode() + b"\n")


if __name__ == "__main__":
    main()
