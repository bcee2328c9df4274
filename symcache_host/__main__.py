"""The command that runs the host service: ``python -m symcache_host``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
