"""A host service in a process of its own, for tests of what stands on it."""

import json
import subprocess
import sys
from urllib.request import urlopen

from tws.market import NOW

COMMAND = """
import sys
from symcache_host.command import main
from symcache_host.ib import resets
resets._WINDOWS = ()
sys.exit(main())
"""
"""As ``python -m symcache_host``, but without the hours in which Interactive Brokers restarts its servers and its
negatives prove nothing: what a test sees would depend on the time of day.
"""

PRESENT = f"""
from datetime import datetime
from symcache_host.ib.gateway import IbGateway
IbGateway.as_of = lambda _gateway: datetime.fromisoformat({NOW.isoformat()!r})
"""
"""Before that: as if it ran in the simulated TWS's own present, of which that has bars."""
QUIET = ("--ib-quiet-start", "0")  # nobody has asked for anything before


class HostProcess:
    """A running host service.

    Args:
        folder: Where it works.
        arguments: Of its command line.
        before: What is done before it starts.
    """

    def __init__(self, folder, *arguments, before=""):
        self._process = subprocess.Popen(
            [sys.executable, "-c", before + COMMAND, "--port", "0", "--until-stdin-closes", *QUIET, *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.url = json.loads(self._process.stdout.readline())["url"]

    def calls(self):
        """How many requests it has had, but for this one."""
        with urlopen(f"{self.url}/health/") as answer:
            return json.load(answer)["calls"]["requests"]

    def close(self):
        with self._process:
            self._process.terminate()
