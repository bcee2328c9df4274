"""The ``symcache`` command: a face on the cache and the loader, for people and for scripts."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.stderr.write(f"error: the symcache command needs {error.name}: pip install 'symcache[cli]'\n")
        sys.exit(2)
    app(prog_name="symcache")
