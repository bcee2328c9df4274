"""The ``symcache`` command: a face on the cache and the loader, for people and for scripts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from ..streams import let_messages_get_lost, open_closed_streams, send_output

UNAVAILABLE, INTERRUPTED = 3, 130


def main() -> None:
    """Run the command line and end the process with its exit status."""
    open_closed_streams()
    let_messages_get_lost()
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.stderr.write(f"error: the symcache command needs {error.name}: pip install 'symcache[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    output = sys.stdout
    try:
        try:
            app(prog_name="symcache")
        finally:
            send_output()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave_at_once()
        if sys.stdout is not output:  # typer puts something in its place where nobody reads it any more
            sys.exit(0)
        raise
    except OSError as error:
        sys.stderr.write(f"error: standard output: {error.strerror or error}\n")
        sys.exit(UNAVAILABLE)


def _leave_at_once() -> NoReturn:
    """End the process without waiting for threads that wait for a provider: what is stored is on disk already."""
    with suppress(OSError):  # nobody may be reading any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)
