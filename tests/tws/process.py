"""A simulated TWS in a process of its own, for tests that have no event loop."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE

from .server import bound

TESTS = str(Path(__file__).parents[1])


class TwsProcess:
    """The process, and the line to it; a context manager.

    Args:
        arguments: More of the command line, as ``"--latency", "0.1"``.
    """

    def __init__(self, *arguments):
        self._arguments = arguments

    def __enter__(self):
        # Its own would end with it, and then its port would be anybody's.
        self._reserved = bound(0)
        self.port = self._reserved.getsockname()[1]
        return self.start()

    def __exit__(self, *_exc):
        self.kill()
        self._reserved.close()

    def start(self):
        """Start it, again on the port that it had before."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tws", "--port", str(self.port), *self._arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))},
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = json.loads(self._process.stdout.readline())
        self._line = socket.create_connection(("127.0.0.1", ready["control"]), timeout=PATIENCE)
        self._answers = self._line.makefile()
        return self

    def kill(self):
        """End it with signal 9."""
        self._answers.close()
        self._line.close()
        self._process.kill()
        with self._process:
            self._process.wait()

    def do(self, order, **details):
        """Give an order, as ``do("notice", code=1100)``, and wait until it is done; gives what it answers."""
        self._line.sendall(json.dumps({"do": order, **details}).encode() + b"\n")
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["done"]

    def counts(self):
        """What happened there so far."""
        return self.do("counts")
