"""The command that runs a simulated TWS: ``python -m tws --port 0``, in the folder of the tests."""

import argparse
import asyncio
from contextlib import suppress

from .behaviours import ALL, BEHAVIOURS
from .control import serve

parser = argparse.ArgumentParser(prog="python -m tws", description="Simulate TWS on a port of this machine.")
parser.add_argument("--port", type=int, default=0, help="the port of the API; 0 takes any free one")
parser.add_argument("--latency", type=float, default=0.0, help="seconds that every answer takes")
parser.add_argument(
    "--behaviour",
    dest="behaviours",
    action="append",
    default=[],
    metavar="NAME[=NUMBER]",
    help=f"what else it does: {ALL}, {', '.join(BEHAVIOURS)}",
)
with suppress(KeyboardInterrupt):
    asyncio.run(serve(**vars(parser.parse_args())))
