"""The command that runs a simulated TWS: ``python -m tws --port 0``, in the folder of the tests."""

import argparse
import asyncio
from contextlib import suppress

from .control import serve

parser = argparse.ArgumentParser(prog="python -m tws", description="Simulate TWS on a port of this machine.")
parser.add_argument("--port", type=int, default=0, help="the port of the API; 0 takes any free one")
parser.add_argument("--latency", type=float, default=0.0, help="seconds that every answer takes")
with suppress(KeyboardInterrupt):
    asyncio.run(serve(**vars(parser.parse_args())))
